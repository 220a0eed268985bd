//! The entries of the address book, in the order of their ids, each in few bytes.
//!
//! There may be a million. An entry is kept as one run of bytes (postcard) in which field names are numbers: a directory
//! uses the same few dozen for all of them.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::contract::Entry;
use crate::settings::Settings;

/// How large an entry may become when it is told to a client, in bytes: one answer must hold it.
const MAX_TOLD: usize = 800 << 10;

/// How many fields an entry may have: each is looked at for every element that it could be.
const MAX_FIELDS: usize = 256;

/// How many field names a book may use.
const MAX_NAMES: usize = 4096;

/// What an entry counts for besides its bytes.
const OVERHEAD: u64 = 64;

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A person.
    Contact,
    /// A distribution list.
    Group,
    /// A room, a car, a projector.
    Resource,
    /// A company.
    Organization,
    /// Something that this version does not know.
    Other,
}

impl Kind {
    /// The kind that a source names, without regard to case.
    pub fn of(word: &str) -> Self {
        let named = [
            ("contact", Self::Contact),
            ("group", Self::Group),
            ("resource", Self::Resource),
            ("organization", Self::Organization),
        ];
        let found = named.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The rebuild in which it was last given.
    pub generation: u32,
    /// What it says.
    pub bytes: Box<[u8]>,
}

/// What the bytes of an entry say: of fields name, label and value, of members id, name, address and kind.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    kind: Kind,
    #[serde(borrow)]
    uuid: Option<&'a str>,
    #[serde(borrow)]
    fields: Vec<(u32, &'a str, &'a str)>,
    #[serde(borrow)]
    members: Vec<(&'a str, &'a str, &'a str, &'a str)>,
}

/// An entry, looked at.
pub struct Found<'b> {
    /// The source's id.
    pub id: &'b str,
    /// What it counts for, in bytes.
    pub weight: u64,
    content: Content<'b>,
    names: &'b [Box<str>],
}

impl<'b> Found<'b> {
    /// What it stands for.
    pub fn kind(&self) -> Kind {
        self.content.kind
    }

    /// The directory's own id.
    pub fn uuid(&self) -> Option<&'b str> {
        self.content.uuid
    }

    /// Its fields: name, label, value.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b str, &'b str)> {
        let name = |number: u32| self.names.get(number as usize).map_or("", |name| &**name);
        self.content.fields.iter().map(move |(number, label, value)| (name(*number), *label, *value))
    }

    /// The value of the first field with this name.
    pub fn first(&self, name: &str) -> Option<&'b str> {
        self.fields().find(|(known, ..)| *known == name).map(|(_, _, value)| value)
    }

    /// The members of a group: id, name, address, kind.
    pub fn members(&self) -> impl Iterator<Item = (&'b str, &'b str, &'b str, &'b str)> {
        self.content.members.iter().copied()
    }
}

/// What became of an entry that was given.
pub(super) enum Put {
    /// There was none.
    Added,
    /// There was one.
    Replaced {
        /// What it stood for.
        before: Kind,
        /// It said the same.
        same: bool,
    },
}

/// All entries.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    all: BTreeMap<Box<str>, Stored>,
    names: Vec<Box<str>>,
    by_name: BTreeMap<Box<str>, u32>,
    bytes: u64,
}

