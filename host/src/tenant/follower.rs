//! Snapshots: a second instance is brought to where the live one was, in the background, and saved. The live instance
//! never stops for it.

use super::replay::{self, History, ReplayError, Replayed};
use crate::journal::{JournalError, SeatFacts, Snapshot, SnapshotFacts, Tenure};
use crate::plugin::{Fault, Plugin};

/// When a snapshot is taken, and how much of the past is kept. Whichever limit is met first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// After so many inputs a snapshot is taken.
    pub snapshot_inputs: u64,
    /// After about so many bytes of inputs.
    pub snapshot_bytes: u64,
    /// This long after an input that is in none, in milliseconds.
    pub snapshot_milliseconds: u64,
    /// Inputs this old are kept for replay, in milliseconds, whatever snapshots there are, ...
    pub history_milliseconds: u64,
    /// ... as long as they and the snapshots in between have not more than about so many bytes. Two snapshots and what
    /// follows the older one are kept always.
    pub history_bytes: u64,
    /// So long after a swap, in milliseconds, everything is kept that the version before needs to be gone back to; then
    /// only if it is kept anyway.
    pub rollback_milliseconds: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            snapshot_inputs: 10_000,
            snapshot_bytes: 64 << 20,
            snapshot_milliseconds: 3_600_000,
            history_milliseconds: 0,
            history_bytes: 1 << 30,
            rollback_milliseconds: 7 * 24 * 3_600_000,
        }
    }
}

/// Why there is no snapshot. The journal is not cut then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("the plugin failed to save its state: {0}")]
    Fault(#[from] Fault),
    #[error("what it loads is not what it saved")]
    Differs,
    #[error("the journal does not take it: {0}")]
    Journal(#[from] JournalError),
}

impl FollowError {
    /// The word for it in metrics, if the plugin is to blame.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            FollowError::Fault(fault) | FollowError::Replay(ReplayError::Fault(fault)) => Some(fault.reason()),
            FollowError::Replay(ReplayError::Diverged { .. }) => Some("divergence"),
            FollowError::Replay(ReplayError::Load(_) | ReplayError::UnknownFormat(_) | ReplayError::Refused { .. })
            | FollowError::Differs => Some("contract"),
            FollowError::Replay(_) | FollowError::Journal(_) => None,
        }
    }
}

/// Has the journal keep a snapshot at `through`, or later, and cut what is no longer wanted, but nothing behind `pinned`.
/// The state is saved only when a fresh instance has loaded it and saved the same.
pub(super) fn snapshot(
    history: &History,
    through: u64,
    pinned: Option<u64>,
    retention: &Retention,
) -> Result<(), FollowError> {
    // Behind a swap that came meanwhile, because before it another component was in charge.
    let swap = history.journal.facts(&history.seat)?.map_or(0, |facts| facts.swap);
    let replayed = history.replay(None, through.max(swap), &[])?;
    let Replayed { plugin, tenure, mut instance, sequence, now, offsets, settings, bytes, .. } = replayed;
    let parts = instance.save()?;
    drop(instance);
    let format = plugin.manifest().state_formats[0].clone();
    let (settings, history_bytes) = (settings.unwrap_or_default(), bytes);
    let tenure = Some(tenure);
    let snapshot = Snapshot { sequence, now, format, parts, offsets, settings, history_bytes, tenure };
    verify(history, &plugin, &snapshot)?;
    history.journal.put_snapshot(&history.seat, &snapshot)?;
    let tenure = snapshot.tenure.as_ref().expect("it was just put there");
    if let Some(facts) = history.journal.facts(&history.seat)?
        && let Some(horizon) = horizon(&wanted(&facts, tenure), facts.first == 1, retention)
        && let Some(horizon) = within_reach(&facts, tenure, retention, horizon)
        && let Some(horizon) = not_behind(&facts, pinned, horizon)
    {
        history.journal.cut(&history.seat, horizon)?;
    }
    Ok(())
}

fn verify(history: &History, plugin: &Plugin, snapshot: &Snapshot) -> Result<(), FollowError> {
    let mut scratch = plugin.instantiate(&history.limits.for_replay())?;
    replay::load(&mut scratch, snapshot)?;
    if scratch.save()? == snapshot.parts { Ok(()) } else { Err(FollowError::Differs) }
}

