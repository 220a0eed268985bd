//! How far a push subscription is with telling its client.

use serde::{Deserialize, Serialize};

use crate::contract::{CallId, Instant};
use crate::ews::Version;
use crate::history::Position;

/// The wait before the first retry, in milliseconds; each further wait is twice as long.
const FIRST_RETRY_MS: u64 = 30_000;

/// What only a push subscription has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Where its client listens.
    pub url: String,
    /// The version that the client asked with; notifications name it.
    pub version: Version,
    /// How long it is silent at most, and the longest wait before a retry, in milliseconds.
    pub frequency_ms: u64,
    /// What it does.
    pub stage: Stage,
    /// The wait after the last failed call, in milliseconds; 0: the last call succeeded.
    pub waited_ms: u64,
    /// When it last sent something.
    pub sent_at: Instant,
}

/// What a push subscription does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is to push as soon as there is room, even without news.
    Due,
    /// A call is in flight.
    Calling {
        /// Which.
        call: CallId,
        /// What it tells.
        told: Told,
    },
    /// It waits for news, or for its deadline.
    Resting,
    /// The last call failed: it waits for its deadline.
    Waiting,
}

/// What a call tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Everything up to here.
    Events(Position),
    /// That events were missed: it is the last.
    Missed,
}

impl Push {
    /// One that has told nothing yet, and is to.
    pub fn new(url: String, version: Version, frequency_ms: u64, now: Instant) -> Self {
        Self { url, version, frequency_ms, stage: Stage::Due, waited_ms: 0, sent_at: now }
    }

    /// The call in flight.
    pub fn call(&self) -> Option<CallId> {
        match self.stage {
            Stage::Calling { call, .. } => Some(call),
            Stage::Due | Stage::Resting | Stage::Waiting => None,
        }
    }

    /// A call has succeeded; gives when the next is due if there is no news until then.
    pub fn succeed(&mut self) -> Instant {
        (self.stage, self.waited_ms) = (Stage::Resting, 0);
        self.sent_at.saturating_add(self.frequency_ms)
    }

    /// A call has failed; gives when to try again, none if the wait would be longer than the status frequency.
    pub fn fail(&mut self, now: Instant) -> Option<Instant> {
        let wait = if self.waited_ms == 0 { FIRST_RETRY_MS } else { self.waited_ms.saturating_mul(2) };
        if wait > self.frequency_ms {
            return None;
        }
        (self.stage, self.waited_ms) = (Stage::Waiting, wait);
        Some(now.saturating_add(wait))
    }
}