impl Entries {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// What they count for, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry with this id.
    pub fn get(&self, id: &str) -> Option<Found<'_>> {
        self.all.get_key_value(id).map(|(id, stored)| self.found(id, stored))
    }

    /// All in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Found<'_>> {
        self.between(Bound::Unbounded, Bound::Unbounded)
    }

    /// The ids between two ids, in their order.
    pub fn ids(&self, from: Bound<&str>, to: Bound<&str>) -> impl DoubleEndedIterator<Item = &str> {
        self.all.range::<str, _>((from, to)).map(|(id, _)| &**id)
    }

    /// Those between two ids, in their order.
    pub fn between(&self, from: Bound<&str>, to: Bound<&str>) -> impl DoubleEndedIterator<Item = Found<'_>> {
        self.all.range::<str, _>((from, to)).map(|(id, stored)| self.found(id, stored))
    }

    /// Takes an entry in the place of the one with its id.
    pub(super) fn put(&mut self, entry: &Entry, generation: u32, settings: &Settings) -> Result<Put, &'static str> {
        self.has_room(entry, settings)?;
        let stored = Stored { generation, bytes: self.encode(entry) };
        let before = self.all.get(&*entry.id);
        let put = match before {
            None => Put::Added,
            Some(before) => Put::Replaced { before: content(before).kind, same: before.bytes == stored.bytes },
        };
        self.bytes += weight(&entry.id, &stored);
        self.bytes -= before.map_or(0, |stored| weight(&entry.id, stored));
        match self.all.get_mut(&*entry.id) {
            Some(place) => *place = stored,
            None => drop(self.all.insert(entry.id.as_str().into(), stored)),
        }
        Ok(put)
    }

    /// Removes an entry; what it stood for.
    pub(super) fn remove(&mut self, id: &str) -> Option<Kind> {
        let stored = self.all.remove(id)?;
        self.bytes -= weight(id, &stored);
        Some(content(&stored).kind)
    }

    /// Keeps the entries that were given in this rebuild.
    pub(super) fn keep(&mut self, generation: u32) {
        let bytes = &mut self.bytes;
        self.all.retain(|id, stored| {
            let keeps = stored.generation == generation;
            if !keeps {
                *bytes -= weight(id, stored);
            }
            keeps
        });
    }

    /// The field names in the order of their numbers.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The first entry after this id, as it is kept.
    pub fn next_stored(&self, after: Option<&str>) -> Option<(&str, &Stored)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.all.range::<str, _>((from, Bound::Unbounded)).next().map(|(id, stored)| (&**id, stored))
    }

    /// Takes over a field name that was saved; names come in the order of their numbers.
    pub fn restore_name(&mut self, name: Box<str>) {
        self.by_name.insert(name.clone(), self.names.len() as u32);
        self.names.push(name);
    }

    /// Takes over an entry that was saved; whether it is one.
    pub fn restore(&mut self, id: Box<str>, stored: Stored) -> bool {
        let known = |(number, ..): &(u32, &str, &str)| (*number as usize) < self.names.len();
        let sound = postcard::from_bytes::<Content<'_>>(&stored.bytes).is_ok_and(|it| it.fields.iter().all(known));
        if sound {
            self.bytes += weight(&id, &stored);
            self.all.insert(id, stored);
        }
        sound
    }

    fn found<'b>(&'b self, id: &'b str, stored: &'b Stored) -> Found<'b> {
        Found { id, weight: weight(id, stored), content: content(stored), names: &self.names }
    }

    /// Whether an entry may be taken: nothing of one that may not is left behind.
    fn has_room(&self, entry: &Entry, settings: &Settings) -> Result<(), &'static str> {
        if entry.fields.len() > MAX_FIELDS {
            return Err("the entry has more than 256 fields");
        }
        let fields = entry.fields.iter().map(|it| it.label.len() + it.value.len() + 4).sum::<usize>();
        let fields = fields + entry.uuid.as_ref().map_or(0, String::len);
        let members = entry.members.iter().map(|it| it.id.len() + it.name.len() + it.email.len() + it.kind.len() + 4);
        let members = members.sum::<usize>();
        let size = (fields + members) as u64;
        if size > u64::from(settings.book_entry_bytes) {
            return Err("the entry is larger than book-entry-bytes");
        }
        // A character becomes six at most, and some fields are told twice; tags add to that.
        let told = 12 * fields + 64 * entry.fields.len() + 6 * members + 160 * entry.members.len();
        if told > MAX_TOLD {
            return Err("the entry is too large for an answer");
        }
        let freed = self.all.get(&*entry.id).map_or(0, |stored| weight(&entry.id, stored));
        if self.bytes - freed + entry.id.len() as u64 + size + OVERHEAD > settings.book_bytes {
            return Err("the address book is larger than book-bytes");
        }
        let new = entry.fields.iter().filter(|field| !self.by_name.contains_key(&*field.name)).count();
        if self.names.len() + new > MAX_NAMES {
            return Err("the address book has too many names of fields");
        }
        Ok(())
    }

    fn encode(&mut self, entry: &Entry) -> Box<[u8]> {
        let mut fields = Vec::with_capacity(entry.fields.len());
        for field in &entry.fields {
            fields.push((self.number(&field.name), field.label.as_str(), field.value.as_str()));
        }
        let members = entry.members.iter().map(|it| (it.id.as_str(), it.name.as_str(), it.email.as_str(), &*it.kind));
        let (kind, uuid) = (Kind::of(&entry.kind), entry.uuid.as_deref());
        let content = Content { kind, uuid, fields, members: members.collect() };
        postcard::to_allocvec(&content).expect("writing to memory succeeds").into()
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.restore_name(name.into());
        number
    }
}

fn content(stored: &Stored) -> Content<'_> {
    postcard::from_bytes(&stored.bytes).expect("it was encoded here, or judged when it was loaded")
}

fn weight(id: &str, stored: &Stored) -> u64 {
    id.len() as u64 + stored.bytes.len() as u64 + OVERHEAD
}
