//! Open streams: what they still have to say, and what of it their clients have.
//!
//! The wire rules (each was found by running a real client): every part is one whole envelope with the root
//! `<Envelope xmlns=...>`, without prefix and without declaration; a message has notifications or a connection status,
//! never both; `m:Notification` and `m:SubscriptionId` inside the stream's own elements; events without watermark;
//! "Closed" is a message of its own and the last part.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::contract::{Instant, Reply, RequestId, Settlement};
use crate::history::Position;
use crate::ids::subscription_text;
use crate::reply::Text;
use crate::state::State;
use crate::subscriptions::{Method, Subscription, SubscriptionNo, Subscriptions};
use crate::turn::Turn;

use super::codes::Code;
use super::envelope;
use super::events::Writer;

/// How many events a part has at most.
const MAX_EVENTS: usize = 50;

/// Above this many bytes a part takes no further event.
const MAX_PART: usize = 48 << 10;

/// How many subscriptions an error names at most; more are named by a further one.
const MAX_NAMED: usize = 200;

/// How many parts with events may be on their way without being acknowledged; then the stream waits.
const MAX_UNSETTLED: usize = 64;

const OPEN: &str = concat!(
    r#"<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/">"#,
    r#"<soap11:Header xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/">"#,
    r#"<ServerVersionInfo MajorVersion="15" MinorVersion="2" MajorBuildNumber="2562" MinorBuildNumber="17""#,
    r#" Version="V2017_07_11" xmlns="http://schemas.microsoft.com/exchange/services/2006/types"/></soap11:Header>"#,
    r#"<soap11:Body xmlns:soap11="http://schemas.xmlsoap.org/soap/envelope/">"#,
    r#"<m:GetStreamingEventsResponse xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types""#,
    r#" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages>"#,
    r#"<m:GetStreamingEventsResponseMessage ResponseClass=""#,
);
const SUCCESS: &str = r#"Success"><m:ResponseCode>NoError</m:ResponseCode>"#;
const CLOSE: &str = concat!(
    "</m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body>",
    "</Envelope>",
);

/// A stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The id of the account whose streams it counts among.
    pub charged: String,
    /// What it is about.
    pub subscriptions: Vec<SubscriptionNo>,
    heartbeat_ms: u64,
    heartbeat_at: Instant,
    closes_at: Instant,
    phase: Phase,
    begun: bool,
    silent: bool,
    errors: VecDeque<(Code, Vec<String>)>,
    unsettled: VecDeque<Part>,
    settled: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Its client has not heard yet that it runs.
    New,
    /// It runs.
    Open,
    /// "Closed" is to be sent.
    Closing,
    /// "Closed" was sent; parts may still be acknowledged.
    Closed,
}

/// What the acknowledgement of a part means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    events: Vec<(SubscriptionNo, Position)>,
    misses: Vec<(SubscriptionNo, u32)>,
}

impl Stream {
    /// A stream that has said nothing yet.
    pub fn new(charged: String, now: Instant, closes_at: Instant, heartbeat_ms: u64) -> Self {
        Self {
            charged,
            subscriptions: Vec::new(),
            heartbeat_ms,
            heartbeat_at: now.saturating_add(heartbeat_ms),
            closes_at,
            phase: Phase::New,
            begun: false,
            silent: false,
            errors: VecDeque::new(),
            unsettled: VecDeque::new(),
            settled: 0,
        }
    }

