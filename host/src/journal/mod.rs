//! The journal: every input that was acknowledged, in order. A tenant's state is a cache of it.
//!
//! A seat's journal is its snapshots and its records, each record one input. Once it was cut, its oldest snapshot is
//! the horizon: what came before is gone. Until then the records reach back to `open`.

pub mod archive;
mod bytes;
mod committer;
mod database;
mod digest;
pub(crate) mod format;
mod input;
#[cfg(feature = "jetstream")]
mod jetstream;
mod memory;
mod swapped;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

pub(crate) use committer::Committer;
pub use database::{CheckReport, Damage, DatabaseError, DatabaseJournal, DatabaseOptions, StorageBackend, SyncMode};
pub use digest::Digest;
pub use input::{Input, Skipped, SourceSpan};
#[cfg(feature = "jetstream")]
pub(crate) use jetstream::subjects;
#[cfg(feature = "jetstream")]
pub use jetstream::{JetStreamError, JetStreamJournal, JetStreamOptions, Promise, sync_promise};
pub use memory::MemoryJournal;
pub use swapped::{Base, ComponentId, Former, Fresh, Instead, Swapped, Tenure};

/// What a journal's entries belong to: one plugin in one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    /// The tenant's name.
    pub tenant: Arc<str>,
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Which part of the tenant's accounts; there is only 0.
    pub partition: u32,
}

impl std::fmt::Display for Seat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}", self.tenant, self.plugin, self.partition)
    }
}

/// One input, as the plugin was given it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its position: the first of a seat is 1, each next one higher.
    pub sequence: u64,
    /// The tenant's time at it, in milliseconds since the Unix epoch.
    pub now: u64,
    /// What the plugin made of it: a later replay by the same component must make the same.
    pub digest: Digest,
    /// The input itself, shared: whoever has a copy of the record has the same one.
    pub input: Arc<Input>,
}

/// How many units of each source a seat has applied.
pub type Offsets = BTreeMap<Arc<str>, u64>;

/// A plugin's state at a position, with what the host itself must know there.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The last input that the state contains.
    pub sequence: u64,
    /// The tenant's time at that input, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The state's format, from the plugin's manifest.
    pub format: String,
    /// The parts that `save` gave.
    pub parts: Vec<Vec<u8>>,
    /// The sources' offsets.
    pub offsets: Offsets,
    /// The settings that the plugin has.
    pub settings: Vec<(String, String)>,
    /// The bytes of the records between the snapshot before it (or `open`) and this one, roughly.
    pub history_bytes: u64,
    /// The component that saved it; none: it is not known.
    pub tenure: Option<Tenure>,
}

impl Snapshot {
    /// Everything but the state.
    pub fn facts(&self) -> SnapshotFacts {
        SnapshotFacts {
            sequence: self.sequence,
            now: self.now,
            bytes: self.parts.iter().map(|part| part.len() as u64).sum(),
            history_bytes: self.history_bytes,
            format: self.format.clone(),
            tenure: self.tenure.clone(),
        }
    }
}

/// A snapshot without its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The last input that it contains.
    pub sequence: u64,
    /// The tenant's time at that input, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The bytes of its parts.
    pub bytes: u64,
    /// See [`Snapshot::history_bytes`].
    pub history_bytes: u64,
    /// The state's format.
    pub format: String,
    /// See [`Snapshot::tenure`].
    pub tenure: Option<Tenure>,
}

/// What a journal has of one seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatFacts {
    /// The last record's sequence, also where that record is cut already; 0: there was none.
    pub last: u64,
    /// The tenant's time at the last input, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The first record that is kept, or would be if there were one; 1: the history reaches back to `open`.
    pub first: u64,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotFacts>,
    /// The state is older than what clients were told of it, and they have not been told that yet: a backup was
    /// restored, or a crash took inputs that were not synced.
    pub regressed: bool,
    /// The sequence of the last record that tells of another component, also where that is cut already; 0: there was none.
    pub swap: u64,
}

impl SeatFacts {
    /// Where the history that can be replayed begins: behind this input. 0: with `open`. Else it is the oldest
    /// snapshot's; records before that may be left of a cut, and lead nowhere.
    pub fn horizon(&self) -> u64 {
        if self.first <= 1 {
            return 0;
        }
        self.snapshots.first().map_or(self.first - 1, |oldest| oldest.sequence)
    }
}

/// Records to append to one seat: all of them, or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// The seat.
    pub seat: Seat,
    /// The sequence of the seat's last record, 0 if there is none: whoever is wrong about it has lost the seat.
    pub expected: u64,
    /// The records, consecutive from `expected + 1`.
    pub records: Vec<Record>,
    /// What it builds on.
    pub chain: Chain,
}

impl Append {
    /// Why this append cannot follow the seat's record `found`; none: it can. What builds on it is refused from then on.
    pub fn refusal(&self, found: u64) -> Option<JournalError> {
        let expected = self.expected;
        let moved = || (found != expected).then_some(JournalError::Conflict { expected, found });
        let error = self.chain.broken().or_else(moved)?;
        self.chain.break_off(&error);
        Some(error)
    }
}

