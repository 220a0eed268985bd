//! Random requests for the routes of a plugin: its author's samples, altered and not, and what makes no sense.

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::changes::{account, word};
use crate::contract::lifecycle::{Manifest, Route};
use crate::contract::requests::{
    Access, Claims, Denial, Grant, Rank, Refusal, Request, RequestHead, Resolution, Span, Standing,
};

/// Every reason for which a host refuses.
pub(super) const REFUSALS: [Refusal; 6] =
    [Refusal::TooLarge, Refusal::Busy, Refusal::Fault, Refusal::Stopping, Refusal::Moved, Refusal::Throttled];

const DENIALS: [Denial; 10] = [
    Denial::Missing,
    Denial::Malformed,
    Denial::UnknownLogin,
    Denial::WrongSecret,
    Denial::UnknownToken,
    Denial::Expired,
    Denial::Inactive,
    Denial::NotPermitted,
    Denial::Throttled,
    Denial::Unavailable,
];

const STANDINGS: [Standing; 6] = [
    Standing::Itself,
    Standing::Permitted,
    Standing::Forbidden,
    Standing::Unknown,
    Standing::Unavailable,
    Standing::Elsewhere,
];

const TYPES: [&str; 5] = ["", "text/xml; charset=utf-8", "application/json", "application/octet-stream", "\u{e4}/;;"];

/// Stands in a sample for a word that the plugin has said, such as the id of a subscription.
const HEARD: &str = "{heard}";

/// How many words that the plugin said are remembered.
const MOST_HEARD: usize = 64;

/// A request that makes sense to the plugin, as its author knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sample {
    /// In capitals; empty: the first of the route's.
    #[serde(default)]
    pub method: String,
    /// The path, below one of the plugin's routes.
    pub path: String,
    /// What follows the `?`.
    #[serde(default)]
    pub query: String,
    /// The header's value.
    #[serde(default)]
    pub content_type: String,
    /// Those that the route asks for, names in small letters.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body. `{heard}`, here and in the query, becomes a word from one of the plugin's earlier replies.
    #[serde(default)]
    pub body: String,
}

/// Makes requests.
#[derive(Debug)]
pub(super) struct Requests<'p> {
    pub manifest: &'p Manifest,
    pub samples: &'p [Sample],
    heard: Vec<String>,
}

impl<'p> Requests<'p> {
    pub(super) fn new(manifest: &'p Manifest, samples: &'p [Sample]) -> Requests<'p> {
        Requests { manifest, samples, heard: Vec::new() }
    }

    /// Remembers words of a reply that look like ids.
    pub(super) fn hear(&mut self, body: &[u8], chance: &mut Chance) {
        let text = String::from_utf8_lossy(&body[..body.len().min(4_096)]);
        let id = |character: char| character.is_ascii_alphanumeric() || "+/=_-.".contains(character);
        for word in text.split(|character| !id(character)).filter(|word| (8..256).contains(&word.len())) {
            if self.heard.len() < MOST_HEARD {
                self.heard.push(word.to_owned());
            } else {
                let place = chance.place(MOST_HEARD);
                word.clone_into(&mut self.heard[place]);
            }
        }
    }

    /// Head and body of a request; none: the plugin has no routes.
    pub(super) fn next(&self, chance: &mut Chance) -> Option<(RequestHead, Vec<u8>)> {
        let (mut head, mut body) =
            if !self.samples.is_empty() && !chance.once_in(5) { self.sample(chance) } else { self.senseless(chance)? };
        if chance.once_in(4) {
            alter(chance, &mut body);
        }
        head.secure = chance.once_in(2);
        Some((head, body))
    }

    fn sample(&self, chance: &mut Chance) -> (RequestHead, Vec<u8>) {
        let Sample { method, path, query, content_type, headers, body } = chance.one(self.samples).clone();
        let route = crate::plugin::route(&self.manifest.routes, &path);
        let method =
            if method.is_empty() { route.map_or(String::new(), |route| route.methods[0].clone()) } else { method };
        let (query, body) = (self.filled(chance, query), self.filled(chance, body));
        (RequestHead { method, path, query, content_type, headers, secure: false }, body.into_bytes())
    }

    fn filled(&self, chance: &mut Chance, mut text: String) -> String {
        while let Some(at) = text.find(HEARD) {
            let word = if self.heard.is_empty() { "nothing" } else { chance.one(&self.heard) };
            text.replace_range(at..at + HEARD.len(), word);
        }
        text
    }

    fn senseless(&self, chance: &mut Chance) -> Option<(RequestHead, Vec<u8>)> {
        let routes = &self.manifest.routes;
        let route = (!routes.is_empty()).then(|| chance.one(routes))?;
        let below = ["", "/", "/x", "/%00/..", "/\u{e4}"][chance.place(5)];
        let head = RequestHead {
            method: chance.one(&route.methods).clone(),
            path: format!("{}{below}", route.prefix.trim_end_matches('/')),
            query: if chance.once_in(3) { format!("{}={}", word(chance), word(chance)) } else { String::new() },
            content_type: (*chance.one(&TYPES)).to_owned(),
            headers: headers(route, chance),
            secure: false,
        };
        let head = RequestHead { path: if head.path.is_empty() { "/".into() } else { head.path }, ..head };
        Some((head, body(chance)))
    }
}

