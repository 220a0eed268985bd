//! From a journal to an archive.

use std::collections::VecDeque;
use std::io::{self, Write};

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::{ArchiveError, Counts, DamageFrame, PAYLOAD_BYTES, SeatFrame, VERSION, WORDS, kind};
use crate::journal::format::{self, SnapshotHead};
use crate::journal::{Journal, JournalError, Record, Seat};

/// Writes what the journal has of these seats, while it may be appended to and cut. Blocks.
///
/// # Errors
///
/// The journal's store or the output failed: what was written is torn then.
pub fn write(journal: &dyn Journal, seats: &[Seat], out: impl Write) -> Result<Counts, ArchiveError> {
    let mut writer = Writer { out, sum: Xxh3::new(), counts: Counts::default() };
    writer.bytes(WORDS)?;
    writer.bytes(VERSION)?;
    for seat in seats {
        writer.seat(journal, seat)?;
    }
    writer.frame(kind::END, &cbor(&writer.counts))?;
    writer.out.flush()?;
    Ok(writer.counts)
}

struct Writer<W> {
    out: W,
    sum: Xxh3,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    fn seat(&mut self, journal: &dyn Journal, seat: &Seat) -> Result<(), ArchiveError> {
        let facts = match journal.facts(seat) {
            Ok(None) => return Ok(()),
            Ok(Some(facts)) => Ok(facts),
            Err(JournalError::Damaged(what)) => Err(what),
            Err(error) => return Err(error.into()),
        };
        self.counts.seats += 1;
        let Seat { tenant, plugin, partition } = seat;
        let frame = SeatFrame { tenant: tenant.to_string(), plugin: plugin.to_string(), partition: *partition };
        self.frame(kind::SEAT, &cbor(&frame))?;
        match facts {
            Ok(facts) => self.history(journal, seat, facts.last),
            Err(what) => self.damage(seat, 0, &what),
        }
    }

    /// Writes snapshots and records, none of these beyond `last`.
    fn history(&mut self, journal: &dyn Journal, seat: &Seat, last: u64) -> Result<(), ArchiveError> {
        let (mut next, mut snapshot, mut ready) = (1, 0, VecDeque::new());
        // The facts anew for each step: the horizon may move at any time.
        while let Some(facts) = journal.facts(seat)? {
            let due = |sequence: u64| facts.snapshots.iter().any(|it| it.sequence == sequence);
            if facts.horizon() >= next {
                snapshot = facts.horizon();
                next = snapshot + 1;
                self.snapshot(journal, seat, snapshot, true)?;
            } else if next - 1 > snapshot && due(next - 1) {
                snapshot = next - 1;
                self.snapshot(journal, seat, snapshot, false)?;
            } else if next <= last {
                let stop = facts.snapshots.iter().map(|it| it.sequence).find(|it| *it >= next);
                let stop = stop.unwrap_or(u64::MAX).min(last);
                if ready.front().is_none_or(|record: &Record| record.sequence != next) {
                    match self.read(journal, seat, next)? {
                        Some(records) => ready = records,
                        None => next += 1,
                    }
                }
                while let Some(record) = ready.pop_front_if(|record| record.sequence == next && next <= stop) {
                    self.record(&record)?;
                    next += 1;
                }
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Some records, none if they are cut meanwhile; or none inside: the first is damaged, which is written.
    fn read(
        &mut self,
        journal: &dyn Journal,
        seat: &Seat,
        from: u64,
    ) -> Result<Option<VecDeque<Record>>, ArchiveError> {
        let what = match journal.read(seat, from) {
            Ok(records) if records.first().is_some_and(|first| first.sequence == from) => {
                return Ok(Some(records.into()));
            }
            Ok(_) => "the record is missing".to_owned(),
            Err(JournalError::Damaged(what)) => what,
            Err(error) => return Err(error.into()),
        };
        if is_cut(journal, seat, from)? {
            return Ok(Some(VecDeque::new()));
        }
        self.damage(seat, from, &what)?;
        Ok(None)
    }

    fn record(&mut self, record: &Record) -> Result<(), ArchiveError> {
        self.counts.records += 1;
        let stored = format::encode_record(self.counts.seats, record);
        self.frame(kind::RECORD, &[&record.sequence.to_le_bytes(), &*stored].concat())
    }

    /// Writes a snapshot, unless it is cut meanwhile.
    fn snapshot(
        &mut self,
        journal: &dyn Journal,
        seat: &Seat,
        sequence: u64,
        horizon: bool,
    ) -> Result<(), ArchiveError> {
        let what = match journal.snapshot(seat, sequence) {
            Ok(Some(snapshot)) => {
                self.counts.snapshots += 1;
                let number = self.counts.seats;
                let head = format::encode_snapshot(number, sequence, &SnapshotHead::of(&snapshot));
                self.frame(kind::SNAPSHOT, &[&sequence.to_le_bytes(), &[u8::from(horizon)][..], &head].concat())?;
                return (0..).zip(format::pieces(&snapshot)).try_for_each(|(piece, state)| {
                    self.frame(kind::PIECE, &format::encode_piece(number, sequence, piece, state))
                });
            }
            Ok(None) => "the snapshot is missing".to_owned(),
            Err(JournalError::Damaged(what)) => what,
            Err(error) => return Err(error.into()),
        };
        if is_cut(journal, seat, sequence + 1)? { Ok(()) } else { self.damage(seat, sequence, &what) }
    }

    fn damage(&mut self, seat: &Seat, sequence: u64, what: &str) -> Result<(), ArchiveError> {
        self.counts.damages += 1;
        // Journals say which seat, and so does the archive.
        let what = what.strip_prefix(&format!("{seat}, ")).unwrap_or(what).to_owned();
        self.frame(kind::DAMAGE, &cbor(&DamageFrame { sequence, what }))
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), ArchiveError> {
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= PAYLOAD_BYTES);
        let length = length.ok_or_else(|| io::Error::other(format!("a frame of {} bytes", payload.len())))?;
        self.bytes(&[kind])?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(payload)?;
        let sum = self.sum.digest();
        self.bytes(&sum.to_le_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.sum.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }
}

/// Whether the horizon has passed this record.
fn is_cut(journal: &dyn Journal, seat: &Seat, sequence: u64) -> Result<bool, JournalError> {
    Ok(journal.facts(seat)?.is_none_or(|facts| facts.horizon() >= sequence))
}

fn cbor(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes everything");
    bytes
}
