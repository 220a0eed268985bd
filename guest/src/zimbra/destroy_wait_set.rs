//! DestroyWaitSetRequest and AdminDestroyWaitSetRequest.

use super::call::Call;
use super::fault::Fault;
use super::sets::Id;
use super::wait_set::must_own;
use super::waiters;
use super::wire::{Element, Node};

/// Answers the operation.
pub fn answer(call: &mut Call<'_>, operation: &Element<'_>, admin: bool) -> Result<Node, Fault> {
    let text = operation.value("waitSet").ok_or_else(|| Fault::missing("waitSet"))?;
    if Id::is_everyones(text) {
        call.caller.must_be_system_administrator()?;
    }
    let number = Id::read(text).and_then(|id| call.state.waitsets.find(&id));
    let number = number.ok_or_else(|| Fault::nothing_to_destroy(text))?;
    if !Id::is_everyones(text) {
        must_own(call, number)?;
    }
    call.turn.changed = true;
    waiters::destroy(call.state, call.turn, number);
    let (name, namespace) = if admin {
        ("AdminDestroyWaitSetResponse", "urn:zimbraAdmin")
    } else {
        ("DestroyWaitSetResponse", "urn:zimbraMail")
    };
    Ok(Node::of(name, namespace).with("waitSet", text))
}
