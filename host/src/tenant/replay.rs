//! From the journal to a live instance: the newest snapshot that can be had, then the inputs since.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::swap::SwapError;
use super::tenure::{self, Charge};
use crate::contract::lifecycle::{LoadError, Pending};
use crate::contract::types::Moment;
use crate::journal::{
    self, Base, ComponentId, Digest, Fresh, Input, Instead, Journal, JournalError, Offsets, Record, Seat, SeatFacts,
    Snapshot, Tenure,
};
use crate::plugin::{ComponentError, Fault, Instance, InstanceLimits, Library, Plugin};

/// A seat's history, and who reads it.
#[derive(Clone)]
pub(crate) struct History {
    /// In charge where the journal does not say who is.
    pub(crate) plugin: Plugin,
    /// The one that the configuration names.
    pub(crate) configured: ComponentId,
    /// Has the others.
    pub(crate) library: Arc<Library>,
    pub(crate) limits: InstanceLimits,
    /// What a reaction may hold, in bytes.
    pub(crate) reaction_bytes: usize,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) seat: Seat,
    /// Take it for true where the plugin makes something else of an input than it did when that was new.
    pub(crate) accept_divergence: bool,
}

/// What a replay gives.
pub(crate) struct Replayed {
    pub(super) plugin: Plugin,
    pub(super) tenure: Tenure,
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
    #[error("the plugin does not take its snapshot: it does not know the format {0}")]
    UnknownFormat(String),
    #[error("{0}")]
    Component(#[from] ComponentError),
    #[error("the component that it was made with is not kept here, and the configured one cannot take over: {0}")]
    TakeOver(SwapError),
    #[error("the plugin refused at {sequence} what it once took: {why}")]
    Refused { sequence: u64, why: String },
    #[error(
        "at sequence {sequence} the plugin makes something else of its input than it did when that was new: it does not \
         follow from its inputs alone, or the journal was altered; --accept-divergence goes on with what it makes now"
    )]
    Diverged { sequence: u64 },
}

/// Who is in charge of the end of a history, and how it came to be.
struct Stretch {
    plugin: Plugin,
    tenure: Tenure,
    /// Where its state began, if another component was in charge before.
    base: Option<Base>,
    /// What it was given instead of inputs before it was in charge.
    instead: BTreeMap<u64, Instead>,
}

impl History {
    /// Replays what the journal has up to `through`, and then `uncommitted`: inputs that are on their way into it. Each
    /// goes to the component that is in charge at the end. `begun`: a replay that goes on, if nothing else took over.
    pub(super) fn replay(
        &self,
        begun: Option<Replayed>,
        through: u64,
        uncommitted: &[Record],
    ) -> Result<Replayed, ReplayError> {
        let facts = self.journal.facts(&self.seat)?;
        let stretch = self.stretch(facts.as_ref(), uncommitted)?;
        let mut replayed = match begun.filter(|begun| begun.tenure == stretch.tenure) {
            Some(mut begun) => {
                begun.instance.set_limits(&self.limits.for_replay());
                Replayed { facts, ..begun }
            }
            None => self.begin(&stretch, facts, through)?,
        };
        for record in journal::records(&*self.journal, &self.seat, replayed.sequence + 1, through) {
            self.feed(&stretch, &mut replayed, &record?)?;
        }
        for record in uncommitted {
            if record.sequence > replayed.sequence {
                self.feed(&stretch, &mut replayed, record)?;
            }
        }
        replayed.instance.set_limits(&self.limits);
        Ok(replayed)
    }

    fn stretch(&self, facts: Option<&SeatFacts>, uncommitted: &[Record]) -> Result<Stretch, ReplayError> {
        let Some(charge) = tenure::charge(&*self.journal, &self.seat, facts, uncommitted)? else {
            let tenure = Tenure::first(self.plugin.id());
            return Ok(Stretch { plugin: self.plugin.clone(), tenure, base: None, instead: BTreeMap::new() });
        };
        let Charge { tenure, swapped } = charge;
        let plugin = match self.plugin.id() == tenure.component {
            true => self.plugin.clone(),
            false => self.library.get(tenure.component)?,
        };
        let (base, instead) = swapped.map_or((None, vec![]), |swapped| (Some(swapped.base), swapped.instead));
        Ok(Stretch { plugin, tenure, base, instead: instead.into_iter().collect() })
    }

