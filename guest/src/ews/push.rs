//! Push subscriptions (MS-OXWSPSNTIF): calls of SendNotification to the client's own URL.
//!
//! One call is in flight per subscription. The first goes out with the answer to Subscribe, the next when there is
//! news, and a status event when nothing was sent for the status frequency. The watermark of a status event moves
//! forward with the mailbox, so that a client which hears of nothing else holds one that stays good.
//!
//! A call counts as delivered if the client answers HTTP 200 and a SendNotificationResult of OK: its events are
//! acknowledged and what is left follows at once. `Unsubscribe` ends the subscription. Everything else is a failure: it
//! is tried again from the same watermark after 30 seconds, then twice as long each time; once the wait would be longer
//! than the status frequency, the subscription is dropped. So it is when the host will not make the call.
//!
//! Where events were missed (a queue that overflowed, a gap, a history that was cut or lost), the client is pushed
//! ErrorReadEventsFailed, and the subscription ends once that was delivered, or dropped as above: it is the one error
//! that Exchange is known to push, its meaning to clients is "deleted, subscribe again", and an error message carries
//! no watermark from which a subscription could go on without a hole that the client cannot see.
//! ErrorMissedNotificationEvents is left to streams, whose clients are known to go on after it.

use crate::contract::{Call, CallId, CallTarget, HttpTarget, LogLevel, Outcome, Response};
use crate::history::Position;
use crate::ids::subscription_text;
use crate::reply::Text;
use crate::soap::Document;
use crate::state::State;
use crate::subscriptions::{Push, Stage, Subscription, SubscriptionNo, Told};
use crate::turn::Turn;

use super::codes::Code;
use super::events::Writer;
use super::push_url::authority;
use super::{Version, envelope, events};

/// How many events a call has at most.
const MAX_EVENTS: u32 = 50;

/// Above this many bytes a call takes no further event.
const MAX_PART: usize = 48 << 10;

/// How many bytes of the host's reason for a failure are logged.
const MAX_REASON: usize = 120;

const ACTION: &str = "\"http://schemas.microsoft.com/exchange/services/2006/messages/SendNotification\"";

const OPEN: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?>"#,
    r#"<soap11:Envelope xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/"><soap11:Header>"#,
    r#"<t:RequestServerVersion Version=""#,
);
const BODY: &str = concat!(
    r#"" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"/></soap11:Header><soap11:Body>"#,
    r#"<m:SendNotification xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages""#,
    r#" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages>"#,
    r#"<m:SendNotificationResponseMessage ResponseClass=""#,
);
const CLOSE: &str = concat!(
    "</m:SendNotificationResponseMessage></m:ResponseMessages></m:SendNotification></soap11:Body>",
    "</soap11:Envelope>",
);

/// Lets push subscriptions with something to say have their turn, while the reaction has room.
pub fn serve(state: &mut State, turn: &mut Turn) {
    while turn.has_room_for_a_call() {
        let Some(number) = state.next_push() else {
            break;
        };
        state.pushed = number;
        send(state, turn, number);
    }
}

/// Makes the call that comes next for a subscription.
fn send(state: &mut State, turn: &mut Turn, number: SubscriptionNo) {
    let Some((subscription, push)) = state.subscriptions.get(number).and_then(|it| Some((it, it.push()?))) else {
        return;
    };
    let (told, body) = if subscription.has_missed() {
        write_missed(subscription, push)
    } else {
        write_news(state, subscription, push)
    };
    let headers = vec![
        ("content-type".to_owned(), "text/xml; charset=utf-8".to_owned()),
        ("SOAPAction".to_owned(), ACTION.to_owned()),
    ];
    let target = CallTarget::HttpPost(HttpTarget { url: push.url.clone(), headers });
    let call = state.begin_call(number);
    turn.changed = true;
    turn.call(Call { id: call, target, body });
    state.set_deadline(number, None);
    state.with_push(number, |push| {
        push.stage = Stage::Calling { call, told };
        push.sent_at = turn.at.now;
    });
}

/// How a call ended. One that is not known, or no longer, is ignored.
pub fn finish(state: &mut State, turn: &mut Turn, call: CallId, outcome: &Outcome) {
    let Some(number) = state.end_call(call) else {
        return;
    };
    turn.changed = true;
    match outcome {
        Outcome::Answered(response) => match said(response) {
            Some(Said::Ok) => succeed(state, number),
            Some(Said::Unsubscribe) => state.end_subscription(number),
            None => fail(state, turn, number, "it does not answer as a listener does"),
        },
        Outcome::Failed(reason) => fail(state, turn, number, reason),
        Outcome::Refused(reason) => {
            state.pushes_refused += 1;
            drop_subscription(state, turn, number, LogLevel::Warn, reason);
        }
    }
}

