//! What a plugin may have done for it, or go wrong, in a minute.

use std::time::Duration;

use super::recovery::Then;
use super::{Actor, Live};
use crate::tenant::Limits;
use crate::tenant::allowance::Allowance;

/// So many outcomes of calls a plugin may be told in a minute, where it may not have more calls made: those that were not
/// made have outcomes, too.
const OUTCOMES_PER_MINUTE: u64 = 60_000;

/// Of so many it may be told one at once: each is an input, and others want to be fed meanwhile.
const SHARE_AT_ONCE: u64 = 6;

/// One stock for each limit of a tenant that counts by the minute.
pub(super) struct Allowances {
    log_lines: Allowance,
    calls: Allowance,
    outcomes: Allowance,
    ticks: Allowance,
    faults: Allowance,
}

impl Allowances {
    pub(super) fn new(limits: &Limits, now: u64) -> Allowances {
        let of = |per_minute| Allowance::new(per_minute, now);
        let outcomes = limits.calls_per_minute.max(OUTCOMES_PER_MINUTE);
        Allowances {
            log_lines: of(limits.log_lines_per_minute),
            calls: of(limits.calls_per_minute),
            outcomes: Allowance::at_once(outcomes, outcomes / SHARE_AT_ONCE, now),
            ticks: of(limits.ticks_per_minute),
            faults: of(limits.faults_per_minute),
        }
    }
}

impl Actor {
    /// What the tenant may use from now on; what it has used of each minute is forgotten.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.allowances = Allowances::new(&limits, self.parts.clock.monotonic());
        self.guard.limit(limits.reaction_bytes);
        self.parts.running.limit(&limits.instance);
        if let Live::Instance(instance) = &mut self.live {
            instance.set_limits(&limits.instance);
        }
        self.parts.history.limits = limits.instance.clone();
        self.parts.history.reaction_bytes = limits.reaction_bytes;
        self.parts.limits = limits;
    }

    /// How many of so many lines may be logged.
    pub(super) fn may_log(&mut self, lines: usize) -> usize {
        let now = self.parts.clock.monotonic();
        let may = self.allowances.log_lines.take_some(lines as u64, now);
        let dropped = lines as u64 - may;
        if dropped > 0 {
            self.statistics().refuse("log-lines-per-minute", dropped);
        }
        may as usize
    }

    pub(super) fn may_call(&mut self) -> bool {
        let now = self.parts.clock.monotonic();
        let may = self.allowances.calls.take(now);
        self.counted("calls-per-minute", may)
    }

    pub(super) fn may_hear_outcome(&mut self) -> bool {
        let now = self.parts.clock.monotonic();
        self.allowances.outcomes.take(now)
    }

    /// When an outcome may be told, in monotonic time.
    pub(super) fn next_outcome(&self) -> u64 {
        self.allowances.outcomes.next(self.parts.clock.monotonic())
    }

    pub(super) fn may_tick(&mut self) -> bool {
        let now = self.parts.clock.monotonic();
        let may = self.allowances.ticks.take(now);
        self.counted("ticks-per-minute", may)
    }

    /// Counts that the next tick will be late, if it will.
    pub(super) fn note_late_tick(&self) {
        let late = self.wake_at.is_some_and(|due| self.time.due(due) < self.next_tick());
        self.counted("ticks-per-minute", !late);
    }

    /// When a tick is allowed, in monotonic time.
    pub(super) fn next_tick(&self) -> u64 {
        self.allowances.ticks.next(self.parts.clock.monotonic())
    }

    /// Whether the plugin has failed so often that it gets no new instance for this now: when it does, in monotonic time.
    /// A batch that is being halved already has a bound of its own.
    pub(super) fn failing(&mut self, then: &Then) -> Option<u64> {
        let now = self.parts.clock.monotonic();
        let may = self.allowances.faults.take(now);
        let must = match then {
            Then::GoOn | Then::Again { .. } => false,
            Then::Halve(halved) => !halved.halving.is_new(),
            Then::Begin(_) => true,
        };
        (!must && !self.counted("faults-per-minute", may)).then(|| self.allowances.faults.next(now))
    }

    /// What the plugin computed since the last time: what its calls took, but no more than its thread computed in `turn`.
    pub(in crate::tenant) fn take_computed(&mut self, turn: Duration) -> Duration {
        let computed = std::mem::take(&mut self.took).min(turn);
        self.statistics().guest_nanoseconds += u64::try_from(computed.as_nanos()).unwrap_or(u64::MAX);
        computed
    }

    /// How much it may compute in a second beside others.
    pub(in crate::tenant) fn busy(&self) -> Duration {
        Duration::from_millis(self.parts.limits.busy_milliseconds)
    }

    /// It gets a thread of its own.
    pub(in crate::tenant) fn moved_out(&mut self) {
        self.statistics().refusal("busy-milliseconds");
        tracing::warn!(tenant = &*self.parts.history.seat.tenant, "the tenant is busy: it gets a thread of its own");
    }

    /// It would get one, if it could.
    pub(in crate::tenant) fn cannot_move(&self) {
        self.statistics().refusal("own-threads");
    }

    fn counted(&self, limit: &'static str, may: bool) -> bool {
        if !may {
            self.statistics().refusal(limit);
        }
        may
    }
}
