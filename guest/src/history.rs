//! What happened in one mailbox, in EWS's terms: kept once, however many subscribe to it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::contract::Instant;
use crate::mailboxes::FolderNo;

/// The place of an event: the input that brought it, and its index there, from 1. Positions of one mailbox ascend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The journal's sequence.
    pub sequence: u64,
    /// Index among the mailbox's events of that input; 0 is before the first.
    pub index: u32,
}

/// The kinds of events, as EWS names them; their bits make up a subscription's choice.
#[allow(missing_docs, reason = "the names are those of the specification")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Copied,
    Created,
    Deleted,
    Modified,
    Moved,
    NewMail,
    FreeBusyChanged,
}

impl Kind {
    /// Its bit in a set of kinds.
    pub fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A folder and its revision when something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderAt {
    /// Which.
    pub folder: FolderNo,
    /// Its revision then.
    pub revision: u64,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// An item.
    Item {
        /// The source's id.
        id: Box<str>,
        /// Its revision after the event.
        revision: u64,
    },
    /// A folder, with its revision after the event.
    Folder(FolderAt),
}

/// What a moved or copied thing was before, or the original of the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The thing.
    pub subject: Subject,
    /// Its folder.
    pub parent: FolderAt,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its kind.
    pub kind: Kind,
    /// When it happened, as the source says.
    pub time: Instant,
    /// What it is about.
    pub subject: Subject,
    /// The folder that this is in.
    pub parent: FolderAt,
    /// For what was moved or copied.
    pub before: Option<Box<Before>>,
    /// A folder's count of unread items, where it is known.
    pub unread: Option<u32>,
}

impl Event {
    /// The folders whose subscribers hear of it; one may come twice.
    ///
    /// Who subscribes to a folder hears of what happens to the items in it, to the folder itself, and of folders that
    /// come to be in it, leave it or cease to be there; what is altered in a folder below is that folder's own.
    pub fn folders(&self) -> impl Iterator<Item = FolderNo> {
        let itself = match &self.subject {
            Subject::Item { .. } => None,
            Subject::Folder(at) => Some(at.folder),
        };
        let inside = itself.is_none() || self.kind != Kind::Modified;
        let parent = inside.then_some(self.parent.folder);
        let before = self.before.as_ref().filter(|_| inside).map(|was| was.parent.folder);
        itself.into_iter().chain(parent).chain(before)
    }

    /// What it counts for in limits: an estimate that is the same on every machine.
    pub fn bytes(&self) -> u64 {
        let before = self.before.as_ref().map_or(0, |before| 48 + before.subject.text_bytes());
        96 + self.subject.text_bytes() + before
    }
}

impl Subject {
    fn text_bytes(&self) -> u64 {
        match self {
            Self::Item { id, .. } => id.len() as u64,
            Self::Folder(_) => 0,
        }
    }
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// When Postbell heard of it.
    pub heard: Instant,
    /// The event.
    pub event: Event,
}

/// The events of one mailbox that are kept, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    entries: VecDeque<Entry>,
    bytes: u64,
    floor: Position,
    last: Position,
}

impl History {
    /// An empty history that begins after `position`.
    pub fn since(position: Position) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, floor: position, last: position }
    }

    /// Makes the sum of bytes anew: one that was saved may be damaged, or an earlier version's.
    pub fn weigh(&mut self) {
        self.bytes = self.entries.iter().map(|entry| entry.event.bytes()).sum();
    }

    /// Appends an event behind all others.
    pub fn append(&mut self, entry: Entry) {
        self.bytes += entry.event.bytes();
        self.last = entry.position;
        self.entries.push_back(entry);
    }

    /// Forgets the oldest event; gives the bytes that it counted for.
    pub fn cut(&mut self) -> Option<u64> {
        let entry = self.entries.pop_front()?;
        let bytes = entry.event.bytes();
        self.bytes -= bytes;
        self.floor = entry.position;
        Some(bytes)
    }

    /// Forgets everything, so that no earlier position is reached.
    pub fn forget(&mut self, now: Position) {
        *self = Self::since(now.max(self.last));
    }

    /// The oldest event.
    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The event in this place, counted from the oldest.
    pub fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// The events after a position, oldest first.
    pub fn after(&self, position: Position) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.position <= position);
        self.entries.range(from..)
    }

    /// The events from a position on, oldest first.
    pub fn from(&self, position: Position) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.position < position);
        self.entries.range(from..)
    }

    /// Whether every event after a position is still here, and the position has been reached at all.
    pub fn reaches(&self, position: Position) -> bool {
        self.floor <= position && position <= self.last
    }

    /// The position of the last event that was cut: what is after it is here.
    pub fn floor(&self) -> Position {
        self.floor
    }

    /// The position of the last event, or where the history began.
    pub fn last(&self) -> Position {
        self.last
    }

    /// How many events are here.
    pub fn events(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What they count for in limits, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
