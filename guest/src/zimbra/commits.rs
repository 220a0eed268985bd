//! What all-accounts WaitSets go by: where in the order of all changes each account last changed, for each type.
//!
//! Nothing is kept until there is such a WaitSet; then there is one entry for each account and type that changed since,
//! however many sets there are and however far behind they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::types::Types;
use crate::contract::{Instant, Moment};
use crate::mailboxes::MailboxNo;

/// A place in the order of all changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The input that brought the change.
    pub sequence: u64,
    /// Which of its changes.
    pub index: u32,
    /// When it came, in milliseconds since the Unix epoch.
    pub at: Instant,
}

impl Place {
    /// As clients know it, in the form of Zimbra's commit ids: sequence, time in milliseconds, time in seconds, index.
    pub fn text(self) -> String {
        let Self { sequence, index, at } = self;
        [sequence.to_string(), at.to_string(), (at / 1000).to_string(), index.to_string()].join("-")
    }

    /// The place that a commit id names.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
        let (sequence, at, seconds, index) = (parts.next()??, parts.next()??, parts.next()??, parts.next()??);
        let place = Self { sequence, at, index: index.try_into().ok()? };
        (parts.next().is_none() && seconds == at / 1000).then_some(place)
    }
}

/// Where each account last changed.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    /// Where keeping them began; none: not yet.
    pub floor: Option<Place>,
    /// The last change.
    pub last: Place,
    by_mailbox: BTreeMap<(MailboxNo, u8), Place>,
    by_place: BTreeSet<(u8, Place, MailboxNo)>,
}

impl Commits {
    /// Begins to keep them, if that has not begun; gives the last place.
    pub fn begin(&mut self, at: Moment) -> Place {
        if self.floor.is_none() {
            self.last = Place { sequence: at.sequence, index: 0, at: at.now };
            self.floor = Some(self.last);
        }
        self.last
    }

    /// A mailbox has changed.
    pub fn note(&mut self, at: Moment, mailbox: MailboxNo, types: Types) {
        let index = if self.last.sequence == at.sequence { self.last.index + 1 } else { 1 };
        self.last = Place { sequence: at.sequence, index, at: at.now };
        types.each().for_each(|bit| self.insert(mailbox, bit, self.last));
    }

    /// Puts an entry in its place.
    pub fn insert(&mut self, mailbox: MailboxNo, bit: u8, place: Place) {
        if let Some(before) = self.by_mailbox.insert((mailbox, bit), place) {
            self.by_place.remove(&(bit, before, mailbox));
        }
        self.by_place.insert((bit, place, mailbox));
    }

    /// A mailbox is no longer there.
    pub fn forget(&mut self, mailbox: MailboxNo) {
        for bit in Types::ALL.each() {
            if let Some(place) = self.by_mailbox.remove(&(mailbox, bit)) {
                self.by_place.remove(&(bit, place, mailbox));
            }
        }
    }

    /// Whether something of these types changed after a place.
    pub fn any_after(&self, types: Types, place: Place) -> bool {
        types.each().any(|bit| self.after(bit, place).next().is_some())
    }

    /// What changed after a place, oldest first; a mailbox comes once for each type.
    pub fn changed_after(&self, types: Types, place: Place) -> impl Iterator<Item = (Place, MailboxNo)> {
        let mut ways: Vec<_> = types.each().map(|bit| self.after(bit, place).peekable()).collect();
        std::iter::from_fn(move || {
            let first = ways.iter_mut().filter_map(|way| way.peek().copied()).min()?;
            ways.iter_mut().find_map(|way| way.next_if_eq(&first))
        })
    }

    fn after(&self, bit: u8, place: Place) -> impl Iterator<Item = (Place, MailboxNo)> {
        let from = Bound::Excluded((bit, place, MailboxNo::MAX));
        let ours = self.by_place.range((from, Bound::Unbounded)).take_while(move |(of, ..)| *of == bit);
        ours.map(|(_, place, mailbox)| (*place, *mailbox))
    }

    /// The first entry from this one on.
    pub fn next_from(&self, entry: (MailboxNo, u8)) -> Option<((MailboxNo, u8), Place)> {
        self.by_mailbox.range(entry..).next().map(|(entry, place)| (*entry, *place))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.by_mailbox.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        let place = Place { sequence: 41, index: 3, at: 1_787_392_800_123 };
        assert_eq!(place.text(), "41-1787392800123-1787392800-3");
        assert_eq!(Place::read(&place.text()), Some(place));
        for bad in ["0", "", "41-1787392800123-1787392800", "41-1787392800123-1787392801-3", "41-1-0-3-4", "a-1-0-3"] {
            assert_eq!(Place::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_changed_after_a_place_comes_in_order() {
        let mut commits = Commits::default();
        let begun = commits.begin(Moment { now: 5, sequence: 1 });
        let (mail, folders) = (Types::of_kind("message"), Types::FOLDERS);
        commits.note(Moment { now: 5, sequence: 2 }, 7, mail.and(folders));
        commits.note(Moment { now: 5, sequence: 2 }, 8, mail);
        let upto = commits.last;
        commits.note(Moment { now: 6, sequence: 3 }, 7, folders);
        let numbers = |types, place| -> Vec<MailboxNo> {
            commits.changed_after(types, place).map(|(_, mailbox)| mailbox).collect()
        };
        assert_eq!(numbers(mail, begun), [7, 8]);
        assert_eq!(numbers(Types::ALL, begun), [7, 8, 7]);
        assert_eq!(numbers(Types::ALL, upto), [7]);
        assert_eq!(numbers(mail, upto), []);
        commits.forget(7);
        assert_eq!((commits.len(), commits.any_after(Types::ALL, upto)), (1, false));
    }
}
