//! What a snapshot says of events: keys, what happened as far as a key has it, answers on their way, connections.

use serde::{Deserialize, Serialize};

use crate::contract::RequestId;
use crate::groupwise::events::{Counts, Key, KeyNo, Line, Occurrence, Read as OnItsWay, Target, Uid};
use crate::mailboxes::MailboxNo;
use crate::state::State;

/// One record as it is written; as [`Read`], but borrowed.
#[derive(Serialize)]
pub(super) enum Written<'s> {
    Head(KeyNo, Counts),
    Log(MailboxNo, Uid),
    Occurrence(MailboxNo, Uid, &'s Occurrence),
    Key(KeyNo, &'s Key),
    OnItsWay(RequestId, &'s OnItsWay),
    Line(&'s Target, &'s Line),
}

/// One record.
#[derive(Deserialize)]
pub(super) enum Read {
    Head(KeyNo, Counts),
    Log(MailboxNo, Uid),
    Occurrence(MailboxNo, Uid, Occurrence),
    Key(KeyNo, Key),
    OnItsWay(RequestId, OnItsWay),
    Line(Target, Line),
}

/// The record to be written next.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Head,
    Log(MailboxNo),
    Occurrence(MailboxNo, Uid),
    Key(KeyNo),
    OnItsWay(RequestId),
    /// The one after this.
    Line(Option<Target>),
}

impl Place {
    /// The record at the place, if there is one, and the next place; none after the last.
    pub(super) fn record<'s>(&self, state: &'s State) -> (Option<Written<'s>>, Option<Self>) {
        let events = &state.events;
        match self {
            Self::Head => (Some(Written::Head(events.next, events.counts)), Some(Self::Log(0))),
            Self::Log(from) => match events.next_log(*from) {
                Some((mailbox, log)) => (Some(Written::Log(mailbox, log.next)), Some(Self::Occurrence(mailbox, 0))),
                None => (None, Some(Self::Key(0))),
            },
            Self::Occurrence(mailbox, from) => match events.log(*mailbox).next_from(*from) {
                Some((uid, it)) => {
                    (Some(Written::Occurrence(*mailbox, uid, it)), Some(Self::Occurrence(*mailbox, uid + 1)))
                }
                None => (None, Some(Self::Log(mailbox + 1))),
            },
            Self::Key(from) => match events.next_key(*from) {
                Some((number, key)) => (Some(Written::Key(number, key)), Some(Self::Key(number + 1))),
                None => (None, Some(Self::OnItsWay(0))),
            },
            Self::OnItsWay(from) => match events.next_read(*from) {
                Some((request, read)) => (
                    Some(Written::OnItsWay(request, read)),
                    Some(request.checked_add(1).map_or(Self::Line(None), Self::OnItsWay)),
                ),
                None => (None, Some(Self::Line(None))),
            },
            Self::Line(after) => match events.lines.next_busy(after.as_ref()) {
                Some((target, line)) => (Some(Written::Line(target, line)), Some(Self::Line(Some(target.clone())))),
                None => (None, None),
            },
        }
    }
}

impl Read {
    /// Puts what the record says into the state; an error says what is wrong with it.
    pub(super) fn take(self, state: &mut State) -> Result<(), &'static str> {
        let State { events, mailboxes, .. } = state;
        let sound = match self {
            Self::Head(next, counts) => {
                (events.next, events.counts) = (next, counts);
                true
            }
            Self::Log(mailbox, next) => {
                events.restore_log(mailbox, next);
                mailboxes.contains(mailbox)
            }
            Self::Occurrence(mailbox, uid, occurrence) => events.restore_occurrence(mailbox, uid, occurrence),
            Self::Key(number, key) => events.restore_key(number, key),
            Self::OnItsWay(request, read) => events.restore_read(request, read),
            Self::Line(target, line) => {
                events.lines.set(target, line);
                true
            }
        };
        if sound { Ok(()) } else { Err("a record of events belongs to nothing") }
    }
}
