//! What sources send, turned into batches of changes: pure functions of one payload.
//!
//! Every source counts what it sends, in *units*: a change, a change of the address book, or a line of its own format.
//! An adapter turns a payload into [`Unit`]s; [`gather`] groups their changes by account, as the contract wants them,
//! and keeps a [`Ledger`] of where each came from, so that a source hears of a rejected change in its own terms.
//!
//! An adapter remembers nothing between two payloads. What must remember (moves to be paired, counts) is in the plugin.

pub mod cyrus;
pub mod dovecot;
mod imap;
pub mod json;
pub mod users;

use std::collections::HashMap;

use self::users::Users;
use crate::contract::changes::{AccountChanges, Batch, BookChange, Change};
use crate::contract::types::{Place, Rejection};

/// The most changes that one payload may hold: as many as one input.
pub const MAX_CHANGES: usize = crate::tenant::MOST_CHANGES;

/// A payload holds more than [`MAX_CHANGES`] changes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_CHANGES} changes in one request")]
pub struct TooMany;

/// One thing that a source counts, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Where it stands in its payload.
    pub mark: Mark,
    /// Its changes, in order, perhaps none; or why it is not understood.
    pub entries: Result<Vec<Entry>, String>,
}

/// A change with whom it concerns.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every entry is a change")]
pub enum Entry {
    /// A change of one account, given by name or id.
    Change(String, Change),
    /// A change of the system address book.
    Book(BookChange),
}

/// The place of a unit in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The list that it is in.
    pub list: List,
    /// Its position in that list, from 0.
    pub position: u64,
}

/// The lists that a payload can have, in the order in which their units are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// Changes of accounts.
    Changes,
    /// Changes of the system address book.
    Book,
    /// Lines of a source's own format.
    Lines,
}

/// A unit that was not applied, or not wholly, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which unit.
    pub mark: Mark,
    /// For people; one line.
    pub reason: String,
}

/// A format of lines: every line is a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Postbell's own: see [`json::line`].
    Postbell,
    /// What Cyrus IMAP writes to its notify socket: see [`cyrus::changes`].
    Cyrus,
    /// What Dovecot hands to the Lua driver of its push notifications: see [`dovecot::change`].
    Dovecot,
}

impl Format {
    /// The format of this name, as operators write it.
    pub fn named(name: &str) -> Option<Format> {
        match name {
            "postbell" => Some(Format::Postbell),
            "cyrus" => Some(Format::Cyrus),
            "dovecot" => Some(Format::Dovecot),
            _ => None,
        }
    }

    /// Reads a payload of lines. A line that is not understood is a unit of its own that says why; an empty line is one
    /// without changes. `now` is the time of what has none of its own, in milliseconds since the Unix epoch.
    pub fn units(self, payload: &[u8], users: &Users, now: u64) -> Result<Vec<Unit>, TooMany> {
        let mut units = Vec::new();
        let mut changes = 0;
        for (position, line) in (0..).zip(lines(payload)) {
            let entries = self.entries(line.trim_ascii(), users, now);
            changes += entries.as_ref().map_or(0, Vec::len);
            if changes > MAX_CHANGES {
                return Err(TooMany);
            }
            units.push(Unit { mark: Mark { list: List::Lines, position }, entries });
        }
        Ok(units)
    }

    fn entries(self, line: &[u8], users: &Users, now: u64) -> Result<Vec<Entry>, String> {
        if line.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Format::Postbell => json::line(line, now).map(|entry| vec![entry]).map_err(said),
            Format::Cyrus => cyrus::changes(line, users, now)
                .map(|changes| changes.into_iter().map(|(account, change)| Entry::Change(account, change)).collect())
                .map_err(said),
            Format::Dovecot => dovecot::change(line, users, now)
                .map(|change| change.into_iter().map(|(account, change)| Entry::Change(account, change)).collect())
                .map_err(said),
        }
    }
}

/// For people, on one line, whatever of the payload it quotes.
fn said(error: impl std::fmt::Display) -> String {
    error.to_string().replace(char::is_control, " ")
}

/// The lines of a payload; the last may lack its line break.
fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = payload.strip_suffix(b"\n").unwrap_or(payload);
    whole.split(|byte| *byte == b'\n').filter(|_| !payload.is_empty())
}

/// Which unit each change of a batch came from, and which units gave none because they were not understood.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Vec<Vec<Mark>>,
    book: Vec<Mark>,
    refused: Vec<Rejected>,
}

/// Makes the batch of some units: the changes of one account in one group, in their order, the groups in the order of
/// their first change. An account that is spelled in two ways is two groups.
pub fn gather(units: impl IntoIterator<Item = Unit>) -> (Batch, Ledger) {
    let mut batch = Batch { accounts: Vec::new(), book: Vec::new() };
    let mut ledger = Ledger::default();
    let mut groups = HashMap::new();
    for Unit { mark, entries } in units {
        let entries = entries.unwrap_or_else(|reason| {
            ledger.refused.push(Rejected { mark, reason });
            Vec::new()
        });
        for entry in entries {
            match entry {
                Entry::Change(account, change) => {
                    let group = *groups.entry(account).or_insert_with_key(|account| {
                        batch.accounts.push(AccountChanges { account: account.clone(), changes: Vec::new() });
                        ledger.accounts.push(Vec::new());
                        batch.accounts.len() - 1
                    });
                    batch.accounts[group].changes.push(change);
                    ledger.accounts[group].push(mark);
                }
                Entry::Book(change) => {
                    batch.book.push(change);
                    ledger.book.push(mark);
                }
            }
        }
    }
    (batch, ledger)
}

