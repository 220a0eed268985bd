//! What every journal does, held over the one in memory and the one in a file; and what only a file does.

mod behaviour;
mod damage;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::backends::InMemoryBackend;
use tempfile::TempDir;

use super::*;
use crate::contract::lifecycle::Restart;
use crate::journal::{Chain, Digest, Input, records};

/// A journal in a file of its own.
struct Filed {
    journal: DatabaseJournal,
    folder: TempDir,
}

impl Filed {
    fn new(sync: SyncMode) -> Filed {
        let folder = tempfile::tempdir().expect("a folder for a test");
        Filed { journal: open(&path(&folder), sync).expect("an empty file becomes a journal"), folder }
    }

    /// Closes it in order, or lets go of it as a killed process does, and opens it again.
    fn again(self, in_order: bool, sync: SyncMode) -> Filed {
        let Filed { journal, folder } = self;
        if in_order {
            journal.finish().expect("it is well");
            drop(journal);
        } else {
            // What is in the file now is what a killed process leaves there.
            let left = std::fs::read(path(&folder)).expect("the file can be read");
            drop(journal);
            std::fs::write(path(&folder), left).expect("the file can be written");
        }
        Filed { journal: open(&path(&folder), sync).expect("it opens again"), folder }
    }
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("journal.redb")
}

fn open(path: &Path, sync: SyncMode) -> Result<DatabaseJournal, DatabaseError> {
    DatabaseJournal::open(path, DatabaseOptions { sync, ..DatabaseOptions::default() })
}

fn seat(tenant: &str) -> Seat {
    Seat { tenant: tenant.into(), plugin: "notify".into(), partition: 0 }
}

fn record(sequence: u64, input: Input) -> Record {
    Record { sequence, now: 1_000 + sequence, digest: Digest { component: 7, reaction: sequence }, input: input.into() }
}

fn ticks(tenant: &str, expected: u64, count: u64) -> Append {
    let records = (expected + 1..=expected + count).map(|sequence| record(sequence, Input::Tick)).collect();
    Append { seat: seat(tenant), expected, records, chain: Chain::default() }
}

fn snapshot(sequence: u64, parts: &[usize]) -> Snapshot {
    Snapshot {
        sequence,
        now: 1_000 + sequence,
        format: "x/1".into(),
        parts: parts.iter().map(|bytes| (0..*bytes).map(|at| at as u8).collect()).collect(),
        offsets: [("imap-1".into(), sequence)].into(),
        settings: vec![("domains".into(), "example.org".into())],
        history_bytes: 7,
        tenure: None,
    }
}

fn sequences(journal: &dyn Journal, tenant: &str, from: u64) -> Vec<u64> {
    records(journal, &seat(tenant), from, u64::MAX).map(|record| record.expect("it is well").sequence).collect()
}

fn facts(journal: &dyn Journal, tenant: &str) -> SeatFacts {
    journal.facts(&seat(tenant)).expect("it is well").expect("there is something")
}

