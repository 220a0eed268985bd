//! What an application configures under a key: which events are recorded, how long, and whom to tell.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::occurrence::{Container, Occurrence};
use super::words::{EventType, Word};

/// How long records are kept where nothing is said, in seconds.
pub const DEFAULT_PERSISTENCE: u64 = 7 * 86_400;

/// A configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Whether events are recorded.
    pub enabled: bool,
    /// How long a record is kept, in seconds.
    pub persistence: u64,
    /// Where the application listens: a host name or an IP address; empty: nowhere.
    pub address: String,
    /// The port there; 0: none was said.
    pub port: u16,
    /// An age of items, in seconds, above which their events are not wanted. Sources do not say how old items are, so
    /// it changes nothing.
    pub ignore_after: Option<u64>,
    /// What is recorded; none: nothing.
    pub definition: Option<Definition>,
}

/// Which events are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The set of types of events.
    pub events: u64,
    /// The set of types of items; empty: all.
    pub types: u64,
    /// The set of fields; empty: all.
    pub fields: u64,
    /// Where; none: everywhere.
    pub containers: Option<Containers>,
    /// Kept and given back; no change says what it could be about.
    pub sub_type: String,
}

/// A choice of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    /// Everywhere but there.
    pub not: bool,
    /// Their ids as they were said.
    pub said: Vec<Box<str>>,
    /// Their ids as sources say them.
    ids: BTreeSet<Box<str>>,
}

impl Configuration {
    /// Where to tell that there are records; none: nowhere.
    pub fn target(&self) -> Option<(&str, u16)> {
        (!self.address.is_empty() && self.port != 0).then_some((&*self.address, self.port))
    }

    /// Whether this is to be recorded.
    pub fn covers(&self, occurrence: &Occurrence) -> bool {
        self.enabled && self.definition.as_ref().is_some_and(|definition| definition.covers(occurrence))
    }

    /// What it says, in bytes, for the limit of that.
    pub fn bytes(&self) -> usize {
        let definition = self.definition.as_ref();
        let containers = definition.and_then(|it| it.containers.as_ref());
        let said = containers.map_or(0, |it| it.said.iter().map(|id| id.len() + 16).sum());
        self.address.len() + said + definition.map_or(0, |it| it.sub_type.len())
    }
}

impl Definition {
    /// Types of items restrict what is about items, fields restrict modifications whose fields are known, containers
    /// what names a container: of a move, it is enough that one of its two is wanted.
    fn covers(&self, occurrence: &Occurrence) -> bool {
        if self.events & occurrence.event.bit() == 0 {
            return false;
        }
        let of_type = self.types == 0 || !is_about_an_item(occurrence.event) || {
            occurrence.kind.is_some_and(|kind| kind.bits() & self.types != 0)
        };
        let of_field = self.fields == 0 || occurrence.fields == 0 || occurrence.fields & self.fields != 0;
        of_type && of_field && self.containers.as_ref().is_none_or(|containers| containers.hold(occurrence))
    }
}

impl Containers {
    /// A choice of these, or of all others. None: one is no id.
    pub fn new(not: bool, said: Vec<Box<str>>) -> Option<Self> {
        let ids = said.iter().map(|text| Container::source_id(text).map(Into::into)).collect::<Option<_>>()?;
        Some(Self { not, said, ids })
    }

    fn hold(&self, occurrence: &Occurrence) -> bool {
        let mut named = occurrence.containers().peekable();
        named.peek().is_none() || named.any(|container| self.ids.contains(&container.id) != self.not)
    }
}

fn is_about_an_item(event: EventType) -> bool {
    let name = event.name();
    name.starts_with("Item") || name.contains("FolderItem") || name.starts_with("AddressBookItem")
}

/// The set of words in a list; none: one is unknown.
pub fn words<W: Word>(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().try_fold(0, |set, word| Some(set | W::read(word)?.bit()))
}
