//! Cursors: places in a list of items, held for a client that reads it piece by piece.
//!
//! A cursor stands between two ids of the address book. So it stays where it is while entries come and go around it: one
//! that is there all the time is read exactly once.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};

use serde::{Deserialize, Serialize};

use super::filter::{Filter, Search};
use super::status::Status;
use crate::book::{Entries, Found};

/// What a cursor takes without its view and its filter, in bytes: it stands beside an id.
const WEIGHT: u64 = 1280;

/// A cursor's number: an xs:int.
pub type CursorNo = i32;

/// Where a cursor stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gap {
    /// Before everything.
    Start,
    /// Just before the place of this id.
    Before(Box<str>),
    /// Just after the place of this id.
    After(Box<str>),
    /// After everything.
    End,
}

impl Gap {
    /// The bounds of what comes after it, or of what comes before it; none if nothing does.
    pub fn bounds(&self, forward: bool) -> Option<(Bound<&str>, Bound<&str>)> {
        match (self, forward) {
            (Self::Start, true) | (Self::End, false) => Some((Unbounded, Unbounded)),
            (Self::Before(id), true) => Some((Included(id), Unbounded)),
            (Self::After(id), true) => Some((Excluded(id), Unbounded)),
            (Self::Before(id), false) => Some((Unbounded, Excluded(id))),
            (Self::After(id), false) => Some((Unbounded, Included(id))),
            (Self::End, true) | (Self::Start, false) => None,
        }
    }
}

/// A cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Where it stands.
    pub at: Gap,
    /// Which elements its client wants; none: all.
    pub view: Option<String>,
    /// Which items its client wants.
    pub filter: Option<Filter>,
}

impl Cursor {
    /// The entries that come after it, or those that come before it, from here on, whether its client wants them or not.
    pub fn entries<'b>(&self, entries: &'b Entries, forward: bool) -> impl Iterator<Item = Found<'b>> {
        let bounds = self.at.bounds(forward);
        let between = bounds.map(|(from, to)| entries.between(from, to));
        between.into_iter().flat_map(move |between| Direction { between, forward })
    }

    /// Moves it by so many items, forward or backward, or as far as there are any, looking through so many bytes.
    pub fn step(&mut self, entries: &Entries, by: i64, bytes: u64) -> Result<(), Status> {
        let forward = by > 0;
        let Some(skipped) = by.unsigned_abs().checked_sub(1) else {
            return Ok(());
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let id = match &self.filter {
            None => {
                let between = self.at.bounds(forward).map(|(from, to)| entries.ids(from, to));
                between.and_then(|between| Direction { between, forward }.nth(skipped)).map(Box::from)
            }
            Some(filter) => {
                let mut search = Search::new(Some(filter), bytes);
                let passing = |found| search.passes(&found).map(|passes| passes.then(|| found.id.into())).transpose();
                self.entries(entries, forward).filter_map(passing).nth(skipped).transpose()?
            }
        };
        self.at = match (id, forward) {
            (Some(id), true) => Gap::After(id),
            (Some(id), false) => Gap::Before(id),
            (None, true) => Gap::End,
            (None, false) => Gap::Start,
        };
        Ok(())
    }
}

/// What is between two ids, forward or backward.
struct Direction<I> {
    between: I,
    forward: bool,
}

impl<I: DoubleEndedIterator> Iterator for Direction<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.forward { self.between.next() } else { self.between.next_back() }
    }
}

/// The cursors of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    last: CursorNo,
    open: BTreeMap<CursorNo, Cursor>,
}

impl Cursors {
    /// Opens a cursor; of more than `most` the oldest are closed. Gives its number, and how many were closed.
    pub fn open(&mut self, cursor: Cursor, most: u32) -> (CursorNo, u64) {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.open.insert(self.last, cursor);
        let surplus = self.open.len().saturating_sub(most as usize);
        (0..surplus).for_each(|_| drop(self.open.pop_first()));
        (self.last, surplus as u64)
    }

    /// What they take, in bytes.
    pub fn weight(&self) -> u64 {
        let weight = |cursor: &Cursor| {
            let view = cursor.view.as_ref().map_or(0, |view| view.len() as u64);
            WEIGHT + view + cursor.filter.as_ref().map_or(0, Filter::weight)
        };
        self.open.values().map(weight).sum()
    }

    /// A cursor.
    pub fn get_mut(&mut self, number: CursorNo) -> Option<&mut Cursor> {
        self.open.get_mut(&number)
    }

    /// Closes a cursor; whether it was open.
    pub fn close(&mut self, number: CursorNo) -> bool {
        self.open.remove(&number).is_some()
    }
}
