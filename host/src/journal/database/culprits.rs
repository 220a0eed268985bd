//! What is damaged in a file that redb cannot repair: it says only that something is.

use std::collections::BTreeMap;

use redb::{TableHandle, Value};

use super::DatabaseError;
use super::pages::leaves;
use super::storage::Storage;
use super::tables::{PIECES, RECORDS, SEATS};
use crate::journal::Seat;
use crate::journal::format::{self, FormatError};

/// How many are named.
const NAMED: usize = 3;

/// The same error, with seat and sequence of what is damaged, where that can be found.
pub(super) fn named(error: DatabaseError, storage: &Storage) -> DatabaseError {
    match error {
        DatabaseError::Damaged(what) => DatabaseError::Damaged(find(storage).unwrap_or(what)),
        other => other,
    }
}

fn find(storage: &Storage) -> Option<String> {
    let seats = seats(storage)?;
    let mut found = Vec::new();
    let mut note = |seat: u64, sequence: u64, what: &str, error: FormatError| {
        let Some(seat) = seats.get(&seat) else { return };
        found.push(format!("{seat}, sequence {sequence}: {what}: {error}"));
    };
    leaves(storage, RECORDS.name(), &mut |leaf| {
        for (key, record) in leaf.entries.iter().filter(|(key, _)| !leaf.whole && key.len() == 16) {
            let (seat, sequence) = <(u64, u64)>::from_bytes(key);
            if let Err(error) = format::decode_record(seat, sequence, record) {
                note(seat, sequence, "the record", error);
            }
        }
        Some(())
    })?;
    leaves(storage, PIECES.name(), &mut |leaf| {
        for (key, piece) in leaf.entries.iter().filter(|(key, _)| !leaf.whole && key.len() == 20) {
            let (seat, sequence, place) = <(u64, u64, u32)>::from_bytes(key);
            if let Err(error) = format::decode_piece(seat, sequence, place, piece) {
                note(seat, sequence, "the snapshot", error);
            }
        }
        Some(())
    })?;
    let more = found.len().saturating_sub(NAMED);
    found.truncate(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!found.is_empty()).then(|| found.join("; ") + &more)
}

/// The seats by their numbers.
fn seats(storage: &Storage) -> Option<BTreeMap<u64, Seat>> {
    let mut seats = BTreeMap::new();
    leaves(storage, SEATS.name(), &mut |leaf| {
        for (key, row) in leaf.entries.iter().filter(|_| leaf.whole) {
            let (tenant, plugin, partition) = <(&str, &str, u32)>::from_bytes(key);
            let seat = Seat { tenant: tenant.into(), plugin: plugin.into(), partition };
            if let Ok(row) = format::decode_seat(&seat, row) {
                seats.insert(row.number, seat);
            }
        }
        Some(())
    })?;
    Some(seats)
}
