//! How a tenant comes to an instance: the journal is replayed into a new one, in the background, when the tenant opens
//! and whenever the former one failed.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::commit::Release;
use super::feeding::{Failed, Halved};
use super::sleeping::ROOM_MILLISECONDS;
use super::swap::former as former_of;
use super::{Actor, Beginning, Live};
use crate::OpenError;
use crate::clock::TenantTime;
use crate::contract::lifecycle::{Pending, Restart};
use crate::contract::requests::{End, Settlement};
use crate::journal::{ComponentId, Former, Input, JournalError, Record};
use crate::plugin::{ComponentError, Fault, Plugin};
use crate::tenant::guard::Guard;
use crate::tenant::replay::{History, ReplayError, Replayed};
use crate::tenant::shard::Command;
use crate::tenant::swap::{Plan, Step, Successor, SwapError, SwapOptions};
use crate::tenant::{IngestError, RequestError, tenure};

/// What an instance is wanted for.
pub(super) enum Then {
    /// The tenant opens.
    Begin(Beginning),
    /// What waits.
    GoOn,
    /// An input of the host's own on which the plugin failed.
    Again { input: Input, attempt: u32 },
    /// The rest of a batch on which it failed.
    Halve(Halved),
}

/// How often a plugin may fail within a minute of a new version before the version before is gone back to.
const FAULTS_TO_GO_BACK: usize = 3;

/// How long a fault counts, in milliseconds.
const FAULT_MILLISECONDS: u64 = 60_000;

/// What a replay gave.
pub(crate) enum Recovered {
    /// An instance of the component in charge.
    Same(Box<Replayed>),
    /// One of another component, which takes over.
    Other(Box<Successor>),
}

/// Another component that takes over without a live instance.
#[derive(Clone)]
pub(crate) struct TakeOver {
    pub(crate) to: Successive,
    pub(crate) from: Option<Former>,
}

/// Which component takes over, and why.
#[derive(Clone)]
pub(crate) enum Successive {
    /// The configuration names it since.
    Configured(Plugin),
    /// The one that is in charge failed too often.
    Former(ComponentId),
}

/// What a history says of the time before it was replayed.
struct Past {
    /// The tenant's time at the last input, in milliseconds since the Unix epoch.
    now: u64,
    /// See [`crate::journal::SeatFacts::regressed`].
    regressed: bool,
    /// It has inputs that were given up.
    late: bool,
}

impl Actor {
    /// Replaces the instance by one that the journal gives. Where that was so often of late that it would be all that is
    /// done, the tenant is down for a while first.
    pub(super) fn replay(&mut self, then: Then) {
        if let Some(until) = self.failing(&then) {
            self.live = Live::Down { why: "the plugin fails too often".into(), until, then: None };
            return self.abandon(then, OpenError::Fault("it fails too often".into()));
        }
        self.live = Live::Replaying(then);
        self.begin_replay();
    }

    /// As `replay`, if an instance was lost.
    pub(super) fn replay_after(&mut self, failed: &Failed, then: Then) {
        if failed.fault.is_some() {
            self.replay(then);
        }
    }

    pub(super) fn begin_replay(&mut self) {
        self.replays += 1;
        self.rest.try_now();
        let (history, replay) = (self.parts.history.clone(), self.replays);
        let uncommitted: Vec<_> = self.uncommitted.iter().cloned().collect();
        let mailbox = self.parts.mailbox.clone();
        let (take_over, prepared) = (self.take_over.clone(), self.prepared.take());
        self.parts.followers.submit(mailbox.key(), move || {
            let begun = prepared.map(|prepared| *prepared.replayed);
            let result = recover(&history, take_over, begun, &uncommitted);
            mailbox.tell(Command::Replayed { replay, result });
        });
    }

    /// Somebody waits for the tenant to open.
    pub(super) fn hurry(&self) {
        if matches!(self.live, Live::Replaying(_)) && self.deferred.is_empty() {
            self.parts.followers.hurry(self.parts.mailbox.key());
        }
    }

