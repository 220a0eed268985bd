//! A journal in memory: everything but durability. For embedding where the mail server itself can tell everything anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Append, Journal, JournalError, Record, Seat, Snapshot};

/// Keeps, for each seat, the newest snapshot and the records since.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    seats: Mutex<BTreeMap<Seat, Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    records: Vec<Record>,
    snapshot: Option<Arc<Snapshot>>,
}

impl MemoryJournal {
    fn seats(&self) -> MutexGuard<'_, BTreeMap<Seat, Entries>> {
        self.seats.lock().expect("nothing panics while this lock is held")
    }
}

impl Journal for MemoryJournal {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let mut seats = self.seats();
        appends.iter().map(|append| seats.entry(append.seat.clone()).or_default().append(append)).collect()
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        let seats = self.seats();
        let records = seats.get(seat).map_or(&[][..], |entries| &entries.records);
        Ok(records.iter().filter(|record| record.sequence >= from).cloned().collect())
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: Snapshot) -> Result<(), JournalError> {
        let mut seats = self.seats();
        let entries = seats.entry(seat.clone()).or_default();
        entries.records.retain(|record| record.sequence > snapshot.sequence);
        entries.snapshot = Some(Arc::new(snapshot));
        Ok(())
    }

    fn snapshot(&self, seat: &Seat) -> Result<Option<Arc<Snapshot>>, JournalError> {
        Ok(self.seats().get(seat).and_then(|entries| entries.snapshot.clone()))
    }
}

impl Entries {
    fn append(&mut self, append: &Append) -> Result<(), JournalError> {
        if self.last != append.expected {
            return Err(JournalError::Conflict { expected: append.expected, found: self.last });
        }
        self.records.extend(append.records.iter().cloned());
        self.last += append.records.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Input;

    fn seat() -> Seat {
        Seat { tenant: "example.org".into(), plugin: "notify".into(), partition: 0 }
    }

    fn append(expected: u64, count: u64) -> Append {
        let record = |sequence| Record { sequence, now: 0, input: Input::Tick };
        Append { seat: seat(), expected, records: (expected + 1..=expected + count).map(record).collect() }
    }

    #[test]
    fn whoever_is_wrong_about_the_last_record_appends_nothing() {
        let journal = MemoryJournal::default();
        assert_eq!(journal.append(&[append(0, 2), append(2, 1)]), [Ok(()), Ok(())]);
        assert_eq!(journal.append(&[append(2, 1)]), [Err(JournalError::Conflict { expected: 2, found: 3 })]);
        let sequences: Vec<u64> = journal.read(&seat(), 2).unwrap().iter().map(|record| record.sequence).collect();
        assert_eq!(sequences, [2, 3]);
    }

    #[test]
    fn a_snapshot_cuts_what_it_contains() {
        let journal = MemoryJournal::default();
        journal.append(&[append(0, 3)]);
        let snapshot = Snapshot {
            sequence: 2,
            now: 0,
            format: "x".into(),
            parts: vec![vec![1]],
            offsets: Default::default(),
            settings: vec![],
        };
        journal.put_snapshot(&seat(), snapshot.clone()).unwrap();
        assert_eq!(journal.snapshot(&seat()).unwrap().as_deref(), Some(&snapshot));
        assert_eq!(journal.read(&seat(), 0).unwrap().len(), 1);
        assert_eq!(journal.append(&[append(3, 1)]), [Ok(())]);
    }
}