fn headers(route: &Route, chance: &mut Chance) -> Vec<(String, String)> {
    let asked = route.headers.iter().filter(|_| chance.once_in(2)).cloned().collect::<Vec<_>>();
    asked.into_iter().map(|name| (name, word(chance))).collect()
}

/// What is no request of any protocol, or only begins like one.
fn body(chance: &mut Chance) -> Vec<u8> {
    match chance.below(6) {
        0 => Vec::new(),
        1 => "<a xmlns='b'>".repeat(chance.below(2_000) as usize).into_bytes(),
        2 => "[{\"a\":".repeat(chance.below(2_000) as usize).into_bytes(),
        3 => format!("<?xml version=\"1.0\"?><a>{}</a>", word(chance)).into_bytes(),
        4 => format!("{{\"a\":\"{}\"}}", word(chance)).into_bytes(),
        _ => chance.bytes(300),
    }
}

/// Cuts, repeats or overwrites a piece.
fn alter(chance: &mut Chance, body: &mut Vec<u8>) {
    if body.is_empty() {
        return;
    }
    let from = chance.place(body.len());
    let to = from + chance.place(body.len() - from + 1);
    match chance.below(3) {
        0 => drop(body.drain(from..to)),
        1 => body.extend_from_within(from..to),
        _ => body[from..to].fill(chance.next() as u8),
    }
}

/// The request as a plugin gets it, with what the host would have found out of these claims.
pub(super) fn complete(chance: &mut Chance, id: u64, head: RequestHead, mut body: Vec<u8>, claims: &Claims) -> Request {
    for Span { start, length } in &claims.secrets {
        let (start, end) = (*start as usize, *start as usize + *length as usize);
        // A span beyond the body is judged where `identify` is.
        if let Some(secret) = body.get_mut(start..end) {
            secret.fill(b'*');
        }
    }
    if chance.once_in(6) {
        let access = Access::Denied(*chance.one(&DENIALS));
        return Request { id, head, body, access, act_as: None, accounts: Vec::new() };
    }
    let access = Access::Granted(grant(chance, claims.wants_token));
    let act_as = claims.act_as.as_ref().map(|_| resolution(chance));
    let accounts = claims.accounts.iter().map(|_| resolution(chance)).collect();
    Request { id, head, body, access, act_as, accounts }
}

fn grant(chance: &mut Chance, wants_token: bool) -> Grant {
    Grant {
        account: account(chance),
        rank: *chance.one(&[Rank::User, Rank::User, Rank::DelegatedAdministrator, Rank::Administrator]),
        visit: format!("visit{}", chance.below(10)),
        token_placeholder: wants_token.then(|| "PLACEHOLDER00000".into()),
        token_lifetime_ms: if wants_token { 3_600_000 } else { 0 },
    }
}

fn resolution(chance: &mut Chance) -> Resolution {
    let standing = *chance.one(&STANDINGS);
    let account = (standing != Standing::Unknown).then(|| account(chance));
    Resolution { account, standing }
}