    /// Has an instance made where there is none, if it is wanted and may be had: what failed for a reason that may have
    /// passed is tried again, if it is time.
    pub(super) fn revive(&mut self) {
        match self.live {
            Live::Asleep if self.is_wanted() => return self.wake(),
            Live::Replaying(_) => return self.try_room_again(),
            _ => {}
        }
        let now = self.parts.clock.monotonic();
        let then = match &mut self.live {
            Live::Down { until, then, .. } if *until <= now => then.take(),
            _ => return,
        };
        match then {
            Some(then) => {
                self.live = Live::Replaying(*then);
                self.begin_replay();
            }
            None => self.replay(Then::GoOn),
        }
    }

    pub(super) fn replayed(&mut self, replay: u64, result: Result<Recovered, ReplayError>) {
        if replay != self.replays || !matches!(self.live, Live::Replaying(_)) {
            return;
        }
        let nothing = Live::Down { why: String::new(), until: 0, then: None };
        let Live::Replaying(then) = std::mem::replace(&mut self.live, nothing) else { return };
        if !result.as_ref().is_err_and(may_pass) {
            self.take_over = None;
        }
        let adopted = result.and_then(|recovered| self.adopt(recovered));
        match (adopted, then) {
            (Ok(past), Then::Begin(beginning)) => self.begin(beginning, past),
            (Ok(past), then) => {
                if past.late {
                    self.make_up_for_late();
                }
                self.go_on_with(then);
            }
            (Err(error), then) => self.not_replayed(&error, then),
        }
    }

    fn go_on_with(&mut self, then: Then) {
        match then {
            Then::Begin(_) | Then::GoOn => {}
            Then::Again { input, attempt } => self.try_own(input, attempt),
            Then::Halve(halved) => self.halve(halved),
        }
    }

    /// Appends that were given up were stored after all, and nothing of what they brought has left. So whoever waits is told
    /// to come again: the plugin would count what it never sent.
    fn make_up_for_late(&mut self) {
        let tenant = &*self.parts.history.seat.tenant;
        tracing::warn!(tenant, sequence = self.sequence, "appends that were given up were stored after all");
        self.feed_own(Input::Restarted(Restart { down_ms: 0, regressed: false }));
    }

    /// Makes the instance the live one, and its open requests those of the host.
    fn adopt(&mut self, recovered: Recovered) -> Result<Past, ReplayError> {
        let (mut replayed, other) = match recovered {
            Recovered::Same(replayed) => (*replayed, None),
            Recovered::Other(successor) => {
                let Successor { replayed, swapped, told, calls, known, guard, .. } = *successor;
                (replayed, Some((swapped, told, calls, known, guard)))
            }
        };
        // They may have changed since the replay began.
        replayed.instance.set_limits(&self.parts.limits.instance);
        let pending = replayed.pending()?;
        let Replayed { plugin, tenure, instance, facts, sequence, now, offsets, settings, bytes, .. } = replayed;
        self.live = Live::Instance(Box::new(instance));
        self.woken();
        if self.uncommitted.is_empty() {
            (self.committed, self.sent) = (sequence, sequence);
            self.statistics().sequence = sequence;
        }
        let late = sequence > self.sequence;
        self.sequence = sequence;
        self.offsets = offsets;
        self.settings = settings;
        if self.time.read(&*self.parts.clock) < now {
            self.time = TenantTime::start(&*self.parts.clock, now);
        }
        self.wake_at = pending.wake_at;
        match other {
            None => {
                self.put_in_charge(plugin, tenure);
                self.guard = Guard::after_load(&pending.requests, &pending.calls, self.parts.limits.reaction_bytes);
            }
            Some((swapped, told, calls, known, guard)) => {
                self.give_swap_up("another component took over meanwhile");
                if swapped.back {
                    self.statistics().swap("rolled-back");
                }
                self.guard = guard;
                self.note_swap(plugin, swapped);
                self.make_good(told, calls, known);
            }
        }
        self.reconcile(&pending);
        if let Some(newest) = facts.as_ref().and_then(|facts| facts.snapshots.last()) {
            self.snapshots.found(newest.sequence);
        }
        self.snapshots.replayed(bytes);
        Ok(Past { now, regressed: facts.is_some_and(|facts| facts.regressed), late })
    }

