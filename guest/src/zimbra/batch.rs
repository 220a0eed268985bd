//! BatchRequest: several operations in one, answered in their order. None of them waits.

use super::call::{Call, Done, request_id, with_request_id};
use super::fault::Fault;
use super::wire::{Element, Node};

/// How many operations a batch may have.
const MAX_OPERATIONS: usize = 100;

/// Above this many bytes the operations that are left are refused.
const MAX_ANSWER: usize = 256 << 10;

/// The operations of a request: those of a batch, or the one.
pub fn operations<'e, 'a>(operation: &'e Element<'a>) -> Vec<&'e Element<'a>> {
    if operation.name == "BatchRequest" && operation.namespace == "urn:zimbra" {
        operation.children.iter().collect()
    } else {
        vec![operation]
    }
}

/// Answers the operation: what an operation in it is refused with stands among the answers.
pub fn answer(call: &mut Call<'_>, batch: &Element<'_>) -> Result<Node, Fault> {
    if batch.children.len() > MAX_OPERATIONS {
        return Err(Fault::invalid(&["a batch of more than 100 operations"]));
    }
    let stops = batch.value("onerror") == Some("stop");
    call.alone = false;
    let trace = call.state.keys.trace(call.request.id);
    let (mut nodes, mut bytes) = (Vec::new(), 0);
    for (index, operation) in (0..).zip(&batch.children) {
        call.index = index;
        let answered = if bytes > MAX_ANSWER { Err(Fault::unavailable()) } else { call.operation(operation) };
        let failed = answered.is_err();
        let node = match answered {
            // Where an operation writes its answer itself, it has its `requestId`.
            Ok(Done::Node(node)) if node.has("requestId") => node,
            Ok(Done::Node(node)) => with_request_id(node, operation),
            Ok(Done::Parked) => continue,
            Err(fault) => {
                let id = request_id(operation).map(str::to_owned);
                fault.node(call.format, &trace).with_some("requestId", id)
            }
        };
        bytes += node.bytes();
        nodes.push(node);
        if failed && stops {
            break;
        }
    }
    Ok(Node::of("BatchResponse", "urn:zimbra").many(nodes))
}
