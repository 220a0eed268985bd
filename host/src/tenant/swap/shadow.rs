//! The reactions of a follower compared with the live ones, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::contract::requests::{Request, Settlement};
use crate::contract::types::{Reaction, Reply};
use crate::journal::{Input, Record};

/// How much of an answer a difference shows, in bytes.
const SHOWN_BYTES: usize = 8 << 10;

/// Where two versions made different things of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The input's position.
    pub sequence: u64,
    /// The function of the contract.
    pub input: &'static str,
    /// The dialect of the request that is answered otherwise; empty: not known, or it is not an answer that differs.
    pub dialect: String,
    /// Its operation, likewise.
    pub operation: String,
    /// What clients got. Of long answers the beginning.
    pub live: String,
    /// What they would have got.
    pub new: String,
}

/// A comparison under way.
#[derive(Default)]
pub(super) struct Comparison {
    /// Which request is which dialect's and operation's, of those that came since the follower began.
    asked: BTreeMap<u64, (String, String)>,
    pub(super) begun: bool,
    pub(super) inputs: u64,
    pub(super) differences: u64,
}

impl Comparison {
    /// An input is given to both.
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Answer(request) => drop(self.asked.insert(request.id, (dialect(request), operation(request)))),
            Input::Settled(settlements) => {
                let ended = settlements.iter().filter(|settlement| settlement.end.is_some());
                ended.for_each(|Settlement { request, .. }| drop(self.asked.remove(request)));
            }
            Input::Restarted(_) => self.asked.clear(),
            _ => {}
        }
    }

    /// What both made of it.
    pub(super) fn compare(&mut self, record: &Record, live: &Reaction, own: &Reaction) -> Option<Difference> {
        let found = self.begun.then(|| {
            self.inputs += 1;
            (live != own).then(|| self.difference(record, live, own))
        });
        for reply in live.replies.iter().filter(|reply| !reply.more && !reply.confirm) {
            self.asked.remove(&reply.to);
        }
        let found = found.flatten();
        self.differences += u64::from(found.is_some());
        found
    }

    fn difference(&self, record: &Record, live: &Reaction, own: &Reaction) -> Difference {
        let (live_parts, own_parts) = (by_request(&live.replies), by_request(&own.replies));
        let requests: BTreeSet<u64> = live_parts.keys().chain(own_parts.keys()).copied().collect();
        let differs = requests.into_iter().find(|request| live_parts.get(request) != own_parts.get(request));
        let (dialect, operation) = differs.and_then(|request| self.asked.get(&request)).cloned().unwrap_or_default();
        let (live, new) = match differs {
            Some(request) => (parts(live_parts.get(&request)), parts(own_parts.get(&request))),
            None => (rest(live), rest(own)),
        };
        Difference { sequence: record.sequence, input: record.input.kind(), dialect, operation, live, new }
    }
}

fn by_request(replies: &[Reply]) -> BTreeMap<u64, Vec<&Reply>> {
    let mut requests = BTreeMap::<u64, Vec<&Reply>>::new();
    for reply in replies {
        requests.entry(reply.to).or_default().push(reply);
    }
    requests
}

fn parts(replies: Option<&Vec<&Reply>>) -> String {
    let mut text = String::new();
    for Reply { status, headers, body, more, confirm, .. } in replies.into_iter().flatten() {
        let end = if *more { "more follows" } else { "the last" };
        let confirm = if *confirm { ", to be confirmed" } else { "" };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        // A string takes everything.
        let _ = write!(text, "{status} ({end}{confirm})\n{headers}\n{}\n", String::from_utf8_lossy(body));
    }
    if text.is_empty() { "nothing".to_owned() } else { cut(text) }
}

/// What differs where the replies do not.
fn rest(reaction: &Reaction) -> String {
    let Reaction { calls, wake_at, rejections, logs, changed, .. } = reaction;
    cut(format!("wake-at {wake_at:?}, changed {changed}, rejections {rejections:?}, calls {calls:?}, logs {logs:?}"))
}

fn cut(mut text: String) -> String {
    if text.len() > SHOWN_BYTES {
        let end = (0..=SHOWN_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// By the path, as the protocols have it: its first part, or what that is known as.
fn dialect(request: &Request) -> String {
    let first = request.head.path.split('/').find(|part| !part.is_empty()).unwrap_or_default().to_ascii_lowercase();
    match &*first {
        "service" => "zimbra".to_owned(),
        "soap" | "gwsoap" => "groupwise".to_owned(),
        _ => first,
    }
}

/// The name of the first element in a SOAP body; else the method.
fn operation(request: &Request) -> String {
    let text = String::from_utf8_lossy(&request.body);
    let mut names = text.split('<').skip(1).filter(|tag| !tag.starts_with(['?', '!', '/'])).map(local_name);
    let named = names.find(|name| *name == "Body").and_then(|_| names.next()).filter(|name| !name.is_empty());
    named.unwrap_or(&request.head.method).chars().take(100).collect()
}

fn local_name(tag: &str) -> &str {
    let name = tag.split(|end: char| end.is_whitespace() || end == '>' || end == '/').next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::requests::{Access, Denial, RequestHead};

    fn request(path: &str, body: &str) -> Request {
        let head = RequestHead {
            method: "POST".into(),
            path: path.into(),
            query: String::new(),
            content_type: String::new(),
            headers: vec![],
            secure: true,
        };
        let (body, access) = (body.into(), Access::Denied(Denial::Missing));
        Request { id: 1, head, body, access, act_as: None, accounts: vec![] }
    }

    #[test]
    fn a_request_has_a_dialect_and_an_operation() {
        let soap = "<?xml version='1.0'?><s:Envelope xmlns:s='x'><s:Header><a/></s:Header><s:Body><m:Subscribe a='b'>";
        let of = |path, body| {
            let request = request(path, body);
            (dialect(&request), operation(&request))
        };
        assert_eq!(of("/EWS/Exchange.asmx", soap), ("ews".into(), "Subscribe".into()));
        assert_eq!(of("/service/soap/", "<Envelope><Body><NoOpRequest/>"), ("zimbra".into(), "NoOpRequest".into()));
        assert_eq!(of("/", "no XML"), (String::new(), "POST".into()));
    }

    #[test]
    fn a_difference_names_the_answer_that_differs() {
        let reply =
            |to, body: &str| Reply { to, status: 200, headers: vec![], body: body.into(), more: false, confirm: false };
        let reaction = |replies, changed| Reaction {
            replies,
            calls: vec![],
            wake_at: None,
            rejections: vec![],
            logs: vec![],
            changed,
        };
        let input = Input::Answer(Box::new(request("/ews", "<Envelope><Body><GetEvents/>")));
        let record = Record { sequence: 5, now: 0, digest: Default::default(), input: input.into() };
        let mut comparison = Comparison { begun: true, ..Comparison::default() };
        comparison.note(&record.input);
        let live = reaction(vec![reply(1, "a"), reply(2, "same")], true);
        let own = reaction(vec![reply(2, "same"), reply(1, "b")], true);
        let found = comparison.compare(&record, &live, &own).expect("they differ");
        assert_eq!((found.sequence, &*found.dialect, &*found.operation), (5, "ews", "GetEvents"));
        assert!(found.live.ends_with("a\n") && found.new.ends_with("b\n"), "{found:?}");
        let found = comparison.compare(&record, &reaction(vec![], true), &reaction(vec![], false));
        assert!(found.is_some_and(|found| found.new.contains("changed false")));
        assert_eq!((comparison.inputs, comparison.differences), (2, 2));
    }
}