    /// After every load: requests that only the host knows are closed, unless the rest of their answer waits in the
    /// outbox; those that only the plugin knows are settled as gone. Of calls likewise.
    fn reconcile(&mut self, pending: &Pending) {
        let answered = self.outbox.iter().flat_map(Release::replies).map(|reply| reply.to);
        let expected: BTreeSet<u64> = pending.requests.iter().copied().chain(answered).collect();
        let known: BTreeSet<u64> = self.open.numbers().collect();
        for id in known.difference(&expected) {
            self.open.close(*id, RequestError::Closed("the plugin lost it".into()));
        }
        let told: BTreeSet<u64> = self.settlements.iter().map(|settlement| settlement.request).collect();
        let gone = pending.requests.iter().filter(|id| !known.contains(id) && !told.contains(id));
        self.settlements.extend(gone.map(|id| Settlement { request: *id, parts: 0, end: Some(End::Gone) }));
        self.reconcile_calls(&pending.calls);
    }

    /// The plugin waits for these calls and no others.
    pub(super) fn reconcile_calls(&mut self, pending: &[u64]) {
        if !pending.is_empty() || !self.calls.is_empty() {
            let unmade = self.outbox.iter().flat_map(Release::calls).map(|call| call.id).collect();
            self.calls.reconcile(pending, &unmade);
        }
    }

    fn begin(&mut self, beginning: Beginning, past: Past) {
        let settings = beginning.settings.clone();
        let begun = match self.settings.is_some() {
            true => self.resume(settings, past),
            false => self.open(beginning.seed.clone(), settings),
        };
        match begun {
            Ok(()) => self.outbox.push(self.sequence, Release::Opened(Box::new(beginning))),
            Err(error) => {
                (beginning.opened)(Err(error));
                self.end();
            }
        }
    }

    /// A tenant for which the journal has nothing.
    fn open(&mut self, seed: Vec<u8>, settings: Vec<(String, String)>) -> Result<(), OpenError> {
        match self.feed(Input::Open { seed, settings }) {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => return Err(OpenError::Settings(why)),
            Err(failed) => return Err(OpenError::Fault(failed.why)),
        }
        if let Live::Instance(instance) = &mut self.live {
            let pending = instance.outstanding().map_err(|fault| OpenError::Fault(fault.to_string()))?;
            self.wake_at = pending.wake_at;
        }
        Ok(())
    }

    /// A tenant that the journal knows: it goes on where it was.
    fn resume(&mut self, settings: Vec<(String, String)>, past: Past) -> Result<(), OpenError> {
        // What the requests of an earlier life wait for, `restarted` settles.
        self.settlements.clear();
        let down_ms = self.time.read(&*self.parts.clock).saturating_sub(past.now);
        let restart = self.feed(Input::Restarted(Restart { down_ms, regressed: past.regressed }));
        let reaction = restart.map_err(|failed| OpenError::Fault(failed.why))?.map_err(OpenError::Settings)?;
        self.outbox.push(self.sequence, Release::Reaction(reaction));
        if self.settings.as_ref() != Some(&settings) {
            let configured = self.feed(Input::Configure { settings });
            let reaction = configured.map_err(|failed| OpenError::Fault(failed.why))?.map_err(OpenError::Settings)?;
            self.outbox.push(self.sequence, Release::Reaction(reaction));
        }
        Ok(())
    }

