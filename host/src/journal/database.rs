//! The durable journal: one database file, with records, snapshots, and what is known of each seat.
//!
//! The store is redb: a B-tree that is copied where it is written, whose commits are atomic and take one sync. What it
//! keeps are the envelopes of [`super::format`], in these tables:
//!
//! | table       | key                                    | value                                          |
//! | ----------- | -------------------------------------- | ---------------------------------------------- |
//! | `journal`   | none                                   | what belongs to the journal itself             |
//! | `seats`     | tenant, plugin, partition              | the seat's number                              |
//! | `records`   | seat's number, sequence                | a record                                       |
//! | `snapshots` | seat's number, sequence                | the head of a snapshot; while it is there, so is the
//! snapshot |
//! | `pieces`    | seat's number, snapshot, piece from 0  | a piece of a snapshot's state                  |
//!
//! What a crash leaves behind is harmless: pieces of a snapshot without a head, and records up to the horizon. The
//! seat's next cut that passes them removes them.
//!
//! redb verifies its pages only where a file was not closed in order: it then reads the whole file, and refuses it if a
//! page that was synced is damaged. Otherwise `pages` compares what leads to the records, and each record has a
//! checksum of its own: so damage in one seat's records is no other's.
//!
//! When something fails, one place (`store`) decides what becomes of the journal. After a failed write it is closed and
//! opened again at a later call, with what was acknowledged. After a failed sync, and after a panic of the store, which
//! counts as damage, it refuses everything until it is opened anew.

mod append;
mod check;
mod culprits;
mod open;
mod opened;
mod overlay;
mod pages;
mod read;
mod snapshots;
mod storage;
mod store;
mod tables;

use std::path::Path;
use std::sync::Arc;

pub use check::{CheckReport, Damage};
pub use redb::StorageBackend;
use store::Store;

use super::{Append, Journal, JournalError, Record, Seat, SeatFacts, Snapshot};

/// A journal in one database file.
#[derive(Debug)]
pub struct DatabaseJournal {
    store: Store,
}

/// How a database is opened.
#[derive(Clone, Default)]
pub struct DatabaseOptions {
    /// When what is appended is synced.
    pub sync: SyncMode,
    /// Told how far a repair has come, from 0.0 to 1.0: one takes long after a large journal was not closed in order.
    pub repairing: Option<Arc<dyn Fn(f64) + Send + Sync>>,
}

impl std::fmt::Debug for DatabaseOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DatabaseOptions").field("sync", &self.sync).finish_non_exhaustive()
    }
}

/// When what is appended is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Before the append returns: nothing that is acknowledged is ever lost.
    #[default]
    Always,
    /// After so many milliseconds at most: a killed process, or lost power, takes what was not synced.
    Every(u64),
}

/// Why there is no journal in a file. What is in it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another version of the program wrote it.
    #[error("the journal has format {found}, and this program reads format {known}: run the program that wrote it")]
    OtherVersion {
        /// The file's version.
        found: u8,
        /// The program's.
        known: u8,
    },
    /// What is in it is not what was written.
    #[error("the journal is damaged ({0}): restore a backup; moving the file away begins with an empty journal")]
    Damaged(String),
    /// Another process has it open.
    #[error("another process uses the journal: stop it first")]
    InUse,
    /// It cannot be read or written.
    #[error("the journal cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
}

impl DatabaseJournal {
    /// Opens the journal in this file, or begins one, if there is no file. Blocks; long, where it must be repaired.
    ///
    /// # Errors
    ///
    /// See [`DatabaseError`].
    pub fn open(path: &Path, options: DatabaseOptions) -> Result<DatabaseJournal, DatabaseError> {
        if let Some(file) = storage::existing(path)? {
            return Ok(DatabaseJournal { store: Store::open(file, options, false)? });
        }
        let store = Store::open(storage::new(path)?, options, true)?;
        storage::keep(path)?;
        Ok(DatabaseJournal { store })
    }

    /// Opens the journal in this storage, or begins one there, if it is empty.
    ///
    /// # Errors
    ///
    /// See [`DatabaseError`].
    pub fn on(storage: impl StorageBackend, options: DatabaseOptions) -> Result<DatabaseJournal, DatabaseError> {
        Ok(DatabaseJournal { store: Store::open(Box::new(storage), options, true)? })
    }

    /// Syncs what was appended and closes the file: the next one to open it finds it in order. Nothing is taken or
    /// given any more then.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn finish(&self) -> Result<(), JournalError> {
        self.store.finish()
    }

    /// Notes that the state of every seat is older than what clients were told of it, as after a backup was restored:
    /// [`SeatFacts::regressed`].
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn mark_regressed(&self) -> Result<(), JournalError> {
        self.store.write(|opened, _| opened.mark_regressed())
    }

    /// Reads everything and tells what is damaged. Changes nothing. Appends wait meanwhile, but for those of the part
    /// that reads each record.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn check(&self) -> Result<CheckReport, JournalError> {
        check::check(&self.store)
    }
}

impl Journal for DatabaseJournal {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        append::append(&self.store, appends)
    }

    fn sync_interval(&self) -> Option<u64> {
        self.store.interval()
    }

    fn sync(&self) -> Result<(), JournalError> {
        if self.store.interval().is_none() {
            return Ok(());
        }
        let synced = self.store.write(|opened, unsynced| opened.sync(unsynced));
        // Whoever finished it meanwhile has synced it.
        if self.store.is_finished() { Ok(()) } else { synced }
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        self.store.read(|opened| read::read(opened, seat, from))
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        self.store.read(|opened| read::facts(opened, seat))
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        self.store.read(|opened| Ok(opened.known().seats.keys().cloned().collect()))
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        snapshots::put(&self.store, seat, snapshot)
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        self.store.read(|opened| snapshots::get(opened, seat, sequence))
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        snapshots::cut(&self.store, seat, horizon)
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        self.store.write(|opened, unsynced| opened.remove(seat, unsynced))
    }
}

#[cfg(test)]
mod tests;
