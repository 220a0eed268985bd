//! The functions without state: the same arguments, the same result, whatever the instance went through.

use super::calls::{Stopped, ran};
use super::chance::Chance;
use super::requests::{REFUSALS, Requests};
use super::rules::{Judge, Rule};
use super::{Options, Subject};
use crate::contract::requests::{Claims, RequestHead, Span};
use crate::contract::types::Reply;

/// How many requests are tried.
const REQUESTS: u64 = 300;

/// Each function on an instance that is used again and again, on a fresh one now and then.
pub(super) fn look(subject: &Subject, options: &Options, judge: &mut Judge) -> Result<(), Stopped> {
    let requests = Requests::new(subject.plugin.manifest(), &options.samples);
    let mut chance = Chance::new(options.seed);
    let mut used = ran(judge, Rule::Pure, "the first instance", subject.instance())?;
    for number in 1..=REQUESTS {
        let Some((head, body)) = requests.next(&mut chance) else { break };
        let place = format!("request {number} ({} {})", head.method, head.path.escape_default());
        let mut fresh = ran(judge, Rule::Pure, &place, subject.instance())?;
        let claims = ran(judge, Rule::Pure, &place, used.identify(&head, &body))?;
        judge.rule(Rule::Pure, &place, unsound(&claims, &body));
        let again = ran(judge, Rule::Pure, &place, fresh.identify(&head, &body))?;
        judge.holds(Rule::Pure, &place, claims == again, || {
            "`identify` claims something else in a fresh instance".into()
        });
        for why in REFUSALS {
            let reply = ran(judge, Rule::Pure, &place, used.refuse(&head, &body, why))?;
            judge.rule(Rule::Pure, &place, unusable(&reply, &head));
            let again = ran(judge, Rule::Pure, &place, fresh.refuse(&head, &body, why))?;
            judge.holds(Rule::Pure, &place, same(&reply, &again), || {
                format!("`refuse` says something else of {why:?} in a fresh instance")
            });
        }
    }
    let manifest = ran(judge, Rule::Manifest, "describe, at last", used.describe())?;
    judge.holds(Rule::Manifest, "describe, at last", manifest == *subject.plugin.manifest(), || {
        "it is not what it was at first".into()
    });
    Ok(())
}

/// Spans in their order, none empty, none beyond the body.
fn unsound(claims: &Claims, body: &[u8]) -> Option<String> {
    let mut end = 0;
    for Span { start, length } in &claims.secrets {
        let (from, to) = (u64::from(*start), u64::from(*start) + u64::from(*length));
        if *length == 0 || from < end || to > body.len() as u64 {
            return Some(format!("`identify` names {length} secret bytes from {start} of {} on", body.len()));
        }
        end = to;
    }
    None
}

fn unusable(reply: &Reply, head: &RequestHead) -> Option<String> {
    let Reply { status, headers, .. } = reply;
    if !(200..=599).contains(status) {
        return Some(format!("`refuse` answers {} with status {status}", head.method));
    }
    let broken = headers.iter().find(|(name, value)| !crate::tenant::is_header(name, value));
    broken.map(|(name, _)| format!("`refuse` gives the header {name:?}, which HTTP does not allow"))
}

/// What counts of a refusal.
fn same(one: &Reply, other: &Reply) -> bool {
    (one.status, &one.headers, &one.body) == (other.status, &other.headers, &other.body)
}