/// Appends of one owner that build on each other, because it did not wait for one before it gave the next. Where one fails,
/// all that follow it in its chain fail as well: the sequence that they expect may be the seat's last by then, as another
/// owner's.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<OnceLock<JournalError>>);

impl Chain {
    /// Why an append of it failed, if one did.
    pub fn broken(&self) -> Option<JournalError> {
        self.0.get().cloned()
    }

    /// An append of it has failed.
    pub fn break_off(&self, error: &JournalError) {
        // Only the first one matters.
        let _ = self.0.set(error.clone());
    }
}

/// Why a journal did not do what it was asked. Nothing of the append in question is in it then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another owner appended: the seat is lost.
    #[error("the seat's last record is {found}, not {expected}")]
    Conflict {
        /// What the appender expected.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// The store failed, and may work again later; the text says what to do if it does not by itself.
    #[error("{0}")]
    Store(String),
    /// What is stored is not what was stored.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// What became of an append.
pub type Outcome = Result<(), JournalError>;

/// Told once an append is committed, or has failed.
pub type Respond = Box<dyn FnOnce(Outcome) + Send>;

/// The sequence of the last of the records that tells of another component.
pub(crate) fn last_swap(records: &[Record]) -> Option<u64> {
    let swaps = records.iter().rev().filter(|record| matches!(*record.input, Input::Swapped(_)));
    swaps.map(|record| record.sequence).next()
}

/// A component, and its detached signature if it came with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptComponent {
    /// Its bytes.
    pub component: Vec<u8>,
    /// In minisign's format.
    pub signature: Option<String>,
}

/// Where inputs are kept. Calls block; they come from threads that may.
pub trait Journal: Send + Sync + 'static {
    /// Appends to several seats and returns once all is as durable as this journal makes it: one result for each, in
    /// order. An append of nothing tells whether the seat is still as expected. Each is judged by [`Append::refusal`] when it
    /// is about to be stored; what else may come in its way breaks its chain, too.
    ///
    /// A record that tells the plugin of a regression ends [`SeatFacts::regressed`].
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>>;

    /// Takes an append without waiting for it, where seats do not wait for each other; those of one seat are carried out
    /// in the order of the calls. Gives it back where [`Journal::append`] is to be given those of all seats together.
    fn append_later(&self, append: Append, respond: Respond) -> Option<(Append, Respond)> {
        Some((append, respond))
    }

    /// How long appended records may stay unsynced, in milliseconds; the host then calls [`Journal::sync`]. None: an
    /// append returns when its records are synced.
    fn sync_interval(&self) -> Option<u64> {
        None
    }

    /// Syncs all that was appended.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn sync(&self) -> Result<(), JournalError> {
        Ok(())
    }

    /// Records from `from` on, consecutive and in order: some megabytes of them, to go on behind the last one. Empty:
    /// there are none. What comes before a damaged record is given first.
    ///
    /// # Errors
    ///
    /// The store failed, or the record at `from` is damaged or cut.
    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError>;

    /// What there is of a seat; none: nothing.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError>;

    /// Every seat of which there is something, in order.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn seats(&self) -> Result<Vec<Seat>, JournalError>;

    /// Keeps a snapshot besides those that are there. Appends go on meanwhile.
    ///
    /// # Errors
    ///
    /// The store failed; nothing of the snapshot is there then.
    fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Result<(), JournalError>;

    /// The snapshot at `sequence`; none: it is not there, or not any more.
    ///
    /// # Errors
    ///
    /// The store failed, or the snapshot is damaged.
    fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError>;

    /// Makes the snapshot at `horizon` the oldest, if it is there: what came before it is gone. Appends go on
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// The store failed; what is kept is still consistent.
    fn cut(&self, seat: &Seat, horizon: u64) -> Result<(), JournalError>;

    /// Keeps a component that a seat is about to name, where other processes could own the seat. It may be kept already.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn put_component(&self, _id: ComponentId, _kept: &KeptComponent) -> Result<(), JournalError> {
        Ok(())
    }

    /// A component that was kept; none: it is not there, or no other process could own the seats.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn component(&self, _id: ComponentId) -> Result<Option<KeptComponent>, JournalError> {
        Ok(None)
    }

    /// Removes everything of a seat, at once and for good. Nobody may use the seat meanwhile.
    ///
    /// # Errors
    ///
    /// The store failed; all of it is there then.
    fn remove(&self, seat: &Seat) -> Result<(), JournalError>;
}

/// A seat's records from `from` to `to`, both included, or to the last one, read as they are needed. Ends after the
/// first error.
pub fn records<'a>(
    journal: &'a dyn Journal,
    seat: &'a Seat,
    from: u64,
    to: u64,
) -> impl Iterator<Item = Result<Record, JournalError>> + 'a {
    let (mut next, mut ended, mut ready) = (from, false, Vec::new().into_iter());
    std::iter::from_fn(move || {
        if ended || next > to {
            return None;
        }
        if ready.len() == 0 {
            match journal.read(seat, next) {
                Ok(more) => ready = more.into_iter(),
                Err(error) => {
                    ended = true;
                    return Some(Err(error));
                }
            }
        }
        let record = ready.next()?;
        next = record.sequence + 1;
        Some(Ok(record))
    })
}
