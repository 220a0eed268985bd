//! When a snapshot is due. It is taken in the background, of what is committed.

use super::Actor;
use crate::clock::Clock;
use crate::tenant::follower::{self, FollowError};
use crate::tenant::shard::Command;

/// What there is since the last snapshot.
pub(super) struct Snapshots {
    /// The last input that the newest one contains.
    sequence: u64,
    /// The bytes of inputs since, roughly.
    bytes: u64,
    /// When the first of them was fed, or when the last attempt ended, if that is later; in monotonic time.
    since: u64,
    running: bool,
}

impl Snapshots {
    pub(super) fn new(clock: &dyn Clock) -> Snapshots {
        Snapshots { sequence: 0, bytes: 0, since: clock.monotonic(), running: false }
    }

    /// One more input, at this monotonic time.
    pub(super) fn note(&mut self, bytes: usize, now: u64) {
        if self.bytes == 0 {
            self.since = now;
        }
        self.bytes += bytes as u64;
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
    /// When one is due by age, in the clock's monotonic time.
    pub(super) fn snapshot_due(&self) -> Option<u64> {
        let Snapshots { sequence, since, running, .. } = self.snapshots;
        let wanted = !running && self.committed > sequence && self.unproven.is_empty();
        wanted.then(|| since.saturating_add(self.parts.limits.retention.snapshot_milliseconds))
    }

    pub(super) fn follow_if_due(&mut self) {
        let Snapshots { sequence, bytes, running, .. } = self.snapshots;
        let retention = &self.parts.limits.retention;
        let by_age = self.snapshot_due().is_some_and(|due| due <= self.parts.clock.monotonic());
        let inputs = self.committed.saturating_sub(sequence);
        let due = by_age || inputs >= retention.snapshot_inputs || bytes >= retention.snapshot_bytes;
        // What the journal does not know of a swap cannot be kept for it.
        if due && !running && inputs > 0 && !self.ended && self.unproven.is_empty() {
            self.follow();
        }
    }

    fn follow(&mut self) {
        (self.snapshots.running, self.snapshots.bytes) = (true, 0);
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
        self.snapshots = Snapshots { sequence: through, bytes: self.snapshots.bytes, since: now, running: false };
        match result {
            Ok(()) => self.statistics().snapshot = through,
            Err(error) => {
                let tenant = &*self.parts.history.seat.tenant;
                tracing::error!(tenant, %error, "no snapshot; the journal is not cut");
                self.statistics().snapshot_failures += 1;
            }
        }
    }
}
