//! Lost power, a full disk, a disk that fails: nothing that was acknowledged is lost, nothing is half there.

mod disk;
mod model;
mod tenant;

use std::ops::Range;

use anyhow::Result;
use disk::{Disk, Failing, Loss, Operation};
use model::{Lost, Model};
use postbell::journal::{
    Append, Chain, DatabaseError, DatabaseJournal, DatabaseOptions, Digest, Input, Journal, JournalError, Offsets,
    Record, Seat, Snapshot, SyncMode,
};
use postbell_tests::histories::Random;

fn open(disk: &Disk, sync: SyncMode) -> Result<DatabaseJournal, DatabaseError> {
    DatabaseJournal::on(disk.clone(), DatabaseOptions { sync, ..DatabaseOptions::default() })
}

const MODES: [SyncMode; 2] = [SyncMode::Always, SyncMode::Every(1_000)];

/// What lost power takes, as `sync` promises it.
fn lost(sync: SyncMode) -> Lost {
    if sync == SyncMode::Always { Lost::Refused } else { Lost::Unsynced }
}

/// POSTBELL_SEED says which game is played, POSTBELL_KILLS how many are, instead of twenty.
fn seeds() -> Range<u64> {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match variable("POSTBELL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("POSTBELL_KILLS").unwrap_or(20),
    }
}

fn loss(random: &mut Random) -> Loss {
    match random.below(3) {
        0 => Loss::Everything,
        _ => Loss::Sectors(random.below(u64::MAX)),
    }
}

#[test]
fn lost_power_takes_nothing_that_was_acknowledged_and_synced() {
    for seed in seeds() {
        println!("POSTBELL_SEED={seed}");
        let (sync, mut random) = (MODES[seed as usize % 2], Random(seed));
        let (mut model, mut disk) = (Model::new(seed), Disk::default());
        for _ in 0..3 {
            disk.fail(Failing::PowerAfter(random.below(1_000)));
            if let Ok(journal) = open(&disk, sync) {
                while model.step(&journal).is_ok() {}
            }
            disk = Disk::with(disk.after(loss(&mut random)));
            let journal = open(&disk, sync).expect("it opens after lost power");
            let found = model.hold(&journal, lost(sync));
            model.go_on(found);
        }
    }
}

/// A scenario with everything in it; the error with which it stopped.
fn some_steps(model: &mut Model, journal: &DatabaseJournal) -> Result<(), JournalError> {
    (0..15).try_for_each(|_| model.step(journal))
}

#[test]
fn after_a_failed_write_the_journal_goes_on() -> Result<()> {
    for (sync, operation) in MODES.into_iter().flat_map(|sync| [(sync, Operation::Write), (sync, Operation::Grow)]) {
        for number in 0.. {
            let (mut model, disk) = (Model::new(7), Disk::default());
            disk.fail(Failing::Once(operation, number));
            let Ok(journal) = open(&disk, sync) else {
                disk.fail(Failing::Nothing);
                open(&disk, sync).expect("it opens once the disk works");
                continue;
            };
            let failed = some_steps(&mut model, &journal);
            if failed.is_ok() {
                break;
            }
            assert!(matches!(failed, Err(JournalError::Store(_))), "{failed:?}");
            model.hold(&journal, Lost::Nothing);
            assert_eq!(some_steps(&mut model, &journal), Ok(()), "it works again");
            model.hold(&journal, Lost::Nothing);
            journal.finish()?;
            model.hold(&open(&disk, sync)?, Lost::Nothing);
        }
    }
    Ok(())
}

#[test]
fn after_a_failed_sync_nothing_is_taken_any_more() -> Result<()> {
    for sync in MODES {
        for number in 0.. {
            let (mut model, disk) = (Model::new(7), Disk::default());
            disk.fail(Failing::Once(Operation::Sync, number));
            let Ok(journal) = open(&disk, sync) else { continue };
            let failed = some_steps(&mut model, &journal);
            if failed.is_ok() {
                break;
            }
            let Err(JournalError::Store(what)) = failed else { panic!("{failed:?}") };
            assert!(what.contains("check the disk, then restart"), "{what}");
            assert_eq!(journal.mark_regressed(), Err(JournalError::Store(what.clone())));
            assert_eq!(journal.seats(), Err(JournalError::Store(what)));
            drop(journal);
            // The next process finds all that the system still has.
            model.hold(&open(&disk, sync)?, Lost::Refused);
        }
    }
    Ok(())
}

/// What a snapshot has written so far is gone where the journal is opened again: the rest must not follow.
#[test]
fn a_snapshot_that_a_failed_append_interrupts_is_whole_or_not_there() -> Result<()> {
    let (disk, mut random) = (Disk::default(), Random(1));
    let journal = open(&disk, SyncMode::Always)?;
    let seat = |tenant: &str| Seat { tenant: tenant.into(), plugin: "notify".into(), partition: 0 };
    let (filled, other) = (seat("a"), seat("b"));
    let tick = |sequence| Record { sequence, now: 0, digest: Digest::default(), input: Input::Tick.into() };
    let append = |seat: &Seat| {
        let expected = journal.facts(seat)?.map_or(0, |facts| facts.last);
        let append =
            Append { seat: seat.clone(), expected, records: vec![tick(expected + 1)], chain: Chain::default() };
        journal.append(&[append]).remove(0)
    };
    append(&filled)?;
    for round in 0..30 {
        let (format, parts) = (format!("x/{round}"), vec![vec![round; 1 << 20]; 3]);
        let (offsets, settings) = (Offsets::new(), vec![]);
        let snapshot =
            Snapshot { sequence: 1, now: 0, format, parts, offsets, settings, history_bytes: 0, tenure: None };
        disk.fail(Failing::Once(Operation::Write, random.below(120)));
        let put = std::thread::scope(|scope| {
            let put = scope.spawn(|| journal.put_snapshot(&filled, &snapshot));
            while !put.is_finished() {
                // It fails now and then; who appends goes on.
                let _ = append(&other);
            }
            put.join().expect("it does not panic")
        });
        disk.fail(Failing::Nothing);
        assert_eq!(journal.check()?.damages, []);
        let there = journal.snapshot(&filled, 1)?;
        assert_eq!(there.is_some_and(|there| *there == snapshot), put.is_ok(), "round {round}: {put:?}");
    }
    Ok(())
}
