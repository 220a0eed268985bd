//! The tables of the database, and the keys of a seat's entries in them.

use std::ops::RangeInclusive;

use redb::{Key, ReadableTable, Table, TableDefinition, Value};

/// The journal's own row.
pub(super) const JOURNAL: TableDefinition<(), &[u8]> = TableDefinition::new("journal");

/// Seats by tenant, plugin and partition.
pub(super) const SEATS: TableDefinition<(&str, &str, u32), &[u8]> = TableDefinition::new("seats");

/// Records by seat and sequence.
pub(super) const RECORDS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("records");

/// Heads of snapshots by seat and sequence.
pub(super) const SNAPSHOTS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("snapshots");

/// Pieces of snapshots by seat, sequence and place.
pub(super) const PIECES: TableDefinition<(u64, u64, u32), &[u8]> = TableDefinition::new("pieces");

/// A seat's entries from one sequence to another.
pub(super) fn span(seat: u64, sequences: RangeInclusive<u64>) -> RangeInclusive<(u64, u64)> {
    (seat, *sequences.start())..=(seat, *sequences.end())
}

/// A seat's pieces of the snapshots from one sequence to another.
pub(super) fn piece_span(seat: u64, sequences: RangeInclusive<u64>) -> RangeInclusive<(u64, u64, u32)> {
    (seat, *sequences.start(), 0)..=(seat, *sequences.end(), u32::MAX)
}

/// Removes the first entries of a range, no more than `most`; how many it were. One by one: where redb is told to remove a
/// range, it copies the way to each entry anew and keeps all copies until the end.
pub(super) fn remove<K: for<'a> Key<SelfType<'a> = K>, V: Value>(
    table: &mut Table<'_, K, V>,
    range: RangeInclusive<K>,
    most: usize,
) -> redb::Result<usize> {
    let first = table.range(range)?.take(most);
    let keys = first.map(|entry| entry.map(|(key, _)| key.value())).collect::<redb::Result<Vec<K>>>()?;
    for key in &keys {
        table.remove(key)?;
    }
    Ok(keys.len())
}
