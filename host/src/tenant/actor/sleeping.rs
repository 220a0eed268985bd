//! How a tenant sleeps that nobody uses: its instance is dropped, because the journal gives it again, and the next input or
//! timer has it given. Requests that are open are the host's, and stay open.

use super::recovery::Then;
use super::{Actor, Live};
use crate::clock::Stopwatch;
use crate::tenant::shard::Command;

/// With more inputs since the newest snapshot than these, or more bytes of them, another one is taken first: fewer are fed
/// again faster than a snapshot is made.
const REPLAYED_INPUTS: u64 = 64;
const REPLAYED_BYTES: u64 = 64 << 10;

/// How long to wait until it is tried again to have an instance where there were too many, in milliseconds, and how often:
/// then what waits is refused.
pub(super) const ROOM_MILLISECONDS: u64 = 250;
const MOST_TRIES: u32 = 20;

/// How finely it is told who was used last, in milliseconds.
const GRAIN_MILLISECONDS: u64 = 1_000;

/// Whether a tenant may, or is to, sleep.
pub(super) struct Rest {
    /// When it was used last, in monotonic time.
    used: u64,
    /// Others need its place: it is to sleep as soon as it can.
    drowsy: bool,
    /// Since it was to wake.
    waking: Option<Stopwatch>,
    /// There was no room for its instance: when it is tried again, in monotonic time, and how often it was tried.
    again: Option<u64>,
    tries: u32,
}

impl Rest {
    pub(super) fn new(now: u64) -> Rest {
        Rest { used: now, drowsy: false, waking: None, again: None, tries: 0 }
    }

    /// It is tried to have an instance.
    pub(super) fn try_now(&mut self) {
        self.again = None;
    }
}

impl Actor {
    /// It is used.
    pub(super) fn stir(&mut self) {
        self.rest.used = self.parts.clock.monotonic();
        self.rest.drowsy = false;
    }

    /// When it was used last, roughly, if it has an instance that it could do without.
    pub(in crate::tenant) fn awake_since(&self) -> Option<u64> {
        let awake = matches!(self.live, Live::Instance(_)) && !self.rest.drowsy;
        awake.then_some(self.rest.used / GRAIN_MILLISECONDS)
    }

    /// It is to sleep as soon as it can.
    pub(in crate::tenant) fn doze(&mut self) {
        self.rest.drowsy = true;
    }

    /// When it is to sleep, or to take the snapshot before that, in monotonic time; none: something is under way.
    pub(super) fn sleep_due(&self) -> Option<u64> {
        let due = match self.rest.drowsy {
            true => self.rest.used,
            false => self.rest.used.saturating_add(self.parts.limits.sleep_milliseconds),
        };
        self.is_quiet().then_some(due)
    }

    fn is_quiet(&self) -> bool {
        let told = self.deferred.is_empty() && self.settlements.is_empty() && self.calls.outcome().is_none();
        let committed = self.outbox.len() == 0 && self.committed == self.sequence;
        let stays = self.attempt.is_none() && self.take_over.is_none() && self.farewell.is_none() && !self.ended;
        matches!(self.live, Live::Instance(_))
            && told
            && committed
            && stays
            && !self.snapshots.is_running()
            && !self.is_timer_due()
    }

    fn is_timer_due(&self) -> bool {
        self.wake_at.is_some_and(|due| self.time.due(due) <= self.parts.clock.monotonic())
    }

    pub(super) fn sleep_if_due(&mut self) {
        if self.sleep_due().is_none_or(|due| due > self.parts.clock.monotonic()) {
            return;
        }
        if self.is_long_since_snapshot() {
            return self.follow();
        }
        self.live = Live::Asleep;
        self.rest.drowsy = false;
        self.parts.running.rest();
        let mut statistics = self.statistics();
        (statistics.memory, statistics.asleep) = (0, 1);
    }

    fn is_long_since_snapshot(&self) -> bool {
        let (inputs, bytes) = self.snapshots.since(self.committed);
        inputs > REPLAYED_INPUTS || bytes > REPLAYED_BYTES
    }

    /// Whether something is to be done that needs an instance.
    pub(super) fn is_wanted(&self) -> bool {
        let asked = match self.deferred.front() {
            None | Some(Command::SourceOffset { .. }) => false,
            Some(Command::Close { .. } | Command::Leave { .. }) => !self.open.is_empty(),
            Some(_) => true,
        };
        asked || !self.settlements.is_empty() || self.calls.outcome().is_some() || self.is_timer_due()
    }

    /// Somebody waits for it.
    pub(super) fn wake(&mut self) {
        self.rest.waking = Some(Stopwatch::start());
        self.statistics().asleep = 0;
        self.live = Live::Replaying(Then::GoOn);
        self.begin_replay();
        self.parts.followers.hurry(self.parts.mailbox.key());
    }

    /// There is no room for its instance. Whether it waits for that, and what is sent to it meanwhile with it.
    pub(super) fn waits_for_room(&mut self) -> bool {
        self.rest.tries += 1;
        let waits = self.rest.tries < MOST_TRIES;
        self.rest.again = waits.then(|| self.parts.clock.monotonic() + ROOM_MILLISECONDS);
        waits
    }

    /// When it is tried again whether there is room, in monotonic time.
    pub(super) fn room_due(&self) -> Option<u64> {
        self.rest.again.filter(|_| matches!(self.live, Live::Replaying(_)))
    }

    /// It has no instance, and waits for none.
    pub(super) fn wants_no_room(&mut self) {
        (self.rest.again, self.rest.tries) = (None, 0);
    }

    pub(super) fn try_room_again(&mut self) {
        if self.rest.again.is_some_and(|again| again <= self.parts.clock.monotonic()) {
            self.begin_replay();
        }
    }

    /// It has an instance again.
    pub(super) fn woken(&mut self) {
        self.stir();
        self.wants_no_room();
        if let Some(waking) = self.rest.waking.take() {
            self.parts.timings.opened(waking.elapsed());
            self.statistics().wakes += 1;
        }
    }
}
