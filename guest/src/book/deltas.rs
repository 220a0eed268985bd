//! What happened to the address book, in its order.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::contract::Instant;

/// The place of a delta, from 1.
pub type Sequence = u64;

/// The last sequence that the wire can say (xs:unsignedInt), but for some that a gap may skip.
pub const LAST_SEQUENCE: Sequence = u32::MAX as u64 - 16;

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncType {
    /// It came.
    Add,
    /// It changed.
    Update,
    /// It went.
    Delete,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// What.
    pub sync: SyncType,
    /// What the entry was then.
    pub kind: Kind,
    /// Which entry.
    pub id: Box<str>,
    /// When that was heard.
    pub heard: Instant,
}

/// The deltas that are kept: one for each sequence, without holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deltas {
    first: Sequence,
    kept: VecDeque<Delta>,
}

impl Default for Deltas {
    fn default() -> Self {
        Self::since(1)
    }
}

impl Deltas {
    /// None yet; the first will have this sequence.
    pub fn since(first: Sequence) -> Self {
        Self { first, kept: VecDeque::new() }
    }

    /// The sequence of the first that is kept; if there is none, of the next.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The sequence of the newest; if there is none, one less than [`Self::first`].
    pub fn last(&self) -> Sequence {
        self.first + self.kept.len() as Sequence - 1
    }

    /// How many are kept.
    pub fn count(&self) -> usize {
        self.kept.len()
    }

    /// Those from a sequence on, each with its own.
    pub fn from(&self, sequence: Sequence) -> impl Iterator<Item = (Sequence, &Delta)> {
        let from = sequence.max(self.first);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX).min(self.kept.len());
        (from..).zip(self.kept.range(skipped..))
    }

    /// Appends one.
    pub fn push(&mut self, delta: Delta) {
        self.kept.push_back(delta);
    }

    /// Forgets all, and leaves out the sequence that would be next.
    pub fn skip(&mut self) {
        *self = Self::since(self.last() + 2);
    }

    /// Keeps so many at most; whether any was cut.
    pub fn cut_to(&mut self, most: u32) -> bool {
        let surplus = self.kept.len().saturating_sub((most as usize).max(1));
        self.kept.drain(..surplus);
        self.first += surplus as Sequence;
        surplus > 0
    }

    /// Cuts those that were heard before, but for the newest; whether there were any.
    pub fn cut_before(&mut self, horizon: Instant) -> bool {
        let mut cut = false;
        while self.kept.len() > 1 && self.kept.front().is_some_and(|delta| delta.heard < horizon) {
            self.kept.pop_front();
            self.first += 1;
            cut = true;
        }
        cut
    }
}
