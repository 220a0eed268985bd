//! The contract as it binds the plugin: whether a reaction is one that the input allows.

use std::collections::BTreeSet;

use crate::contract::requests::Settlement;
use crate::contract::types::{Reaction, Reply};
use crate::journal::Input;

/// How many replies a reaction may hold.
const MOST_REPLIES: usize = 256;

/// How many bytes all texts and bodies of a reaction may have.
const MOST_BYTES: usize = 1 << 20;

/// The requests that the plugin may reply to, as the inputs that it was fed let it know them.
#[derive(Default)]
pub(super) struct Guard {
    answerable: BTreeSet<u64>,
}

impl Guard {
    /// A guard for an instance that was loaded and knows of these requests.
    pub(super) fn after_load(requests: &[u64]) -> Guard {
        Guard { answerable: requests.iter().copied().collect() }
    }

    /// Judges the reaction to an input; the error says which rule it breaks.
    pub(super) fn check(&mut self, input: &Input, reaction: &Reaction) -> Result<(), String> {
        self.note(input);
        check_size(reaction)?;
        if !reaction.changed {
            check_unchanged(input, reaction)?;
        }
        if !reaction.rejections.is_empty() && !matches!(input, Input::Ingest { .. }) {
            return Err("rejections without changes".into());
        }
        for reply in &reaction.replies {
            self.check_reply(reply)?;
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

    fn check_reply(&mut self, reply: &Reply) -> Result<(), String> {
        let Reply { to, status, headers, more, .. } = reply;
        if !self.answerable.contains(to) {
            return Err(format!("a reply to request {to}, which is not open"));
        }
        if !(200..=599).contains(status) {
            return Err(format!("status {status}"));
        }
        if let Some((name, _)) = headers.iter().find(|(name, value)| !is_header(name, value)) {
            return Err(format!("the header {name:?} is none that HTTP allows"));
        }
        if !more {
            self.answerable.remove(to);
        }
        Ok(())
    }
}

fn check_size(reaction: &Reaction) -> Result<(), String> {
    let Reaction { replies, calls, rejections, logs, .. } = reaction;
    if replies.len() > MOST_REPLIES {
        return Err(format!("{} replies in one reaction", replies.len()));
    }
    let headers =
        |headers: &[(String, String)]| headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let bytes = replies.iter().map(|reply| reply.body.len() + headers(&reply.headers)).sum::<usize>()
        + calls.iter().map(|call| call.body.len()).sum::<usize>()
        + rejections.iter().map(|rejection| rejection.reason.len()).sum::<usize>()
        + logs.iter().map(|line| line.message.len()).sum::<usize>();
    if bytes > MOST_BYTES { Err(format!("{bytes} bytes in one reaction")) } else { Ok(()) }
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
fn is_header(name: &str, value: &str) -> bool {
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

    fn ended(request: u64) -> Input {
        Input::Settled(vec![Settlement { request, parts: 0, end: Some(End::Gone) }])
    }

    #[test]
    fn only_an_open_request_gets_replies_and_only_one_final_one() {
        let mut guard = Guard::after_load(&[7]);
        assert_eq!(guard.check(&Input::Tick, &reaction(vec![reply(7, true)], true)), Ok(()));
        assert_eq!(guard.check(&Input::Tick, &reaction(vec![reply(7, false)], true)), Ok(()));
        assert!(guard.check(&Input::Tick, &reaction(vec![reply(7, false)], true)).is_err());
        assert!(guard.check(&Input::Tick, &reaction(vec![reply(8, false)], true)).is_err());
    }

    #[test]
    fn a_request_is_open_until_the_plugin_was_told_of_its_end() {
        let mut guard = Guard::after_load(&[7]);
        assert_eq!(guard.check(&ended(7), &reaction(vec![], true)), Ok(()));
        assert!(guard.check(&Input::Tick, &reaction(vec![reply(7, true)], true)).is_err());
    }

    #[test]
    fn what_need_not_be_journaled_leaves_nothing_behind() {
        let mut guard = Guard::after_load(&[7]);
        assert_eq!(guard.check(&Input::Tick, &reaction(vec![], false)), Ok(()));
        assert!(guard.check(&Input::Tick, &reaction(vec![reply(7, true)], false)).is_err());
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
