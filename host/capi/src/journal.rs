//! The journal of a host, and when it is let go: a file can be opened again once nothing of the host uses it any more.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use host::journal::{
    Append, DatabaseError, DatabaseJournal, DatabaseOptions, Journal, JournalError, Record, Seat, SeatFacts, Snapshot,
};

/// A journal in a file.
pub struct FileJournal {
    /// Dropped first.
    database: DatabaseJournal,
    _used: Sender<()>,
}

/// Waits until the journal is let go.
pub struct LetGo(Receiver<()>);

impl LetGo {
    /// Returns once it is.
    pub fn wait(&self) {
        // Nothing is ever sent: the error says that the sender is gone.
        let _ = self.0.recv();
    }
}

impl FileJournal {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<(FileJournal, LetGo), DatabaseError> {
        let database = DatabaseJournal::open(path, DatabaseOptions::default())?;
        let (used, let_go) = channel();
        Ok((FileJournal { database, _used: used }, LetGo(let_go)))
    }
}

impl Journal for FileJournal {
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>> {
        self.database.append(appends)
    }

    fn sync_interval(&self) -> Option<u64> {
        self.database.sync_interval()
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.database.sync()
    }

    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
        self.database.read(seat, from)
    }

    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
        self.database.facts(seat)
    }

    fn seats(&self) -> Result<Vec<Seat>, JournalError> {
        self.database.seats()
    }

    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError> {
        self.database.put_snapshot(seat, snapshot)
    }

    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
        self.database.snapshot(seat, sequence)
    }

    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
        self.database.cut(seat, horizon)
    }

    fn remove(&self, seat: &Seat) -> Result<(), JournalError> {
        self.database.remove(seat)
    }
}
