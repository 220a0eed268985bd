//! When a snapshot is due. It is taken in the background, of what is committed.

use super::recovery::Then;
use super::{Actor, Live};
use crate::clock::Clock;
use crate::tenant::follower::{self, FollowError};
use crate::tenant::shard::Command;

/// How long to wait after an attempt, in milliseconds, where nothing more is taken until there is a snapshot.
const AGAIN_MILLISECONDS: u64 = 10_000;

/// What there is since the last snapshot.
pub(super) struct Snapshots {
    /// The last input that the newest one contains.
    sequence: u64,
    /// The bytes of inputs since, roughly, or since the attempt that runs.
    bytes: u64,
    /// The bytes of inputs between it and the attempt that runs, or those that failed.
    unsaved: u64,
    /// When the first of them was fed, or when the last attempt ended, if that is later; in monotonic time.
    since: u64,
    running: bool,
}

impl Snapshots {
    pub(super) fn new(clock: &dyn Clock) -> Snapshots {
        Snapshots { sequence: 0, bytes: 0, unsaved: 0, since: clock.monotonic(), running: false }
    }

    /// One more input, at this monotonic time.
    pub(super) fn note(&mut self, bytes: usize, now: u64) {
        if self.bytes == 0 {
            self.since = now;
        }
        self.bytes += bytes as u64;
    }

    /// An instance was made of the newest one, or of none, and inputs of so many bytes.
    pub(super) fn replayed(&mut self, bytes: u64) {
        if !self.running {
            (self.bytes, self.unsaved) = (bytes, 0);
        }
    }

    /// The bytes of inputs that are in no snapshot.
    pub(super) fn unsaved(&self) -> u64 {
        self.bytes + self.unsaved
    }

    /// How many inputs there are up to this one since the last snapshot, and about how many bytes of them.
    pub(super) fn since(&self, committed: u64) -> (u64, u64) {
        (committed.saturating_sub(self.sequence), self.bytes)
    }

    /// Whether one is being taken.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// The journal has one at `sequence`.
    pub(super) fn found(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }
}

impl Actor {
    /// When one is due by age, or another attempt where nothing is taken without it, in the clock's monotonic time.
    pub(super) fn snapshot_due(&self) -> Option<u64> {
        let Snapshots { sequence, since, running, .. } = self.snapshots;
        let possible = !running && self.unproven.is_empty();
        // One that sleeps has taken its own, and one that is elsewhere has them taken there.
        let may = possible && !matches!(self.live, Live::Asleep | Live::Elsewhere(_));
        let age = self.parts.limits.retention.snapshot_milliseconds;
        if may && self.needs_snapshot() && self.committed > 0 && self.uncommitted.is_empty() {
            return Some(since.saturating_add(age.min(AGAIN_MILLISECONDS)));
        }
        (may && self.committed > sequence).then(|| since.saturating_add(age))
    }

    /// Whether nothing more is taken until there is one.
    pub(super) fn needs_snapshot(&self) -> bool {
        self.snapshots.unsaved() > self.parts.limits.journal_bytes
    }

    pub(super) fn follow_if_due(&mut self) {
        let Snapshots { sequence, bytes, running, .. } = self.snapshots;
        let retention = &self.parts.limits.retention;
        let by_age = self.snapshot_due().is_some_and(|due| due <= self.parts.clock.monotonic());
        let inputs = self.committed.saturating_sub(sequence);
        let many = inputs >= retention.snapshot_inputs || bytes >= retention.snapshot_bytes;
        let due = by_age || many && inputs > 0 && !matches!(self.live, Live::Elsewhere(_));
        // What the journal does not know of a swap cannot be kept for it.
        if due && !running && !self.ended && self.unproven.is_empty() {
            self.follow();
        }
    }

    pub(super) fn follow(&mut self) {
        self.snapshots.running = true;
        self.snapshots.unsaved += std::mem::take(&mut self.snapshots.bytes);
        let (history, retention) = (self.parts.history.clone(), self.parts.limits.retention.clone());
        let (mailbox, through, pinned) = (self.parts.mailbox.clone(), self.committed, self.pinned());
        self.parts.followers.submit(mailbox.key(), move || {
            let result = follower::snapshot(&history, through, pinned, &retention);
            mailbox.tell(Command::Followed { through, result });
        });
    }

    /// After a failure the next attempt waits as long as after a success: what failed would fail again.
    pub(super) fn followed(&mut self, through: u64, result: Result<(), FollowError>) {
        let now = self.parts.clock.monotonic();
        let Snapshots { bytes, unsaved, .. } = self.snapshots;
        self.snapshots = Snapshots { sequence: through, bytes, unsaved, since: now, running: false };
        match result {
            Ok(()) => {
                self.snapshots.unsaved = 0;
                self.statistics().snapshot = through;
            }
            Err(error) => {
                let tenant = &*self.parts.history.seat.tenant;
                tracing::error!(tenant, %error, "no snapshot; the journal is not cut");
                self.statistics().snapshot_failures += 1;
                if let Some(reason) = error.reason() {
                    self.not_followed(reason);
                }
            }
        }
        // So many may have come meanwhile that another is due, and nothing else may come for long. A swap that waited for
        // this one comes first.
        if !self.swap_waits() {
            self.follow_if_due();
        }
    }

    /// The plugin is to blame. Where its state does not follow from its inputs, nobody is to see more of it.
    fn not_followed(&mut self, reason: &'static str) {
        if reason == "instances" {
            return self.statistics().refusal(reason);
        }
        self.statistics().fault(reason);
        if reason == "divergence" && matches!(self.live, Live::Instance(_)) {
            self.replay(Then::GoOn);
        }
    }
}
