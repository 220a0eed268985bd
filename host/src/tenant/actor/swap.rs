//! How another component takes over: what the live instance is fed waits here for the follower, and between two inputs,
//! once nothing waits, the follower becomes the live instance.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commit::Release;
use super::elsewhere::ELSEWHERE;
use super::{Actor, Live};
use crate::clock::timed;
use crate::contract::requests::{End, Settlement};
use crate::contract::types::{Moment, Reaction};
use crate::journal::{Digest, Former, Fresh, Input, Record, Swapped, Tenure};
use crate::plugin::{InstanceLimits, Pin, Plugin};
use crate::tenant::RequestError;
use crate::tenant::replay::Replayed;
use crate::tenant::shard::Command;
use crate::tenant::swap::{
    Apart, CallsApart, Fed, Follower, Plan, Report, Shadow, Step, Successor, Swap, SwapError, SwapEvent, SwapOptions,
};

/// How often it is said how far a swap is, in milliseconds.
const SAID_EVERY_MILLISECONDS: u64 = 200;

/// A follower catches up so often in the background; if something new waits each time, twice as much may then wait each
/// time when it takes over.
const PATIENT_ROUNDS: u32 = 8;

/// How long an input may run that the follower is fed while clients wait for it to take over, in milliseconds.
const LAST_INPUT_MILLISECONDS: u64 = 50;

/// So many requests are compared at once after a swap.
const SWEPT_AT_ONCE: usize = 256;

/// A swap under way.
pub(super) struct Attempt {
    number: u64,
    step: Step,
    plugin: Plugin,
    options: SwapOptions,
    back: bool,
    report: Report,
    /// None: it is at work in the background.
    follower: Option<Box<Follower>>,
    /// What the live instance was fed and the follower was not.
    waiting: Vec<Fed>,
    waiting_bytes: usize,
    /// Inputs behind this one are needed.
    base: u64,
    /// When a shadow of some time ends, in monotonic time; none: none has begun, or it has ended.
    until: Option<u64>,
    /// How often it was caught up with while it was to take over.
    rounds: u32,
    /// When something was said last, in monotonic time.
    said: u64,
}

impl Attempt {
    /// How many inputs may wait when it takes over.
    fn may_wait(&self) -> usize {
        self.rounds.checked_sub(PATIENT_ROUNDS).map_or(0, |more| 1 << more.min(12))
    }

    /// Whether the shadow that has begun is over.
    fn is_over(&self) -> bool {
        let compared = self.follower.as_ref().map_or(0, |follower| follower.compared().0);
        match self.options.shadow {
            None => true,
            Some(Shadow::Inputs(inputs)) => compared >= inputs,
            Some(Shadow::Milliseconds(_)) => self.until.is_none(),
        }
    }
}

impl Actor {
    /// Begins a swap.
    pub(super) fn swap(&mut self, plugin: Plugin, options: SwapOptions, back: bool, report: Report) {
        let refusal = match &self.live {
            _ if self.attempt.is_some() => Some("another swap of this tenant is under way".to_owned()),
            Live::Down { why, .. } | Live::Faulted(why) => Some(format!("the tenant is not live: {why}")),
            Live::Elsewhere(_) => Some(ELSEWHERE.into()),
            Live::Instance(_) | Live::Replaying(_) | Live::Asleep => None,
        };
        if let Some(why) = refusal {
            self.statistics().swap("refused");
            return report.end(Err(SwapError { step: Step::Prepare, why }));
        }
        report.event(SwapEvent::Step(Step::Prepare));
        self.attempts += 1;
        self.attempt = Some(Attempt {
            number: self.attempts,
            step: Step::Prepare,
            plugin,
            options,
            back,
            report,
            follower: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            base: 0,
            until: None,
            rounds: 0,
            said: 0,
        });
        self.swap_on();
    }

    /// Has the follower made. What is fed from here on is journaled, and waits for it.
    fn warm(&mut self) {
        let seed = self.parts.seed;
        let (now, sequence) = (self.time.read(&*self.parts.clock), self.sequence);
        let Some(attempt) = &mut self.attempt else { return };
        attempt.step = Step::Warm;
        let offsets = || self.offsets.iter().map(|(source, offset)| (source.to_string(), *offset)).collect();
        let settings = || self.settings.clone().unwrap_or_default();
        let fresh = attempt.options.fresh.then(|| {
            let (seed, settings, offsets) = (seed(), settings(), offsets());
            Fresh { sequence, now, seed, settings, offsets }
        });
        let plan = Plan {
            history: self.parts.history.clone(),
            plugin: attempt.plugin.clone(),
            options: attempt.options.clone(),
            back: attempt.back,
            fresh,
            events: Some(attempt.report.events()),
        };
        let (through, uncommitted) = (self.committed, self.uncommitted.iter().cloned().collect::<Vec<_>>());
        let (mailbox, number) = (self.parts.mailbox.clone(), attempt.number);
        self.parts.followers.submit(mailbox.key(), move || {
            let result = plan.begin(through, &uncommitted).map(Box::new);
            mailbox.tell(Command::Follower { attempt: number, result });
        });
    }

