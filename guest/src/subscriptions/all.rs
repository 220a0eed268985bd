//! All subscriptions, found by what they are about: a change costs only for those who wait for it.

use std::collections::btree_set::Range;
use std::collections::{BTreeMap, BTreeSet};

use super::{Method, Subscription, SubscriptionId, SubscriptionNo};
use crate::history::{Event, Position};
use crate::mailboxes::{FolderNo, MailboxNo};

/// Stands for all folders in the index of interests. Folders are numbered from 0, and never so many.
const ALL_FOLDERS: FolderNo = FolderNo::MAX;

/// That a subscription waits for events of these kinds in a folder of a mailbox.
type Interest = (MailboxNo, FolderNo, u8, SubscriptionNo);

/// All subscriptions of the tenant. What is indexed follows from them.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    all: BTreeMap<SubscriptionNo, Subscription>,
    next: SubscriptionNo,
    by_id: BTreeMap<SubscriptionId, SubscriptionNo>,
    by_mailbox: BTreeMap<MailboxNo, BTreeSet<SubscriptionNo>>,
    /// Who waits for what, by mailbox, folder and the bits of the kinds: one entry per folder, not one per kind, because
    /// most subscriptions want the same few sets of kinds.
    interests: BTreeSet<Interest>,
    /// How many of these there are of each mailbox.
    folders: BTreeMap<MailboxNo, u64>,
    /// The oldest event that is pending, of those that have one.
    oldest: BTreeSet<(MailboxNo, Position, SubscriptionNo)>,
    counts: Counts,
}

/// How many subscriptions there are of each method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By GetEvents.
    pub pull: u64,
    /// By GetStreamingEvents.
    pub streaming: u64,
    /// By SendNotification.
    pub push: u64,
}

impl Counts {
    /// Of all methods together.
    pub fn all(&self) -> u64 {
        self.pull + self.streaming + self.push
    }

    fn of(&mut self, method: &Method) -> &mut u64 {
        match method {
            Method::Pull { .. } => &mut self.pull,
            Method::Streaming { .. } => &mut self.streaming,
            Method::Push(_) => &mut self.push,
        }
    }
}

impl Subscriptions {
    /// Adds a subscription.
    pub fn add(&mut self, subscription: Subscription) -> SubscriptionNo {
        let number = self.next;
        self.next += 1;
        self.insert(number, subscription);
        number
    }

    /// Puts a subscription in its place, which must be free.
    pub fn insert(&mut self, number: SubscriptionNo, subscription: Subscription) {
        self.by_id.insert(subscription.id, number);
        self.by_mailbox.entry(subscription.mailbox).or_default().insert(number);
        self.interests.extend(interests(number, &subscription));
        *self.folders.entry(subscription.mailbox).or_default() += interests(number, &subscription).count() as u64;
        self.oldest.extend(subscription.oldest.map(|oldest| (subscription.mailbox, oldest, number)));
        *self.counts.of(&subscription.method) += 1;
        self.all.insert(number, subscription);
    }

