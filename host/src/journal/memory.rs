//! A journal in memory: everything but durability. For embedding where the mail server itself can tell everything anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Append, Journal, JournalError, Record, Seat, SeatFacts, Snapshot, last_swap};

/// How many records a read gives at most.
const READ_RECORDS: usize = 1_000;

/// Keeps, for each seat, its snapshots and the records since the oldest.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    seats: Mutex<BTreeMap<Seat, Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    now: u64,
    swap: u64,
    records: VecDeque<Record>,
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
}

impl MemoryJournal {
    fn seats_now(&self) -> MutexGuard<'_, BTreeMap<Seat, Entries>> {
        self.seats.lock().expect("nothing panics while this lock is held")
    }
}

impl Journal for MemoryJournal {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        let mut seats = self.seats_now();
        appends.iter().map(|append| seats.entry(append.seat.clone()).or_default().append(append)).collect()
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        self.seats_now().get(seat).map_or(Ok(vec![]), |entries| entries.read(from))
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        Ok(self.seats_now().get(seat).map(Entries::facts))
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        Ok(self.seats_now().keys().cloned().collect())
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        let mut seats = self.seats_now();
        let entries = seats.entry(seat.clone()).or_default();
        if entries.last < snapshot.sequence {
            (entries.last, entries.now) = (snapshot.sequence, snapshot.now);
        }
        entries.snapshots.insert(snapshot.sequence, Arc::new(snapshot.clone()));
        Ok(())
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        Ok(self.seats_now().get(seat).and_then(|entries| entries.snapshots.get(&sequence).cloned()))
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        if let Some(entries) = self.seats_now().get_mut(seat)
            && entries.snapshots.contains_key(&horizon)
        {
            entries.snapshots = entries.snapshots.split_off(&horizon);
            while entries.records.pop_front_if(|record| record.sequence <= horizon).is_some() {}
        }
        Ok(())
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        self.seats_now().remove(seat);
        Ok(())
    }
}

impl Entries {
    fn append(&mut self, append: &Append) -> Result<(), JournalError> {
        if let Some(refusal) = append.refusal(self.last) {
            return Err(refusal);
        }
        if let Some(last) = append.records.last() {
            (self.last, self.now) = (last.sequence, last.now);
        }
        self.swap = last_swap(&append.records).unwrap_or(self.swap);
        self.records.extend(append.records.iter().cloned());
        Ok(())
    }

    fn read(&self, from: u64) -> Result<Vec<Record>, JournalError> {
        let first = self.first();
        let Some(skipped) = from.checked_sub(first) else {
            return Err(JournalError::Damaged(format!("record {from} is cut; the first is {first}")));
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        Ok(self.records.iter().skip(skipped).take(READ_RECORDS).cloned().collect())
    }

    fn first(&self) -> u64 {
        self.records.front().map_or(self.last + 1, |record| record.sequence)
    }

    fn facts(&self) -> SeatFacts {
        let snapshots = self.snapshots.values().map(|snapshot| snapshot.facts()).collect();
        let Entries { last, now, swap, .. } = *self;
        SeatFacts { last, now, first: self.first(), snapshots, regressed: false, swap }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chain;
    use super::*;
    use crate::journal::{Digest, Input, records};

    fn seat() -> Seat {
        Seat { tenant: "example.org".into(), plugin: "notify".into(), partition: 0 }
    }

    fn append(expected: u64, count: u64) -> Append {
        let record =
            |sequence| Record { sequence, now: sequence, digest: Digest::default(), input: Input::Tick.into() };
        Append {
            seat: seat(),
            expected,
            records: (expected + 1..=expected + count).map(record).collect(),
            chain: Chain::default(),
        }
    }

    fn snapshot(sequence: u64) -> Snapshot {
        let parts = vec![vec![1], vec![2]];
        Snapshot {
            sequence,
            now: 0,
            format: "x".into(),
            parts,
            offsets: Default::default(),
            settings: vec![],
            history_bytes: 0,
            tenure: None,
        }
    }

    fn sequences(journal: &MemoryJournal, from: u64, to: u64) -> Vec<u64> {
        records(journal, &seat(), from, to).map(|record| record.unwrap().sequence).collect()
    }

    #[test]
    fn whoever_is_wrong_about_the_last_record_appends_nothing() {
        let journal = MemoryJournal::default();
        assert_eq!(journal.append(&[append(0, 2), append(2, 1)]), [Ok(()), Ok(())]);
        assert_eq!(journal.append(&[append(2, 1)]), [Err(JournalError::Conflict { expected: 2, found: 3 })]);
        assert_eq!(sequences(&journal, 2, u64::MAX), [2, 3]);
    }

    #[test]
    fn records_are_read_in_pieces_up_to_where_they_are_wanted() {
        let journal = MemoryJournal::default();
        journal.append(&[append(0, 2_500)]);
        assert_eq!(sequences(&journal, 1, 2_200), (1..=2_200).collect::<Vec<_>>());
        assert!(sequences(&journal, 2_501, u64::MAX).is_empty());
    }

    #[test]
    fn a_cut_leaves_the_snapshot_and_what_follows() {
        let journal = MemoryJournal::default();
        journal.append(&[append(0, 3)]);
        journal.put_snapshot(&seat(), &snapshot(1)).unwrap();
        journal.put_snapshot(&seat(), &snapshot(2)).unwrap();
        assert_eq!(journal.facts(&seat()).unwrap().unwrap().first, 1);
        journal.cut(&seat(), 2).unwrap();
        assert_eq!(journal.snapshot(&seat(), 2).unwrap().as_deref(), Some(&snapshot(2)));
        assert_eq!(journal.snapshot(&seat(), 1), Ok(None));
        assert_eq!(sequences(&journal, 3, u64::MAX), [3]);
        assert_eq!(journal.facts(&seat()).unwrap().unwrap().first, 3);
        assert!(journal.read(&seat(), 2).is_err(), "it is cut");
        assert_eq!(journal.append(&[append(3, 1)]), [Ok(())]);
        journal.cut(&seat(), 4).unwrap();
        assert_eq!(sequences(&journal, 3, u64::MAX), [3, 4], "there is no snapshot to cut at");
    }
}
