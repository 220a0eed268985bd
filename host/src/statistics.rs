//! What happened to a tenant, and how long things took: figures for metrics.

mod histogram;
mod timings;

use std::collections::BTreeMap;

pub use histogram::HistogramFigures;
pub use timings::Timings;

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
    /// Processor time of the inputs that were fed, in nanoseconds.
    pub guest_nanoseconds: u64,
    /// 1: it has no instance, because nobody uses it.
    pub asleep: u64,
    /// How often it was woken.
    pub wakes: u64,
    /// How often it went from here to another process, or lost its lease.
    pub departures: u64,
}

impl Statistics {
    /// What only grows: what is left of a tenant that is gone.
    pub fn counts(&self) -> Statistics {
        Statistics {
            outbound_in_flight: 0,
            open_requests: 0,
            sequence: 0,
            uncommitted: 0,
            snapshot: 0,
            memory: 0,
            asleep: 0,
            ..self.clone()
        }
    }

    /// Adds what happened to another tenant, for figures of several together.
    pub fn add(&mut self, other: &Statistics) {
        let words = [
            (&mut self.inputs, &other.inputs),
            (&mut self.faults, &other.faults),
            (&mut self.refusals, &other.refusals),
            (&mut self.outbound_calls, &other.outbound_calls),
            (&mut self.swaps, &other.swaps),
        ];
        for (sums, counts) in words {
            for (word, count) in counts {
                *sums.entry(word).or_default() += count;
            }
        }
        let figures = [
            (&mut self.outbound_in_flight, other.outbound_in_flight),
            (&mut self.open_requests, other.open_requests),
            (&mut self.sequence, other.sequence),
            (&mut self.uncommitted, other.uncommitted),
            (&mut self.snapshot, other.snapshot),
            (&mut self.snapshot_failures, other.snapshot_failures),
            (&mut self.append_failures, other.append_failures),
            (&mut self.memory, other.memory),
            (&mut self.guest_nanoseconds, other.guest_nanoseconds),
            (&mut self.asleep, other.asleep),
            (&mut self.wakes, other.wakes),
            (&mut self.departures, other.departures),
        ];
        for (sum, figure) in figures {
            *sum += figure;
        }
    }

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
        self.refuse(limit, 1);
    }

    /// Counts so many refusals.
    pub(crate) fn refuse(&mut self, limit: &'static str, times: u64) {
        *self.refusals.entry(limit).or_default() += times;
    }
}
