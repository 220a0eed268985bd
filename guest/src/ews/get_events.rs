//! GetEvents (MS-OXWSNTIF 3.1.4.1): what a pull subscription has pending.
//!
//! Events stay until the client asks with a later watermark. An answer has 50 events at most and says whether there are
//! more. exchangelib then asks with the same watermark again: that answer has everything up to the queue's limit and
//! says that there is no more, so its loop ends, and an answer that was lost loses nothing.

use crate::contract::Reply;
use crate::history::Position;
use crate::reply::Text;
use crate::soap::{Document, Fields, Node};
use crate::state::State;
use crate::subscriptions::{Method, SubscriptionNo};
use crate::turn::{MAX_ANSWER, Turn};

use super::codes::Code;
use super::events::Writer;
use super::fault::Fault;
use super::unsubscribe::{MAX_ID, owned};
use super::{Caller, envelope, events};

const OPERATION: &str = "GetEvents";

/// How many events an answer has, unless everything is asked for.
const MAX_EVENTS: usize = 50;

/// The longest watermark that is looked at, in bytes.
const MAX_WATERMARK: usize = 4096;

/// Answers a GetEvents.
pub fn answer(
    state: &mut State,
    turn: &mut Turn,
    document: &Document<'_>,
    operation: Node,
    caller: &Caller<'_>,
) -> Result<Reply, Fault> {
    let mut fields = Fields::of(document, operation)?;
    let id = document.required_text(fields.required("SubscriptionId")?, MAX_ID)?;
    let watermark = document.required_text(fields.required("Watermark")?, MAX_WATERMARK)?;
    fields.end()?;
    Ok(match pull(state, turn, id, watermark, caller) {
        Ok(number) => notification(state, turn, number),
        Err(code) => envelope::failure(OPERATION, code),
    })
}

/// The client has everything up to its watermark.
fn pull(
    state: &mut State,
    turn: &mut Turn,
    id: &str,
    watermark: &str,
    caller: &Caller<'_>,
) -> Result<SubscriptionNo, Code> {
    let number = owned(state, id, caller)?;
    let subscription = state.subscriptions.get(number).ok_or(Code::ErrorSubscriptionNotFound)?;
    if !matches!(subscription.method, Method::Pull { .. }) {
        return Err(Code::ErrorInvalidPullSubscriptionId);
    }
    let history = &state.mailboxes.get(subscription.mailbox).history;
    let position = state.keys.position(subscription.mailbox, watermark);
    let position = position.filter(|at| subscription.acknowledged <= *at && *at <= history.last());
    let position = position.filter(|_| !subscription.has_missed()).ok_or(Code::ErrorInvalidWatermark)?;
    if position > subscription.acknowledged {
        state.acknowledge(number, position);
        turn.changed = true;
    }
    turn.changed |= state.keep_alive(number, turn.at.now);
    Ok(number)
}

/// What is pending after the acknowledged position.
fn notification(state: &mut State, turn: &mut Turn, number: SubscriptionNo) -> Reply {
    let Some(subscription) = state.subscriptions.get(number) else {
        return envelope::failure(OPERATION, Code::ErrorSubscriptionNotFound);
    };
    let from = subscription.acknowledged;
    let everything = subscription.method == Method::Pull { more: true };
    let more = !everything && subscription.pending as usize > MAX_EVENTS;
    let limit = if everything { usize::MAX } else { MAX_EVENTS };
    let reply = envelope::success(OPERATION, |body| {
        body.raw("<m:Notification>");
        let previous = state.keys.watermark(subscription.mailbox, from);
        envelope::notification(body, &subscription.id, &previous, more);
        write_events(state, body, number, from, limit);
        body.raw("</m:Notification>");
    });
    if more {
        state.with_subscription(number, |subscription| subscription.method = Method::Pull { more: true });
        turn.changed = true;
    }
    reply
}

fn write_events(state: &State, body: &mut Vec<u8>, number: SubscriptionNo, from: Position, limit: usize) {
    let Some(subscription) = state.subscriptions.get(number) else {
        return;
    };
    let number = subscription.mailbox;
    if subscription.pending == 0 {
        return events::write_status(body, &state.keys.watermark(number, from));
    }
    let mailbox = state.mailboxes.get(number);
    let mut writer = Writer::new(body, mailbox);
    for entry in subscription.pending(&mailbox.history).take(limit) {
        writer.write(&entry.event, Some(&state.keys.watermark(number, entry.position)));
        // An answer has its limit; what is left stays pending behind the last watermark.
        if writer.length() > MAX_ANSWER - (16 << 10) {
            break;
        }
    }
}
