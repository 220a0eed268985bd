//! The contract as it binds the plugin: whether a reaction is one that the input allows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::contract::requests::{Claims, Settlement, Span};
use crate::contract::types::{Call, CallTarget, HttpTarget, Reaction, Reply, TcpTarget};
use crate::journal::Input;
use crate::plugin::Fault;

/// How many replies a reaction may hold.
const MOST_REPLIES: usize = 256;

/// How many ticks in a row may be asked for at once without a reply or a call in their reactions.
const MOST_IDLE_TICKS: u32 = 1_000;

/// How many bytes the body of a refusal may have.
const MOST_REFUSAL_BYTES: usize = 64 << 10;

/// How many runs of numbers are remembered. A plugin that counts has one.
const MOST_RUNS: usize = 1_024;

/// The requests that the plugin may reply to, as the inputs that it was fed let it know them, and the calls that it
/// made.
pub(crate) struct Guard {
    answerable: BTreeSet<u64>,
    calls: Numbers,
    /// Ticks so far, in a row, that asked for another at once and did nothing that anybody sees.
    idle_ticks: u32,
    /// How many bytes all texts and bodies of a reaction may have.
    reaction_bytes: usize,
}

/// Numbers that were given, as runs of neighbours: first and last. Of too many runs the lowest is forgotten.
#[derive(Default)]
struct Numbers(BTreeMap<u64, u64>);

impl Guard {
    /// A guard for an instance that was loaded, knows of these requests and waits for these calls, and whose reactions
    /// may have so many bytes. Which other calls were made before, it does not know.
    pub(crate) fn after_load(requests: &[u64], calls: &[u64], reaction_bytes: usize) -> Guard {
        let answerable = requests.iter().copied().collect();
        let mut guard = Guard { answerable, calls: Numbers::default(), idle_ticks: 0, reaction_bytes };
        for call in calls {
            guard.calls.add(*call);
        }
        guard
    }

    /// Reactions may hold so many bytes from now on.
    pub(super) fn limit(&mut self, reaction_bytes: usize) {
        self.reaction_bytes = reaction_bytes;
    }

    /// The requests that the plugin may reply to, from one number on.
    pub(super) fn answerable_after(&self, after: u64) -> impl Iterator<Item = u64> {
        self.answerable.range((Bound::Excluded(after), Bound::Unbounded)).copied()
    }

    /// Whether the plugin may reply to a request.
    pub(super) fn may_answer(&self, request: u64) -> bool {
        self.answerable.contains(&request)
    }

    /// Judges the reaction to an input at this time; the error says which rule it breaks.
    pub(super) fn check(&mut self, now: u64, input: &Input, reaction: &Reaction) -> Result<(), String> {
        self.check_reaction(input, reaction)?;
        self.check_wake_up(now, input, reaction)
    }

    /// As `check`, but for when it asks to be woken.
    pub(crate) fn check_reaction(&mut self, input: &Input, reaction: &Reaction) -> Result<(), String> {
        self.note(input);
        check_size(reaction, self.reaction_bytes)?;
        if !reaction.changed {
            check_unchanged(input, reaction)?;
        }
        if !reaction.rejections.is_empty() && !matches!(input, Input::Ingest { .. }) {
            return Err("rejections without changes".into());
        }
        for reply in &reaction.replies {
            self.check_reply(reply)?;
        }
        for call in &reaction.calls {
            self.check_call(call)?;
        }
        Ok(())
    }

    fn note(&mut self, input: &Input) {
        match input {
            Input::Answer(request) => drop(self.answerable.insert(request.id)),
            Input::Restarted(_) => self.answerable.clear(),
            Input::Settled(settlements) => {
                for Settlement { request, end, .. } in settlements {
                    if end.is_some() {
                        self.answerable.remove(request);
                    }
                }
            }
            _ => {}
        }
    }

    /// A timer that is due at once is how a plugin goes on with what was too much for one reaction; one that only asks
    /// for the next never ends.
    pub(crate) fn check_wake_up(&mut self, now: u64, input: &Input, reaction: &Reaction) -> Result<(), String> {
        let at_once = matches!(input, Input::Tick) && reaction.wake_at.is_some_and(|due| due <= now);
        if !at_once || !reaction.replies.is_empty() || !reaction.calls.is_empty() {
            self.idle_ticks = 0;
            return Ok(());
        }
        self.idle_ticks += 1;
        if !reaction.changed || self.idle_ticks > MOST_IDLE_TICKS {
            return Err(format!("{} ticks in a row that do nothing and ask for another at once", self.idle_ticks));
        }
        Ok(())
    }

