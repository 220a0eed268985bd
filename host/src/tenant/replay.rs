//! From the journal to a live instance: the newest snapshot that can be had, then the inputs since.

use std::sync::Arc;

use crate::contract::lifecycle::{LoadError, Pending};
use crate::contract::types::Moment;
use crate::journal::{self, Digest, Input, Journal, JournalError, Offsets, Record, Seat, SeatFacts, Snapshot};
use crate::plugin::{Fault, Instance, InstanceLimits, Plugin};

/// A seat's history, and who reads it.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) plugin: Plugin,
    pub(crate) limits: InstanceLimits,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) seat: Seat,
    /// Take it for true where the plugin makes something else of an input than it did when that was new.
    pub(crate) accept_divergence: bool,
}

/// What a replay gives.
pub(crate) struct Replayed {
    pub(super) instance: Instance,
    /// What the journal had of the seat when the replay began; none: nothing.
    pub(super) facts: Option<SeatFacts>,
    /// The last input that the instance has seen, and the tenant's time at it; both 0 if there was none.
    pub(super) sequence: u64,
    pub(super) now: u64,
    pub(super) offsets: Offsets,
    /// The settings that the instance has; none: it is not opened yet.
    pub(super) settings: Option<Vec<(String, String)>>,
    /// The bytes of the inputs since the snapshot, roughly.
    pub(super) bytes: u64,
}

/// Why the journal did not give an instance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] JournalError),
    #[error("the plugin failed while it read its own history: {0}")]
    Fault(#[from] Fault),
    #[error("the plugin does not take its snapshot: {0}")]
    Load(String),
    #[error("the plugin refused at {sequence} what it once took: {why}")]
    Refused { sequence: u64, why: String },
    #[error(
        "at sequence {sequence} the plugin makes something else of its input than it did when that was new: it does not \
         follow from its inputs alone, or the journal was altered; --accept-divergence goes on with what it makes now"
    )]
    Diverged { sequence: u64 },
}

impl History {
    /// Replays what the journal has up to `through`, and then `uncommitted`: inputs that are on their way into it.
    pub(super) fn replay(&self, through: u64, uncommitted: &[Record]) -> Result<Replayed, ReplayError> {
        let mut replayed = self.begin(through)?;
        for record in journal::records(&*self.journal, &self.seat, replayed.sequence + 1, through) {
            self.feed(&mut replayed, &record?)?;
        }
        for record in uncommitted {
            if record.sequence > replayed.sequence {
                self.feed(&mut replayed, record)?;
            }
        }
        replayed.instance.set_limits(&self.limits);
        Ok(replayed)
    }

    /// An instance at the newest snapshot that it takes, or a new one where the history reaches back to `open`.
    fn begin(&self, through: u64) -> Result<Replayed, ReplayError> {
        let facts = self.journal.facts(&self.seat)?;
        let mut failed = None;
        for snapshot in facts.iter().flat_map(|facts| facts.snapshots.iter().rev()) {
            if snapshot.sequence > through {
                continue;
            }
            match self.at_snapshot(snapshot.sequence) {
                Ok(Some(replayed)) => return Ok(Replayed { facts, ..replayed }),
                Ok(None) => {}
                Err(error) => {
                    let tenant = &*self.seat.tenant;
                    tracing::error!(tenant, sequence = snapshot.sequence, %error, "a snapshot cannot be used");
                    failed.get_or_insert(error);
                }
            }
        }
        if facts.as_ref().is_some_and(|facts| facts.first > 1) {
            let cut = || JournalError::Damaged("it was cut, and has no snapshot".into()).into();
            return Err(failed.unwrap_or_else(cut));
        }
        let instance = self.plugin.instantiate(&self.limits.for_replay())?;
        let (offsets, settings) = (Offsets::new(), None);
        Ok(Replayed { instance, facts, sequence: 0, now: 0, offsets, settings, bytes: 0 })
    }

    fn at_snapshot(&self, sequence: u64) -> Result<Option<Replayed>, ReplayError> {
        let Some(snapshot) = self.journal.snapshot(&self.seat, sequence)? else { return Ok(None) };
        let mut instance = self.plugin.instantiate(&self.limits.for_replay())?;
        load(&mut instance, &snapshot)?;
        let Snapshot { now, offsets, settings, .. } = &*snapshot;
        let (offsets, settings) = (offsets.clone(), Some(settings.clone()));
        Ok(Some(Replayed { instance, facts: None, sequence, now: *now, offsets, settings, bytes: 0 }))
    }

    fn feed(&self, replayed: &mut Replayed, record: &Record) -> Result<(), ReplayError> {
        let Record { sequence, now, digest, input } = record;
        let at = Moment { now: *now, sequence: *sequence };
        let reaction = replayed.instance.feed(at, input)?;
        let reaction = reaction.map_err(|why| ReplayError::Refused { sequence: *sequence, why })?;
        if !digest.allows(&Digest::of(&self.plugin.sha256(), &reaction)) {
            self.diverged(*sequence)?;
        }
        (replayed.sequence, replayed.now) = (*sequence, *now);
        replayed.bytes += input.size() as u64;
        note(input, &mut replayed.offsets, &mut replayed.settings);
        Ok(())
    }

    fn diverged(&self, sequence: u64) -> Result<(), ReplayError> {
        let error = ReplayError::Diverged { sequence };
        if !self.accept_divergence {
            return Err(error);
        }
        tracing::warn!(tenant = &*self.seat.tenant, sequence, "the replay differs from what was; it is accepted");
        Ok(())
    }
}

impl Replayed {
    /// What the instance still waits for.
    pub(super) fn pending(&mut self) -> Result<Pending, Fault> {
        match self.settings {
            Some(_) => self.instance.outstanding(),
            None => Ok(Pending { requests: vec![], calls: vec![], wake_at: None }),
        }
    }
}

/// What the host itself remembers of an input.
pub(super) fn note(input: &Input, offsets: &mut Offsets, current: &mut Option<Vec<(String, String)>>) {
    match input {
        Input::Open { settings, .. } | Input::Configure { settings } => *current = Some(settings.clone()),
        Input::Ingest { span: Some(span), .. } => {
            offsets.insert(Arc::from(&*span.source), span.offset + span.length);
        }
        _ => {}
    }
}

/// Gives a fresh instance the state of a snapshot.
pub(super) fn load(instance: &mut Instance, snapshot: &Snapshot) -> Result<(), ReplayError> {
    instance.load(&snapshot.format, &snapshot.parts)?.map_err(|error| {
        ReplayError::Load(match error {
            LoadError::UnknownFormat(format) => format!("it does not know the format {format}"),
            LoadError::Corrupt(why) => why,
        })
    })
}
