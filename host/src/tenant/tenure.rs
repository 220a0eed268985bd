//! Which component a seat runs, by what its journal says.

use std::collections::BTreeSet;

use super::actor::{Successive, TakeOver};
use crate::journal::{ComponentId, Former, Input, Journal, JournalError, Record, Seat, SeatFacts, Swapped, Tenure};
use crate::plugin::{Library, Plugin};

/// What is known of the component in charge.
pub(super) struct Charge {
    pub(super) tenure: Tenure,
    /// The record that put it in charge; none: it is cut already, or there never was one.
    pub(super) swapped: Option<Swapped>,
}

/// The component in charge behind `through`, or behind the last of `uncommitted`; none: nothing tells.
pub(super) fn charge(
    journal: &dyn Journal,
    seat: &Seat,
    facts: Option<&SeatFacts>,
    uncommitted: &[Record],
) -> Result<Option<Charge>, JournalError> {
    if let Some(charge) = uncommitted.iter().rev().find_map(of_record) {
        return Ok(Some(charge));
    }
    let Some(facts) = facts else { return Ok(None) };
    if facts.swap > 0 && facts.swap >= facts.first {
        let record = journal.read(seat, facts.swap)?.into_iter().next();
        let charge = record.as_ref().and_then(of_record);
        let missing = || JournalError::Damaged(format!("{seat}, record {}: it tells of no component", facts.swap));
        return charge.map(Some).ok_or_else(missing);
    }
    let newest = facts.snapshots.iter().rev().find_map(|snapshot| snapshot.tenure.clone());
    Ok(newest.map(|tenure| Charge { tenure, swapped: None }))
}

/// The component of which the journal says that it is in charge; none: it says of none.
pub(super) fn in_charge(
    journal: &dyn Journal,
    seat: &Seat,
    uncommitted: &[Record],
) -> Result<Option<ComponentId>, JournalError> {
    let facts = journal.facts(seat)?;
    Ok(charge(journal, seat, facts.as_ref(), uncommitted)?.map(|charge| charge.tenure.component))
}

fn of_record(record: &Record) -> Option<Charge> {
    match &*record.input {
        Input::Swapped(swapped) => Some(Charge {
            tenure: Tenure::of(swapped, record.sequence, record.now),
            swapped: Some((**swapped).clone()),
        }),
        _ => None,
    }
}

/// What the digest of the seat's last input names the component by; none: there is no such input.
pub(super) fn last_digest(
    journal: &dyn Journal,
    seat: &Seat,
    facts: Option<&SeatFacts>,
) -> Result<Option<u64>, JournalError> {
    match facts {
        Some(facts) if facts.first <= facts.last => {
            let last = journal.read(seat, facts.last)?;
            Ok(last.last().map(|record| record.digest.component).filter(|component| *component != 0))
        }
        _ => Ok(None),
    }
}

/// Removes the components that no seat runs or may go back to. Keeps all where that cannot be known.
pub(crate) fn collect(journal: &dyn Journal, library: &Library) {
    match needed(journal, library) {
        Ok(needed) => library.keep_only(needed),
        Err(error) => tracing::warn!(%error, "components that nobody needs any more stay"),
    }
}

fn needed(journal: &dyn Journal, library: &Library) -> Result<BTreeSet<ComponentId>, JournalError> {
    let mut needed = BTreeSet::new();
    for seat in journal.seats()? {
        let facts = journal.facts(&seat)?;
        match charge(journal, &seat, facts.as_ref(), &[])? {
            Some(Charge { tenure, .. }) => {
                needed.insert(tenure.component);
                needed.extend(tenure.previous.map(|former| former.component));
            }
            None => {
                let digest = last_digest(journal, &seat, facts.as_ref())?;
                needed.extend(digest.and_then(|digest| library.named(digest)));
            }
        }
    }
    Ok(needed)
}

/// Who is in charge of a tenant that opens.
pub(crate) struct Choice {
    pub(crate) plugin: Plugin,
    pub(crate) tenure: Tenure,
    /// The configured component is to take over from it.
    pub(crate) take_over: Option<TakeOver>,
}

/// The component in charge is that which the journal names. The configured one takes over where the tenant was never
/// given another one and the configuration has changed, as by a new version of the program, and where the one in charge
/// cannot be had. Blocks.
pub(crate) fn choose(
    journal: &dyn Journal,
    library: &Library,
    seat: &Seat,
    configured: &Plugin,
) -> Result<Choice, JournalError> {
    let facts = journal.facts(seat)?;
    let tenure = match charge(journal, seat, facts.as_ref(), &[])? {
        Some(charge) => Some(charge.tenure),
        None => match last_digest(journal, seat, facts.as_ref())? {
            Some(digest) if digest != configured.id().prefix() => library.named(digest).map(Tenure::first),
            _ => Some(Tenure::first(configured.id())),
        },
    };
    let stays = |plugin: Plugin, tenure: Tenure| Ok(Choice { plugin, tenure, take_over: None });
    let takes_over = |from: Option<Former>, tenure: Tenure| {
        tracing::info!(tenant = &*seat.tenant, component = %configured.id(), "the configured plugin is to take over");
        let take_over = Some(TakeOver { to: Successive::Configured(configured.clone()), from });
        Ok(Choice { plugin: configured.clone(), tenure, take_over })
    };
    let Some(tenure) = tenure else { return takes_over(None, Tenure::first(configured.id())) };
    if tenure.component == configured.id() {
        return stays(configured.clone(), tenure);
    }
    match library.get(tenure.component) {
        Ok(plugin) if tenure.component != tenure.configured => stays(plugin, tenure),
        Ok(plugin) => {
            let formats = plugin.manifest().state_formats.clone();
            takes_over(Some(Former { component: tenure.component, formats }), tenure)
        }
        Err(error) => {
            tracing::error!(tenant = &*seat.tenant, %error, "the plugin that it ran cannot be had");
            takes_over(Some(Former { component: tenure.component, formats: vec![] }), tenure)
        }
    }
}
