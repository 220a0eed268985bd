//! Who wants to hear of what, and how far each has heard.
//!
//! A subscription holds no events: it has a position in the history of its mailbox and counts what it covers after it.

use serde::{Deserialize, Serialize};

use crate::contract::{Instant, RequestId};
use crate::history::{Entry, Event, History, Position};
use crate::mailboxes::{FolderNo, MailboxNo};
use crate::settings::Queue;

mod all;
mod push;

pub use all::Subscriptions;
pub use push::{Push, Stage, Told};

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
    /// It is told by SendNotification.
    Push(Box<Push>),
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
    /// How long it lives without being used, in milliseconds; of no meaning for a push subscription.
    pub idle_ms: u64,
    /// When it ends, none while it is on a stream; of a push subscription, when it is to push without having news.
    pub deadline: Option<Instant>,
    /// Its client has everything up to here.
    pub acknowledged: Position,
    /// The first event after that which it covers.
    pub oldest: Option<Position>,
    /// How many it covers after that.
    pub pending: u32,
    /// What these count for in limits, in bytes.
    pub pending_bytes: u64,
    /// How often it missed events since its client was last told.
    pub missed: u32,
}

impl Subscription {
    /// Whether it is to hear of this event: one of a kind that it wants, in one of its folders.
    pub fn covers(&self, event: &Event) -> bool {
        if self.kinds & event.kind.bit() == 0 {
            return false;
        }
        let Some(folders) = &self.folders else {
            return true;
        };
        event.folders().any(|folder| folders.binary_search(&folder).is_ok())
    }

    /// Whether it missed events. A pull subscription stays so: no watermark of its own leads past what it missed. A push
    /// subscription ends once its client was told.
    pub fn has_missed(&self) -> bool {
        self.missed > 0
    }

    /// The events after a position that it covers.
    fn covered<'h>(&'h self, history: &'h History, position: Position) -> impl Iterator<Item = &'h Entry> {
        history.after(position).filter(|entry| self.covers(&entry.event))
    }

    /// What is pending, oldest first.
    pub fn pending<'h>(&'h self, history: &'h History) -> impl Iterator<Item = &'h Entry> {
        let entries = self.oldest.into_iter().flat_map(|oldest| history.from(oldest));
        entries.filter(|entry| self.covers(&entry.event))
    }

    /// Makes anew what its pending events count for.
    pub fn weigh(&mut self, history: &History) {
        self.pending_bytes = self.pending(history).map(|entry| entry.event.bytes()).sum();
    }

    /// Counts a new event, if it covers it.
    pub fn count(&mut self, entry: &Entry, queue: Queue) {
        if self.missed_for_good() || !self.covers(&entry.event) {
            return;
        }
        self.pending += 1;
        self.pending_bytes += entry.event.bytes();
        self.oldest.get_or_insert(entry.position);
        if let Method::Streaming { stream: Some(_), next, .. } = &mut self.method {
            next.get_or_insert(entry.position);
        }
        if self.overflows(queue) {
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
        (self.pending, self.pending_bytes) = (0, 0);
        match &mut self.method {
            Method::Pull { more } => *more = false,
            Method::Streaming { next, .. } => *next = None,
            Method::Push(_) => {}
        }
    }

    /// Makes the counts anew, from the acknowledged position.
    pub fn recount(&mut self, history: &History, queue: Queue) {
        let (mut pending, mut bytes, mut oldest) = (0, 0, None);
        for entry in self.covered(history, self.acknowledged) {
            pending += 1;
            bytes += entry.event.bytes();
            oldest.get_or_insert(entry.position);
        }
        (self.pending, self.pending_bytes, self.oldest) = (pending, bytes, oldest);
        if self.overflows(queue) {
            self.miss(history.last());
        }
    }

    /// Its client has everything up to here; an earlier position changes nothing.
    pub fn acknowledge(&mut self, history: &History, upto: Position) {
        if upto <= self.acknowledged {
            return;
        }
        let (mut passed, mut bytes, mut oldest) = (0, 0, None);
        for entry in self.pending(history) {
            if entry.position > upto {
                oldest = Some(entry.position);
                break;
            }
            passed += 1;
            bytes += entry.event.bytes();
        }
        self.pending = self.pending.saturating_sub(passed);
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        self.acknowledged = upto;
        self.oldest = oldest;
        match &mut self.method {
            Method::Pull { more } => *more = false,
            Method::Streaming { next: Some(next), .. } if *next <= upto => self.skip_sent(),
            Method::Streaming { .. } | Method::Push(_) => {}
        }
    }

    fn overflows(&self, queue: Queue) -> bool {
        self.pending > queue.events || self.pending_bytes > queue.bytes
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
            Method::Pull { .. } | Method::Push(_) => None,
        }
    }

    /// The first event that is to go out on its stream.
    pub fn unsent(&self) -> Option<Position> {
        match self.method {
            Method::Streaming { next, .. } => next,
            Method::Pull { .. } | Method::Push(_) => None,
        }
    }

    /// Whether its stream has yet to be told that it missed events.
    pub fn must_tell_miss(&self) -> bool {
        matches!(self.method, Method::Streaming { stream: Some(_), told, .. } if told != self.missed)
    }

    /// How it pushes, if it does.
    pub fn push(&self) -> Option<&Push> {
        match &self.method {
            Method::Push(push) => Some(push),
            Method::Pull { .. } | Method::Streaming { .. } => None,
        }
    }

    /// How it pushes, to be altered.
    pub fn push_mut(&mut self) -> Option<&mut Push> {
        match &mut self.method {
            Method::Push(push) => Some(push),
            Method::Pull { .. } | Method::Streaming { .. } => None,
        }
    }

    /// Whether it has something to push now.
    pub fn must_push(&self) -> bool {
        self.push().is_some_and(|push| match push.stage {
            Stage::Due => true,
            Stage::Resting => self.pending > 0 || self.missed > 0,
            Stage::Calling { .. } | Stage::Waiting => false,
        })
    }

    fn missed_for_good(&self) -> bool {
        self.missed > 0 && !matches!(self.method, Method::Streaming { .. })
    }
}
