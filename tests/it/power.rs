//! Lost power, a full disk, a disk that fails: nothing that was acknowledged is lost, nothing is half there.

mod disk;
mod model;

use anyhow::Result;
use disk::{Disk, Failing, Loss, Operation};
use model::{Lost, Model};
use postbell::journal::{DatabaseError, DatabaseJournal, DatabaseOptions, Journal, JournalError, SyncMode};
use postbell_tests::histories::Random;

fn open(disk: &Disk, sync: SyncMode) -> Result<DatabaseJournal, DatabaseError> {
    DatabaseJournal::on(disk.clone(), DatabaseOptions { sync, ..DatabaseOptions::default() })
}

const MODES: [SyncMode; 2] = [SyncMode::Always, SyncMode::Every(1_000)];

/// What lost power takes, as `sync` promises it.
fn lost(sync: SyncMode) -> Lost {
    if sync == SyncMode::Always { Lost::Refused } else { Lost::Unsynced }
}

#[test]
fn lost_power_takes_nothing_that_was_acknowledged_and_synced() {
    for seed in 0..20 {
        eprintln!("seed {seed}");
        let (sync, mut random) = (MODES[seed as usize % 2], Random(seed));
        let (mut model, mut disk) = (Model::new(seed), Disk::default());
        for _ in 0..4 {
            disk.fail(Failing::PowerAfter(random.below(1_500)));
            if let Ok(journal) = open(&disk, sync) {
                while model.step(&journal).is_ok() {}
            }
            let loss = if random.below(2) == 0 { Loss::Everything } else { Loss::Sectors(random.below(u64::MAX)) };
            disk = Disk::with(disk.after(loss));
            let journal = open(&disk, sync).expect("it opens after lost power");
            let found = model.hold(&journal, lost(sync));
            model.go_on(found);
            drop(journal);
        }
    }
}

/// A scenario with everything in it; the error with which it stopped.
fn some_steps(model: &mut Model, journal: &DatabaseJournal) -> Result<(), JournalError> {
    (0..40).try_for_each(|_| model.step(journal))
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
