//! Signals of members: raised, withdrawn, sent, acknowledged.

use super::all::has_any;
use super::{ErrorType, Errors, Member, Progress, SetNo, Sets, Signal};
use crate::mailboxes::MailboxNo;
use crate::zimbra::mods::Mods;

impl Sets {
    /// A member is signalled, or signalled again: what it is told of the changes is joined.
    pub fn signal(&mut self, number: SetNo, mailbox: MailboxNo, mods: Option<Mods>) {
        let Some(member) = self.members.get_mut(&(number, mailbox)) else {
            return;
        };
        join(member.fresh.get_or_insert_default(), mods);
        self.fresh.insert((number, mailbox));
        self.refresh(number);
    }

    /// Alters what a member waits for, and how far its client is: a token that is behind signals it, one that is not
    /// withdraws what was signalled and not sent.
    pub fn update(&mut self, number: SetNo, mailbox: MailboxNo, wanted: Member, last_change: u64) {
        let Some(Member { fresh, sent, added, .. }) = self.remove_member(number, mailbox) else {
            return;
        };
        let fresh = match wanted.token {
            Some(token) if token >= last_change => None,
            Some(_) => fresh.or(Some(None)),
            None => fresh,
        };
        self.insert_member(number, mailbox, Member { added, fresh, sent, ..wanted });
    }

    /// An account is a member no longer, and the client is told why.
    pub fn lose(&mut self, number: SetNo, mailbox: MailboxNo, id: &str, why: ErrorType) {
        self.remove_member(number, mailbox);
        self.alter(number, |set| {
            if let Progress::Chosen { errors, .. } = &mut set.progress {
                errors.insert((id.to_owned(), why));
            }
        });
    }

    /// The client has what was sent; whether there was any.
    pub fn acknowledge_sent(&mut self, number: SetNo) -> bool {
        let mailboxes: Vec<_> = self.in_index(false, number).collect();
        for mailbox in &mailboxes {
            self.sent.remove(&(number, *mailbox));
            if let Some(member) = self.members.get_mut(&(number, *mailbox)) {
                member.sent = None;
            }
        }
        let errors = self.alter(number, |set| match &mut set.progress {
            Progress::Chosen { sent_errors, .. } => std::mem::take(sent_errors),
            Progress::Everyone { .. } => Errors::new(),
        });
        !mailboxes.is_empty() || errors.is_some_and(|errors| !errors.is_empty())
    }

    /// Whether something was sent that is not acknowledged.
    pub fn has_sent(&self, number: SetNo) -> bool {
        let errors = match self.get(number).map(|set| &set.progress) {
            Some(Progress::Chosen { sent_errors, .. }) => !sent_errors.is_empty(),
            _ => false,
        };
        errors || has_any(&self.sent, number)
    }

    /// What was sent and is not acknowledged, then what was never sent.
    pub fn to_send(&self, number: SetNo) -> impl Iterator<Item = MailboxNo> {
        let fresh = self.in_index(true, number).filter(move |mailbox| !self.sent.contains(&(number, *mailbox)));
        self.in_index(false, number).chain(fresh)
    }

    /// What is signalled of a member becomes sent.
    pub fn send(&mut self, number: SetNo, mailbox: MailboxNo) {
        self.fresh.remove(&(number, mailbox));
        self.sent.insert((number, mailbox));
        if let Some(member) = self.members.get_mut(&(number, mailbox)) {
            let fresh = member.fresh.take().flatten();
            join(member.sent.get_or_insert_default(), fresh.map(|mods| *mods));
        }
        self.refresh(number);
    }

    /// The members that are signalled and never sent (`fresh`), or sent.
    pub fn in_index(&self, fresh: bool, number: SetNo) -> impl Iterator<Item = MailboxNo> {
        let index = if fresh { &self.fresh } else { &self.sent };
        index.range((number, 0)..=(number, MailboxNo::MAX)).map(|(_, mailbox)| *mailbox)
    }
}

fn join(signal: &mut Signal, later: Option<Mods>) {
    match (signal.as_mut(), later) {
        (Some(mods), Some(later)) => mods.append(later),
        (None, Some(later)) => *signal = Some(Box::new(later)),
        (_, None) => {}
    }
}
