//! What people and scripts are shown of inputs and reactions.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};

use crate::contract::changes::Batch;
use crate::contract::lifecycle::Restart;
use crate::contract::outbound::Outcome;
use crate::contract::requests::{Access, Request};
use crate::contract::types::{Call, Reaction, Reply};
use crate::journal::archive::Item;
use crate::journal::{Input, Record, Seat, Skipped, Snapshot, SourceSpan, Swapped};

/// Milliseconds since the Unix epoch, as RFC 3339 writes a moment; a number beyond its years as it is.
pub fn moment(now: u64) -> String {
    let moment = i64::try_from(now).ok().and_then(|now| jiff::Timestamp::from_millisecond(now).ok());
    moment.map_or_else(|| now.to_string(), |moment| format!("{moment:.3}"))
}

/// Bytes as text where they are UTF-8, else as `{"base64": ...}`.
pub fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

/// What there is of a seat at one sequence, all of it but a snapshot's state.
pub fn item(seat: &Seat, item: &Item) -> Value {
    let (sequence, mut object) = match item {
        Item::Seat(_) => (0, json!({})),
        Item::Snapshot { snapshot, .. } => {
            let Snapshot { sequence, now, format, offsets, settings, .. } = snapshot;
            let offsets: Map<_, _> =
                offsets.iter().map(|(source, offset)| (source.to_string(), json!(offset))).collect();
            let bytes = bytes(snapshot);
            let snapshot = json!({ "format": format, "bytes": bytes, "offsets": offsets, "settings": settings });
            (*sequence, json!({ "now": now, "snapshot": snapshot }))
        }
        Item::Record(Record { sequence, now, digest, input: it }) => {
            let digest = json!({ "component": hex(digest.component), "reaction": hex(digest.reaction) });
            (*sequence, json!({ "now": now, "kind": it.kind(), "input": input(it), "digest": digest }))
        }
        Item::Damage(damage) => (damage.sequence, json!({ "damage": damage.what })),
    };
    let Seat { tenant, plugin, partition } = seat;
    object["seat"] = json!({ "tenant": **tenant, "plugin": **plugin, "partition": partition });
    object["sequence"] = sequence.into();
    object
}

/// The same in a line, without what is in mails, requests and settings.
pub fn item_in_brief(item: &Item) -> String {
    match item {
        Item::Seat(seat) => seat.to_string(),
        Item::Snapshot { snapshot, .. } => {
            let what = format!("{}, {} bytes", snapshot.format, bytes(snapshot));
            line(snapshot.sequence, &moment(snapshot.now), "snapshot", &what)
        }
        Item::Record(Record { sequence, now, digest, input }) => {
            let what = format!("{}  [{} by {}]", in_brief(input), hex(digest.reaction), hex(digest.component));
            line(*sequence, &moment(*now), input.kind(), what.trim_start())
        }
        Item::Damage(damage) => line(damage.sequence, "", "damaged", &damage.what),
    }
}

/// Clients and plugins have a say in `what`, and a terminal obeys some characters.
fn line(sequence: u64, moment: &str, kind: &str, what: &str) -> String {
    format!("{sequence:>8}  {moment:<24}  {kind:<9}  {}", what.replace(char::is_control, "?"))
}

fn bytes(snapshot: &Snapshot) -> usize {
    snapshot.parts.iter().map(Vec::len).sum()
}

/// A digest, as it is shown.
pub fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

/// A whole reaction, with the names of the contract.
pub fn reaction(reaction: &Reaction) -> Value {
    let Reaction { replies, calls, wake_at, rejections, logs, changed } = reaction;
    let reply = |Reply { to, status, headers, body, more, confirm }: &Reply| json!({ "to": to, "status": status, "headers": headers, "body": text(body), "more": more, "confirm": confirm });
    let call = |Call { id, target, body }: &Call| json!({ "id": id, "target": target, "body": text(body) });
    json!({
        "replies": replies.iter().map(reply).collect::<Value>(),
        "calls": calls.iter().map(call).collect::<Value>(),
        "wake-at": wake_at,
        "rejections": rejections,
        "logs": logs,
        "changed": changed,
    })
}

/// What an input is given, with the names of the contract.
fn input(input: &Input) -> Value {
    match input {
        Input::Open { seed, settings } => json!({ "seed": text(seed), "settings": settings }),
        Input::Configure { settings } => json!({ "settings": settings }),
        Input::Tick | Input::Drain => json!({}),
        Input::Restarted(how) => json!(how),
        Input::Ingest { batch, span, skipped } => {
            let span = span.as_ref().map(
                |SourceSpan { source, offset, length }| json!({ "source": source, "offset": offset, "length": length }),
            );
            let skipped =
                skipped.as_deref().map(|Skipped { batch, reason }| json!({ "batch": batch, "reason": reason }));
            json!({ "batch": batch, "span": span, "skipped": skipped })
        }
        Input::Answer(request) => {
            let Request { id, head, body, access, act_as, accounts } = &**request;
            json!({
                "id": id, "head": head, "body": text(body), "access": access, "act-as": act_as, "accounts": accounts,
            })
        }
        Input::Settled(settlements) => json!({ "settlements": settlements }),
        Input::Finished { call, outcome } => json!({ "call": call, "outcome": finished(outcome) }),
        Input::Swapped(swapped) => self::swapped(swapped),
    }
}

