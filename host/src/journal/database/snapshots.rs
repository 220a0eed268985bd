//! Putting, getting and cutting snapshots, in steps so short that appends go on between them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::{Durability, ReadTransaction, ReadableTable};

use super::append::{Unsynced, new_seat};
use super::opened::{Opened, Tip, damaged, damaged_at};
use super::store::{Store, Trouble};
use super::tables::{PIECES, RECORDS, SNAPSHOTS, piece_span, remove, span};
use crate::journal::format::{self, SnapshotHead};
use crate::journal::{JournalError, Seat, Snapshot};

/// How many pieces go into, or leave, in one transaction: 256 KiB.
const PIECES_AT_ONCE: usize = 4;

/// How many records leave in one transaction.
const RECORDS_AT_ONCE: usize = 250;

/// Work in several transactions on one seat of one database. Without durability each, they are undone together where the
/// database must be opened again: then the rest must not follow.
struct Steps<'a> {
    store: &'a Store,
    generation: u64,
    number: u64,
}

/// See [`crate::journal::Journal::put_snapshot`]. The head comes last: what has no head is not there.
pub(super) fn put(store: &Store, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
    let sequence = snapshot.sequence;
    let steps = store.step(|opened, unsynced| {
        let number = match opened.number(seat) {
            Some(number) => number,
            None => new_seat(opened, unsynced, seat)?,
        };
        let transaction = opened.write(Durability::None)?;
        transaction.open_table(SNAPSHOTS)?.remove((number, sequence))?;
        transaction.commit()?;
        Ok(Steps { store, generation: opened.generation, number })
    })?;
    // Of a snapshot that a crash cut short.
    while steps.remove_pieces(sequence..=sequence)? {}
    let pieces: Vec<&[u8]> = format::pieces(snapshot).collect();
    for (pieces, first) in pieces.chunks(PIECES_AT_ONCE).zip((0..).step_by(PIECES_AT_ONCE)) {
        steps.put_pieces(sequence, first, pieces)?;
    }
    steps.put_head(seat, snapshot)
}

/// See [`crate::journal::Journal::snapshot`].
pub(super) fn get(opened: &Opened, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, Trouble> {
    match opened.number(seat) {
        Some(number) => read(&opened.look()?, seat, number, sequence),
        None => Ok(None),
    }
}

/// A snapshot of the seat that has this number.
pub(super) fn read(
    transaction: &ReadTransaction,
    seat: &Seat,
    number: u64,
    sequence: u64,
) -> Result<Option<Arc<Snapshot>>, Trouble> {
    let Some(head) = transaction.open_table(SNAPSHOTS)?.get((number, sequence))? else { return Ok(None) };
    let wrong = |error| damaged_at(seat, sequence, "snapshot", &error);
    let head = format::decode_snapshot(number, sequence, head.value()).map_err(wrong)?;
    let mut pieces = Vec::new();
    for (entry, piece) in transaction.open_table(PIECES)?.range(piece_span(number, sequence..=sequence))?.zip(0..) {
        let (_, bytes) = entry?;
        pieces.push(format::decode_piece(number, sequence, piece, bytes.value()).map_err(wrong)?.to_vec());
    }
    let snapshot = head.with_state(sequence, pieces);
    let snapshot = snapshot.ok_or_else(|| damaged(format!("{seat}, snapshot {sequence}: it is not whole")))?;
    Ok(Some(Arc::new(snapshot)))
}

/// See [`crate::journal::Journal::cut`]. The heads go first: so the horizon never lies before what is there.
pub(super) fn cut(store: &Store, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
    let steps = store.step(|opened, _| {
        let Some(number) = opened.number(seat) else { return Ok(None) };
        let transaction = opened.write(Durability::None)?;
        let mut heads = transaction.open_table(SNAPSHOTS)?;
        if heads.get((number, horizon))?.is_none() {
            return Ok(None);
        }
        if horizon > 0 {
            remove(&mut heads, span(number, 0..=horizon - 1), usize::MAX)?;
        }
        drop(heads);
        transaction.commit()?;
        Ok(Some(Steps { store, generation: opened.generation, number }))
    })?;
    let Some(steps) = steps else { return Ok(()) };
    while steps.remove_records(0..=horizon)? {}
    while horizon > 0 && steps.remove_pieces(0..=horizon - 1)? {}
    Ok(())
}

impl Steps<'_> {
    fn step<T>(&self, work: impl FnOnce(&Opened, &mut Unsynced) -> Result<T, Trouble>) -> Result<T, JournalError> {
        self.store.step(|opened, unsynced| {
            if opened.generation != self.generation {
                return Err(Trouble::Own(JournalError::Store("the journal was opened again meanwhile".into())));
            }
            work(opened, unsynced)
        })
    }

    fn put_pieces(&self, sequence: u64, first: u32, pieces: &[&[u8]]) -> Result<(), JournalError> {
        self.step(|opened, _| {
            let transaction = opened.write(Durability::None)?;
            let mut table = transaction.open_table(PIECES)?;
            for (piece, state) in (first..).zip(pieces) {
                let bytes = format::encode_piece(self.number, sequence, piece, state);
                table.insert((self.number, sequence, piece), bytes.as_slice())?;
            }
            drop(table);
            Ok(transaction.commit()?)
        })
    }

    /// Syncs everything before it.
    fn put_head(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        let head = format::encode_snapshot(self.number, snapshot.sequence, &SnapshotHead::of(snapshot));
        self.step(|opened, unsynced| {
            let transaction = opened.write(Durability::Immediate)?;
            transaction.open_table(SNAPSHOTS)?.insert((self.number, snapshot.sequence), head.as_slice())?;
            transaction.commit()?;
            unsynced.clear();
            let tip = Tip { last: snapshot.sequence, now: snapshot.now };
            opened.known().raise_tip(seat, tip);
            Ok(())
        })
    }

    /// Removes some of the records; whether there may be more.
    fn remove_records(&self, sequences: RangeInclusive<u64>) -> Result<bool, JournalError> {
        self.step(|opened, _| {
            let transaction = opened.write(Durability::None)?;
            let mut table = transaction.open_table(RECORDS)?;
            let removed = remove(&mut table, span(self.number, sequences), RECORDS_AT_ONCE)?;
            drop(table);
            transaction.commit()?;
            Ok(removed == RECORDS_AT_ONCE)
        })
    }

    /// Removes some of the pieces; whether there may be more.
    fn remove_pieces(&self, sequences: RangeInclusive<u64>) -> Result<bool, JournalError> {
        self.step(|opened, _| {
            let transaction = opened.write(Durability::None)?;
            let mut table = transaction.open_table(PIECES)?;
            let removed = remove(&mut table, piece_span(self.number, sequences), PIECES_AT_ONCE)?;
            drop(table);
            transaction.commit()?;
            Ok(removed == PIECES_AT_ONCE)
        })
    }
}
