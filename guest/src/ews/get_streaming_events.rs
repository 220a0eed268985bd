//! GetStreamingEvents (MS-OXWSNTIF 3.1.4.2): opens a stream.

use std::collections::BTreeSet;

use crate::contract::RequestId;
use crate::ids;
use crate::soap::{Document, Fields, Node, Violation};
use crate::state::State;
use crate::subscriptions::{Method, SubscriptionNo};
use crate::turn::Turn;

use super::Caller;
use super::codes::Code;
use super::fault::Fault;
use super::streams::Stream;
use super::unsubscribe::{MAX_ID, owned};

/// The longest that a stream stays open, in minutes.
const MAX_MINUTES: u32 = 30;

/// Opens the stream; what it has to say first follows with this reaction.
pub fn answer(
    state: &mut State,
    turn: &mut Turn,
    document: &Document<'_>,
    operation: Node,
    request: RequestId,
    caller: &Caller<'_>,
) -> Result<(), Fault> {
    let (named, minutes) = read(document, operation)?;
    turn.changed = true;
    let closes_at = turn.at.now.saturating_add(u64::from(minutes) * 60_000);
    let mut stream = Stream::new(caller.acting_as.id.clone(), turn.at.now, closes_at, state.settings.heartbeat_ms());
    if named.len() > state.settings.ids_per_stream as usize {
        stream.refuse(Code::ErrorExceededSubscriptionCount);
    } else {
        let (good, bad) = sort(state, &named, caller);
        if !bad.is_empty() {
            stream.tell(Code::ErrorInvalidSubscription, bad);
        }
        if good.is_empty() {
            stream.close();
        } else if open_streams(state, &stream, &good) >= state.settings.streams_per_account as usize {
            stream.refuse(Code::ErrorExceededConnectionCount);
        } else {
            join(state, request, &good);
            stream.subscriptions = good;
        }
    }
    state.add_stream(request, stream);
    Ok(())
}

fn read(document: &Document<'_>, operation: Node) -> Result<(Vec<String>, u32), Violation> {
    let mut fields = Fields::of(document, operation)?;
    // The list was once described without the element around it, and some clients send it so.
    let list = fields.optional("SubscriptionIds");
    let mut bare = Vec::new();
    while list.is_none()
        && let Some(id) = fields.optional("SubscriptionId")
    {
        bare.push(id);
    }
    if list.is_none() && bare.is_empty() {
        fields.required("SubscriptionIds")?;
    }
    let minutes = document.number(fields.required("ConnectionTimeout")?, 1, MAX_MINUTES)?;
    fields.end()?;
    if let Some(list) = list {
        let mut fields = Fields::of(document, list)?;
        let mut node = Some(fields.required("SubscriptionId")?);
        while let Some(id) = node {
            bare.push(id);
            node = fields.optional("SubscriptionId");
        }
        fields.end()?;
    }
    let (mut named, mut before) = (Vec::new(), BTreeSet::new());
    for id in bare {
        let id = document.required_text(id, MAX_ID)?;
        if before.insert(id) {
            named.push(id.to_owned());
        }
    }
    Ok((named, minutes))
}

/// The caller's streaming subscriptions, and the ids that are none.
fn sort(state: &State, named: &[String], caller: &Caller<'_>) -> (Vec<SubscriptionNo>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for id in named {
        let number = owned(state, id, caller).ok().filter(|number| {
            let subscription = state.subscriptions.get(*number);
            subscription.is_some_and(|subscription| matches!(subscription.method, Method::Streaming { .. }))
        });
        match number {
            Some(number) => good.push(number),
            None => bad.push(id.clone()),
        }
    }
    (good, bad)
}

/// How many streams the account has open besides those that would end by losing all that they are about.
fn open_streams(state: &State, stream: &Stream, good: &[SubscriptionNo]) -> usize {
    let theirs = state.streams.values().filter(|other| other.is_open() && other.charged == stream.charged);
    theirs.filter(|other| !other.subscriptions.iter().all(|number| good.contains(number))).count()
}

/// Puts the subscriptions on the stream; one that another stream had is taken from it, which is told.
fn join(state: &mut State, request: RequestId, good: &[SubscriptionNo]) {
    for number in good {
        let Some(subscription) = state.subscriptions.get(*number) else {
            continue;
        };
        let id = ids::subscription_text(&subscription.id);
        if let Some(before) = subscription.stream() {
            state.with_stream(before, |stream| {
                stream.lose(*number, Code::ErrorNewEventStreamConnectionOpened, id);
            });
        }
        state.set_deadline(*number, None);
        state.subscriptions.alter(*number, |subscription| subscription.join_stream(request));
    }
}
