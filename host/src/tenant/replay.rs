//! From the journal to a live instance: the newest snapshot, then the inputs since.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::contract::lifecycle::{LoadError, Pending};
use crate::contract::types::Moment;
use crate::journal::{Input, Journal, JournalError, Offsets, Record, Seat, Snapshot};
use crate::plugin::{Fault, Instance, InstanceLimits, Plugin};

/// What a replay gives.
pub(super) struct Replayed {
    pub(super) instance: Instance,
    pub(super) pending: Pending,
    /// The last input that the instance has seen, and the tenant's time at it; both 0 if there was none.
    pub(super) sequence: u64,
    pub(super) now: u64,
    pub(super) offsets: Offsets,
    /// The settings that the instance has; none if it was never opened.
    pub(super) settings: Option<Vec<(String, String)>>,
}

/// Why the journal did not give an instance.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] JournalError),
    #[error("the plugin failed while it read its own history: {0}")]
    Fault(#[from] Fault),
    #[error("the plugin does not take its snapshot: {0}")]
    Load(String),
    #[error("the plugin refused at {sequence} what it once took: {why}")]
    Refused { sequence: u64, why: String },
}

/// Replays everything that the journal has, and then `uncommitted`: inputs that are on their way into it.
pub(super) fn replay(
    plugin: &Plugin,
    limits: &InstanceLimits,
    journal: &dyn Journal,
    seat: &Seat,
    uncommitted: &VecDeque<Record>,
) -> Result<Replayed, ReplayError> {
    let mut instance = plugin.instantiate(&limits.for_replay())?;
    let newest = journal.facts(seat)?.and_then(|facts| Some(facts.snapshots.last()?.sequence));
    let snapshot = newest.map(|sequence| journal.snapshot(seat, sequence)).transpose()?.flatten();
    let (mut sequence, mut now, mut offsets, mut settings) = (0, 0, Offsets::new(), None);
    if let Some(snapshot) = snapshot {
        load(&mut instance, &snapshot)?;
        (sequence, now) = (snapshot.sequence, snapshot.now);
        offsets.clone_from(&snapshot.offsets);
        settings = Some(snapshot.settings.clone());
    }
    let committed = crate::journal::records(journal, seat, sequence + 1, u64::MAX).collect::<Result<Vec<_>, _>>()?;
    let last = committed.last().map_or(sequence, |record| record.sequence);
    let on_their_way = uncommitted.iter().filter(|record| record.sequence > last);
    for record in committed.iter().chain(on_their_way) {
        let at = Moment { now: record.now, sequence: record.sequence };
        instance.feed(at, &record.input)?.map_err(|why| ReplayError::Refused { sequence: record.sequence, why })?;
        (sequence, now) = (record.sequence, record.now);
        note(&record.input, &mut offsets, &mut settings);
    }
    instance.set_limits(limits);
    let pending = instance.outstanding()?;
    Ok(Replayed { instance, pending, sequence, now, offsets, settings })
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
