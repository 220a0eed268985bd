//! NoOpRequest: the account's change number, which stands in the header of every answer.

use super::call::truth;
use super::wire::{Element, Node, Value};

/// Answers the operation. One that would wait is told that it may not: a WaitSet is the way to wait here.
pub fn answer(operation: &Element<'_>) -> Node {
    let waits = matches!(truth(operation, "wait"), Ok(true));
    Node::of("NoOpResponse", "urn:zimbraMail").with_some("waitDisallowed", waits.then_some(Value::True))
}

/// Answers the administrators' operation.
pub fn answer_admin() -> Node {
    Node::of("NoOpResponse", "urn:zimbraAdmin")
}
