//! All WaitSets, found by what they wait for: a change costs only for those who wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Id, Member, Progress, SetNo, WaitSet, Waiter};
use crate::contract::{Instant, RequestId};
use crate::mailboxes::MailboxNo;
use crate::zimbra::commits::Commits;
use crate::zimbra::types::Types;

/// All WaitSets of the tenant. What is indexed follows from them and their members.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    pub(super) all: BTreeMap<SetNo, WaitSet>,
    pub(super) members: BTreeMap<(SetNo, MailboxNo), Member>,
    /// Where accounts last changed, for the sets that wait for all of them.
    pub commits: Commits,
    /// The number that the next one gets.
    pub next: SetNo,
    /// The set whose waiter was answered last in its turn: the next one after it goes first.
    pub served: SetNo,
    /// How many were ended because their owner made more than are allowed.
    pub evicted: u64,
    /// How many were ended because nobody used them.
    pub expired: u64,
    /// How many requests were refused because there are as many sets or members as are allowed.
    pub refused: u64,
    by_id: BTreeMap<Id, SetNo>,
    by_owner: BTreeSet<(String, SetNo)>,
    everyone: BTreeSet<SetNo>,
    /// Those of them that have a waiter: a change concerns no others at once.
    everyone_waiting: BTreeSet<SetNo>,
    interests: BTreeSet<(MailboxNo, Types, SetNo)>,
    pub(super) fresh: BTreeSet<(SetNo, MailboxNo)>,
    pub(super) sent: BTreeSet<(SetNo, MailboxNo)>,
    waiting: BTreeMap<RequestId, SetNo>,
    timers: BTreeSet<(Instant, SetNo)>,
    ready: BTreeSet<SetNo>,
}

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Sets of chosen accounts.
    pub chosen: usize,
    /// Sets of all accounts.
    pub everyone: usize,
    /// Members of sets.
    pub members: usize,
    /// Requests that wait.
    pub waiting: usize,
}

impl Sets {
    /// Adds a set.
    pub fn add(&mut self, set: WaitSet) -> SetNo {
        let number = self.next;
        self.next += 1;
        self.insert(number, set);
        number
    }

    /// Puts a set in its place, which must be free.
    pub fn insert(&mut self, number: SetNo, set: WaitSet) {
        self.by_id.insert(set.id, number);
        self.by_owner.insert((set.owner.clone(), number));
        if set.id.everyone {
            self.everyone.insert(number);
        }
        self.all.insert(number, set);
        self.index(number);
    }

    /// Removes a set and its members; gives its waiter.
    pub fn remove(&mut self, number: SetNo) -> Option<Box<Waiter>> {
        self.unindex(number);
        let set = self.all.remove(&number)?;
        self.by_id.remove(&set.id);
        self.by_owner.remove(&(set.owner, number));
        self.everyone.remove(&number);
        let members: Vec<_> = self.of_set(number).map(|(mailbox, _)| mailbox).collect();
        members.into_iter().for_each(|mailbox| drop(self.remove_member(number, mailbox)));
        set.waiter
    }

    /// Removes all sets, and forgets what changed for whom.
    pub fn clear(&mut self) {
        let Self { next, served, evicted, expired, refused, .. } = *self;
        *self = Self { next, served, evicted, expired, refused, ..Self::default() };
    }

    /// A set.
    pub fn get(&self, number: SetNo) -> Option<&WaitSet> {
        self.all.get(&number)
    }

    /// The set that a client calls so.
    pub fn find(&self, id: &Id) -> Option<SetNo> {
        self.by_id.get(id).copied()
    }

    /// The sets of an account, oldest first.
    pub fn of_owner(&self, owner: &str) -> impl Iterator<Item = SetNo> {
        let from = self.by_owner.range((owner.to_owned(), 0)..);
        from.take_while(move |(of, _)| of == owner).map(|(_, number)| *number)
    }

    /// Alters a set, keeping timers and waiting work as they must be: not its id, its owner, and not one kind to another.
    pub fn alter<T>(&mut self, number: SetNo, alter: impl FnOnce(&mut WaitSet) -> T) -> Option<T> {
        self.unindex(number);
        let given = self.all.get_mut(&number).map(alter);
        self.index(number);
        given
    }

    /// Puts a member in its place, which must be free.
    pub fn insert_member(&mut self, number: SetNo, mailbox: MailboxNo, member: Member) {
        self.interests.insert((mailbox, member.types, number));
        if member.fresh.is_some() {
            self.fresh.insert((number, mailbox));
        }
        if member.sent.is_some() {
            self.sent.insert((number, mailbox));
        }
        self.members.insert((number, mailbox), member);
        self.refresh(number);
    }

    /// Removes a member, with what was signalled of it.
    pub fn remove_member(&mut self, number: SetNo, mailbox: MailboxNo) -> Option<Member> {
        let member = self.members.remove(&(number, mailbox))?;
        self.interests.remove(&(mailbox, member.types, number));
        self.fresh.remove(&(number, mailbox));
        self.sent.remove(&(number, mailbox));
        self.refresh(number);
        Some(member)
    }

    /// A member.
    pub fn member(&self, number: SetNo, mailbox: MailboxNo) -> Option<&Member> {
        self.members.get(&(number, mailbox))
    }

