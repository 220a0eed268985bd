//! Who wants to hear of what, and how far each has heard.
//!
//! A subscription holds no events: it has a position in the history of its mailbox and counts what it covers after it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::contract::{Instant, RequestId};
use crate::history::{Entry, Event, History, Kind, Position, Subject};
use crate::mailboxes::{FolderNo, MailboxNo};

/// A subscription; never reused.
pub type SubscriptionNo = u32;

/// The id of a subscription that its client knows.
pub type SubscriptionId = [u8; 16];

/// How a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// It asks by GetEvents.
    Pull {
        /// The last answer from the acknowledged position said that there is more.
        more: bool,
    },
    /// It holds a stream open by GetStreamingEvents.
    Streaming {
        /// The stream that it is on.
        stream: Option<RequestId>,
        /// The first event that is not on its way; on a stream only.
        next: Option<Position>,
        /// Up to which of its misses the stream has been told.
        told: u32,
    },
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The id that its client knows.
    pub id: SubscriptionId,
    /// The id of the account that made it: nobody else may use it.
    pub owner: String,
    /// The mailbox that it is about.
    pub mailbox: MailboxNo,
    /// The folders that it is about, ascending; none: all.
    pub folders: Option<Vec<FolderNo>>,
    /// The bits of the kinds that it wants.
    pub kinds: u8,
    /// How it is served.
    pub method: Method,
    /// How long it lives without being used, in milliseconds.
    pub idle_ms: u64,
    /// When it ends; none while it is on a stream.
    pub deadline: Option<Instant>,
    /// Its client has everything up to here.
    pub acknowledged: Position,
    /// The first event after that which it covers.
    pub oldest: Option<Position>,
    /// How many it covers after that.
    pub pending: u32,
    /// How often it missed events since its client was last told.
    pub missed: u32,
}

impl Subscription {
    /// Whether it is to hear of this event.
    ///
    /// A subscription to folders covers what happens to the items in them, to the folders themselves, and folders that
    /// come to be in, leave or cease to be in them; what is altered in a folder below them is that folder's own.
    pub fn covers(&self, event: &Event) -> bool {
        if self.kinds & event.kind.bit() == 0 {
            return false;
        }
        let Some(folders) = &self.folders else {
            return true;
        };
        let among = |folder: FolderNo| folders.binary_search(&folder).is_ok();
        let itself = match &event.subject {
            Subject::Item { .. } => false,
            Subject::Folder(at) => among(at.folder),
        };
        let inside = || match (&event.subject, event.kind) {
            (Subject::Folder(_), Kind::Modified) => false,
            _ => among(event.parent.folder) || event.before.as_ref().is_some_and(|was| among(was.parent.folder)),
        };
        itself || inside()
    }

    /// A folder of its choice has another number now.
    pub fn follow(&mut self, old: FolderNo, new: FolderNo) {
        if let Some(folders) = &mut self.folders
            && folders.binary_search(&old).is_ok()
            && let Err(place) = folders.binary_search(&new)
        {
            folders.insert(place, new);
        }
    }

    /// Whether it missed events. A pull subscription stays so: no watermark of its own leads past what it missed.
    pub fn has_missed(&self) -> bool {
        self.missed > 0
    }

    /// The first event that it covers after a position.
    pub fn first_after(&self, history: &History, position: Position) -> Option<Position> {
        history.after(position).find(|entry| self.covers(&entry.event)).map(|entry| entry.position)
    }

    /// The events after a position that it covers.
    pub fn covered<'h>(&'h self, history: &'h History, position: Position) -> impl Iterator<Item = &'h Entry> {
        history.after(position).filter(|entry| self.covers(&entry.event))
    }

    /// Counts a new event, if it covers it.
    pub fn count(&mut self, entry: &Entry, queue: u32) {
        if self.missed_for_good() || !self.covers(&entry.event) {
            return;
        }
        self.pending += 1;
        self.oldest.get_or_insert(entry.position);
        if let Method::Streaming { stream: Some(_), next, .. } = &mut self.method {
            next.get_or_insert(entry.position);
        }
        if self.pending > queue {
            self.miss(entry.position);
        }
    }

    /// What was pending up to `last`, the end of the history, is lost to it: it goes on from there.
    pub fn miss(&mut self, last: Position) {
        self.missed = self.missed.saturating_add(1);
        self.start_at(last);
    }

    /// Its client has everything up to here and nothing is pending.
    fn start_at(&mut self, position: Position) {
        self.acknowledged = self.acknowledged.max(position);
        self.oldest = None;
        self.pending = 0;
        match &mut self.method {
            Method::Pull { more } => *more = false,
            Method::Streaming { next, .. } => *next = None,
        }
    }

