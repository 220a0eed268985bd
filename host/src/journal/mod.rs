//! The journal: every input that was acknowledged, in order. A tenant's state is a cache of it.

mod committer;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use committer::{Committer, Outcome};
pub use memory::MemoryJournal;

use crate::contract::changes::Batch;
use crate::contract::lifecycle::Restart;
use crate::contract::outbound;
use crate::contract::requests::{Request, Settlement};

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

/// One input, as the plugin was given it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its position: the first of a seat is 1, each next one higher.
    pub sequence: u64,
    /// The tenant's time at it, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The input itself.
    pub input: Input,
}

/// The closed list of what happens to a plugin; each is one function of the contract.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// `lifecycle.open`.
    Open {
        /// 32 random bytes.
        seed: Vec<u8>,
        /// The plugin's settings.
        settings: Vec<(String, String)>,
    },
    /// `lifecycle.configure`.
    Configure {
        /// The plugin's settings, all of them.
        settings: Vec<(String, String)>,
    },
    /// `lifecycle.tick`.
    Tick,
    /// `lifecycle.restarted`.
    Restarted(Restart),
    /// `lifecycle.drain`.
    Drain,
    /// `changes.ingest`.
    Ingest {
        /// The changes.
        batch: Batch,
        /// Where the batch stands in what its source sends.
        span: Option<SourceSpan>,
    },
    /// `requests.answer`.
    Answer(Box<Request>),
    /// `requests.settled`.
    Settled(Vec<Settlement>),
    /// `outbound.finished`.
    Finished {
        /// The plugin's number of the call.
        call: u64,
        /// What became of it.
        outcome: outbound::Outcome,
    },
}

impl Input {
    /// The function's name in the contract.
    pub fn kind(&self) -> &'static str {
        match self {
            Input::Open { .. } => "open",
            Input::Configure { .. } => "configure",
            Input::Tick => "tick",
            Input::Restarted(_) => "restarted",
            Input::Drain => "drain",
            Input::Ingest { .. } => "ingest",
            Input::Answer(_) => "answer",
            Input::Settled(_) => "settled",
            Input::Finished { .. } => "finished",
        }
    }
}

/// Where a batch stands in what its source sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpan {
    /// The source's name.
    pub source: String,
    /// How many units (changes, or lines) the source sent before this batch.
    pub offset: u64,
    /// How many units this batch is.
    pub length: u64,
}

/// How many units of each source a seat has applied.
pub type Offsets = BTreeMap<Arc<str>, u64>;

/// A plugin's state at a position, with what the host itself must know there.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The last input that the state contains.
    pub sequence: u64,
    /// The tenant's time then, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The state's format, from the plugin's manifest.
    pub format: String,
    /// The parts that `save` gave.
    pub parts: Vec<Vec<u8>>,
    /// The sources' offsets.
    pub offsets: Offsets,
    /// The settings that the plugin has.
    pub settings: Vec<(String, String)>,
}

/// Records to append to one seat.
#[derive(Clone, Debug)]
pub struct Append {
    /// The seat.
    pub seat: Seat,
    /// The sequence of the seat's last record, 0 if there is none: whoever is wrong about it has lost the seat.
    pub expected: u64,
    /// The records, consecutive from `expected + 1`.
    pub records: Vec<Record>,
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
    /// The store failed.
    #[error("{0}")]
    Store(String),
}

/// Where inputs are kept. Calls block; they come from threads that may.
pub trait Journal: Send + Sync + 'static {
    /// Appends to several seats and returns once all is as durable as this journal makes it: one result for each, in
    /// order.
    fn append(&self, appends: &[Append]) -> Vec<Result<(), JournalError>>;

    /// The seat's records from `from` on, in order.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError>;

    /// Keeps a snapshot and cuts the records that it makes superfluous.
    ///
    /// # Errors
    ///
    /// The store failed; the former snapshot and all records are still there.
    fn put_snapshot(&self, seat: &Seat, snapshot: Snapshot) -> Result<(), JournalError>;

    /// Whether there is anything of this seat.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn known(&self, seat: &Seat) -> Result<bool, JournalError> {
        Ok(self.snapshot(seat)?.is_some() || !self.read(seat, 0)?.is_empty())
    }

    /// The newest snapshot.
    ///
    /// # Errors
    ///
    /// The store failed.
    fn snapshot(&self, seat: &Seat) -> Result<Option<Arc<Snapshot>>, JournalError>;
}
