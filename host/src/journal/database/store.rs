//! The one place where the store is called, and where it is decided what becomes of the journal when it fails.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::append::Unsynced;
use super::culprits;
use super::open::open;
use super::opened::Opened;
use super::storage::{Operation, Storage};
use super::{DatabaseError, DatabaseOptions, StorageBackend, SyncMode};
use crate::journal::JournalError;

const CLOSED: &str = "the journal is closed";

/// A database, and whether it can be used.
pub(super) struct Store {
    storage: Arc<Storage>,
    options: DatabaseOptions,
    /// Held by who works in steps, for each of them: so there is one at a time. Taken before `next`.
    steps: Mutex<()>,
    /// Who is next to write, taken before `turn` and held until that is had. Who has just written and goes on cannot
    /// come before who waits: it would with one lock, which is free to whoever runs.
    next: Mutex<()>,
    /// Whose turn it is to write. Taken before `state`.
    turn: Mutex<Unsynced>,
    state: RwLock<State>,
}

enum State {
    Open(Opened),
    /// A write failed: to be opened again. The number is that of the database to come.
    Closed(u64),
    /// Nothing is taken or given until the journal is opened anew.
    Refused(JournalError),
}

/// Why work on a database did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The journal itself says so; the database is well.
    #[error("{0}")]
    Own(JournalError),
    /// The store says so.
    #[error("{0}")]
    Store(redb::Error),
    /// The store panicked.
    #[error("it stopped: {0}")]
    Panicked(String),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Trouble::Store(error.into())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("storage", &self.storage).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a journal, or begins one where there is none, if it may; a new run begins.
    pub(super) fn open(
        storage: Box<dyn StorageBackend>,
        options: DatabaseOptions,
        may_begin: bool,
    ) -> Result<Store, DatabaseError> {
        let storage = Storage::new(storage);
        let may_lose = options.sync != SyncMode::Always;
        let opened = attempt_open(&storage, &options, may_begin, 0).and_then(|opened| {
            attempt(|| {
                opened.begin_run(may_lose)?;
                opened.learn()?;
                Ok(opened)
            })
            .map_err(DatabaseError::from)
        });
        match opened {
            Ok(opened) => {
                let state = RwLock::new(State::Open(opened));
                let (steps, next, turn) = (Mutex::default(), Mutex::default(), Mutex::default());
                Ok(Store { storage, options, steps, next, turn, state })
            }
            Err(error) => {
                storage.close();
                Err(error)
            }
        }
    }

    /// How long what is appended may stay unsynced, in milliseconds; none: not at all.
    pub(super) fn interval(&self) -> Option<u64> {
        match self.options.sync {
            SyncMode::Always => None,
            SyncMode::Every(milliseconds) => Some(milliseconds),
        }
    }

    /// Does what only reads.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Opened) -> Result<T, Trouble>) -> Result<T, JournalError> {
        if matches!(*self.state_now(), State::Closed(_)) {
            self.reopen(&mut self.turn_now())?;
        }
        let result = self.with(work);
        result.map_err(|(trouble, generation)| self.settle(trouble, generation, false))
    }

    /// Does what also writes; one at a time.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Opened, &mut Unsynced) -> Result<T, Trouble>,
    ) -> Result<T, JournalError> {
        self.write_on(|opened, unsynced, _| work(opened, unsynced))
    }

    /// Does one step of what nobody waits for. An append comes before the next one, whoever else works in steps.
    pub(super) fn step<T>(
        &self,
        work: impl FnOnce(&Opened, &mut Unsynced) -> Result<T, Trouble>,
    ) -> Result<T, JournalError> {
        let _one = self.steps.lock().expect(UNPOISONED);
        self.write(work)
    }

    /// Does what also writes, or keeps others from it, and looks at the storage itself.
    pub(super) fn write_on<T>(
        &self,
        work: impl FnOnce(&Opened, &mut Unsynced, &Arc<Storage>) -> Result<T, Trouble>,
    ) -> Result<T, JournalError> {
        let mut turn = self.turn_now();
        self.reopen(&mut turn)?;
        let result = self.with(|opened| work(opened, &mut turn, &self.storage));
        result.map_err(|(trouble, generation)| self.settle(trouble, generation, true))
    }

    /// Syncs, closes in order, and refuses everything from then on.
    pub(super) fn finish(&self) -> Result<(), JournalError> {
        let mut turn = self.turn_now();
        self.reopen(&mut turn)?;
        let ended = self.with(Opened::end_run);
        ended.map_err(|(trouble, generation)| self.settle(trouble, generation, true))?;
        self.refuse(JournalError::Store(CLOSED.into()));
        Ok(())
    }

    /// Whether it was closed in order.
    pub(super) fn is_finished(&self) -> bool {
        matches!(&*self.state_now(), State::Refused(JournalError::Store(why)) if why == CLOSED)
    }

    fn with<T>(&self, work: impl FnOnce(&Opened) -> Result<T, Trouble>) -> Result<T, (Trouble, u64)> {
        match &*self.state_now() {
            State::Open(opened) => attempt(|| work(opened)).map_err(|trouble| (trouble, opened.generation)),
            State::Closed(next) => Err((Trouble::Store(redb::Error::PreviousIo), next - 1)),
            State::Refused(error) => Err((Trouble::Own(error.clone()), 0)),
        }
    }

    /// Opens the database again, if a write failed. What was acknowledged but not synced is written again.
    fn reopen(&self, unsynced: &mut Unsynced) -> Result<(), JournalError> {
        let generation = match &*self.state_now() {
            State::Open(_) => return Ok(()),
            State::Refused(error) => return Err(error.clone()),
            State::Closed(next) => *next,
        };
        self.storage.retry().map_err(|error| self.not_opened(error))?;
        let opened = attempt_open(&self.storage, &self.options, false, generation).and_then(|opened| {
            attempt(|| {
                unsynced.write_again(&opened)?;
                opened.learn()?;
                Ok(opened)
            })
            .map_err(DatabaseError::from)
        });
        match opened {
            Ok(opened) => {
                tracing::info!("the journal works again");
                self.set_state(State::Open(opened));
                Ok(())
            }
            Err(DatabaseError::Io(error)) => Err(self.not_opened(error)),
            Err(error) => Err(self.refuse(JournalError::Damaged(error.to_string()))),
        }
    }

    /// Decides what becomes of the journal.
    fn settle(&self, trouble: Trouble, generation: u64, wrote: bool) -> JournalError {
        let failure = self.storage.failure();
        match (trouble, failure) {
            (Trouble::Own(error), _) => error,
            (Trouble::Panicked(what), _) => self.refuse(JournalError::Damaged(format!(
                "the store stopped: {what}; restart to go on, or restore a backup"
            ))),
            (Trouble::Store(_), Some(failure)) if failure.operation == Operation::Sync => {
                self.refuse(not_synced(&failure.error))
            }
            (Trouble::Store(_), Some(failure)) => {
                self.close(generation);
                match failure.operation {
                    Operation::ReadBeyond => JournalError::Damaged("the file ends too early".into()),
                    _ => not_written(&failure.error),
                }
            }
            // Another thread's failure, and the database is open again already.
            (Trouble::Store(redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed), None) => {
                not_written("it was just opened again")
            }
            (Trouble::Store(error), None) => {
                if wrote {
                    self.close(generation);
                }
                JournalError::Damaged(error.to_string())
            }
        }
    }

    fn not_opened(&self, error: io::Error) -> JournalError {
        match self.storage.failure() {
            Some(failure) if failure.operation == Operation::Sync => self.refuse(not_synced(&failure.error)),
            _ => not_written(&error.to_string()),
        }
    }

    /// Closes the database, if it is still that one.
    fn close(&self, generation: u64) {
        let mut state = self.state.write().expect(UNPOISONED);
        if matches!(&*state, State::Open(opened) if opened.generation == generation) {
            put_away(std::mem::replace(&mut *state, State::Closed(generation + 1)), false);
        }
    }

    fn refuse(&self, error: JournalError) -> JournalError {
        let abandoned = matches!(error, JournalError::Damaged(_));
        let mut state = self.state.write().expect(UNPOISONED);
        if let State::Refused(before) = &*state {
            return before.clone();
        }
        put_away(std::mem::replace(&mut *state, State::Refused(error.clone())), abandoned);
        self.storage.close();
        error
    }

    fn set_state(&self, new: State) {
        *self.state.write().expect(UNPOISONED) = new;
    }

    fn state_now(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect(UNPOISONED)
    }

    fn turn_now(&self) -> MutexGuard<'_, Unsynced> {
        let _next = self.next.lock().expect(UNPOISONED);
        self.turn.lock().expect(UNPOISONED)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let refused = matches!(*self.state_now(), State::Refused(_));
        if refused {
            return;
        }
        if let Err(error) = self.finish() {
            tracing::warn!(%error, "the journal could not be closed in order");
        }
    }
}