    /// Makes the counts anew, from the acknowledged position.
    pub fn recount(&mut self, history: &History, queue: u32) {
        let (mut pending, mut oldest) = (0, None);
        for entry in self.covered(history, self.acknowledged) {
            pending += 1;
            oldest.get_or_insert(entry.position);
        }
        (self.pending, self.oldest) = (pending, oldest);
        if pending > queue {
            self.miss(history.last());
        }
    }

    /// Its client has everything up to here; an earlier position changes nothing.
    pub fn acknowledge(&mut self, history: &History, upto: Position) {
        if upto <= self.acknowledged {
            return;
        }
        let passed = self.covered(history, self.acknowledged).take_while(|entry| entry.position <= upto).count();
        self.pending = self.pending.saturating_sub(passed as u32);
        self.acknowledged = upto;
        self.oldest = if self.pending == 0 { None } else { self.first_after(history, upto) };
        match &mut self.method {
            Method::Pull { more } => *more = false,
            Method::Streaming { next: Some(next), .. } if *next <= upto => self.skip_sent(),
            Method::Streaming { .. } => {}
        }
    }

    /// What is to go out next was acknowledged on an earlier stream.
    fn skip_sent(&mut self) {
        let oldest = self.oldest;
        if let Method::Streaming { next, .. } = &mut self.method {
            *next = oldest;
        }
    }

    /// Its client knows of its misses, if there was none since.
    pub fn knows_miss(&mut self, missed: u32) {
        if self.missed == missed
            && let Method::Streaming { told, .. } = &mut self.method
        {
            (self.missed, *told) = (0, 0);
        }
    }

    /// It is on no stream any more: what was on its way will be sent again.
    pub fn leave_stream(&mut self) {
        if let Method::Streaming { stream, next, told } = &mut self.method {
            (*stream, *next, *told) = (None, None, 0);
        }
    }

    /// It is on this stream, from the first event that its client may not have.
    pub fn join_stream(&mut self, request: RequestId) {
        let oldest = self.oldest;
        if let Method::Streaming { stream, next, told } = &mut self.method {
            (*stream, *next, *told) = (Some(request), oldest, 0);
        }
        self.deadline = None;
    }

    /// The stream that it is on.
    pub fn stream(&self) -> Option<RequestId> {
        match self.method {
            Method::Streaming { stream, .. } => stream,
            Method::Pull { .. } => None,
        }
    }

    /// The first event that is to go out on its stream.
    pub fn unsent(&self) -> Option<Position> {
        match self.method {
            Method::Streaming { next, .. } => next,
            Method::Pull { .. } => None,
        }
    }

    /// Whether its stream has yet to be told that it missed events.
    pub fn must_tell_miss(&self) -> bool {
        matches!(self.method, Method::Streaming { stream: Some(_), told, .. } if told != self.missed)
    }

    fn missed_for_good(&self) -> bool {
        self.missed > 0 && matches!(self.method, Method::Pull { .. })
    }
}

/// All subscriptions of the tenant.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    all: BTreeMap<SubscriptionNo, Subscription>,
    next: SubscriptionNo,
    by_id: BTreeMap<SubscriptionId, SubscriptionNo>,
    by_mailbox: BTreeMap<MailboxNo, BTreeSet<SubscriptionNo>>,
}

impl Subscriptions {
    /// Adds a subscription.
    pub fn add(&mut self, subscription: Subscription) -> SubscriptionNo {
        let number = self.next;
        self.next += 1;
        self.insert(number, subscription);
        number
    }

    /// Puts a subscription in its place.
    pub fn insert(&mut self, number: SubscriptionNo, subscription: Subscription) {
        self.by_id.insert(subscription.id, number);
        self.by_mailbox.entry(subscription.mailbox).or_default().insert(number);
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

    /// A subscription, to be altered; its id and its mailbox are indexed and must stay.
    pub fn get_mut(&mut self, number: SubscriptionNo) -> Option<&mut Subscription> {
        self.all.get_mut(&number)
    }

    /// The subscriptions to a mailbox, ascending.
    pub fn of_mailbox(&self, mailbox: MailboxNo) -> Vec<SubscriptionNo> {
        self.by_mailbox.get(&mailbox).map(|numbers| numbers.iter().copied().collect()).unwrap_or_default()
    }

    /// How many subscriptions a mailbox has.
    pub fn count_of_mailbox(&self, mailbox: MailboxNo) -> u64 {
        self.by_mailbox.get(&mailbox).map_or(0, |numbers| numbers.len() as u64)
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
