//! EndSessionRequest: the host revokes the token that it came with.

use super::call::truth;
use super::wire::{Element, Node};

/// Whether an operation is this one and ends the login. `logoff="0"` keeps it.
pub fn ends_login(operation: &Element<'_>) -> bool {
    let is_this = operation.name == "EndSessionRequest" && operation.namespace == "urn:zimbraAccount";
    let keeps = operation.value("logoff").is_some() && matches!(truth(operation, "logoff"), Ok(false));
    is_this && !keeps
}

/// Answers the operation.
pub fn answer() -> Node {
    Node::of("EndSessionResponse", "urn:zimbraAccount")
}
