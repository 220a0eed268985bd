//! What is known of accounts: for each type of JMAP, when it changed last and what its state is called.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::changes::{Account, Folder, Happening, Item};

/// Types whose changes are pushed (RFC 8621, section 1.3; RFC 9670; RFC 9610; the calendars and tasks of their drafts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Type {
    /// A message.
    Email,
    /// Only when mail is delivered (RFC 8621, section 1.5).
    EmailDelivery,
    /// A folder of messages, and its counts.
    Mailbox,
    /// Messages that belong together.
    Thread,
    /// A folder of events.
    Calendar,
    /// An event.
    CalendarEvent,
    /// A folder of contacts.
    AddressBook,
    /// A contact.
    ContactCard,
    /// A folder of tasks.
    TaskList,
    /// A task.
    Task,
}

impl Type {
    /// All of them.
    pub const ALL: [Type; 10] = [
        Type::Email,
        Type::EmailDelivery,
        Type::Mailbox,
        Type::Thread,
        Type::Calendar,
        Type::CalendarEvent,
        Type::AddressBook,
        Type::ContactCard,
        Type::TaskList,
        Type::Task,
    ];

    /// Its name in JMAP.
    pub fn name(self) -> &'static str {
        match self {
            Type::Email => "Email",
            Type::EmailDelivery => "EmailDelivery",
            Type::Mailbox => "Mailbox",
            Type::Thread => "Thread",
            Type::Calendar => "Calendar",
            Type::CalendarEvent => "CalendarEvent",
            Type::AddressBook => "AddressBook",
            Type::ContactCard => "ContactCard",
            Type::TaskList => "TaskList",
            Type::Task => "Task",
        }
    }
}

/// A set of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Types(u16);

impl Types {
    /// Every type.
    pub fn all() -> Types {
        Types::of(&Type::ALL)
    }

    /// These.
    pub fn of(types: &[Type]) -> Types {
        Types(types.iter().fold(0, |bits, one| bits | 1 << *one as u16))
    }

    /// Those of both.
    pub fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }

    /// Those of either.
    pub fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Them, in their order.
    pub fn iter(self) -> impl Iterator<Item = Type> {
        Type::ALL.into_iter().filter(move |one| self.0 & (1 << *one as u16) != 0)
    }
}

/// The last change of a type.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Changed {
    /// The journal's position of it.
    pub sequence: u64,
    /// The account's change number, as the source told it, or the position. JMAP calls it the state.
    pub state: u64,
}

/// An account that was heard of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    /// As clients know it.
    pub id: String,
    /// Its main address.
    pub name: String,
    aliases: Vec<String>,
    /// What changed in it.
    pub changed: BTreeMap<Type, Changed>,
}

/// Accounts, found by id, name or alias.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Accounts {
    all: Vec<Known>,
    #[serde(skip)]
    by_name: BTreeSet<(String, usize)>,
}

impl Accounts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// One of them.
    pub fn get(&self, number: usize) -> &Known {
        &self.all[number]
    }

    /// The number of the account with this id, name or alias.
    pub fn find(&self, account: &str) -> Option<usize> {
        let key = key(account);
        let (found, number) = self.by_name.range((key.clone(), 0)..).next()?;
        (*found == key).then_some(*number)
    }

    /// The account with this id or name, which is new if it is not known; its names are now these.
    pub fn know(&mut self, account: &Account) -> usize {
        let number = self.find(&account.id).or_else(|| self.find(&account.name)).unwrap_or(self.all.len());
        let Account { id, name, aliases } = account.clone();
        for name in self.names(number) {
            self.by_name.remove(&(name, number));
        }
        match self.all.get_mut(number) {
            Some(known) => (known.id, known.name, known.aliases) = (id, name, aliases),
            None => self.all.push(Known { id, name, aliases, changed: BTreeMap::new() }),
        }
        self.by_name.extend(self.names(number).into_iter().map(|name| (name, number)));
        number
    }

    /// Notes that these types changed.
    pub fn change(&mut self, number: usize, types: Types, changed: Changed) {
        self.all[number].changed.extend(types.iter().map(|one| (one, changed)));
    }

    /// Makes the index anew, after they were read from a snapshot.
    pub fn index_all(&mut self) {
        let names =
            (0..self.all.len()).flat_map(|number| self.names(number).into_iter().map(move |name| (name, number)));
        self.by_name = names.collect();
    }

    /// All names of an account; none, if there is no such account.
    fn names(&self, number: usize) -> Vec<String> {
        let known = self.all.get(number);
        let names = known.map(|known| [&known.id, &known.name].into_iter().chain(&known.aliases));
        names.into_iter().flatten().map(|name| key(name)).collect()
    }
}

/// Names are the same in any case.
fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The types that a happening changes.
pub fn types_of(what: &Happening) -> Types {
    match what {
        Happening::MessageDelivered(item) => of_item(item).or(Types::of(&[Type::EmailDelivery])),
        Happening::ItemCreated(item) | Happening::ItemDeleted(item) => of_item(item),
        Happening::ItemModified(alteration) => of_item(&alteration.item),
        Happening::ItemMoved(items) | Happening::ItemCopied(items) => of_item(&items.before).or(of_item(&items.after)),
        Happening::FolderCreated(folder) | Happening::FolderDeleted(folder) => of_folder(folder),
        Happening::FolderModified(alteration) => of_folder(&alteration.folder),
        Happening::FolderMoved(folders) | Happening::FolderCopied(folders) => {
            of_folder(&folders.before).or(of_folder(&folders.after))
        }
        Happening::Hinted(kinds) if !kinds.is_empty() => {
            kinds.iter().fold(Types::default(), |types, kind| types.or(of_kind(kind)))
        }
        Happening::Hinted(_) | Happening::Gap => Types::all(),
        _ => Types::default(),
    }
}

/// A message changes the counts of its folder too.
fn of_item(item: &Item) -> Types {
    of_kind(&item.kind)
}

fn of_folder(folder: &Folder) -> Types {
    match &*folder.holds {
        "appointment" => Types::of(&[Type::Calendar]),
        "contact" | "group" => Types::of(&[Type::AddressBook]),
        "task" => Types::of(&[Type::TaskList]),
        _ => Types::of(&[Type::Mailbox]),
    }
}

fn of_kind(kind: &str) -> Types {
    match kind {
        "message" => Types::of(&[Type::Email, Type::Mailbox, Type::Thread]),
        "appointment" => Types::of(&[Type::CalendarEvent]),
        "contact" | "group" => Types::of(&[Type::ContactCard]),
        "task" => Types::of(&[Type::Task]),
        "folder" => Types::of(&[Type::Mailbox]),
        _ => Types::default(),
    }
}
