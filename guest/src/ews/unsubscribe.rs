//! Unsubscribe (MS-OXWSNTIF 3.1.4.4): not for push subscriptions, whose clients end them in their answer.

use crate::contract::Reply;
use crate::ids;
use crate::soap::{Document, Fields, Node};
use crate::state::State;
use crate::subscriptions::SubscriptionNo;
use crate::turn::Turn;

use super::codes::Code;
use super::fault::Fault;
use super::{Caller, envelope};

const OPERATION: &str = "Unsubscribe";

/// The longest subscription id that is looked at, in bytes. Exchange's grow with its host's name, and one of another server
/// is unknown here, not malformed.
pub const MAX_ID: usize = 1024;

/// Answers an Unsubscribe.
pub fn answer(
    state: &mut State,
    turn: &mut Turn,
    document: &Document<'_>,
    operation: Node,
    caller: &Caller<'_>,
) -> Result<Reply, Fault> {
    let mut fields = Fields::of(document, operation)?;
    let id = document.required_text(fields.required("SubscriptionId")?, MAX_ID)?;
    fields.end()?;
    Ok(match owned(state, id, caller) {
        Ok(number) if state.subscriptions.get(number).is_some_and(|it| it.push().is_some()) => {
            envelope::failure(OPERATION, Code::ErrorInvalidPullSubscriptionId)
        }
        Ok(number) => {
            turn.changed = true;
            state.end_subscription(number);
            envelope::success(OPERATION, |_| {})
        }
        Err(code) => envelope::failure(OPERATION, code),
    })
}

/// The subscription that the client calls so, if it is the caller's.
pub fn owned(state: &State, id: &str, caller: &Caller<'_>) -> Result<SubscriptionNo, Code> {
    let number = ids::subscription_id(id).and_then(|id| state.subscriptions.find(&id));
    let number = number.ok_or(Code::ErrorSubscriptionNotFound)?;
    match state.subscriptions.get(number) {
        Some(subscription) if subscription.owner == caller.login.id => Ok(number),
        Some(_) => Err(Code::ErrorSubscriptionAccessDenied),
        None => Err(Code::ErrorSubscriptionNotFound),
    }
}
