//! What happened, as it is recorded: once for each mailbox, however many keys have it among their records.

use serde::{Deserialize, Serialize};

use super::words::{EventType, Field, ItemType, Word};
use crate::contract::Instant;
use crate::groupwise::ids;
use crate::reply::Text;

/// A record's number within its mailbox, ascending; what clients see is its lower half.
pub type Uid = u64;

/// What a container is, as its id says behind the `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The folder above all others.
    Root,
    /// A folder.
    Folder,
    /// A folder of appointments.
    Calendar,
    /// An address book of the account's own.
    Book,
}

/// A folder or an address book of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// What it is.
    pub class: Class,
    /// The source's id; empty for the root.
    pub id: Box<str>,
}

/// Where something came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Where an item was.
    Container(Container),
    /// Who did it.
    Who(Box<str>),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// What.
    pub event: EventType,
    /// When, by the source's clock: what clients see.
    pub at: Instant,
    /// When it was heard: its age counts from here.
    pub heard: Instant,
    /// The source's id of the item or folder.
    pub id: Option<Box<str>>,
    /// Where the item is, or the folder itself.
    pub container: Option<Container>,
    /// Where it came from.
    pub from: Option<Origin>,
    /// The set of what was altered; none: not known, or nothing that has a word.
    pub fields: u64,
    /// What the item is.
    pub kind: Option<ItemType>,
}

/// The id of the root on the wire, up to the `@`.
const ROOT: &str = "root";

impl Container {
    /// The source's id that a container's id on the wire stands for.
    pub fn source_id(text: &str) -> Option<String> {
        let (id, class) = text.split_once('@').unwrap_or((text, ""));
        if id == ROOT && class == "15" { Some(String::new()) } else { ids::read_part(id).filter(|id| !id.is_empty()) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (id, class) = match self.class {
            Class::Root => (ROOT, "@15"),
            Class::Folder => (&*self.id, "@16"),
            Class::Calendar => (&*self.id, "@19"),
            Class::Book => (&*self.id, "@5"),
        };
        ids::write_part(out, id);
        out.raw(class);
    }
}

impl Occurrence {
    /// An event of which nothing else is known yet; its time comes with the change.
    pub fn of(event: EventType) -> Self {
        Self { event, at: 0, heard: 0, id: None, container: None, from: None, fields: 0, kind: None }
    }

    /// The containers that it names.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        let from = self.from.as_ref().and_then(|from| match from {
            Origin::Container(container) => Some(container),
            Origin::Who(_) => None,
        });
        self.container.iter().chain(from)
    }

    /// What it counts for in limits: an estimate that is the same on every machine.
    pub fn bytes(&self) -> u64 {
        let who = match &self.from {
            Some(Origin::Who(who)) => who.len(),
            _ => 0,
        };
        let texts = self.containers().map(|container| container.id.len()).sum::<usize>();
        160 + (texts + who + self.id.as_ref().map_or(0, |id| id.len())) as u64
    }

    /// Writes it as a record of a key, in the order of the schema.
    pub fn write(&self, out: &mut Vec<u8>, key: &str, uid: Uid) {
        out.raw("<e:event><e:event>");
        out.raw(self.event.name());
        out.raw("</e:event>");
        if let Some(id) = &self.id {
            out.raw("<e:id>");
            ids::write_part(out, id);
            out.raw("</e:id>");
        }
        out.raw("<e:timeStamp>");
        out.date(self.at);
        out.raw("</e:timeStamp>");
        if self.fields != 0 {
            out.raw("<e:field>");
            list::<Field>(out, self.fields);
            out.raw("</e:field>");
        }
        if let Some(container) = &self.container {
            out.raw("<e:container>");
            container.write(out);
            out.raw("</e:container>");
        }
        if let Some(from) = &self.from {
            out.raw("<e:from>");
            match from {
                Origin::Container(container) => container.write(out),
                Origin::Who(who) => out.text(who),
            }
            out.raw("</e:from>");
        }
        out.raw("<e:key>");
        out.text(key);
        out.raw("</e:key><e:uid>");
        out.number(u64::from(shown(uid)));
        out.raw("</e:uid>");
        if let Some(kind) = self.kind {
            out.raw("<e:type>");
            out.raw(kind.name());
            out.raw("</e:type>");
        }
        out.raw("</e:event>");
    }
}

/// A record's number as clients see it (xs:unsignedInt).
pub fn shown(uid: Uid) -> u32 {
    uid as u32
}

/// Writes the words of a set, separated by blanks.
pub fn list<W: Word>(out: &mut Vec<u8>, set: u64) {
    for (place, word) in W::of(set).enumerate() {
        out.raw(if place == 0 { "" } else { " " });
        out.raw(word.name());
    }
}
