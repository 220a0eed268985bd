//! QueryWaitSetRequest: what the sets are like, for administrators who look for a fault.

use super::call::Call;
use super::fault::Fault;
use super::mods::weight;
use super::sets::{Errors, Id, Member, Progress, SetNo};
use super::wait_set::error_nodes;
use super::waiters;
use super::wire::{Element, Node};
use crate::mailboxes::MailboxNo;
use crate::state::State;

/// Above this many bytes nothing further is told: it is for looking, not for keeping books.
const MAX_ANSWER: usize = 256 << 10;

/// Answers the operation.
pub fn answer(call: &mut Call<'_>, operation: &Element<'_>) -> Result<Node, Fault> {
    call.caller.must_be_system_administrator()?;
    let mut answer = Answer { state: call.state, room: MAX_ANSWER };
    let node = Node::of("QueryWaitSetResponse", "urn:zimbraAdmin");
    let Some(text) = operation.value("waitSet").or_else(|| operation.value("waitset")) else {
        let numbers: Vec<SetNo> = answer.state.waitsets.iter().map(|(number, _)| number).collect();
        let mut sets = Vec::new();
        for number in numbers {
            if answer.room == 0 {
                break;
            }
            sets.extend(answer.set(number));
        }
        return Ok(node.many(sets));
    };
    let number = Id::read(text).and_then(|id| call.state.waitsets.find(&id));
    let number = number.ok_or_else(|| Fault::no_such_wait_set(text))?;
    waiters::touch(call.state, call.turn, number);
    let mut answer = Answer { state: call.state, room: MAX_ANSWER };
    let set = answer.set(number);
    Ok(node.many(set))
}

struct Answer<'s> {
    state: &'s State,
    room: usize,
}

impl Answer<'_> {
    /// Uses up room; whether there was any.
    fn takes(&mut self, bytes: usize) -> bool {
        let there = self.room > 0;
        self.room = self.room.saturating_sub(bytes);
        there
    }

    fn set(&mut self, number: SetNo) -> Option<Node> {
        let set = self.state.waitsets.get(number)?;
        self.takes(256 + weight(&set.owner));
        let (current, next, errors) = match &set.progress {
            Progress::Chosen { current, errors, sent_errors } => {
                (current.to_string(), None, errors.union(sent_errors).take(100).cloned().collect())
            }
            Progress::Everyone { sent, .. } => {
                let current = sent.map_or_else(|| "0".to_owned(), |sent| sent.text());
                (current, Some(self.state.waitsets.commits.last.text()), Errors::new())
            }
        };
        let asked = set.waiter.as_ref().map_or_else(|| current.clone(), |waiter| waiter.asked.seq.clone());
        let node = Node::new("waitSet").with("id", set.id.text()).with("owner", set.owner.as_str());
        let node = node.with("defTypes", set.types.glued()).with("ld", set.accessed);
        let node = node.with("cbSeqNo", asked).with("currentSeqNo", current).with_some("nextSeqNo", next);
        let accessed = set.accessed;
        let mut sessions = Vec::new();
        for (mailbox, member) in self.state.waitsets.of_set(number) {
            if !self.takes(400 + weight(self.state.mailboxes.get(mailbox).id())) {
                break;
            }
            sessions.push(self.session(number, mailbox, member, accessed));
        }
        let node = node.many(sessions);
        let node = if errors.is_empty() { node } else { node.one(Node::new("errors").many(error_nodes(&errors))) };
        Some(match self.ready(number) {
            Some(ready) => node.one(Node::new("ready").with("accounts", ready)),
            None => node,
        })
    }

    fn session(&self, set: SetNo, number: MailboxNo, member: &Member, accessed: u64) -> Node {
        let mailbox = self.state.mailboxes.get(number);
        let node = Node::new("session").with("account", mailbox.id()).with("types", member.types.glued());
        let node = node.with_some("token", member.token);
        let node = match member.token {
            Some(token) => {
                let node = node.with("mboxSyncToken", mailbox.number);
                node.with("mboxSyncTokenDiff", mailbox.number.saturating_sub(token))
            }
            None => node,
        };
        let session = Node::new("WaitSetSession").with("interestMask", member.types.glued());
        let session = session.with("highestChangeId", mailbox.number).with("lastAccessTime", accessed);
        let session = session.with("creationTime", member.added);
        let session = session.with("sessionId", [set.to_string(), number.to_string()].join("-"));
        let session = session.with_some("token", member.token);
        let folders: Vec<String> = member.folders.iter().take(100).map(|folder| folder.to_string()).collect();
        node.one(session.with_some("folderInterests", (!folders.is_empty()).then(|| folders.join(","))))
    }

    /// The ids of the accounts that are signalled and not told, as far as there is room.
    fn ready(&mut self, number: SetNo) -> Option<String> {
        let mut ids: Vec<&str> = Vec::new();
        for mailbox in self.state.waitsets.in_index(true, number) {
            let id = self.state.mailboxes.get(mailbox).id();
            if !self.takes(1 + weight(id)) {
                break;
            }
            ids.push(id);
        }
        (!ids.is_empty()).then(|| ids.join(","))
    }
}