const UNPOISONED: &str = "panics are caught before they reach this lock";

/// Lets go of a database. One in which the store panicked is left as it is: its locks may be held for ever.
fn put_away(state: State, abandoned: bool) {
    let State::Open(opened) = state else { return };
    if abandoned {
        std::mem::forget(opened);
    } else if let Err(trouble) = attempt(|| {
        drop(opened);
        Ok(())
    }) {
        tracing::warn!(?trouble, "the journal's database could not be closed");
    }
}

fn attempt_open(
    storage: &Arc<Storage>,
    options: &DatabaseOptions,
    may_begin: bool,
    generation: u64,
) -> Result<Opened, DatabaseError> {
    let opened = catch_unwind(AssertUnwindSafe(|| open(storage, options, may_begin)));
    let opened = opened.unwrap_or_else(|panic| Err(DatabaseError::Damaged(said(panic))));
    let database = opened.map_err(|error| culprits::named(error, storage))?;
    Ok(Opened::new(database, generation))
}

/// Calls the store: a panic there comes back as trouble.
pub(super) fn attempt<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Trouble::Panicked(said(panic))))
}

/// What a panic said.
fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("for no stated reason").to_owned(),
    }
}

fn not_written(error: &str) -> JournalError {
    JournalError::Store(format!("the journal cannot be written: {error}; it goes on by itself once it can"))
}

