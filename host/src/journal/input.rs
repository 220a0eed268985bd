//! What happens to a plugin: the closed list of its inputs.

use crate::contract::changes::{Batch, BookChange};
use crate::contract::lifecycle::Restart;
use crate::contract::outbound;
use crate::contract::requests::{Request, Settlement};
use crate::journal::Swapped;

/// The closed list of what happens to a plugin; each but the last is one function of the contract.
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
        /// Where the batch stands in what its source sends. Of a batch that was halved the last piece has it.
        span: Option<SourceSpan>,
        /// The batch is a `gap` that stands for this.
        skipped: Option<Box<Skipped>>,
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
    /// The host's own note that another component takes over. No plugin is told.
    Swapped(Box<Swapped>),
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

/// A change on which the plugin failed. It is kept for whoever looks for the reason, and never fed again.
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    /// The change, alone.
    pub batch: Batch,
    /// How the plugin failed.
    pub reason: String,
}

impl Input {
    /// The function's name in the contract; of the host's own note, `swapped`.
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
            Input::Swapped(_) => "swapped",
        }
    }

    /// About how many bytes it holds: what limits of bytes are compared with.
    pub fn size(&self) -> usize {
        const EACH: usize = 64;
        EACH + match self {
            Input::Open { settings, .. } | Input::Configure { settings } => {
                settings.iter().map(|(key, value)| key.len() + value.len()).sum()
            }
            Input::Tick | Input::Restarted(_) | Input::Drain => 0,
            Input::Ingest { batch, skipped, .. } => {
                size_of_batch(batch) + skipped.as_ref().map_or(0, |skipped| size_of_batch(&skipped.batch))
            }
            Input::Answer(request) => {
                let headers = request.head.headers.iter().map(|(name, value)| name.len() + value.len());
                request.body.len() + request.head.query.len() + headers.sum::<usize>() + EACH * request.accounts.len()
            }
            Input::Settled(settlements) => EACH * settlements.len(),
            Input::Swapped(swapped) => EACH * swapped.instead.len(),
            Input::Finished { outcome, .. } => match outcome {
                outbound::Outcome::Answered(response) => response.body.len(),
                outbound::Outcome::Failed(why) | outbound::Outcome::Refused(why) => why.len(),
            },
        }
    }
}

/// Every change has some ids and names; only entries of a book have much text.
fn size_of_batch(batch: &Batch) -> usize {
    const CHANGE: usize = 160;
    let changes: usize = batch.accounts.iter().map(|account| account.changes.len()).sum();
    let entries = batch.book.iter().map(|change| match change {
        BookChange::Added(entry) | BookChange::Modified(entry) => {
            let fields = entry.fields.iter().map(|field| field.name.len() + field.label.len() + field.value.len());
            fields.sum::<usize>() + CHANGE * entry.members.len()
        }
        _ => 0,
    });
    CHANGE * (changes + batch.book.len()) + entries.sum::<usize>()
}