/// The snapshots that the component in charge can begin with: all until it has two of its own, then these, with what
/// comes before them for whom history is kept.
fn wanted(facts: &SeatFacts, tenure: &Tenure) -> Vec<SnapshotFacts> {
    let own = facts.snapshots.iter().filter(|snapshot| snapshot.sequence >= tenure.since).count();
    if tenure.since > 0 && own < 2 { Vec::new() } else { facts.snapshots.clone() }
}

/// The same horizon, or one so old that the version before can begin there; none: nothing may be cut.
fn within_reach(facts: &SeatFacts, tenure: &Tenure, retention: &Retention, horizon: u64) -> Option<u64> {
    let Some(former) = &tenure.previous else { return Some(horizon) };
    if facts.now.saturating_sub(tenure.since_now) > retention.rollback_milliseconds {
        return Some(horizon);
    }
    let loadable = facts.snapshots.iter().rev().find(|snapshot| former.formats.contains(&snapshot.format));
    match loadable {
        Some(snapshot) => Some(horizon.min(snapshot.sequence)),
        None if facts.first == 1 => None,
        None => Some(horizon),
    }
}

/// The same horizon, or the newest one that is not behind this input; none: there is no such.
fn not_behind(facts: &SeatFacts, pinned: Option<u64>, horizon: u64) -> Option<u64> {
    let Some(pinned) = pinned else { return Some(horizon) };
    let before = facts.snapshots.iter().rev().map(|snapshot| snapshot.sequence);
    before.into_iter().find(|sequence| *sequence <= pinned && *sequence <= horizon)
}

/// Which snapshot is to be the oldest; none: everything stays.
fn horizon(snapshots: &[SnapshotFacts], from_open: bool, retention: &Retention) -> Option<u64> {
    let [.., older, newest] = snapshots else { return None };
    let (mut horizon, mut bytes) = (older.sequence, newest.history_bytes + newest.bytes + older.bytes);
    // What lies before a snapshot is reached from the one before that, or from `open`.
    let earlier = snapshots[..snapshots.len() - 2].iter().rev();
    let starts = earlier.map(Some).chain(from_open.then_some(None));
    let ends = snapshots[..snapshots.len() - 1].iter().rev();
    for (start, end) in starts.zip(ends) {
        bytes += end.history_bytes + start.map_or(0, |start| start.bytes);
        let age = newest.now.saturating_sub(start.map_or(end.now, |start| start.now));
        let too_old = age > retention.history_milliseconds || retention.history_milliseconds == 0;
        if too_old || bytes > retention.history_bytes {
            return Some(horizon);
        }
        horizon = start?.sequence;
    }
    Some(horizon)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn horizon_of(snapshots: u64, from_open: bool, milliseconds: u64, bytes: u64) -> Option<u64> {
        let each = |number: u64| SnapshotFacts {
            sequence: number * 10,
            now: number * 1_000,
            bytes: 5,
            history_bytes: 100,
            format: "x/1".into(),
            tenure: None,
        };
        let snapshots: Vec<_> = (1..=snapshots).map(each).collect();
        let history = Retention { history_milliseconds: milliseconds, history_bytes: bytes, ..Retention::default() };
        horizon(&snapshots, from_open, &history)
    }

    #[test]
    fn two_generations_are_kept_always() {
        assert_eq!(horizon_of(1, true, 0, 0), None);
        assert_eq!(horizon_of(2, true, 0, 0), Some(10));
        assert_eq!(horizon_of(5, false, 0, 0), Some(40));
    }

    #[test]
    fn history_is_kept_as_long_as_age_and_size_allow() {
        assert_eq!(horizon_of(5, false, 3_000, 10_000), Some(20));
        assert_eq!(horizon_of(5, false, 3_999, 10_000), Some(20));
        assert_eq!(horizon_of(5, false, 9_000, 10_000), Some(10), "there is nothing older");
        assert_eq!(horizon_of(5, true, 9_000, 10_000), None, "back to `open`");
        assert_eq!(horizon_of(5, true, 3_999, 10_000), Some(20));
        assert_eq!(horizon_of(5, false, 9_000, 215), Some(30), "one interval more than always");
        assert_eq!(horizon_of(5, false, 9_000, 214), Some(40));
    }
}