    fn not_replayed(&mut self, error: &ReplayError, then: Then) {
        let tenant = &*self.parts.history.seat.tenant;
        if let ReplayError::Fault(full @ Fault::Instances(_)) = error {
            return self.has_no_room(full, then);
        }
        tracing::error!(tenant, %error, "its history gives no instance");
        self.close_all("its history cannot be read");
        match error {
            ReplayError::Journal(error @ JournalError::Store(_))
            | ReplayError::Component(ComponentError::Journal(_, error @ JournalError::Store(_))) => {
                self.failures += 1;
                self.live = self.down(error);
                match then {
                    Then::Begin(beginning) if beginning.patient => self.begin_later(beginning),
                    then => self.abandon(then, OpenError::Journal(error.to_string())),
                }
            }
            error => {
                self.abandon(then, OpenError::History(error.to_string()));
                self.give_up(error.to_string());
            }
        }
    }

    /// The tenant opens when what keeps it from that has passed.
    pub(super) fn begin_later(&mut self, beginning: Beginning) {
        if let Live::Down { then, .. } = &mut self.live {
            *then = Some(Box::new(Then::Begin(beginning)));
        }
    }

    /// There are as many instances as there may be: it is tried again. Who is open stays open.
    fn has_no_room(&mut self, full: &Fault, then: Then) {
        self.statistics().refusal("instances");
        let until = self.parts.clock.monotonic() + ROOM_MILLISECONDS;
        let patient = match &then {
            Then::Begin(beginning) => beginning.patient,
            Then::GoOn | Then::Again { .. } | Then::Halve(_) => true,
        };
        if patient && self.waits_for_room() {
            self.live = Live::Replaying(then);
            return;
        }
        let patient = patient && matches!(then, Then::Begin(_) | Then::Again { .. });
        self.live = Live::Down { why: full.to_string(), until, then: None };
        match &mut self.live {
            Live::Down { then: later, .. } if patient => *later = Some(Box::new(then)),
            _ => self.abandon(then, OpenError::Full(full.to_string())),
        }
    }

    /// Whether it never had an instance, and nobody could begin anything with it.
    pub(super) fn is_unopened(&self) -> bool {
        match &self.live {
            Live::Replaying(then) => matches!(then, Then::Begin(_)),
            Live::Down { then, .. } => matches!(then.as_deref(), Some(Then::Begin(_))),
            Live::Elsewhere(_) => true,
            Live::Instance(_) | Live::Asleep | Live::Faulted(_) => false,
        }
    }

    /// There is nobody to take leave of.
    pub(super) fn close_unopened(&mut self, respond: oneshot::Sender<()>) {
        self.parts.mailbox.taken();
        let nothing = Live::Down { why: "the tenant is closed".into(), until: u64::MAX, then: None };
        let then = match std::mem::replace(&mut self.live, nothing) {
            Live::Replaying(then) => then,
            Live::Down { then: Some(then), .. } => *then,
            Live::Elsewhere(beginning) => Then::Begin(*beginning),
            Live::Instance(_) | Live::Asleep | Live::Down { .. } | Live::Faulted(_) => return,
        };
        self.abandon(then, OpenError::Closed);
        // An error means that nobody waits.
        let _ = respond.send(());
    }

    /// Tells who waits for more than an instance that it does not come.
    pub(super) fn abandon(&mut self, then: Then, error: OpenError) {
        match then {
            Then::Begin(beginning) => {
                (beginning.opened)(Err(error));
                self.end();
            }
            Then::Halve(halved) => {
                // What was fed of the batch, too.
                self.forget_unsent();
                drop(halved.respond.send(Err(match error {
                    OpenError::Journal(why) => IngestError::Journal(why),
                    other => IngestError::Fault(other.to_string()),
                })));
            }
            Then::GoOn | Then::Again { .. } => {}
        }
    }

