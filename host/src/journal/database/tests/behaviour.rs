//! What every journal does.

use super::*;
use crate::journal::{MemoryJournal, SnapshotFacts};

/// Holds over every journal.
fn holds(check: impl Fn(&dyn Journal)) {
    check(&MemoryJournal::default());
    for sync in [SyncMode::Always, SyncMode::Every(1_000)] {
        check(&Filed::new(sync).journal);
    }
}

#[test]
fn whoever_is_wrong_about_the_last_record_appends_nothing() {
    holds(|journal| {
        let wrong = Err(JournalError::Conflict { expected: 1, found: 3 });
        assert_eq!(journal.append(&[ticks("a", 0, 2), ticks("a", 2, 1), ticks("a", 1, 1)]), [Ok(()), Ok(()), wrong]);
        assert_eq!(journal.append(&[ticks("a", 1, 0)]), [Err(JournalError::Conflict { expected: 1, found: 3 })]);
        assert_eq!(journal.append(&[ticks("a", 3, 0)]), [Ok(())]);
        assert_eq!(sequences(journal, "a", 2), [2, 3]);
    });
}

/// Another owner's record stands where the refused one would.
#[test]
fn what_builds_on_what_was_refused_is_refused() {
    holds(|journal| {
        let chain = Chain::default();
        let mine = |expected| Append { chain: chain.clone(), ..ticks("a", expected, 1) };
        assert_eq!(journal.append(&[ticks("a", 0, 1)]), [Ok(())]);
        let refused = || Err(JournalError::Conflict { expected: 0, found: 1 });
        assert_eq!(journal.append(&[mine(0), mine(1)]), [refused(), refused()]);
        assert_eq!(journal.append(&[mine(1)]), [refused()]);
        assert_eq!(journal.append(&[ticks("a", 1, 1)]), [Ok(())], "who knows better begins a chain of its own");
    });
}

#[test]
fn a_conflict_of_one_seat_leaves_the_others_alone() {
    holds(|journal| {
        let outcomes = journal.append(&[ticks("a", 5, 1), ticks("b", 0, 1)]);
        assert_eq!(outcomes, [Err(JournalError::Conflict { expected: 5, found: 0 }), Ok(())]);
        assert_eq!(sequences(journal, "b", 1), [1]);
    });
}

#[test]
fn what_is_removed_leaves_nothing_and_takes_nothing_else() {
    holds(|journal| {
        assert_eq!(journal.append(&[ticks("a", 0, 3), ticks("b", 0, 2)]), [Ok(()), Ok(())]);
        journal.put_snapshot(&seat("b"), &snapshot(1, &[70_000])).expect("it is well");
        journal.remove(&seat("b")).expect("it is well");
        journal.remove(&seat("b")).expect("there is nothing of it");
        assert_eq!((journal.facts(&seat("b")), journal.seats()), (Ok(None), Ok(vec![seat("a")])));
        assert_eq!(sequences(journal, "a", 1), [1, 2, 3]);
        assert_eq!(journal.append(&[ticks("b", 0, 1), ticks("a", 3, 1)]), [Ok(()), Ok(())]);
        assert_eq!((sequences(journal, "b", 1), journal.snapshot(&seat("b"), 1)), (vec![1], Ok(None)));
    });
}

#[test]
fn a_record_is_read_as_it_was_appended() {
    holds(|journal| {
        let input = Input::Open { seed: vec![1, 2, 3], settings: vec![("a".into(), "b".into())] };
        let append = Append { seat: seat("a"), expected: 0, records: vec![record(1, input)], chain: Chain::default() };
        assert_eq!(journal.append(std::slice::from_ref(&append)), [Ok(())]);
        assert_eq!(journal.read(&seat("a"), 1), Ok(append.records));
        assert_eq!(journal.read(&seat("a"), 2), Ok(vec![]));
        assert_eq!(journal.read(&seat("unknown"), 1), Ok(vec![]));
        assert_eq!(journal.facts(&seat("unknown")), Ok(None));
    });
}

