//! What must be in a journal, whatever happened to the disk: the test knows it, not the journal.

use std::collections::BTreeMap;

use postbell::journal::{
    Append, Chain, CheckReport, DatabaseJournal, Digest, Input, Journal, JournalError, Record, Seat, Snapshot, records,
};
use postbell_tests::histories::Random;

/// A journal's past.
pub struct Model {
    random: Random,
    /// Transactions of appends, in order; how many of them are acknowledged, and how many are known to be synced.
    committed: Vec<Vec<Append>>,
    acknowledged: usize,
    synced: usize,
    last: BTreeMap<Seat, u64>,
    snapshots: BTreeMap<(Seat, u64), Put>,
    horizons: BTreeMap<Seat, u64>,
}

struct Put {
    snapshot: Snapshot,
    acknowledged: bool,
}

fn seat(number: u64) -> Seat {
    Seat { tenant: format!("tenant-{number}").into(), plugin: "notify".into(), partition: 0 }
}

impl Model {
    /// The past that a seed stands for.
    pub fn new(seed: u64) -> Model {
        Model {
            random: Random(seed),
            committed: vec![],
            acknowledged: 0,
            synced: 0,
            last: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            horizons: BTreeMap::new(),
        }
    }

    /// Does the next thing; an error that the journal gives is given back.
    pub fn step(&mut self, journal: &DatabaseJournal) -> Result<(), JournalError> {
        match self.random.below(10) {
            0 => self.put_snapshot(journal),
            1 => self.cut(journal),
            2 => {
                journal.sync()?;
                self.synced = self.acknowledged;
                Ok(())
            }
            _ => self.append(journal),
        }
    }

    fn append(&mut self, journal: &DatabaseJournal) -> Result<(), JournalError> {
        let seats: std::collections::BTreeSet<u64> = (0..=self.random.below(3)).map(|_| self.random.below(4)).collect();
        let appends: Vec<Append> = seats.into_iter().map(|number| self.next_append(seat(number))).collect();
        self.committed.truncate(self.acknowledged);
        self.committed.push(appends.clone());
        journal.append(&appends).into_iter().collect::<Result<(), _>>()?;
        self.acknowledged += 1;
        for append in appends {
            self.last.insert(append.seat, append.expected + append.records.len() as u64);
        }
        if journal.sync_interval().is_none() {
            self.synced = self.acknowledged;
        }
        Ok(())
    }

    fn next_append(&mut self, seat: Seat) -> Append {
        let expected = self.last.get(&seat).copied().unwrap_or(0);
        let sequences = expected + 1..=expected + 1 + self.random.below(3);
        let records = sequences.map(|sequence| {
            let bytes = if self.random.below(20) == 0 { 300_000 } else { self.random.below(6_000) };
            let input = Input::Open { seed: vec![self.random.below(256) as u8; bytes as usize], settings: vec![] };
            Record { sequence, now: sequence, digest: Digest::default(), input: input.into() }
        });
        Append { expected, records: records.collect(), seat, chain: Chain::default() }
    }

    fn put_snapshot(&mut self, journal: &DatabaseJournal) -> Result<(), JournalError> {
        let seat = seat(self.random.below(4));
        let Some(&sequence) = self.last.get(&seat) else { return Ok(()) };
        if self.snapshots.contains_key(&(seat.clone(), sequence)) {
            return Ok(());
        }
        let parts = (0..self.random.below(3)).map(|_| vec![self.random.below(256) as u8; 200_000]).collect();
        let (offsets, settings) = (BTreeMap::new(), vec![]);
        let (now, format) = (sequence, "x/1".into());
        let snapshot = Snapshot { sequence, now, format, parts, offsets, settings, history_bytes: 0, tenure: None };
        let key = (seat.clone(), sequence);
        self.snapshots.insert(key.clone(), Put { snapshot: snapshot.clone(), acknowledged: false });
        journal.put_snapshot(&seat, &snapshot)?;
        self.snapshots.get_mut(&key).expect("it was put").acknowledged = true;
        self.synced = self.acknowledged;
        Ok(())
    }