    /// The plugin failed. If it does so too often, soon after it took over, the version before is gone back to.
    pub(super) fn note_fault(&mut self) {
        let now = self.parts.clock.monotonic();
        self.recent_faults.push_back(now);
        while self.recent_faults.pop_front_if(|fault| *fault + FAULT_MILLISECONDS < now).is_some() {}
        let new = self.tenure.since > 0 && !self.tenure.back;
        if let (true, Some(former)) = (new, &self.tenure.previous)
            && self.recent_faults.len() >= FAULTS_TO_GO_BACK
        {
            let (tenant, component) = (&*self.parts.history.seat.tenant, former.component);
            tracing::error!(tenant, %component, "the plugin failed too often since it took over: back to the one before");
            let from = Some(former_of(&self.parts.history.plugin));
            self.take_over = Some(TakeOver { to: Successive::Former(component), from });
        }
    }

    /// Whether the version before is to be gone back to.
    pub(super) fn is_to_go_back(&self) -> bool {
        self.take_over.is_some()
    }

    pub(super) fn give_up(&mut self, why: String) {
        tracing::error!(tenant = &*self.parts.history.seat.tenant, why, "the tenant is closed as faulted");
        self.give_swap_up(&format!("the tenant is closed as faulted: {why}"));
        self.live = Live::Faulted(why);
        self.wake_at = None;
        self.forget_unsent();
        self.calls.forget();
        self.close_all("the plugin failed");
    }

    /// As `close_all`, but who is answered to the end once that is committed is answered.
    pub(super) fn close_unanswered(&mut self, why: &str) {
        let ends = self.outbox.iter().flat_map(Release::replies).filter(|reply| !reply.more).map(|reply| reply.to);
        let answered: BTreeSet<u64> = ends.collect();
        for id in self.open.numbers().filter(|id| !answered.contains(id)).collect::<Vec<_>>() {
            self.open.close(id, RequestError::Closed(why.into()));
        }
    }

    pub(super) fn close_all(&mut self, why: &str) {
        for id in self.open.numbers().collect::<Vec<_>>() {
            self.open.close(id, RequestError::Closed(why.into()));
        }
    }
}

/// Whether the same replay may succeed later.
fn may_pass(error: &ReplayError) -> bool {
    matches!(
        error,
        ReplayError::Journal(JournalError::Store(_))
            | ReplayError::Component(ComponentError::Journal(_, JournalError::Store(_)))
            | ReplayError::Fault(Fault::Instances(_))
    )
}

/// The instance that the history gives: of the component that is to take over, or, where it cannot, of the one in charge.
fn recover(
    history: &History,
    take_over: Option<TakeOver>,
    begun: Option<Replayed>,
    uncommitted: &[Record],
) -> Result<Recovered, ReplayError> {
    let same = || history.replay(begun, u64::MAX, uncommitted).map(|replayed| Recovered::Same(Box::new(replayed)));
    let Some(take_over) = take_over else { return same() };
    // It may have been elsewhere meanwhile, and was given another one there.
    let in_charge = tenure::in_charge(&*history.journal, &history.seat, uncommitted)?;
    if in_charge.is_some_and(|component| take_over.from.as_ref().is_none_or(|from| from.component != component)) {
        return same();
    }
    match succeed(history, take_over, uncommitted) {
        Ok(successor) => Ok(Recovered::Other(Box::new(successor))),
        Err(error) => {
            let tenant = &*history.seat.tenant;
            tracing::error!(tenant, step = %error.step, why = error.why, "another component cannot take over");
            match same() {
                Err(ReplayError::Component(ComponentError::Missing(_))) => Err(ReplayError::TakeOver(error)),
                recovered => recovered,
            }
        }
    }
}

fn succeed(history: &History, take_over: TakeOver, uncommitted: &[Record]) -> Result<Successor, SwapError> {
    let TakeOver { to, from } = take_over;
    let (plugin, back) = match to {
        Successive::Configured(plugin) => (plugin, false),
        Successive::Former(component) => {
            let plugin = history.library.get(component);
            (plugin.map_err(|error| SwapError::at(Step::Prepare, error))?, true)
        }
    };
    let options = SwapOptions::default();
    let plan = Plan { history: history.clone(), plugin, options, back, fresh: None, events: None };
    Ok(plan.begin(u64::MAX, uncommitted)?.succeed(from, history.configured))
}