fn not_synced(error: &str) -> JournalError {
    JournalError::Store(format!(
        "the disk did not keep what the journal wrote: {error}; nothing is taken any more: check the disk, then restart"
    ))
}

impl From<Trouble> for DatabaseError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Own(error) => DatabaseError::Damaged(error.to_string()),
            Trouble::Store(error) => error.into(),
            Trouble::Panicked(what) => DatabaseError::Damaged(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn an_append_comes_before_the_next_step() {
        let storage = Box::new(InMemoryBackend::new());
        let store = Store::open(storage, DatabaseOptions::default(), true).expect("it begins");
        let order = Mutex::new(Vec::new());
        let note = |what| {
            order.lock().expect("nothing panics").push(what);
            Ok(())
        };
        let step = || store.step(|_, _| note("step")).expect("it is well");
        std::thread::scope(|scope| {
            let first = store.step(|_, _| {
                scope.spawn(step);
                scope.spawn(|| store.write(|_, _| note("append")).expect("it is well"));
                // Until the append waits: nobody else can be next.
                while store.next.try_lock().is_ok() {
                    std::thread::yield_now();
                }
                Ok(())
            });
            first.expect("it is well");
            step();
        });
        assert_eq!(order.into_inner().expect("nothing panics"), ["append", "step", "step"]);
    }
}