    /// Whether it counts as open.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Open)
    }

    /// It is to say an error that names these subscriptions.
    pub fn tell(&mut self, code: Code, ids: Vec<String>) {
        if ids.is_empty() {
            self.errors.push_back((code, ids));
            return;
        }
        for id in ids {
            match self.errors.back_mut() {
                Some((last, named)) if *last == code && named.len() < MAX_NAMED => named.push(id),
                _ => self.errors.push_back((code, vec![id])),
            }
        }
    }

    /// It is to say an error about itself, then to close.
    pub fn refuse(&mut self, code: Code) {
        self.tell(code, Vec::new());
        self.close();
    }

    /// It is to close.
    pub fn close(&mut self) {
        if self.is_open() {
            self.phase = Phase::Closing;
        }
    }

    /// A subscription is no longer its own: it says why, and closes if that was the last.
    pub fn lose(&mut self, number: SubscriptionNo, code: Code, id: String) {
        self.subscriptions.retain(|other| *other != number);
        if self.phase == Phase::Closed {
            return;
        }
        self.tell(code, vec![id]);
        if self.subscriptions.is_empty() {
            self.close();
        }
    }

    /// When its next timer is due.
    pub fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closing | Phase::Closed => None,
            Phase::New | Phase::Open if self.silent => Some(self.closes_at),
            Phase::New | Phase::Open => Some(self.closes_at.min(self.heartbeat_at)),
        }
    }

    /// Its timer is due.
    pub fn run_out(&mut self, now: Instant) {
        if self.closes_at <= now {
            self.close();
        } else {
            self.silent = true;
        }
    }

    /// Whether it has something to send that it may send now.
    pub fn has_work(&self, subscriptions: &Subscriptions) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::New | Phase::Closing => true,
            Phase::Open => self.silent || !self.errors.is_empty() || self.has_news(subscriptions),
        }
    }

    fn has_news(&self, subscriptions: &Subscriptions) -> bool {
        let news = |number: &SubscriptionNo| {
            subscriptions.get(*number).is_some_and(|it| it.unsent().is_some() || it.must_tell_miss())
        };
        self.unsettled.len() < MAX_UNSETTLED && self.subscriptions.iter().any(news)
    }
}

/// Lets streams with something to send have their turn, while the reaction has room.
pub fn serve(state: &mut State, turn: &mut Turn) {
    while turn.has_room() {
        let Some(request) = state.next_ready() else {
            break;
        };
        turn.changed = true;
        state.served = request;
        let Some(mut stream) = state.remove_stream(request) else {
            break;
        };
        while turn.has_room() && stream.has_work(&state.subscriptions) {
            send_part(state, turn, request, &mut stream);
        }
        let done = stream.phase == Phase::Closed && stream.unsettled.is_empty();
        state.add_stream(request, stream);
        if done {
            state.drop_stream(request, turn.at.now);
        }
    }
}

/// Sends the part that comes first: errors, the end, misses, events, a sign of life.
fn send_part(state: &mut State, turn: &mut Turn, request: RequestId, stream: &mut Stream) {
    let mut body = Vec::with_capacity(2048);
    body.raw(OPEN);
    let mut part = None;
    if let Some((code, ids)) = stream.errors.pop_front() {
        write_error(&mut body, code, ids.iter().map(String::as_str));
    } else if stream.phase == Phase::Closing {
        stream.phase = Phase::Closed;
        write_status(&mut body, "Closed");
    } else if stream.has_news(&state.subscriptions) {
        let misses = tell_misses(state, stream, &mut body);
        part = misses.or_else(|| Some(write_news(state, stream, &mut body)));
        stream.phase = Phase::Open;
    } else {
        write_status(&mut body, "OK");
        stream.phase = Phase::Open;
    }
    body.raw(CLOSE);
    stream.silent = false;
    stream.heartbeat_at = turn.at.now.saturating_add(stream.heartbeat_ms);
    let headers = if std::mem::replace(&mut stream.begun, true) { Vec::new() } else { headers() };
    let (more, confirm) = (stream.phase != Phase::Closed, part.is_some());
    stream.unsettled.extend(part);
    turn.reply(Reply { to: request, status: 200, headers, body, more, confirm });
}

fn headers() -> Vec<(String, String)> {
    let mut headers = envelope::xml(200, Vec::new()).headers;
    headers.push(("X-NoBuffering".into(), "1".into()));
    headers.push(("X-Accel-Buffering".into(), "no".into()));
    headers
}

fn write_status(body: &mut Vec<u8>, status: &str) {
    body.raw(SUCCESS);
    body.raw("<m:ConnectionStatus>");
    body.raw(status);
    body.raw("</m:ConnectionStatus>");
}

