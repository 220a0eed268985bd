//! Connections to applications: one at a time for each address and port, for all keys that are to be told there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::key::KeyNo;
use crate::contract::{CallId, Instant};

/// A host name or an IP address, and a port.
pub type Target = (String, u16);

/// What is done for an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// A call is in flight.
    Calling {
        /// Which.
        call: CallId,
        /// The keys that it tells of.
        told: Vec<KeyNo>,
        /// How many failed before it.
        failures: u32,
    },
    /// The last one failed: nobody is called there until then.
    Waiting {
        /// Until when.
        until: Instant,
        /// How many have failed in a row.
        failures: u32,
    },
    /// The wait is over, and there is somebody to tell.
    Over {
        /// How many have failed in a row.
        failures: u32,
    },
}

/// All lines. What is not in `busy` follows from the rest.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    busy: BTreeMap<Target, Line>,
    due: BTreeMap<Target, BTreeSet<KeyNo>>,
    ready: BTreeSet<Target>,
    calls: BTreeMap<CallId, Target>,
    waiting: BTreeSet<(Instant, Target)>,
}

impl Lines {
    /// The application of a key is to be told there.
    pub fn begin(&mut self, target: Target, key: KeyNo) {
        if matches!(self.busy.get(&target), None | Some(Line::Over { .. })) {
            self.ready.insert(target.clone());
        }
        self.due.entry(target).or_default().insert(key);
    }

    /// It is not, or no longer.
    pub fn end(&mut self, target: &Target, key: KeyNo) {
        let Some(due) = self.due.get_mut(target) else {
            return;
        };
        due.remove(&key);
        if due.is_empty() {
            self.due.remove(target);
            self.ready.remove(target);
            if let Some(Line::Over { .. }) = self.busy.get(target) {
                self.busy.remove(target);
            }
        }
    }

    /// An address where somebody is to be told and no call is in flight, and the keys.
    pub fn next_ready(&self) -> Option<(&Target, impl Iterator<Item = KeyNo>)> {
        let target = self.ready.first()?;
        Some((target, self.due[target].iter().copied()))
    }

    /// Something is done for an address from now on.
    pub fn set(&mut self, target: Target, line: Line) {
        self.clear(&target);
        match &line {
            Line::Calling { call, .. } => drop(self.calls.insert(*call, target.clone())),
            Line::Waiting { until, .. } => drop(self.waiting.insert((*until, target.clone()))),
            Line::Over { .. } => {}
        }
        if !matches!(line, Line::Over { .. }) {
            self.ready.remove(&target);
        }
        self.busy.insert(target, line);
    }

    /// Nothing is done for an address any more; gives what was.
    pub fn clear(&mut self, target: &Target) -> Option<Line> {
        let line = self.busy.remove(target)?;
        match &line {
            Line::Calling { call, .. } => drop(self.calls.remove(call)),
            Line::Waiting { until, .. } => drop(self.waiting.remove(&(*until, target.clone()))),
            Line::Over { .. } => {}
        }
        if self.due.contains_key(target) {
            self.ready.insert(target.clone());
        }
        Some(line)
    }

    /// Where a call went.
    pub fn of_call(&self, call: CallId) -> Option<&Target> {
        self.calls.get(&call)
    }

    /// How many calls to an address have failed in a row.
    pub fn failures(&self, target: &Target) -> u32 {
        match self.busy.get(target) {
            Some(Line::Calling { failures, .. } | Line::Waiting { failures, .. } | Line::Over { failures }) => {
                *failures
            }
            None => 0,
        }
    }

    /// The calls in flight.
    pub fn calls(&self) -> impl Iterator<Item = CallId> {
        self.calls.keys().copied()
    }

    /// When the next wait ends.
    pub fn next_timer(&self) -> Option<Instant> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// Ends the waits that are over; whether there were any.
    pub fn run_out(&mut self, now: Instant) -> bool {
        let over: Vec<_> = self.waiting.iter().take_while(|(until, _)| *until <= now).cloned().collect();
        for (_, target) in &over {
            let failures = self.failures(target);
            self.clear(target);
            if self.due.contains_key(target) {
                self.set(target.clone(), Line::Over { failures });
            }
        }
        !over.is_empty()
    }

    /// The first address after another for which something is done.
    pub fn next_busy(&self, after: Option<&Target>) -> Option<(&Target, &Line)> {
        match after {
            None => self.busy.first_key_value(),
            Some(after) => self.busy.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded)).next(),
        }
    }
}