fn swapped(swapped: &Swapped) -> Value {
    let Swapped { from, to, back, configured, base, instead } = swapped;
    json!({
        "from": from.as_ref().map(|it| it.component.to_string()),
        "to": to.to_string(),
        "back": back,
        "configured": configured.to_string(),
        "base": base.sequence(),
        "instead": instead,
    })
}

fn finished(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Answered(response) => {
            json!({ "answered": { "status": response.status, "body": text(&response.body) } })
        }
        Outcome::Failed(_) | Outcome::Refused(_) => json!(outcome),
    }
}

/// What an input is, in a line without its content.
fn in_brief(input: &Input) -> String {
    match input {
        Input::Open { settings, .. } | Input::Configure { settings } => counted(settings.len(), "setting"),
        Input::Tick | Input::Drain => String::new(),
        Input::Restarted(Restart { down_ms, regressed: false }) => format!("after {down_ms} ms"),
        Input::Restarted(Restart { down_ms, regressed: true }) => format!("after {down_ms} ms, regressed"),
        Input::Ingest { skipped: Some(skipped), .. } => {
            format!("skipped a change of {}: {}", concerned(&skipped.batch), skipped.reason)
        }
        Input::Ingest { batch, span: None, .. } => counted(changes(batch), "change"),
        Input::Ingest { batch, span: Some(SourceSpan { source, offset, length }), .. } => {
            format!("{source} {offset}+{length}: {}", counted(changes(batch), "change"))
        }
        Input::Answer(request) => {
            let who = match &request.access {
                Access::Granted(grant) => &*grant.account.name,
                Access::Denied(_) => "nobody",
            };
            format!("request {}: {} {} by {who}", request.id, request.head.method, request.head.path)
        }
        Input::Settled(settlements) => {
            let requests: Vec<_> = settlements.iter().map(|it| it.request.to_string()).collect();
            format!("requests {}", requests.join(", "))
        }
        Input::Finished { call, outcome: Outcome::Answered(response) } => format!("call {call}: {}", response.status),
        Input::Finished { call, outcome: Outcome::Failed(why) | Outcome::Refused(why) } => {
            format!("call {call}: {why}")
        }
        Input::Swapped(swapped) => format!("to {}", swapped.to),
    }
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn changes(batch: &Batch) -> usize {
    batch.accounts.iter().map(|it| it.changes.len()).sum::<usize>() + batch.book.len()
}

fn concerned(batch: &Batch) -> &str {
    batch.accounts.first().map_or("the address book", |it| &it.account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::changes::{AccountChanges, Change, Happening};
    use crate::contract::requests::{Denial, RequestHead};
    use crate::journal::Digest;

    fn brief(input: Input) -> String {
        let digest = Digest { component: 1, reaction: 0xfeed };
        item_in_brief(&Item::Record(Record { sequence: 7, now: 1_795_296_510_624, digest, input: input.into() }))
    }

    fn gap(account: &str) -> Batch {
        let change = Change { number: None, at: 0, origin: None, counts: vec![], what: Happening::Gap };
        Batch { accounts: vec![AccountChanges { account: account.into(), changes: vec![change] }], book: vec![] }
    }

    #[test]
    fn moments_are_written_as_in_rfc_3339() {
        assert_eq!(moment(1_795_296_510_624), "2026-11-21T21:28:30.624Z");
        assert_eq!(moment(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn bytes_are_text_where_they_can_be() {
        assert_eq!(text("<é/>".as_bytes()), json!("<é/>"));
        assert_eq!(text(&[0xff, 0]), json!({ "base64": "/wA=" }));
    }

    #[test]
    fn an_input_is_a_line_that_tells_who() {
        let span = Some(SourceSpan { source: "imap-1".into(), offset: 4, length: 2 });
        let ingest = |span, skipped| brief(Input::Ingest { batch: gap("a@b"), span, skipped });
        let skipped = Some(Box::new(Skipped { batch: gap("c@d"), reason: "trap".into() }));
        let lines = [
            brief(Input::Tick),
            ingest(span, None),
            ingest(None, skipped),
            brief(Input::Restarted(Restart { down_ms: 5, regressed: true })),
        ];
        let ends = ["", "imap-1 4+2: 1 change  ", "skipped a change of c@d: trap  ", "after 5 ms, regressed  "];
        let kinds = ["tick     ", "ingest   ", "ingest   ", "restarted"];
        for ((line, kind), end) in lines.iter().zip(kinds).zip(ends) {
            let digest = "[000000000000feed by 0000000000000001]";
            assert_eq!(*line, format!("       7  2026-11-21T21:28:30.624Z  {kind}  {end}{digest}"));
        }
    }

    #[test]
    fn a_terminal_is_given_no_commands() {
        let head = RequestHead {
            method: "GET".into(),
            path: "/\u{1b}[2J".into(),
            query: String::new(),
            content_type: String::new(),
            headers: vec![],
            secure: false,
        };
        let access = Access::Denied(Denial::Missing);
        let request = Request { id: 1, head, body: vec![], access, act_as: None, accounts: vec![] };
        let line = brief(Input::Answer(Box::new(request)));
        assert!(line.contains("request 1: GET /?[2J by nobody"), "{line}");
    }
}