/// The host came back: what became of the calls in flight is not known, so they are made again.
pub fn restart(state: &mut State) {
    for number in state.forget_calls() {
        state.with_push(number, |push| push.stage = Stage::Due);
    }
}

fn succeed(state: &mut State, number: SubscriptionNo) {
    let Some(Stage::Calling { told, .. }) = state.subscriptions.get(number).and_then(|it| Some(it.push()?.stage))
    else {
        return;
    };
    match told {
        Told::Missed => state.end_subscription(number),
        Told::Events(upto) => {
            state.acknowledge(number, upto);
            let due = state.with_push(number, Push::succeed);
            state.set_deadline(number, due);
        }
    }
}

fn fail(state: &mut State, turn: &mut Turn, number: SubscriptionNo, reason: &str) {
    match state.with_push(number, |push| push.fail(turn.at.now)).flatten() {
        Some(due) => state.set_deadline(number, Some(due)),
        None => {
            state.pushes_failed += 1;
            drop_subscription(state, turn, number, LogLevel::Info, reason);
        }
    }
}

/// The listener is given up. Only its host is logged: the rest of a URL may hold a secret.
fn drop_subscription(state: &mut State, turn: &mut Turn, number: SubscriptionNo, level: LogLevel, reason: &str) {
    if let Some((subscription, push)) = state.subscriptions.get(number).and_then(|it| Some((it, it.push()?))) {
        let reason: String = reason.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect();
        let (id, listener) = (subscription_text(&subscription.id), authority(&push.url));
        turn.log(level, ["push subscription ", &id, " is dropped; its listener ", listener, ": ", &reason].concat());
    }
    state.end_subscription(number);
}

enum Said {
    Ok,
    Unsubscribe,
}

/// What the client says to a notification, if it says anything that can be understood.
fn said(response: &Response) -> Option<Said> {
    if response.status != 200 {
        return None;
    }
    let document = Document::parse(&response.body).ok()?;
    let root = Some(document.root()).filter(|root| document.name(*root) == "Envelope")?;
    let result = document.child(document.child(root, "Body")?, "SendNotificationResult")?;
    match document.text(document.child(result, "SubscriptionStatus")?) {
        "OK" => Some(Said::Ok),
        "Unsubscribe" => Some(Said::Unsubscribe),
        _ => None,
    }
}

fn open(version: Version) -> Vec<u8> {
    let mut body = Vec::with_capacity(2048);
    body.raw(OPEN);
    body.raw(version.name());
    body.raw(BODY);
    body
}

fn write_missed(subscription: &Subscription, push: &Push) -> (Told, Vec<u8>) {
    let mut body = open(push.version);
    body.raw(r#"Error">"#);
    envelope::error(&mut body, Code::ErrorReadEventsFailed);
    body.raw(r#"<m:MessageXml><t:Value Name="SubscriptionId">"#);
    body.base64url(&subscription.id);
    body.raw("</t:Value></m:MessageXml>");
    body.raw(CLOSE);
    (Told::Missed, body)
}

/// What is pending, as far as a call may hold, or that nothing is.
fn write_news(state: &State, subscription: &Subscription, push: &Push) -> (Told, Vec<u8>) {
    let mailbox = state.mailboxes.get(subscription.mailbox);
    let watermark = |position: Position| state.keys.watermark(subscription.mailbox, position);
    let mut news = Vec::with_capacity(2048);
    let mut writer = Writer::new(&mut news, mailbox);
    let (mut written, mut upto) = (0, subscription.acknowledged.max(mailbox.history.last()));
    for entry in subscription.pending(&mailbox.history) {
        if written == MAX_EVENTS || writer.length() > MAX_PART {
            break;
        }
        writer.write(&entry.event, Some(&watermark(entry.position)));
        upto = entry.position;
        written += 1;
    }
    if written == 0 {
        events::write_status(&mut news, &watermark(upto));
    }
    let mut body = open(push.version);
    body.raw(r#"Success"><m:ResponseCode>NoError</m:ResponseCode><m:Notification>"#);
    let more = subscription.pending > written;
    envelope::notification(&mut body, &subscription.id, &watermark(subscription.acknowledged), more);
    body.extend_from_slice(&news);
    body.raw("</m:Notification>");
    body.raw(CLOSE);
    (Told::Events(upto), body)
}