    fn check_reply(&mut self, reply: &Reply) -> Result<(), String> {
        let Reply { to, status, headers, more, .. } = reply;
        if !self.answerable.contains(to) {
            return Err(format!("a reply to request {to}, which is not open"));
        }
        if !(200..=599).contains(status) {
            return Err(format!("status {status}"));
        }
        check_headers(headers)?;
        if !more {
            self.answerable.remove(to);
        }
        Ok(())
    }

    fn check_call(&mut self, call: &Call) -> Result<(), String> {
        check_target(&call.target)?;
        if self.calls.add(call.id) { Ok(()) } else { Err(format!("call {} was made before", call.id)) }
    }
}

impl Numbers {
    /// Adds a number; false if it is there already.
    fn add(&mut self, number: u64) -> bool {
        let below = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        let first = match below {
            Some((_, last)) if last >= number => return false,
            Some((first, last)) if last + 1 == number => first,
            _ => number,
        };
        let above = number.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, above.unwrap_or(number));
        if self.0.len() > MOST_RUNS {
            self.0.pop_first();
        }
        true
    }
}

/// How many accounts `identify` may name: the host resolves no more for one request.
pub(super) const MOST_ACCOUNTS: usize = 4_096;

/// Judges what `identify` says of a request with this body.
pub(super) fn check_claims(body: &[u8], claims: Claims) -> Result<Claims, Fault> {
    let mut end = 0;
    for Span { start, length } in &claims.secrets {
        if u64::from(*start) < end || *length == 0 {
            return Err(Fault::Contract("secrets that overlap, are empty or not in their order".into()));
        }
        end = u64::from(*start) + u64::from(*length);
    }
    if end > body.len() as u64 {
        return Err(Fault::Contract(format!("a secret that ends at byte {end} of a body of {}", body.len())));
    }
    if claims.accounts.len() > MOST_ACCOUNTS {
        return Err(Fault::Contract(format!("{} accounts named by one request", claims.accounts.len())));
    }
    Ok(claims)
}

/// Judges what `refuse` gives.
pub(super) fn check_refusal(reply: Reply) -> Result<Reply, Fault> {
    let Reply { status, headers, body, .. } = &reply;
    if !(200..=599).contains(status) {
        return Err(Fault::Contract(format!("status {status}")));
    }
    check_headers(headers).map_err(Fault::Contract)?;
    if body.len() > MOST_REFUSAL_BYTES {
        return Err(Fault::Contract(format!("a refusal of {} bytes", body.len())));
    }
    Ok(reply)
}

fn check_headers(headers: &[(String, String)]) -> Result<(), String> {
    match headers.iter().find(|(name, value)| !is_header(name, value)) {
        Some((name, _)) => Err(format!("the header {name:?} is none that HTTP allows")),
        None => Ok(()),
    }
}