    /// Removes a subscription.
    pub fn remove(&mut self, number: SubscriptionNo) -> Option<Subscription> {
        let subscription = self.all.remove(&number)?;
        self.by_id.remove(&subscription.id);
        if let Some(numbers) = self.by_mailbox.get_mut(&subscription.mailbox) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_mailbox.remove(&subscription.mailbox);
            }
        }
        if let Some(folders) = self.folders.get_mut(&subscription.mailbox) {
            *folders -= interests(number, &subscription).count() as u64;
            if *folders == 0 {
                self.folders.remove(&subscription.mailbox);
            }
        }
        for interest in interests(number, &subscription) {
            self.interests.remove(&interest);
        }
        if let Some(oldest) = subscription.oldest {
            self.oldest.remove(&(subscription.mailbox, oldest, number));
        }
        *self.counts.of(&subscription.method) -= 1;
        Some(subscription)
    }

    /// The number that the next one gets.
    pub fn next(&self) -> SubscriptionNo {
        self.next
    }

    /// Sets the number that the next one gets.
    pub fn set_next(&mut self, next: SubscriptionNo) {
        self.next = next;
    }

    /// The subscription that a client calls so.
    pub fn find(&self, id: &SubscriptionId) -> Option<SubscriptionNo> {
        self.by_id.get(id).copied()
    }

    /// A subscription.
    pub fn get(&self, number: SubscriptionNo) -> Option<&Subscription> {
        self.all.get(&number)
    }

    /// Alters a subscription: not its id, its mailbox, its folders, its kinds, and not one method to another.
    pub fn alter<T>(
        &mut self,
        number: SubscriptionNo,
        alter: impl FnOnce(&mut Subscription) -> T,
    ) -> Option<(T, &Subscription)> {
        let subscription = self.all.get_mut(&number)?;
        let before = subscription.oldest;
        let given = alter(subscription);
        if before != subscription.oldest {
            let mailbox = subscription.mailbox;
            if let Some(oldest) = before {
                self.oldest.remove(&(mailbox, oldest, number));
            }
            self.oldest.extend(subscription.oldest.map(|oldest| (mailbox, oldest, number)));
        }
        Some((given, subscription))
    }

    /// A folder has another number now: who subscribed to it is subscribed to both, because the history names the old
    /// one.
    pub fn follow(&mut self, mailbox: MailboxNo, old: FolderNo, new: FolderNo) {
        let theirs: Vec<_> = self
            .interests
            .range((mailbox, old, 0, 0)..=(mailbox, old, u8::MAX, SubscriptionNo::MAX))
            .copied()
            .collect();
        for (_, _, kinds, number) in theirs {
            if let Some(Subscription { folders: Some(folders), .. }) = self.all.get_mut(&number)
                && let Err(place) = folders.binary_search(&new)
            {
                folders.insert(place, new);
                self.interests.insert((mailbox, new, kinds, number));
                *self.folders.entry(mailbox).or_default() += 1;
            }
        }
    }

    /// Who listens to a mailbox, to be asked of one event after the other.
    pub fn listeners(&self, mailbox: MailboxNo) -> Listeners<'_> {
        let everywhere = self.range(mailbox, ALL_FOLDERS, 0);
        Listeners { subscriptions: self, mailbox, everywhere, last: None }
    }

    /// How many folders the subscriptions to a mailbox name, all together; one to all folders counts as one.
    pub fn folders_of_mailbox(&self, mailbox: MailboxNo) -> u64 {
        self.folders.get(&mailbox).copied().unwrap_or(0)
    }

    /// Whether a subscription is about this folder in particular.
    pub fn name(&self, mailbox: MailboxNo, folder: FolderNo) -> bool {
        self.range(mailbox, folder, 0).next().is_some_and(|(of, named, ..)| (*of, *named) == (mailbox, folder))
    }

    /// Who waits for something in a folder, from this set of kinds on; then of others. To look for the end beforehand would
    /// take as long as to look for the start.
    fn range(&self, mailbox: MailboxNo, folder: FolderNo, kinds: u8) -> Range<'_, Interest> {
        self.interests.range((mailbox, folder, kinds, 0)..)
    }

    /// The first subscription to a mailbox, by age, whose oldest pending event is not after a position.
    pub fn pending_since(&self, mailbox: MailboxNo, position: Position) -> Option<SubscriptionNo> {
        let (of, oldest, number) = *self.oldest.range((mailbox, Position::default(), 0)..).next()?;
        (of == mailbox && oldest <= position).then_some(number)
    }

    /// The subscriptions to a mailbox, ascending.
    pub fn of_mailbox(&self, mailbox: MailboxNo) -> Vec<SubscriptionNo> {
        self.by_mailbox.get(&mailbox).map(|numbers| numbers.iter().copied().collect()).unwrap_or_default()
    }

    /// How many subscriptions a mailbox has.
    pub fn count_of_mailbox(&self, mailbox: MailboxNo) -> u64 {
        self.by_mailbox.get(&mailbox).map_or(0, |numbers| numbers.len() as u64)
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// All subscriptions in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (SubscriptionNo, &Subscription)> {
        self.all.iter().map(|(number, subscription)| (*number, subscription))
    }

    /// The first subscription with at least this number.
    pub fn next_from(&self, number: SubscriptionNo) -> Option<(SubscriptionNo, &Subscription)> {
        self.all.range(number..).next().map(|(number, subscription)| (*number, subscription))
    }
}

/// Those who listen to a mailbox. Events that follow each other are mostly of one folder, which is looked up once.
pub struct Listeners<'s> {
    subscriptions: &'s Subscriptions,
    mailbox: MailboxNo,
    everywhere: Range<'s, Interest>,
    last: Option<(FolderNo, Range<'s, Interest>)>,
}

impl<'s> Listeners<'s> {
    /// Visits the subscriptions that cover an event and no others; one may be visited up to three times.
    pub fn hear(&mut self, event: &Event, mut visit: impl FnMut(SubscriptionNo)) {
        for folder in event.folders() {
            let theirs = match &self.last {
                Some((last, theirs)) if *last == folder => theirs.clone(),
                _ => self.subscriptions.range(self.mailbox, folder, 0),
            };
            self.visit(folder, theirs.clone(), event, &mut visit);
            self.last = Some((folder, theirs));
        }
        self.visit(ALL_FOLDERS, self.everywhere.clone(), event, &mut visit);
    }

    /// Passes over all who want the same other kinds at once: there are 127 sets of them at most.
    fn visit(
        &self,
        folder: FolderNo,
        mut theirs: Range<'s, Interest>,
        event: &Event,
        visit: &mut impl FnMut(SubscriptionNo),
    ) {
        while let Some(&(mailbox, of, kinds, number)) = theirs.next()
            && (mailbox, of) == (self.mailbox, folder)
        {
            if kinds & event.kind.bit() != 0 {
                visit(number);
            } else if let Some(next) = kinds.checked_add(1) {
                theirs = self.subscriptions.range(mailbox, folder, next);
            }
        }
    }
}

/// The entries of a subscription in the index of interests.
fn interests(number: SubscriptionNo, subscription: &Subscription) -> impl Iterator<Item = Interest> {
    let (mailbox, kinds) = (subscription.mailbox, subscription.kinds);
    let folders = subscription.folders.as_deref().unwrap_or(&[ALL_FOLDERS]);
    folders.iter().map(move |folder| (mailbox, *folder, kinds, number))
}