impl Ledger {
    /// All that was not applied, in the order of the payload: the units that were not understood, and the changes that the
    /// plugin rejected. A place that the batch does not have names nothing that a source could put right: it is left out.
    pub fn rejected(&self, rejections: &[Rejection]) -> Vec<Rejected> {
        let by_plugin = rejections.iter().filter_map(|rejection| {
            Some(Rejected { mark: self.mark(&rejection.place)?, reason: rejection.reason.clone() })
        });
        let mut all: Vec<Rejected> = self.refused.iter().cloned().chain(by_plugin).collect();
        all.sort_by_key(|rejected| rejected.mark);
        all
    }

    fn mark(&self, place: &Place) -> Option<Mark> {
        match *place {
            Place::Change((group, index)) => self.accounts.get(group as usize)?.get(index as usize).copied(),
            Place::Book(index) => self.book.get(index as usize).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::changes::Happening;

    fn change(at: u64) -> Change {
        Change { number: None, at, origin: None, counts: Vec::new(), what: Happening::Gap }
    }

    fn unit(list: List, position: u64, entries: Vec<Entry>) -> Unit {
        Unit { mark: Mark { list, position }, entries: Ok(entries) }
    }

    fn sample() -> Vec<Unit> {
        vec![
            unit(List::Changes, 0, vec![Entry::Change("ann".into(), change(1))]),
            unit(List::Changes, 1, vec![Entry::Change("bob".into(), change(2))]),
            Unit { mark: Mark { list: List::Changes, position: 2 }, entries: Err("odd".into()) },
            unit(
                List::Changes,
                3,
                vec![Entry::Change("ann".into(), change(3)), Entry::Change("ann".into(), change(4))],
            ),
            unit(List::Book, 0, vec![Entry::Book(BookChange::Gap)]),
        ]
    }

    #[test]
    fn changes_of_an_account_come_together_in_their_order() {
        let (batch, _) = gather(sample());
        let times = |group: usize| batch.accounts[group].changes.iter().map(|change| change.at).collect::<Vec<_>>();
        assert_eq!(batch.accounts.iter().map(|group| group.account.as_str()).collect::<Vec<_>>(), ["ann", "bob"]);
        assert_eq!((times(0), times(1)), (vec![1, 3, 4], vec![2]));
        assert_eq!(batch.book.len(), 1);
    }

    #[test]
    fn a_rejection_names_the_unit_that_the_source_sent() {
        let (_, ledger) = gather(sample());
        let rejection = |place| Rejection { place, reason: "no".into() };
        let rejected = ledger.rejected(&[
            rejection(Place::Book(0)),
            rejection(Place::Change((0, 2))),
            rejection(Place::Change((1, 0))),
            rejection(Place::Change((7, 0))),
            rejection(Place::Change((0, 9))),
        ]);
        let marks: Vec<_> = rejected.iter().map(|it| (it.mark.list, it.mark.position, it.reason.as_str())).collect();
        assert_eq!(
            marks,
            [(List::Changes, 1, "no"), (List::Changes, 2, "odd"), (List::Changes, 3, "no"), (List::Book, 0, "no")]
        );
    }

    #[test]
    fn every_line_counts_and_only_the_last_may_lack_its_break() {
        let count = |payload: &[u8]| Format::Cyrus.units(payload, &Users::default(), 0).unwrap().len();
        assert_eq!(count(b""), 0);
        assert_eq!(count(b"\n"), 1);
        assert_eq!(count(b"{}"), 1);
        assert_eq!(count(b"{}\r\n"), 1);
        assert_eq!(count(b"{}\n\n{}\n"), 3);
    }

    #[test]
    fn a_line_that_is_not_understood_does_not_keep_the_others() {
        let payload = b"{\"account\":\"ann\",\"what\":\"gap\"}\nnonsense\n{\"book\":\"gap\"}\n";
        let units = Format::Postbell.units(payload, &Users::default(), 5).unwrap();
        assert_eq!(units[0].entries, Ok(vec![Entry::Change("ann".into(), change(5))]));
        assert!(units[1].entries.is_err());
        assert_eq!(units[2].entries, Ok(vec![Entry::Book(BookChange::Gap)]));
    }

    #[test]
    fn a_payload_has_a_most_of_changes() {
        let line = b"{\"account\":\"a\",\"what\":\"gap\"}\n";
        let payload = line.repeat(MAX_CHANGES + 1);
        assert_eq!(Format::Postbell.units(&payload, &Users::default(), 0), Err(TooMany));
    }
}