    /// The members of a set.
    pub fn of_set(&self, number: SetNo) -> impl Iterator<Item = (MailboxNo, &Member)> {
        let ours = self.members.range((number, 0)..=(number, MailboxNo::MAX));
        ours.map(|((_, mailbox), member)| (*mailbox, member))
    }

    /// The sets that a mailbox is a member of, whatever they wait for.
    pub fn of_mailbox(&self, mailbox: MailboxNo) -> Vec<SetNo> {
        let ours = self.interests.range((mailbox, Types::NONE, 0)..=(mailbox, Types::LAST, SetNo::MAX));
        ours.map(|(.., number)| *number).collect()
    }

    /// Whether anybody would hear of a change in a mailbox.
    pub fn hears(&self, mailbox: MailboxNo) -> bool {
        let from = (mailbox, Types::NONE, 0);
        self.commits.floor.is_some() || self.interests.range(from..).next().is_some_and(|(of, ..)| *of == mailbox)
    }

    /// The sets whose member this mailbox is for one of these types.
    pub fn interested(&self, mailbox: MailboxNo, types: Types) -> Vec<SetNo> {
        let mut found = Vec::new();
        let mut from = Some(Types::NONE);
        while let Some(start) = from {
            let upto = (mailbox, Types::LAST, SetNo::MAX);
            let Some((_, wanted, _)) = self.interests.range((mailbox, start, 0)..=upto).next().copied() else {
                break;
            };
            if wanted.meets(types) {
                let ours = self.interests.range((mailbox, wanted, 0)..=(mailbox, wanted, SetNo::MAX));
                found.extend(ours.map(|(.., number)| *number));
            }
            from = wanted.next();
        }
        found
    }

    /// A change of these types came for all who wait for every account.
    pub fn wake_everyone(&mut self, types: Types) {
        let wakes = |number: &SetNo| self.all.get(number).is_some_and(|set| set.types.meets(types));
        let numbers: Vec<SetNo> = self.everyone_waiting.iter().copied().filter(wakes).collect();
        numbers.into_iter().for_each(|number| self.refresh(number));
    }

    /// The set that a request waits for.
    pub fn waited_for(&self, request: RequestId) -> Option<SetNo> {
        self.waiting.get(&request).copied()
    }

    /// The requests that wait, ascending.
    pub fn waiting(&self) -> impl Iterator<Item = (RequestId, SetNo)> {
        self.waiting.iter().map(|(request, number)| (*request, *number))
    }

    /// The next set whose waiter is to be answered, in turn.
    pub fn next_ready(&self) -> Option<SetNo> {
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        self.ready.range(after).next().or_else(|| self.ready.first()).copied()
    }

    /// The next timer.
    pub fn next_timer(&self) -> Option<(Instant, SetNo)> {
        self.timers.first().copied()
    }

    /// All sets in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (SetNo, &WaitSet)> {
        self.all.iter().map(|(number, set)| (*number, set))
    }

    /// The first set with at least this number.
    pub fn next_from(&self, number: SetNo) -> Option<(SetNo, &WaitSet)> {
        self.all.range(number..).next().map(|(number, set)| (*number, set))
    }

    /// The first member from this one on.
    pub fn next_member_from(&self, from: (SetNo, MailboxNo)) -> Option<((SetNo, MailboxNo), &Member)> {
        self.members.range(from..).next().map(|(key, member)| (*key, member))
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts {
            chosen: self.all.len() - self.everyone.len(),
            everyone: self.everyone.len(),
            members: self.members.len(),
            waiting: self.waiting.len(),
        }
    }

    /// Whether a set has something to tell that its client has not heard.
    pub fn has_news(&self, number: SetNo) -> bool {
        let Some(set) = self.all.get(&number) else {
            return false;
        };
        match &set.progress {
            Progress::Chosen { errors, .. } => !errors.is_empty() || has_any(&self.fresh, number),
            Progress::Everyone { acknowledged, .. } => self.commits.any_after(set.types, *acknowledged),
        }
    }

    fn index(&mut self, number: SetNo) {
        if let Some(set) = self.all.get(&number) {
            self.timers.extend(set.due().map(|due| (due, number)));
            if let Some(waiter) = &set.waiter {
                self.waiting.insert(waiter.request, number);
                if set.id.everyone {
                    self.everyone_waiting.insert(number);
                }
            }
            self.refresh(number);
        }
    }

    fn unindex(&mut self, number: SetNo) {
        if let Some(set) = self.all.get(&number) {
            if let Some(due) = set.due() {
                self.timers.remove(&(due, number));
            }
            if let Some(waiter) = &set.waiter {
                self.waiting.remove(&waiter.request);
            }
            self.everyone_waiting.remove(&number);
            self.ready.remove(&number);
        }
    }

    /// Whether the waiter of a set is to be answered may have changed.
    pub(super) fn refresh(&mut self, number: SetNo) {
        let waiter = self.all.get(&number).and_then(|set| set.waiter.as_ref());
        if waiter.is_some_and(|waiter| waiter.over || self.has_news(number)) {
            self.ready.insert(number);
        } else {
            self.ready.remove(&number);
        }
    }
}

/// Whether an index holds something of a set.
pub(super) fn has_any(index: &BTreeSet<(SetNo, MailboxNo)>, number: SetNo) -> bool {
    index.range((number, 0)..=(number, MailboxNo::MAX)).next().is_some()
}