    /// An instance at the newest snapshot that it takes, or a new one where its history reaches back to `open`.
    fn begin(&self, stretch: &Stretch, facts: Option<SeatFacts>, through: u64) -> Result<Replayed, ReplayError> {
        let mut failed = None;
        for snapshot in facts.iter().flat_map(|facts| facts.snapshots.iter().rev()) {
            if snapshot.sequence > through || !stretch.may_begin_at(snapshot.sequence) {
                continue;
            }
            match self.at_snapshot(&stretch.plugin, snapshot.sequence) {
                Ok(Some(replayed)) => return Ok(Replayed { facts, tenure: stretch.tenure.clone(), ..replayed }),
                Ok(None) => {}
                Err(error) => {
                    let tenant = &*self.seat.tenant;
                    tracing::error!(tenant, sequence = snapshot.sequence, %error, "a snapshot cannot be used");
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(Base::Fresh(fresh)) = &stretch.base {
            return Ok(Replayed { facts, tenure: stretch.tenure.clone(), ..self.fresh(&stretch.plugin, fresh)? });
        }
        if facts.as_ref().is_some_and(|facts| facts.first > 1) {
            let cut = || JournalError::Damaged("it was cut, and has no snapshot".into()).into();
            return Err(failed.unwrap_or_else(cut));
        }
        Ok(Replayed { facts, tenure: stretch.tenure.clone(), ..self.at_open(&stretch.plugin)? })
    }

    /// An instance that has seen nothing.
    pub(super) fn at_open(&self, plugin: &Plugin) -> Result<Replayed, ReplayError> {
        let instance = plugin.instantiate(&self.limits.for_replay())?;
        Ok(Replayed::new(plugin, instance, 0, 0, Offsets::new(), None))
    }

    /// An instance that a snapshot was loaded into; none: the snapshot is not there any more.
    pub(super) fn at_snapshot(&self, plugin: &Plugin, sequence: u64) -> Result<Option<Replayed>, ReplayError> {
        let Some(snapshot) = self.journal.snapshot(&self.seat, sequence)? else { return Ok(None) };
        let mut instance = plugin.instantiate(&self.limits.for_replay())?;
        load(&mut instance, &snapshot)?;
        let Snapshot { now, offsets, settings, .. } = &*snapshot;
        Ok(Some(Replayed::new(plugin, instance, sequence, *now, offsets.clone(), Some(settings.clone()))))
    }

    /// An instance that is opened in the middle of the history.
    pub(super) fn fresh(&self, plugin: &Plugin, fresh: &Fresh) -> Result<Replayed, ReplayError> {
        let Fresh { sequence, now, seed, settings, offsets } = fresh;
        let mut instance = plugin.instantiate(&self.limits.for_replay())?;
        let opened = instance.open(Moment { now: *now, sequence: *sequence }, seed, settings)?;
        opened.map_err(|why| ReplayError::Refused { sequence: *sequence, why })?;
        let offsets = offsets.iter().map(|(source, offset)| (Arc::from(&**source), *offset)).collect();
        Ok(Replayed::new(plugin, instance, *sequence, *now, offsets, Some(settings.clone())))
    }

    fn feed(&self, stretch: &Stretch, replayed: &mut Replayed, record: &Record) -> Result<(), ReplayError> {
        let Record { sequence, now, digest, input } = record;
        let at = Moment { now: *now, sequence: *sequence };
        let instead = stretch.instead.get(sequence).map(Instead::input);
        if let Some(given) = instead.as_ref().map_or(Some(&**input), Option::as_ref) {
            let reaction = replayed.instance.feed(at, given)?;
            let reaction = reaction.map_err(|why| ReplayError::Refused { sequence: *sequence, why })?;
            let in_charge = *sequence > stretch.tenure.since;
            if in_charge && !digest.allows(&Digest::of(&replayed.plugin.sha256(), &reaction)) {
                self.diverged(*sequence)?;
            }
        }
        replayed.note(record);
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

impl Stretch {
    /// Whether the component in charge can have begun with the state at this sequence: its own, or one that it took over.
    fn may_begin_at(&self, sequence: u64) -> bool {
        match &self.base {
            None => true,
            Some(Base::Snapshot(base)) => sequence <= *base || sequence >= self.tenure.since,
            Some(Base::Open | Base::Fresh(_)) => sequence >= self.tenure.since,
        }
    }
}

impl Replayed {
    fn new(
        plugin: &Plugin,
        instance: Instance,
        sequence: u64,
        now: u64,
        offsets: Offsets,
        settings: Option<Vec<(String, String)>>,
    ) -> Replayed {
        let tenure = Tenure::first(plugin.id());
        Replayed { plugin: plugin.clone(), tenure, instance, facts: None, sequence, now, offsets, settings, bytes: 0 }
    }

    /// The instance has seen this.
    pub(super) fn note(&mut self, record: &Record) {
        (self.sequence, self.now) = (record.sequence, record.now);
        self.bytes += record.input.size() as u64;
        note(&record.input, &mut self.offsets, &mut self.settings);
    }

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
    instance.load(&snapshot.format, &snapshot.parts)?.map_err(|error| match error {
        LoadError::UnknownFormat(format) => ReplayError::UnknownFormat(format),
        LoadError::Corrupt(why) => ReplayError::Load(why),
    })
}
