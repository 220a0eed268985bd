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

#[cfg(test)]
mod tests {
    use super::*;

    fn added(id: &str) -> BookChange {
        let (uuid, fields, members) = (None, Vec::new(), Vec::new());
        BookChange::Added(Entry { id: id.into(), uuid, kind: "contact".into(), fields, members })
    }

    #[test]
    fn sequences_begin_anew_before_the_wire_cannot_say_them() {
        let settings = Settings::default();
        let mut book = Book { deltas: Deltas::since(LAST_SEQUENCE), ..Book::new(7_000) };
        book.apply(added("a"), 8_000, &settings).expect("it is taken");
        assert_eq!((book.deltas.last(), book.rebuilt), (LAST_SEQUENCE, 7));
        book.apply(added("b"), 8_000, &settings).expect("it is taken");
        assert_eq!((book.deltas.first(), book.deltas.last(), book.rebuilt), (1, 1, 8));
    }

    #[test]
    fn the_time_of_a_rebuild_is_never_0_and_never_the_same_twice() {
        let mut book = Book::new(0);
        let mut seen = vec![book.rebuilt];
        for _ in 0..3 {
            book.begin_anew(999);
            seen.push(book.rebuilt);
        }
        assert_eq!(seen, [1, 2, 3, 4]);
    }

    #[test]
    fn a_rebuild_keeps_what_it_gave_and_tells_deltas_until_it_is_finished() {
        let settings = Settings::default();
        let mut book = Book::new(7_000);
        for change in [added("a"), added("b"), BookChange::RebuildStarted, added("a"), added("c")] {
            book.apply(change, 8_000, &settings).expect("it is taken");
        }
        assert_eq!((book.deltas.last(), book.rebuilt), (3, 7), "a was given as it was");
        book.apply(BookChange::RebuildFinished, 9_000, &settings).expect("one was started");
        let ids: Vec<_> = book.entries.iter().map(|found| found.id.to_owned()).collect();
        assert_eq!((ids, book.deltas.first(), book.deltas.last()), (vec!["a".into(), "c".into()], 1, 0));
        assert!(book.apply(BookChange::RebuildFinished, 9_000, &settings).is_err());
    }
}
