//! What happened to a tenant: counters for metrics.

use std::collections::BTreeMap;

/// Counters of one tenant since this process opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Inputs by the contract's function: open, configure, tick, restarted, drain, ingest, answer, settled, finished.
    pub inputs: BTreeMap<&'static str, u64>,
    /// Faults of the plugin by reason: trap, time, memory, contract.
    pub faults: BTreeMap<&'static str, u64>,
    /// Refusals by the name of the limit that caused them.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Outbound calls that ended, by how: answered, failed, refused.
    pub outbound_calls: BTreeMap<&'static str, u64>,
    /// Outbound calls that are on their way now.
    pub outbound_in_flight: u64,
    /// Swaps by what became of them: done, refused, rolled-back (by itself, after faults).
    pub swaps: BTreeMap<&'static str, u64>,
    /// Requests that are open now.
    pub open_requests: u64,
    /// The journal position of the last input that is committed.
    pub sequence: u64,
    /// Inputs that were fed and are not committed yet.
    pub uncommitted: u64,
    /// The journal position of the newest snapshot that this process took; 0: none yet.
    pub snapshot: u64,
    /// Snapshots that were not taken, because of the plugin or of the journal.
    pub snapshot_failures: u64,
    /// Appends that failed.
    pub append_failures: u64,
    /// The memory of the live instance, in bytes.
    pub memory: u64,
}

impl Statistics {
    #[cfg(feature = "program")]
    pub(crate) fn journal_failures(&self) -> Vec<(&'static str, u64)> {
        vec![("append", self.append_failures), ("snapshot", self.snapshot_failures)]
    }

    pub(crate) fn input(&mut self, kind: &'static str) {
        *self.inputs.entry(kind).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, reason: &'static str) {
        *self.faults.entry(reason).or_default() += 1;
    }

    pub(crate) fn outbound_call(&mut self, outcome: &'static str) {
        *self.outbound_calls.entry(outcome).or_default() += 1;
    }

    pub(crate) fn swap(&mut self, outcome: &'static str) {
        *self.swaps.entry(outcome).or_default() += 1;
    }

    pub(crate) fn refusal(&mut self, limit: &'static str) {
        *self.refusals.entry(limit).or_default() += 1;
    }
}