    fn cut(&mut self, journal: &DatabaseJournal) -> Result<(), JournalError> {
        let seat = seat(self.random.below(4));
        let mut snapshots = self.snapshots.iter().filter(|((of, _), put)| *of == seat && put.acknowledged);
        let Some(((_, horizon), _)) = snapshots.next_back() else { return Ok(()) };
        let horizon = *horizon;
        self.horizons.insert(seat.clone(), horizon);
        journal.cut(&seat, horizon)
    }

    /// Holds the journal to the past: as if an append had just been acknowledged, or after an end without order. What was
    /// acknowledged and synced is there; what was only on its way may be there, but never half.
    pub fn hold(&self, journal: &DatabaseJournal, lost: Lost) -> usize {
        assert_eq!(journal.check().map(|report: CheckReport| report.damages), Ok(vec![]));
        let least = if lost == Lost::Unsynced { self.synced } else { self.acknowledged };
        let most = if lost == Lost::Nothing { self.acknowledged } else { self.committed.len() };
        let found = (least..=most).rev().find(|count| self.ends_at(journal, *count));
        let found = found.unwrap_or_else(|| panic!("no prefix from {least} to {most} of the appends is there"));
        let mut expected: BTreeMap<&Seat, Vec<&Record>> = BTreeMap::new();
        for append in self.committed[..found].iter().flatten() {
            expected.entry(&append.seat).or_default().extend(&append.records);
        }
        for (seat, expected) in expected {
            let first = journal.facts(seat).expect("it is well").expect("it is known").first;
            assert!(first <= self.horizon(seat) + 1, "only what is cut is gone");
            let read = records(journal, seat, first, u64::MAX).map(|record| record.expect("it is well"));
            assert!(read.eq(expected.into_iter().skip(first as usize - 1).cloned()), "the records of {seat}");
        }
        self.hold_snapshots(journal);
        found
    }

    /// The latest sequence that may be cut: the oldest snapshot is a horizon too.
    fn horizon(&self, seat: &Seat) -> u64 {
        let mut snapshots = self.snapshots.iter().filter(|((of, _), _)| of == seat);
        let oldest = snapshots.clone().find(|(_, put)| put.acknowledged).or(snapshots.next());
        let oldest = oldest.map_or(0, |((_, sequence), _)| *sequence);
        self.horizons.get(seat).copied().unwrap_or(0).max(oldest)
    }

    fn ends_at(&self, journal: &DatabaseJournal, count: usize) -> bool {
        let mut last: BTreeMap<&Seat, u64> = BTreeMap::new();
        for append in self.committed[..count].iter().flatten() {
            last.insert(&append.seat, append.expected + append.records.len() as u64);
        }
        let there = journal.seats().expect("it is well");
        there.len() == last.len()
            && last
                .iter()
                .all(|(seat, last)| journal.facts(seat).expect("it is well").is_some_and(|facts| facts.last == *last))
    }

    fn hold_snapshots(&self, journal: &DatabaseJournal) {
        for ((seat, sequence), put) in &self.snapshots {
            let cut = self.horizons.get(seat).is_some_and(|horizon| sequence < horizon);
            match journal.snapshot(seat, *sequence).expect("it is well") {
                Some(there) => assert!(*there == put.snapshot, "snapshot {sequence} of {seat}"),
                None => assert!(!put.acknowledged || cut, "snapshot {sequence} of {seat} is gone"),
            }
        }
    }

    /// Goes on from what is there.
    pub fn go_on(&mut self, found: usize) {
        self.committed.truncate(found);
        (self.acknowledged, self.synced) = (found, found);
        self.last.clear();
        for append in self.committed.iter().flatten() {
            self.last.insert(append.seat.clone(), append.expected + append.records.len() as u64);
        }
        let last = &self.last;
        self.snapshots.retain(|(seat, sequence), put| {
            put.acknowledged = put.acknowledged && last.get(seat).is_some_and(|last| sequence <= last);
            put.acknowledged
        });
    }
}

/// What may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing, and nothing came that was refused.
    Nothing,
    /// Nothing that was acknowledged; what was refused may have come.
    Refused,
    /// What was not synced.
    Unsynced,
}
