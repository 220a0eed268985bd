//! What clients read: events in the format of HTML's server-sent events, errors as problem details (RFC 9457).

use crate::requests::Refusal;
use crate::states::{Known, Types};
use crate::types::Reply;

/// Where a client is in the history of its account: what it sends back as Last-Event-ID. The era changes when positions
/// that were given have become void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Grows whenever positions become void.
    pub era: u32,
    /// A position of the journal.
    pub sequence: u64,
}

impl EventId {
    /// Reads what [`state`] wrote.
    pub fn read(text: &str) -> Option<EventId> {
        let (era, sequence) = text.split_once('-')?;
        Some(EventId { era: era.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

/// The event `state`: a StateChange object (RFC 8620, section 7.1).
pub fn state(account: &Known, types: Types, id: EventId) -> Vec<u8> {
    let mut text =
        format!("event: state\nid: {}-{}\ndata: {{\"@type\":\"StateChange\",\"changed\":{{", id.era, id.sequence);
    json_string(&mut text, &account.id);
    text.push_str(":{");
    let changed = types.iter().filter_map(|one| Some((one, account.changed.get(&one)?)));
    for (number, (one, changed)) in changed.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&format!("\"{}\":\"{}\"", one.name(), changed.state));
    }
    text.push_str("}}}\n\n");
    text.into_bytes()
}

/// The event `ping`, which says after how many seconds the next one comes.
pub fn ping(seconds: u64) -> Vec<u8> {
    format!("event: ping\ndata: {{\"interval\":{seconds}}}\n\n").into_bytes()
}

/// A part of a stream.
pub fn part(to: u64, body: Vec<u8>, more: bool) -> Reply {
    let headers = [("content-type", "text/event-stream"), ("cache-control", "no-store")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Reply { to, status: 200, headers, body, more, confirm: false }
}

/// A refusal by this plugin.
pub fn problem(to: u64, status: u16, kind: &str, detail: &str) -> Reply {
    let mut body = format!("{{\"type\":\"{kind}\",\"status\":{status},\"detail\":");
    json_string(&mut body, detail);
    body.push('}');
    let headers = vec![("content-type".to_owned(), "application/problem+json".to_owned())];
    Reply { to, status, headers, body: body.into_bytes(), more: false, confirm: false }
}

/// A refusal by the host.
pub fn refusal(why: Refusal) -> Reply {
    let (status, detail) = match why {
        Refusal::TooLarge => (413, "The request is too large."),
        Refusal::Busy => (503, "Too much is waiting; try again soon."),
        Refusal::Fault => (500, "The server failed on this request."),
        Refusal::Stopping => (503, "The server is about to stop; try again soon."),
        Refusal::Moved => (503, "The account is now served by another server."),
        Refusal::Throttled => (429, "Too many requests; try again later."),
    };
    problem(0, status, "about:blank", detail)
}

fn json_string(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            character if character < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => text.push(character),
        }
    }
    text.push('"');
}
