//! The address book of the tenant: its entries as they are, and the deltas that led there.
//!
//! Every change of an entry takes the next sequence number; a delta says which entry, and whether it came, changed or
//! went, but not what it was: readers are shown the entry as it is now. A changed group is told as gone and come again,
//! in two deltas, as GroupWise does. Old deltas are cut, but never the newest: so a reader that has everything finds its
//! own position among those that are kept.

use crate::contract::{BookChange, Entry, Instant};
use crate::settings::Settings;

mod deltas;
mod entries;

pub use deltas::{Delta, Deltas, LAST_SEQUENCE, Sequence, SyncType};
pub use entries::{Entries, Found, Kind, Stored};

use entries::Put;

/// The address book.
#[derive(Clone, Debug)]
pub struct Book {
    /// What stands in it.
    pub entries: Entries,
    /// What happened to it.
    pub deltas: Deltas,
    /// When the sequences began anew, in seconds since the Unix epoch; never 0, and never the same twice.
    pub rebuilt: u32,
    /// Counts the rebuilds that were begun; each entry knows in which it was last given.
    pub generation: u32,
    /// The whole book is being given anew.
    pub rebuilding: bool,
}

impl Default for Book {
    fn default() -> Self {
        let (entries, deltas) = (Entries::default(), Deltas::default());
        Self { entries, deltas, rebuilt: 1, generation: 0, rebuilding: false }
    }
}

impl Book {
    /// An empty book.
    pub fn new(now: Instant) -> Self {
        Self { rebuilt: seconds(now).max(1), ..Self::default() }
    }

    /// Applies a change; an error says why it cannot be.
    pub fn apply(&mut self, change: BookChange, now: Instant, settings: &Settings) -> Result<(), &'static str> {
        match change {
            BookChange::Added(entry) | BookChange::Modified(entry) => self.put(entry, now, settings)?,
            BookChange::Deleted(id) => self.delete(&id, now),
            BookChange::Gap => self.miss(now),
            BookChange::RebuildStarted => {
                self.generation = self.generation.wrapping_add(1);
                self.rebuilding = true;
            }
            BookChange::RebuildFinished if !self.rebuilding => return Err("no rebuild was started"),
            BookChange::RebuildFinished => {
                self.rebuilding = false;
                self.entries.keep(self.generation);
                self.begin_anew(now);
            }
        }
        self.deltas.cut_to(settings.book_deltas);
        Ok(())
    }

    /// Cuts the deltas that are too old, or too many; whether there were any.
    pub fn cut(&mut self, now: Instant, settings: &Settings) -> bool {
        let aged = self.deltas.cut_before(now.saturating_sub(settings.book_delta_ms()));
        self.deltas.cut_to(settings.book_deltas) || aged
    }

    /// Every sequence that was given is void: the next one is 1, of another time.
    pub fn begin_anew(&mut self, now: Instant) {
        self.rebuilt = seconds(now).max(self.rebuilt.saturating_add(1));
        self.deltas = Deltas::default();
    }

    /// An entry as it is now. Given in a rebuild just as it was, nothing happened to it.
    fn put(&mut self, entry: Entry, now: Instant, settings: &Settings) -> Result<(), &'static str> {
        let kind = Kind::of(&entry.kind);
        match self.entries.put(&entry, self.generation, settings)? {
            Put::Added => self.tell(SyncType::Add, kind, &entry.id, now),
            Put::Replaced { same: true, .. } if self.rebuilding => {}
            Put::Replaced { before, .. } if before == kind && kind != Kind::Group => {
                self.tell(SyncType::Update, kind, &entry.id, now);
            }
            Put::Replaced { before, .. } => {
                self.tell(SyncType::Delete, before, &entry.id, now);
                self.tell(SyncType::Add, kind, &entry.id, now);
            }
        }
        Ok(())
    }

    fn delete(&mut self, id: &str, now: Instant) {
        if let Some(kind) = self.entries.remove(id) {
            self.tell(SyncType::Delete, kind, id, now);
        }
    }

    /// A change was lost: no sequence that was given is good any more, nor is the one that comes after the last of
    /// them. An entry that did not change stands at the beginning of what is new, because readers that find nothing
    /// there would fetch the whole book each time that they look.
    fn miss(&mut self, now: Instant) {
        self.deltas.skip();
        let first = self.entries.iter().next().map(|found| (found.kind(), found.id.to_owned()));
        if let Some((kind, id)) = first {
            self.tell(SyncType::Update, kind, &id, now);
        }
    }

    fn tell(&mut self, sync: SyncType, kind: Kind, id: &str, now: Instant) {
        if self.deltas.last() >= LAST_SEQUENCE {
            self.begin_anew(now);
        }
        self.deltas.push(Delta { sync, kind, id: id.into(), heard: now });
    }
}

/// Whole seconds, as far as the wire can say them.
fn seconds(now: Instant) -> u32 {
    u32::try_from(now / 1000).unwrap_or(u32::MAX)
}
