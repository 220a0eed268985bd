//! Reading records, and what there is of a seat.

use redb::ReadTransaction;

use super::opened::{Opened, damaged, damaged_at};
use super::store::Trouble;
use super::tables::{RECORDS, SNAPSHOTS, span};
use crate::journal::format;
use crate::journal::{Record, Seat, SeatFacts, SnapshotFacts};

/// How many bytes of records a read gives, or a little more.
const READ_BYTES: usize = 4 << 20;

/// See [`crate::journal::Journal::read`].
pub(super) fn read(opened: &Opened, seat: &Seat, from: u64) -> Result<Vec<Record>, Trouble> {
    let Some(number) = opened.number(seat) else { return Ok(vec![]) };
    let transaction = opened.look()?;
    let last = opened.known().seats.get_mut(seat).map_or(Ok(0), |there| there.tip(seat, opened).map(|tip| tip.last))?;
    let first = first(&transaction, number, last)?;
    if from < first && from <= last {
        return Err(damaged(format!("{seat}, record {from}: it is cut or missing; the first is {first}")));
    }
    let (mut records, mut bytes) = (Vec::new(), 0);
    for (entry, expected) in transaction.open_table(RECORDS)?.range(span(number, from..=u64::MAX))?.zip(from..) {
        let (key, value) = entry?;
        let record = if key.value().1 == expected {
            let record = format::decode_record(number, expected, value.value());
            record.map_err(|error| damaged_at(seat, expected, "record", &error))
        } else {
            Err(damaged(format!("{seat}, record {expected}: it is missing")))
        };
        match record {
            Ok(record) => records.push(record),
            // Who reads on from it is told.
            Err(_) if !records.is_empty() => break,
            Err(error) => return Err(error),
        }
        bytes += value.value().len();
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(records)
}

/// See [`crate::journal::Journal::facts`].
pub(super) fn facts(opened: &Opened, seat: &Seat) -> Result<Option<SeatFacts>, Trouble> {
    let mut known = opened.known();
    let regressions = known.journal.regressions;
    let Some(there) = known.seats.get_mut(seat) else { return Ok(None) };
    let tip = there.tip(seat, opened)?;
    let transaction = opened.look()?;
    let snapshots = snapshots(&transaction, seat, there.row.number)?;
    let first = first(&transaction, there.row.number, tip.last)?;
    let (regressed, swap) = (there.row.told < regressions, there.row.swap);
    Ok(Some(SeatFacts { last: tip.last, now: tip.now, first, snapshots, regressed, swap }))
}

fn snapshots(transaction: &ReadTransaction, seat: &Seat, number: u64) -> Result<Vec<SnapshotFacts>, Trouble> {
    let mut facts = Vec::new();
    for entry in transaction.open_table(SNAPSHOTS)?.range(span(number, 0..=u64::MAX))? {
        let (key, value) = entry?;
        let sequence = key.value().1;
        let head = format::decode_snapshot(number, sequence, value.value());
        let head = head.map_err(|error| damaged_at(seat, sequence, "snapshot", &error))?;
        facts.push(SnapshotFacts {
            sequence,
            now: head.now,
            bytes: head.parts.iter().sum(),
            history_bytes: head.history_bytes,
            format: head.format,
            tenure: head.tenure,
        });
    }
    Ok(facts)
}

/// The first record that there is; behind the last if there is none.
pub(super) fn first(transaction: &ReadTransaction, number: u64, last: u64) -> Result<u64, Trouble> {
    let first = transaction.open_table(RECORDS)?.range(span(number, 0..=u64::MAX))?.next().transpose()?;
    Ok(first.map_or(last + 1, |(key, _)| key.value().1))
}

/// The oldest snapshot's sequence; 0: there is none.
pub(super) fn horizon(transaction: &ReadTransaction, number: u64) -> Result<u64, Trouble> {
    let oldest = transaction.open_table(SNAPSHOTS)?.range(span(number, 0..=u64::MAX))?.next().transpose()?;
    Ok(oldest.map_or(0, |(key, _)| key.value().1))
}