/// Only what every plugin can know: a client gave the address, and whether it is good is for who makes the call.
fn check_target(target: &CallTarget) -> Result<(), String> {
    match target {
        CallTarget::HttpPost(HttpTarget { url, headers }) => {
            let rest = without_prefix(url, "http://").or_else(|| without_prefix(url, "https://"));
            if rest.is_none_or(str::is_empty) || url.chars().any(char::is_control) {
                return Err("a call whose URL is not an absolute one of http or https".into());
            }
            check_headers(headers)
        }
        CallTarget::Tcp(TcpTarget { address, .. }) if address.is_empty() || address.chars().any(char::is_control) => {
            Err("a call to an address that is none".into())
        }
        CallTarget::Tcp(TcpTarget { port: 0, .. }) => Err("a call to port 0".into()),
        CallTarget::Tcp(_) => Ok(()),
    }
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn check_size(reaction: &Reaction, most: usize) -> Result<(), String> {
    let Reaction { replies, calls, rejections, logs, .. } = reaction;
    if replies.len() > MOST_REPLIES {
        return Err(format!("{} replies in one reaction", replies.len()));
    }
    let headers =
        |headers: &[(String, String)]| headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let target = |target: &CallTarget| match target {
        CallTarget::HttpPost(target) => target.url.len() + headers(&target.headers),
        CallTarget::Tcp(target) => target.address.len(),
    };
    let bytes = replies.iter().map(|reply| reply.body.len() + headers(&reply.headers)).sum::<usize>()
        + calls.iter().map(|call| call.body.len() + target(&call.target)).sum::<usize>()
        + rejections.iter().map(|rejection| rejection.reason.len()).sum::<usize>()
        + logs.iter().map(|line| line.message.len()).sum::<usize>();
    if bytes > most { Err(format!("{bytes} bytes in one reaction")) } else { Ok(()) }
}

/// What a reaction may hold whose input need not be journaled: it must leave nothing behind.
fn check_unchanged(input: &Input, reaction: &Reaction) -> Result<(), String> {
    let Input::Answer(request) = input else {
        let nothing = reaction.replies.is_empty() && reaction.calls.is_empty();
        return if nothing { Ok(()) } else { Err("replies or calls, and yet `changed` is false".into()) };
    };
    let whole = |reply: &Reply| reply.to == request.id && !reply.more && !reply.confirm;
    match &*reaction.replies {
        [reply] if whole(reply) && reaction.calls.is_empty() => Ok(()),
        _ => Err("`changed` is false, but the request is not answered by one final part and nothing else".into()),
    }
}

/// RFC 9110, section 5: a name is a token, a value visible text without line breaks.
pub(crate) fn is_header(name: &str, value: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty()
        && name.bytes().all(token)
        && value.bytes().all(|byte| byte == b'\t' || (byte >= 32 && byte != 127))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::requests::End;

    fn reaction(replies: Vec<Reply>, changed: bool) -> Reaction {
        Reaction { replies, calls: vec![], wake_at: None, rejections: vec![], logs: vec![], changed }
    }

    fn reply(to: u64, more: bool) -> Reply {
        Reply { to, status: 200, headers: vec![], body: vec![], more, confirm: false }
    }

    fn guard(requests: &[u64]) -> Guard {
        Guard::after_load(requests, &[], 1 << 20)
    }

    fn ended(request: u64) -> Input {
        Input::Settled(vec![Settlement { request, parts: 0, end: Some(End::Gone) }])
    }

    #[test]
    fn only_an_open_request_gets_replies_and_only_one_final_one() {
        let mut guard = guard(&[7]);
        assert_eq!(guard.check(0, &Input::Tick, &reaction(vec![reply(7, true)], true)), Ok(()));
        assert_eq!(guard.check(0, &Input::Tick, &reaction(vec![reply(7, false)], true)), Ok(()));
        assert!(guard.check(0, &Input::Tick, &reaction(vec![reply(7, false)], true)).is_err());
        assert!(guard.check(0, &Input::Tick, &reaction(vec![reply(8, false)], true)).is_err());
    }

    #[test]
    fn a_request_is_open_until_the_plugin_was_told_of_its_end() {
        let mut guard = guard(&[7]);
        assert_eq!(guard.check(0, &ended(7), &reaction(vec![], true)), Ok(()));
        assert!(guard.check(0, &Input::Tick, &reaction(vec![reply(7, true)], true)).is_err());
    }

    #[test]
    fn who_hangs_up_while_its_final_part_is_on_its_way_breaks_no_rule() {
        let mut guard = guard(&[7]);
        assert_eq!(guard.check(0, &Input::Tick, &reaction(vec![reply(7, false)], true)), Ok(()));
        assert_eq!(guard.check(0, &ended(7), &reaction(vec![], true)), Ok(()));
        assert_eq!(guard.check(0, &ended(7), &reaction(vec![], false)), Ok(()), "nor if it is told twice");
    }

    #[test]
    fn what_need_not_be_journaled_leaves_nothing_behind() {
        let mut guard = guard(&[7]);
        assert_eq!(guard.check(0, &Input::Tick, &reaction(vec![], false)), Ok(()));
        assert!(guard.check(0, &Input::Tick, &reaction(vec![reply(7, true)], false)).is_err());
    }

    #[test]
    fn ticks_that_do_nothing_end() {
        let at = |wake_at, changed| Reaction { wake_at: Some(wake_at), ..reaction(vec![], changed) };
        let mut guard = guard(&[7]);
        assert!(guard.check(5, &Input::Tick, &at(5, false)).is_err(), "it would be asked again and again");
        assert_eq!(guard.check(5, &Input::Tick, &at(6, false)), Ok(()));
        assert_eq!(guard.check(5, &Input::Drain, &at(5, true)), Ok(()));
        let most = (0..).take_while(|_| guard.check(5, &Input::Tick, &at(5, true)).is_ok()).count();
        assert_eq!(most, MOST_IDLE_TICKS as usize);
        let going_on = Reaction { wake_at: Some(5), ..reaction(vec![reply(7, true)], true) };
        assert!((0..9_999).all(|_| guard.check(5, &Input::Tick, &going_on).is_ok()), "it sends parts");
    }

    #[test]
    fn secrets_stand_in_the_body_and_in_their_order() {
        let claims = |spans: &[(u32, u32)]| {
            let secrets = spans.iter().map(|(start, length)| Span { start: *start, length: *length }).collect();
            let (credential, act_as) = (None, None);
            Claims { credential, wants_token: false, act_as, accounts: vec![], ends_login: false, secrets }
        };
        for (spans, good) in [
            (&[][..], true),
            (&[(0, 2), (2, 8)], true),
            (&[(0, 2), (1, 1)], false),
            (&[(4, 1), (0, 1)], false),
            (&[(3, 0)], false),
            (&[(8, 3)], false),
            (&[(u32::MAX, u32::MAX)], false),
        ] {
            assert_eq!(check_claims(b"0123456789", claims(spans)).is_ok(), good, "{spans:?}");
        }
    }

    #[test]
    fn a_reaction_has_a_size() {
        let mut guard = Guard::after_load(&[7], &[], 10);
        let of = |bytes| Reaction {
            replies: vec![Reply { body: vec![0; bytes], ..reply(7, true) }],
            ..reaction(vec![], true)
        };
        assert_eq!(guard.check(0, &Input::Tick, &of(10)), Ok(()));
        assert!(guard.check(0, &Input::Tick, &of(11)).is_err());
    }

    fn call(id: u64, target: CallTarget) -> Reaction {
        Reaction { calls: vec![Call { id, target, body: vec![] }], ..reaction(vec![], true) }
    }

    fn post(url: &str, header: &str) -> CallTarget {
        CallTarget::HttpPost(HttpTarget { url: url.into(), headers: vec![(header.into(), "x".into())] })
    }

    fn tcp(address: &str, port: u16) -> CallTarget {
        CallTarget::Tcp(TcpTarget { address: address.into(), port })
    }

    #[test]
    fn a_number_is_for_one_call() {
        let mut guard = Guard::after_load(&[], &[7], 1 << 20);
        let mut check = |id| guard.check(0, &Input::Tick, &call(id, tcp("a", 1))).is_ok();
        let made = [9, 7, 8, 8, 3, 9, 7, 3, u64::MAX, u64::MAX, 0, 0].map(|id| (id, check(id)));
        let first: Vec<u64> = made.into_iter().filter(|(_, good)| *good).map(|(id, _)| id).collect();
        assert_eq!(first, [9, 8, 3, u64::MAX, 0]);
        assert_eq!(guard.calls.0, BTreeMap::from([(0, 0), (3, 3), (7, 9), (u64::MAX, u64::MAX)]));
    }

    #[test]
    fn what_is_known_of_numbers_is_bounded() {
        let mut numbers = Numbers::default();
        assert!((0..3_000).all(|number| numbers.add(number * 2)));
        assert_eq!(numbers.0.len(), MOST_RUNS);
        assert!(!numbers.add(5_998) && numbers.add(5_999));
    }

    #[test]
    fn calls_have_a_target() {
        for (target, allowed) in [
            (post("http://a", "x-a"), true),
            (post("HTTPS://a b/", "x-a"), true),
            (post("http://", "x-a"), false),
            (post("ftp://a", "x-a"), false),
            (post("/a", "x-a"), false),
            (post("http://a\r\nb", "x-a"), false),
            (post("http://a", "x a"), false),
            (tcp("a", 1), true),
            (tcp("::1", 65_535), true),
            (tcp("a", 0), false),
            (tcp("", 1), false),
            (tcp("a\n", 1), false),
        ] {
            let said = guard(&[]).check(0, &Input::Tick, &call(1, target.clone()));
            assert_eq!(said.is_ok(), allowed, "{target:?}: {said:?}");
        }
    }

    #[test]
    fn headers_cannot_be_split() {
        for (name, value, allowed) in
            [("x-a", "b c", true), ("x-a", "b\r\nc", false), ("x a", "b", false), ("", "b", false)]
        {
            assert_eq!(is_header(name, value), allowed, "{name:?}: {value:?}");
        }
    }
}