    /// Whether every input is journaled, because a follower is fed.
    pub(super) fn is_followed(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.step != Step::Prepare)
    }

    /// Which inputs may not be cut off.
    pub(super) fn pinned(&self) -> Option<u64> {
        self.attempt.as_ref().map(|attempt| attempt.base)
    }

    /// What the live instance was fed last waits for the follower.
    pub(super) fn pass_on(&mut self, live: &Reaction) {
        if let (Some(attempt), Some(record)) = (&mut self.attempt, self.uncommitted.back())
            && attempt.step != Step::Prepare
        {
            let bodies = live.replies.iter().map(|reply| reply.body.len());
            attempt.waiting_bytes += record.input.size() + bodies.sum::<usize>();
            attempt.waiting.push(Fed { record: record.clone(), live: live.clone() });
        }
    }

    /// The follower's fed no input that never happened.
    pub(super) fn pass_on_nothing_behind(&mut self, sequence: u64) {
        if let Some(attempt) = &mut self.attempt {
            attempt.waiting.retain(|fed| fed.record.sequence <= sequence);
        }
    }

    /// The follower is back from the background.
    pub(super) fn follower(&mut self, number: u64, result: Result<Box<Follower>, SwapError>) {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.number == number);
        let (Some(attempt), mut follower) = (match result {
            Ok(follower) => (attempt, follower),
            Err(error) if attempt.is_some() => return self.end_swap(error),
            Err(_) => return,
        }) else {
            return;
        };
        if attempt.step == Step::Warm {
            let open = &self.open;
            follower.forget_requests_but(|request| open.has(request));
            attempt.base = follower.base();
            attempt.step = Step::Follow;
            attempt.report.event(SwapEvent::Step(Step::Follow));
        }
        attempt.follower = Some(follower);
        self.say_how_far();
    }

    fn say_how_far(&mut self) {
        let (now, last) = (self.parts.clock.monotonic(), self.sequence);
        let Some(Attempt { follower: Some(follower), report, step, said, .. }) = &mut self.attempt else { return };
        if now < *said {
            return;
        }
        *said = now + SAID_EVERY_MILLISECONDS;
        let (inputs, differences) = follower.compared();
        report.event(match step {
            Step::Shadow => SwapEvent::Compared { inputs, differences },
            _ => SwapEvent::Followed { sequence: follower.sequence(), last },
        });
    }

    /// Whether a swap is to begin once no snapshot is being taken.
    pub(super) fn swap_waits(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.step == Step::Prepare)
    }

    /// Takes the next step of a swap, if it is time.
    pub(super) fn swap_on(&mut self) {
        let now = self.parts.clock.monotonic();
        let Some(attempt) = &mut self.attempt else { return };
        attempt.until.take_if(|until| *until <= now);
        let give_up = |step, why: &str| SwapError { step, why: why.to_owned() };
        if attempt.report.is_abandoned() {
            let error = give_up(attempt.step, "given up");
            return self.end_swap(error);
        }
        if self.farewell.is_some() {
            let error = give_up(attempt.step, "the tenant is closed");
            return self.end_swap(error);
        }
        if attempt.waiting_bytes > self.parts.limits.swap_behind_bytes {
            let error = give_up(attempt.step, "the follower is too far behind (swap-behind-bytes)");
            self.statistics().refusal("swap-behind-bytes");
            return self.end_swap(error);
        }
        if !matches!(self.live, Live::Instance(_)) || self.sent != self.sequence {
            return;
        }
        if attempt.step == Step::Prepare {
            // A snapshot that is being taken does not know what the swap will need.
            if !self.snapshots.is_running() {
                self.warm();
            }
            return;
        }
        if attempt.follower.is_none() {
            return;
        }
        let to_take_over = match attempt.step {
            Step::Follow => attempt.options.shadow.is_none(),
            _ => attempt.is_over(),
        };
        if attempt.waiting.len() > attempt.may_wait() {
            attempt.rounds += u32::from(to_take_over);
            return self.feed_follower();
        }
        match attempt.step {
            Step::Follow if !to_take_over => {
                self.begin_shadow(now);
                // One of nothing is over at once, and nothing else may come.
                self.swap_on();
            }
            _ if to_take_over => self.cut_over(),
            _ => {}
        }
    }

    fn begin_shadow(&mut self, now: u64) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.step = Step::Shadow;
        attempt.report.event(SwapEvent::Step(Step::Shadow));
        if let Some(Shadow::Milliseconds(milliseconds)) = attempt.options.shadow {
            attempt.until = Some(now.saturating_add(milliseconds));
        }
        if let Some(follower) = &mut attempt.follower {
            follower.begin_comparison();
        }
    }

    /// When a shadow of some time ends.
    pub(super) fn shadow_due(&self) -> Option<u64> {
        self.attempt.as_ref().and_then(|attempt| attempt.until)
    }

    fn feed_follower(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        let Some(mut follower) = attempt.follower.take() else { return };
        let fed = std::mem::take(&mut attempt.waiting);
        attempt.waiting_bytes = 0;
        let (mailbox, number) = (self.parts.mailbox.clone(), attempt.number);
        self.parts.followers.submit(mailbox.key(), move || {
            let result = follower.feed(&fed).map(|()| follower);
            mailbox.tell(Command::Follower { attempt: number, result });
        });
    }

    /// Ends a swap; the tenant goes on as it was.
    pub(super) fn end_swap(&mut self, error: SwapError) {
        let Some(attempt) = self.attempt.take() else { return };
        let (tenant, component) = (&*self.parts.history.seat.tenant, attempt.plugin.id());
        tracing::warn!(tenant, %component, step = %error.step, why = error.why, "a swap was not carried out");
        self.statistics().swap("refused");
        self.discard((attempt.follower, attempt.waiting));
        attempt.report.end(Err(error));
    }

    /// Ends a swap, whatever step it is at.
    pub(super) fn give_swap_up(&mut self, why: &str) {
        if let Some(attempt) = &self.attempt {
            let step = attempt.step;
            self.end_swap(SwapError { step, why: why.to_owned() });
        }
    }

    /// Between two inputs.
    fn cut_over(&mut self) {
        let Some(mut attempt) = self.attempt.take() else { return };
        attempt.step = Step::CutOver;
        attempt.report.event(SwapEvent::Step(Step::CutOver));
        let from = self.parts.history.plugin.id();
        let (handed_over, paused) = timed(|| self.hand_over(&mut attempt));
        match handed_over {
            Ok((pin, (compared, differences))) => {
                let (to, sequence) = (attempt.plugin.id(), self.sequence);
                let plugin = self.parts.history.seat.plugin.clone();
                let swap = Swap { plugin, from, to, sequence, compared, differences, paused };
                self.outbox.push(sequence, Release::Swapped(Box::new((attempt.report, swap, pin))));
                self.parts.mailbox.tell(Command::Sweep { swap: sequence, after: 0 });
            }
            Err(error) => {
                self.attempt = Some(attempt);
                self.end_swap(error);
            }
        }
    }

    fn hand_over(&mut self, attempt: &mut Attempt) -> Result<(Pin, (u64, u64)), SwapError> {
        let refused = |why: String| SwapError { step: Step::CutOver, why };
        let limits = &self.parts.limits.instance;
        let Some(mut follower) = attempt.follower.take() else { return Err(refused("it is not there".into())) };
        let hurry = InstanceLimits { call_milliseconds: LAST_INPUT_MILLISECONDS, ..limits.for_replay() };
        follower.set_limits(&hurry);
        let fed = follower.feed(&attempt.waiting);
        let (memory, allowed) = (follower.memory(), limits.memory_bytes);
        let checked = fed.and_then(|()| match memory > allowed {
            true => Err(refused(format!("it needs {memory} bytes of memory and may have {allowed}"))),
            false => Ok(()),
        });
        if let Err(error) = checked {
            self.discard(follower);
            return Err(error);
        }
        let Successor { replayed, guard, wake_at, swapped, told, calls, known, compared, pin, rest } =
            follower.succeed(Some(former(&self.parts.history.plugin)), self.parts.history.configured);
        let Replayed { plugin, mut instance, .. } = replayed;
        instance.set_limits(&self.parts.limits.instance);
        let old = std::mem::replace(&mut self.live, Live::Instance(Box::new(instance)));
        let old_guard = std::mem::replace(&mut self.guard, guard);
        self.wake_at = wake_at;
        self.note_swap(plugin, swapped);
        self.make_good(told, calls, known);
        self.discard((old, old_guard, rest, std::mem::take(&mut attempt.waiting)));
        Ok((pin, compared))
    }

    /// The record of the swap goes into the journal; what the plugin makes from here on leaves after it.
    pub(super) fn note_swap(&mut self, plugin: Plugin, swapped: Swapped) {
        let Moment { now, sequence } = self.moment();
        let tenure = Tenure::of(&swapped, sequence, now);
        let tenant = &*self.parts.history.seat.tenant;
        tracing::info!(tenant, component = %swapped.to, sequence, back = swapped.back, "another component takes over");
        let input = Arc::new(Input::Swapped(Box::new(swapped)));
        self.note(Record { sequence, now, digest: Digest::default(), input });
        self.send();
        self.unproven.push_back((sequence, self.parts.history.plugin.clone(), self.tenure.clone()));
        self.put_in_charge(plugin, tenure);
        self.recent_faults.clear();
    }

    /// From here on no other component is called.
    pub(super) fn put_in_charge(&mut self, plugin: Plugin, tenure: Tenure) {
        let former = self.parts.running.set(&plugin, &tenure);
        self.discard(former);
        self.parts.history.plugin = plugin;
        self.tenure = tenure;
    }

    /// What only one of the two told clients, or asked for, is brought in line with what the successor takes for true.
    pub(super) fn make_good(&mut self, told: Vec<Apart>, calls: CallsApart, known: Option<BTreeSet<u64>>) {
        if let Some(known) = known {
            self.open.cap_all_but(&known);
        }
        let mut replies = Vec::new();
        if !told.is_empty() {
            let answered: BTreeSet<u64> = self.outbox.iter().flat_map(Release::replies).map(|reply| reply.to).collect();
            for apart in told {
                let request = apart.request;
                let apart = apart.known(self.open.is_parked(request) && !answered.contains(&request));
                self.open.cap(request, apart.cap);
                if apart.only_live_ended {
                    let parts = apart.cap.unwrap_or(0);
                    self.settlements.push(Settlement { request, parts, end: Some(End::Gone) });
                }
                replies.extend(apart.ahead);
            }
        }
        let CallsApart { own, live, pending } = calls;
        if !live.is_empty() {
            self.outbox.iter_mut().for_each(|release| release.forget_calls(&live));
            live.iter().for_each(|call| self.calls.told(*call));
        }
        own.iter().for_each(|call| self.calls.wanted(call.id));
        if !replies.is_empty() || !own.is_empty() {
            let wake_at = self.wake_at;
            let reaction = Reaction { replies, calls: own, wake_at, rejections: vec![], logs: vec![], changed: true };
            self.outbox.push(self.sequence, Release::Reaction(reaction));
        }
        self.reconcile_calls(&pending);
    }

    /// After a swap: requests that only the host knows are closed, those that only the plugin knows are settled as gone;
    /// some at a time, because there may be many and clients wait.
    pub(super) fn sweep(&mut self, swap: u64, after: u64) {
        if self.tenure.since != swap || !matches!(self.live, Live::Instance(_)) {
            return;
        }
        let answered: BTreeSet<u64> = self.outbox.iter().flat_map(Release::replies).map(|reply| reply.to).collect();
        let settled: BTreeSet<u64> = self.settlements.iter().map(|settlement| settlement.request).collect();
        let host: Vec<u64> = self.open.numbers_after(after).take(SWEPT_AT_ONCE).collect();
        let plugin: Vec<u64> = self.guard.answerable_after(after).take(SWEPT_AT_ONCE).collect();
        let end = |ids: &[u64]| if ids.len() < SWEPT_AT_ONCE { u64::MAX } else { ids[SWEPT_AT_ONCE - 1] };
        let through = end(&host).min(end(&plugin));
        for id in host.into_iter().filter(|id| *id <= through) {
            if self.open.is_unanswered(id) && !self.guard.may_answer(id) && !answered.contains(&id) {
                self.open.close(id, RequestError::Closed("the new version of the plugin does not know it".into()));
            }
        }
        for request in plugin.into_iter().filter(|id| *id <= through && !settled.contains(id)) {
            if !self.open.has(request) {
                self.settlements.push(Settlement { request, parts: 0, end: Some(End::Gone) });
            }
        }
        if through < u64::MAX {
            self.parts.mailbox.tell(Command::Sweep { swap, after: through });
        }
    }

    /// Drops what takes long to drop.
    fn discard(&self, large: impl Send + 'static) {
        self.parts.followers.submit(self.parts.mailbox.key(), move || drop(large));
    }
}

/// What another component takes over from.
pub(super) fn former(plugin: &Plugin) -> Former {
    Former { component: plugin.id(), formats: plugin.manifest().state_formats.clone() }
}
