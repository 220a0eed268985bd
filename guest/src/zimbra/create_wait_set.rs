//! CreateWaitSetRequest and AdminCreateWaitSetRequest.

use super::accounts::{self, Entry};
use super::call::{Call, truth};
use super::commits::Place;
use super::fault::Fault;
use super::sets::{Errors, Id, Progress, WaitSet};
use super::types::Types;
use super::wait_set::{add, cut_errors, error_nodes};
use super::waiters;
use super::wire::{Element, Node};

/// Answers the operation.
pub fn answer(call: &mut Call<'_>, operation: &Element<'_>, admin: bool) -> Result<Node, Fault> {
    let types = accounts::only(operation, "defTypes")?.map(accounts::interests).transpose()?.unwrap_or(Types::NONE);
    let everyone = truth(operation, "allAccounts")?;
    if everyone {
        call.caller.must_be_system_administrator()?;
    }
    let list = accounts::read(operation, "add", call.named, call.caller.rank, types, call.turn.at.now)?;
    make_room(call, if everyone { 0 } else { list.entries.len() })?;
    call.turn.changed = true;
    evict(call);
    let id = Id { everyone, uuid: call.state.keys.wait_set(call.request.id, call.index) };
    let mut errors = Errors::new();
    create(call, id, types, None);
    if !everyone {
        errors = list.errors;
        fill(call, &id, list.entries, &mut errors);
        cut_errors(call, &mut errors);
    }
    let (name, namespace) = if admin {
        ("AdminCreateWaitSetResponse", "urn:zimbraAdmin")
    } else {
        ("CreateWaitSetResponse", "urn:zimbraMail")
    };
    let node = Node::of(name, namespace).with("waitSet", id.text()).with("defTypes", types.list()).with("seq", 0);
    Ok(node.many(error_nodes(&errors)))
}

/// Makes a set. One for all accounts goes on after a place, else from now on.
pub fn create(call: &mut Call<'_>, id: Id, types: Types, from: Option<Place>) {
    let progress = if id.everyone {
        let last = call.state.waitsets.commits.begin(call.turn.at);
        Progress::Everyone { acknowledged: from.unwrap_or(last), sent: None }
    } else {
        Progress::Chosen { current: 1, errors: Errors::new(), sent_errors: Errors::new() }
    };
    call.state.waitsets.add(WaitSet {
        id,
        owner: call.caller.account.id.clone(),
        by_administrator: call.caller.is_system_administrator(),
        types,
        accessed: call.turn.at.now,
        idle_ms: call.state.settings.wait_set_idle_ms(),
        waiter: None,
        progress,
    });
}

/// Refuses a set where the tenant has as many sets as are allowed, or as many members.
pub fn make_room(call: &mut Call<'_>, members: usize) -> Result<(), Fault> {
    let counts = call.state.waitsets.counts();
    if counts.chosen + counts.everyone >= call.state.settings.wait_sets as usize {
        return Err(refused(call));
    }
    make_room_for_members(call, members)
}

/// Refuses members where the tenant has as many as are allowed.
pub fn make_room_for_members(call: &mut Call<'_>, members: usize) -> Result<(), Fault> {
    let allowed = call.state.settings.wait_set_members as usize;
    if members > 0 && call.state.waitsets.counts().members + members > allowed {
        return Err(refused(call));
    }
    Ok(())
}

fn refused(call: &mut Call<'_>) -> Fault {
    call.turn.changed = true;
    call.state.waitsets.refused += 1;
    Fault::unavailable()
}

/// An owner has so many sets and no more: the oldest go, whatever they are used for. Not for administrators.
fn evict(call: &mut Call<'_>) {
    if call.caller.is_system_administrator() {
        return;
    }
    let allowed = call.state.settings.wait_sets_per_account as usize;
    loop {
        let mut theirs = call.state.waitsets.of_owner(&call.caller.account.id);
        let oldest = theirs.next();
        if theirs.count() + 1 < allowed {
            return;
        }
        let Some(oldest) = oldest else { return };
        call.state.waitsets.evicted += 1;
        waiters::destroy(call.state, call.turn, oldest);
    }
}

fn fill(call: &mut Call<'_>, id: &Id, entries: Vec<Entry<'_>>, errors: &mut Errors) {
    if let Some(number) = call.state.waitsets.find(id) {
        entries.into_iter().for_each(|entry| add(call, number, entry, errors));
    }
}
