//! The storage under the store, watched: what failed there decides what becomes of the journal.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::DatabaseError;

/// A storage that outlives the databases that are opened on it one after the other, with its lock.
#[derive(Debug)]
pub(super) struct Storage {
    inner: Box<dyn StorageBackend>,
    failure: Mutex<Option<Failure>>,
}

/// What failed first.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What was tried.
    pub(super) operation: Operation,
    /// Why it failed.
    pub(super) error: String,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Reading what is there.
    Read,
    /// Reading where nothing is.
    ReadBeyond,
    /// Writing so many bytes at an offset.
    Write(u64, usize),
    /// Making it so long.
    Grow(u64),
    /// Syncing what was written.
    Sync,
}

/// The storage of a file, which no other process can open meanwhile.
pub(super) fn file(path: &Path) -> Result<Box<dyn StorageBackend>, DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() == 0 {
        // The file's name is as durable as what will be in it.
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(Box::new(FileBackend::new(file)?))
}

impl Storage {
    /// Watches a storage.
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> Arc<Storage> {
        Arc::new(Storage { inner, failure: Mutex::default() })
    }

    /// What failed since the last call of [`Storage::retry`].
    pub(super) fn failure(&self) -> Option<Failure> {
        self.lock().clone()
    }

    /// Tries again what failed, before a database is opened again, which takes longer. What is written are zeros: nobody
    /// needs that place any more.
    ///
    /// # Errors
    ///
    /// It fails again.
    pub(super) fn retry(&self) -> io::Result<()> {
        let mut failure = self.lock();
        match failure.as_ref().map(|failure| failure.operation) {
            // At 0 is what leads to everything else.
            Some(Operation::Write(offset @ 1.., length)) => self.inner.write(offset, &vec![0; length])?,
            Some(Operation::Grow(length)) => self.inner.set_len(length)?,
            _ => {}
        }
        *failure = None;
        Ok(())
    }

    /// The bytes from `offset`, as they are stored.
    ///
    /// # Errors
    ///
    /// They cannot be read, or are fewer.
    pub(super) fn peek(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    /// How many bytes are stored.
    ///
    /// # Errors
    ///
    /// It cannot be told.
    pub(super) fn length(&self) -> io::Result<u64> {
        self.inner.len()
    }

    /// Makes it empty.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn empty(&self) -> io::Result<()> {
        self.inner.set_len(0)
    }

    /// Lets go of the lock; nothing may use the storage any more.
    pub(super) fn close(&self) {
        if let Err(error) = self.inner.close() {
            tracing::warn!(%error, "the journal's file stays locked until the process ends");
        }
    }

    fn watch<T>(&self, operation: Operation, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let beyond = operation == Operation::Read && error.kind() == io::ErrorKind::UnexpectedEof;
            let operation = if beyond { Operation::ReadBeyond } else { operation };
            self.lock().get_or_insert(Failure { operation, error: error.to_string() });
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().expect("nothing panics while this lock is held")
    }
}

/// What one database holds of the storage. Closing the database leaves the storage open.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Storage>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.watch(Operation::Read, self.0.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.watch(Operation::Read, self.0.inner.read(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length <= self.0.inner.len()? {
            // A file that stays longer than it must be is no failure: the next one to open it takes the rest in.
            self.0.inner.set_len(length).unwrap_or_else(|error| tracing::debug!(%error, "the journal did not shrink"));
            return Ok(());
        }
        self.0.watch(Operation::Grow(length), self.0.inner.set_len(length))?;
        // redb does not open a file that is shorter than its header says, and syncs both at once.
        self.sync_data()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.watch(Operation::Sync, self.0.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.watch(Operation::Write(offset, data.len()), self.0.inner.write(offset, data))
    }
}