#[test]
fn what_was_appended_is_there_after_it_is_opened_again() {
    for in_order in [true, false] {
        let filed = Filed::new(SyncMode::Always);
        assert_eq!(filed.journal.append(&[ticks("b", 0, 3), ticks("a", 0, 1)]), [Ok(()), Ok(())]);
        filed.journal.put_snapshot(&seat("b"), &snapshot(2, &[10, 0, 200_000])).expect("it is well");
        filed.journal.cut(&seat("b"), 2).expect("it is well");
        assert_eq!(filed.journal.append(&[ticks("b", 3, 1)]), [Ok(())]);

        let Filed { journal, folder: _folder } = filed.again(in_order, SyncMode::Always);
        assert_eq!(journal.seats(), Ok(vec![seat("a"), seat("b")]));
        assert_eq!(sequences(&journal, "b", 3), [3, 4]);
        assert_eq!(facts(&journal, "b").first, 3);
        assert_eq!((facts(&journal, "b").last, facts(&journal, "b").now), (4, 1_004));
        let kept = journal.snapshot(&seat("b"), 2).expect("it is well");
        assert_eq!(kept.as_deref(), Some(&snapshot(2, &[10, 0, 200_000])));
        assert_eq!(journal.append(&[ticks("b", 4, 1), ticks("c", 0, 1), ticks("a", 1, 1)]), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(journal.check().expect("it is well").damages, []);
    }
}

#[test]
fn only_one_has_it_open() {
    let Filed { journal, folder } = Filed::new(SyncMode::Always);
    assert!(matches!(open(&path(&folder), SyncMode::Always), Err(DatabaseError::InUse)));
    journal.finish().expect("it is well");
    assert_eq!(journal.append(&[ticks("a", 0, 1)]), [Err(JournalError::Store("the journal is closed".into()))]);
    assert!(open(&path(&folder), SyncMode::Always).is_ok(), "it was let go");
}

#[test]
fn what_a_killed_process_had_not_synced_is_gone_and_every_seat_is_told_once() {
    let every = SyncMode::Every(1_000);
    let filed = Filed::new(every);
    assert_eq!(filed.journal.sync_interval(), Some(1_000));
    filed.journal.append(&[ticks("a", 0, 1), ticks("b", 0, 1)]);
    filed.journal.sync().expect("it is well");
    filed.journal.append(&[ticks("a", 1, 1)]);

    let filed = filed.again(false, every);
    assert_eq!(sequences(&filed.journal, "a", 1), [1]);
    assert!(facts(&filed.journal, "a").regressed && facts(&filed.journal, "b").regressed);
    let restarted = Input::Restarted(Restart { down_ms: 0, regressed: true });
    let told = Append { seat: seat("a"), expected: 1, records: vec![record(2, restarted)], chain: Chain::default() };
    assert_eq!(filed.journal.append(&[told, ticks("new", 0, 1)]), [Ok(()), Ok(())]);
    assert!(!facts(&filed.journal, "a").regressed && !facts(&filed.journal, "new").regressed);

    let filed = filed.again(true, every);
    assert!(!facts(&filed.journal, "a").regressed, "it was told, and it was closed in order");
    assert!(facts(&filed.journal, "b").regressed, "it is still to be told");
    filed.journal.mark_regressed().expect("it is well");
    assert!(facts(&filed.journal, "a").regressed);
    assert!(facts(&filed.again(true, every).journal, "a").regressed);
}

/// Else the life after the next crash would tell of the same regression, and take for its own what clients of this one
/// were given.
#[test]
fn that_a_seat_was_told_is_synced_at_once() {
    let every = SyncMode::Every(1_000);
    let filed = Filed::new(every);
    filed.journal.append(&[ticks("a", 0, 1)]);
    filed.journal.sync().expect("it is well");
    let filed = filed.again(false, every);
    let restarted = Input::Restarted(Restart { down_ms: 0, regressed: true });
    filed.journal.append(&[Append {
        seat: seat("a"),
        expected: 1,
        records: vec![record(2, restarted)],
        chain: Chain::default(),
    }]);
    let filed = filed.again(false, every);
    assert_eq!(sequences(&filed.journal, "a", 1), [1, 2]);
    assert!(facts(&filed.journal, "a").regressed, "of the second crash it is still to be told");
}

#[test]
fn what_is_finished_is_synced() {
    let Filed { journal, folder: _folder } = Filed::new(SyncMode::Every(1_000));
    journal.append(&[ticks("a", 0, 1)]);
    journal.finish().expect("it is well");
    assert_eq!(journal.sync(), Ok(()), "there is nothing left to sync");
}

/// Makes the journal's own row say that it is of another version.
fn alter_version(path: &Path) -> redb::Database {
    let database = redb::Database::create(path).expect("it opens");
    let transaction = database.begin_write().expect("it is well");
    let mut row = crate::journal::format::encode_journal(&Default::default());
    row[0] = 9;
    transaction.open_table(tables::JOURNAL).expect("it is there").insert((), row.as_slice()).expect("it is well");
    transaction.commit().expect("it is well");
    database
}

#[test]
fn a_file_of_another_version_stays_as_it_is() {
    let Filed { journal, folder } = Filed::new(SyncMode::Always);
    drop(journal);
    drop(alter_version(&path(&folder)));
    let before = std::fs::read(path(&folder)).expect("the file can be read");
    let refused = open(&path(&folder), SyncMode::Always).expect_err("it is of another version");
    assert!(matches!(refused, DatabaseError::OtherVersion { found: 9, known: 1 }), "{refused}");
    assert!(std::fs::read(path(&folder)).expect("the file can be read") == before);
}

#[test]
fn a_file_of_another_version_is_refused_where_it_was_not_closed_in_order_too() {
    let Filed { journal, folder } = Filed::new(SyncMode::Always);
    drop(journal);
    let database = alter_version(&path(&folder));
    let left = std::fs::read(path(&folder)).expect("the file can be read");
    drop(database);
    std::fs::write(path(&folder), left).expect("the file can be written");
    let refused = open(&path(&folder), SyncMode::Always).expect_err("it is of another version");
    assert!(matches!(refused, DatabaseError::OtherVersion { found: 9, known: 1 }), "{refused}");
}

#[test]
fn what_is_no_journal_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder for a test");
    let short = [b"redb\x1a\x0a\xa9\x0d\x0a", [0; 400].as_slice()].concat();
    for content in [&b""[..], b"x", &[0; 100_000], &b"redb".repeat(5_000), &short] {
        std::fs::write(path(&folder), content).expect("the file can be written");
        let refused = open(&path(&folder), SyncMode::Always).expect_err("it is no journal");
        assert!(matches!(refused, DatabaseError::Damaged(_)), "{refused}");
        assert_eq!(std::fs::read(path(&folder)).expect("the file can be read"), content);
    }
}

