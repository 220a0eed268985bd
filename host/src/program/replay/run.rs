//! An instance on its way through a history.

use super::Part;
use crate::contract::lifecycle::LoadError;
use crate::contract::types::{Moment, Reaction};
use crate::journal::{JournalError, Record, Snapshot};
use crate::plugin::{Fault, Instance, InstanceLimits, Plugin};

/// Why a replay does not begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(
        "the history does not reach back far enough for {plugin}: its first input is {first}, and of the snapshots before \
         {from} {plugin} loads none{why}"
    )]
    NoBeginning { plugin: String, first: u64, from: u64, why: String },
    #[error("{plugin} failed at {sequence} ({kind}): {fault}")]
    Fault { plugin: String, sequence: u64, kind: &'static str, fault: Fault },
    #[error("{plugin} refuses at {sequence} ({kind}) what was once taken: {why}")]
    Refused { plugin: String, sequence: u64, kind: &'static str, why: String },
}

pub(super) struct Run {
    plugin: String,
    instance: Instance,
    next: u64,
}

impl Run {
    /// An instance that has seen what came before the part, or can be fed that.
    pub(super) fn begin((name, plugin): &(String, Plugin), part: &Part) -> Result<Run, RunError> {
        let before = part.facts.snapshots.iter().rev().map(|it| it.sequence).filter(|it| *it < part.from);
        let mut why = String::new();
        for sequence in before {
            let loaded = match part.journal.snapshot(&part.seat, sequence)? {
                Some(snapshot) => load(plugin, &snapshot),
                None => Err("it is gone".to_owned()),
            };
            match loaded {
                Ok(instance) => return Ok(Run { plugin: name.clone(), instance, next: sequence + 1 }),
                Err(error) => why.push_str(&format!("; at {sequence}: {error}")),
            }
        }
        let first = part.facts.horizon() + 1;
        if first > 1 {
            return Err(RunError::NoBeginning { plugin: name.clone(), first, from: part.from, why });
        }
        let fault = |fault| RunError::Fault { plugin: name.clone(), sequence: 0, kind: "instantiate", fault };
        let instance = plugin.instantiate(&InstanceLimits::default().for_replay()).map_err(fault)?;
        Ok(Run { plugin: name.clone(), instance, next: 1 })
    }

    /// The sequence of the record that it waits for.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Feeds a record, if it is the one that it waits for.
    pub(super) fn feed(&mut self, record: &Record) -> Result<Option<Reaction>, RunError> {
        let Record { sequence, now, input, .. } = record;
        if *sequence < self.next {
            return Ok(None);
        }
        self.next = sequence + 1;
        let (plugin, sequence, kind) = (self.plugin.clone(), *sequence, input.kind());
        match self.instance.feed(Moment { now: *now, sequence }, input) {
            Ok(Ok(reaction)) => Ok(Some(reaction)),
            Ok(Err(why)) => Err(RunError::Refused { plugin, sequence, kind, why }),
            Err(fault) => Err(RunError::Fault { plugin, sequence, kind, fault }),
        }
    }
}

fn load(plugin: &Plugin, snapshot: &Snapshot) -> Result<Instance, String> {
    let limits = InstanceLimits::default().for_replay();
    let mut instance = plugin.instantiate(&limits).map_err(|fault| fault.to_string())?;
    match instance.load(&snapshot.format, &snapshot.parts) {
        Ok(Ok(())) => Ok(instance),
        Ok(Err(LoadError::UnknownFormat(format))) => Err(format!("it does not know the format {format}")),
        Ok(Err(LoadError::Corrupt(why))) => Err(why),
        Err(fault) => Err(fault.to_string()),
    }
}