#[test]
fn records_are_read_in_pieces() {
    holds(|journal| {
        let seed = vec![7; 1 << 20];
        let records = (1..=9).map(|sequence| record(sequence, Input::Open { seed: seed.clone(), settings: vec![] }));
        journal.append(&[Append { seat: seat("a"), expected: 0, records: records.collect(), chain: Chain::default() }]);
        assert_eq!(sequences(journal, "a", 1), (1..=9).collect::<Vec<_>>());
    });
}

#[test]
fn a_cut_leaves_the_snapshot_and_what_follows() {
    holds(|journal| {
        journal.append(&[ticks("a", 0, 2_500), ticks("b", 0, 3)]);
        for sequence in [1_000, 2_000] {
            journal.put_snapshot(&seat("a"), &snapshot(sequence, &[3_000_000, 5])).expect("it is well");
        }
        assert_eq!(facts(journal, "a").first, 1);
        let snapshots = facts(journal, "a").snapshots;
        let SnapshotFacts { sequence, now, bytes, history_bytes, .. } = snapshots[1];
        assert_eq!((sequence, now, bytes, history_bytes), (2_000, 3_000, 3_000_005, 7));

        journal.cut(&seat("a"), 1_999).expect("there is no snapshot to cut at");
        assert_eq!(facts(journal, "a").snapshots.len(), 2);
        journal.cut(&seat("a"), 2_000).expect("it is well");
        let kept = journal.snapshot(&seat("a"), 2_000).expect("it is well");
        assert_eq!(kept.as_deref(), Some(&snapshot(2_000, &[3_000_000, 5])));
        assert_eq!(journal.snapshot(&seat("a"), 1_000), Ok(None));
        assert_eq!(sequences(journal, "a", 2_001).len(), 500);
        assert!(journal.read(&seat("a"), 2_000).is_err(), "it is cut");
        assert_eq!(sequences(journal, "b", 1), [1, 2, 3], "another seat's are its own");
        assert_eq!(journal.append(&[ticks("a", 2_500, 1)]), [Ok(())]);
    });
}

#[test]
fn where_everything_is_cut_the_last_record_is_known_by_the_snapshot() {
    holds(|journal| {
        journal.append(&[ticks("a", 0, 3)]);
        journal.put_snapshot(&seat("a"), &snapshot(3, &[1])).expect("it is well");
        journal.cut(&seat("a"), 3).expect("it is well");
        assert_eq!((facts(journal, "a").last, facts(journal, "a").now), (3, 1_003));
        assert_eq!(journal.append(&[ticks("a", 0, 1)]), [Err(JournalError::Conflict { expected: 0, found: 3 })]);
        assert_eq!(journal.append(&[ticks("a", 3, 1)]), [Ok(())]);
    });
}

#[test]
fn a_seat_can_begin_with_a_snapshot() {
    holds(|journal| {
        journal.put_snapshot(&seat("a"), &snapshot(10, &[])).expect("it is well");
        assert_eq!((facts(journal, "a").last, facts(journal, "a").now), (10, 1_010));
        assert_eq!(journal.append(&[ticks("a", 10, 2)]), [Ok(())]);
        assert_eq!(sequences(journal, "a", 11), [11, 12]);
        assert_eq!(journal.seats(), Ok(vec![seat("a")]));
    });
}

#[test]
fn a_snapshot_can_be_put_again() {
    holds(|journal| {
        journal.append(&[ticks("a", 0, 3)]);
        for parts in [&[2_000_000][..], &[10], &[]] {
            journal.put_snapshot(&seat("a"), &snapshot(3, parts)).expect("it is well");
            let kept = journal.snapshot(&seat("a"), 3).expect("it is well");
            assert_eq!(kept.as_deref(), Some(&snapshot(3, parts)));
        }
        assert_eq!(facts(journal, "a").snapshots.len(), 1);
    });
}
