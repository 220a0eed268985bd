//! GetInfoRequest: as much of it as clients ask around WaitSets, which is who they are.

use super::call::Call;
use super::wire::Node;

/// Answers the operation for the requested account.
pub fn answer(call: &Call<'_>) -> Node {
    let account = call.caller.account;
    let node = Node::of("GetInfoResponse", "urn:zimbraAccount");
    let node = node.holding("version", [env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")].concat());
    let node = node.holding("id", account.id.as_str()).holding("name", account.name.as_str());
    node.holding("lifetime", call.caller.lifetime_ms)
}