#[test]
fn another_programs_database_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder for a test");
    let database = redb::Database::create(path(&folder)).expect("it is new");
    let transaction = database.begin_write().expect("it is well");
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).expect("it is new");
    transaction.commit().expect("it is well");
    drop(database);
    let before = std::fs::read(path(&folder)).expect("the file can be read");
    assert!(matches!(open(&path(&folder), SyncMode::Always), Err(DatabaseError::Damaged(_))));
    assert!(std::fs::read(path(&folder)).expect("the file can be read") == before);
}

#[test]
fn what_was_left_of_a_journal_that_never_began_is_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a folder for a test");
    std::fs::write(folder.path().join("journal.redb.new"), b"half a journal").expect("the file can be written");
    let journal = open(&path(&folder), SyncMode::Always).expect("it begins");
    assert_eq!(journal.append(&[ticks("a", 0, 1)]), [Ok(())]);
    let names = std::fs::read_dir(folder.path()).expect("the folder can be read");
    assert!(names.map(|entry| entry.expect("an entry").file_name()).eq(["journal.redb"]));
}

/// A storage in memory, and how many bytes were written to it.
#[derive(Clone, Debug)]
struct Counting(Arc<(InMemoryBackend, AtomicUsize)>);

impl Counting {
    fn written(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

impl StorageBackend for Counting {
    fn len(&self) -> io::Result<u64> {
        self.0.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.0.read(offset, out)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.0.set_len(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.1.fetch_add(data.len(), Ordering::Relaxed);
        self.0.0.write(offset, data)
    }
}

/// Whoever appends next waits until all of it is synced.
#[test]
fn to_cut_a_journal_writes_less_than_its_records_did() {
    let storage = Counting(Arc::new((InMemoryBackend::new(), AtomicUsize::new(0))));
    let journal = DatabaseJournal::on(storage.clone(), DatabaseOptions::default()).expect("it begins");
    let begun = storage.written();
    for expected in (0..10_000).step_by(1_000) {
        assert_eq!(journal.append(&[ticks("a", expected, 1_000)]), [Ok(())]);
    }
    let appended = storage.written() - begun;
    journal.put_snapshot(&seat("a"), &snapshot(9_999, &[1_000])).expect("it is well");
    let before = storage.written();
    journal.cut(&seat("a"), 9_999).expect("it is well");
    assert_eq!(journal.append(&[ticks("a", 10_000, 1)]), [Ok(())]);
    let cut = storage.written() - before;
    assert_eq!(sequences(&journal, "a", 10_000), [10_000, 10_001]);
    assert!(cut < appended, "{cut} bytes, and {appended}");
}