fn write_error<'i>(body: &mut Vec<u8>, code: Code, ids: impl ExactSizeIterator<Item = &'i str>) {
    body.raw(r#"Error">"#);
    envelope::error(body, code);
    if ids.len() == 0 {
        return;
    }
    body.raw("<m:ErrorSubscriptionIds>");
    for id in ids {
        body.raw("<m:SubscriptionId>");
        body.text(id);
        body.raw("</m:SubscriptionId>");
    }
    body.raw("</m:ErrorSubscriptionIds>");
}

/// Tells which subscriptions missed events, if any did.
fn tell_misses(state: &mut State, stream: &Stream, body: &mut Vec<u8>) -> Option<Part> {
    let mut part = Part::default();
    let mut ids = Vec::new();
    for number in &stream.subscriptions {
        if ids.len() == MAX_NAMED {
            break;
        }
        if !state.subscriptions.get(*number).is_some_and(Subscription::must_tell_miss) {
            continue;
        }
        let told = state.subscriptions.alter(*number, |subscription| {
            if let Method::Streaming { told, .. } = &mut subscription.method {
                *told = subscription.missed;
            }
        });
        let Some(((), subscription)) = told else {
            continue;
        };
        part.misses.push((*number, subscription.missed));
        ids.push(subscription_text(&subscription.id));
    }
    if part.misses.is_empty() {
        return None;
    }
    write_error(body, Code::ErrorMissedNotificationEvents, ids.iter().map(String::as_str));
    Some(part)
}

/// Writes what the subscriptions have not been sent, in their order, as far as a part may hold.
fn write_news(state: &mut State, stream: &Stream, body: &mut Vec<u8>) -> Part {
    let mut part = Part::default();
    let mut room = MAX_EVENTS;
    body.raw(SUCCESS);
    body.raw("<m:Notifications>");
    for number in &stream.subscriptions {
        let Some(subscription) = state.subscriptions.get(*number) else {
            continue;
        };
        let Some(from) = subscription.unsent() else {
            continue;
        };
        if room == 0 || body.len() > MAX_PART {
            break;
        }
        body.raw("<m:Notification><t:SubscriptionId>");
        body.base64url(&subscription.id);
        body.raw("</t:SubscriptionId>");
        let mailbox = state.mailboxes.get(subscription.mailbox);
        let mut writer = Writer::new(body, mailbox);
        let (mut last, mut unsent) = (from, None);
        for entry in mailbox.history.from(from).filter(|entry| subscription.covers(&entry.event)) {
            if room == 0 || writer.length() > MAX_PART {
                unsent = Some(entry.position);
                break;
            }
            writer.write(&entry.event, None);
            last = entry.position;
            room -= 1;
        }
        body.raw("</m:Notification>");
        part.events.push((*number, last));
        state.subscriptions.alter(*number, |subscription| {
            if let Method::Streaming { next, .. } = &mut subscription.method {
                *next = unsent;
            }
        });
    }
    body.raw("</m:Notifications>");
    part
}

/// Learns what became of a stream's parts: what was acknowledged is not sent again, the rest is, on the next stream.
pub fn settle(state: &mut State, turn: &mut Turn, settlement: &Settlement) {
    let request = settlement.request;
    let Some(stream) = state.streams.get(&request) else {
        return;
    };
    let newly = settlement.parts.saturating_sub(stream.settled);
    if newly == 0 && settlement.end.is_none() {
        return;
    }
    turn.changed = true;
    let mut acknowledged = Vec::new();
    state.with_stream(request, |stream| {
        stream.settled += newly;
        let count = stream.unsettled.len().min(newly as usize);
        acknowledged = stream.unsettled.drain(..count).collect();
    });
    for part in acknowledged {
        acknowledge(state, request, part);
    }
    if settlement.end.is_some() {
        state.drop_stream(request, turn.at.now);
    }
}

/// What a stream said of misses counts for the subscriptions that it still has: another may have been told since, and
/// may have missed something else.
fn acknowledge(state: &mut State, request: RequestId, part: Part) {
    for (number, upto) in part.events {
        state.acknowledge(number, upto);
    }
    for (number, missed) in part.misses {
        if state.subscriptions.get(number).and_then(Subscription::stream) != Some(request) {
            continue;
        }
        state.with_subscription(number, |subscription| subscription.knows_miss(missed));
    }
}
