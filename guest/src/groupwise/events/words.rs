//! The words of the interface: types of events, types of items, fields (events.xsd), and sets of them.

use serde::{Deserialize, Serialize};

/// Makes an enum of words: their names on the wire, and each word's bit in a set.
macro_rules! words {
    ($(#[$about:meta])* $name:ident: $($word:ident),+ $(,)?) => {
        $(#[$about])*
        #[allow(missing_docs, reason = "the names are those of the specification")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($word),+
        }

        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$word),+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word)),+
                }
            }

            fn bit(self) -> u64 {
                1 << self as u32
            }
        }
    };
}

/// One of a closed list of words.
pub trait Word: Copy + 'static {
    /// All of them, in the order of the schema.
    const ALL: &'static [Self];

    /// The word on the wire.
    fn name(self) -> &'static str;

    /// Its bit in a set.
    fn bit(self) -> u64;

    /// The word of a text.
    fn read(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|word| word.name() == text)
    }

    /// The words of a set, in the order of the schema.
    fn of(set: u64) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |word| set & word.bit() != 0)
    }
}

words! {
    /// What may happen.
    EventType:
    AddressBookAdd, AddressBookDelete, AddressBookModify, AddressBookItemAdd, AddressBookItemDelete,
    AddressBookItemModify, FolderAccept, FolderAdd, FolderDelete, FolderItemAdd, FolderItemDelete, FolderItemMove,
    FolderModify, ItemAccept, ItemArchive, ItemComplete, ItemDecline, ItemDelete, ItemMarkPrivate, ItemMarkRead,
    ItemMarkUnread, ItemModify, ItemPurge, ItemUnarchive, ItemUndelete, Login, Logout, ProxyAccessAdd,
    ProxyAccessModify, ProxyAccessDelete, ProxyLogin, SessionTimedOut, TrustedApplicationLogin, ItemMarkUnprivate,
    ItemUnaccept, ItemUncomplete, PersonalGroupItemAdd, PersonalGroupItemDelete, UserMoveComplete,
}

words! {
    /// What something happens to.
    ItemType:
    AddressBookItem, Appointment, CalendarItem, Contact, Group, Mail, Note, Organization, PhoneMessage, Resource, Task,
    DocumentRef,
}

words! {
    /// What may be altered in it.
    Field:
    AcceptLevel, Alarm, AllDayEvent, Attachment, Category, Checklist, Classification, Contact, DueDate, Duration,
    EmailAddress, ExpirationDate, Hidden, IMAddress, MessageBody, Name, Organization, Owner, Parent, PersonalSubject,
    PhoneNumber, Picture, Place, PostalAddress, RecipientStatus, Rights, Security, SendPriority, StartDate, Subject,
    TaskCategory, TaskPriority,
}

impl ItemType {
    /// The type of an item of this kind (`item.kind` of the contract).
    pub fn of_kind(kind: &str) -> Option<Self> {
        Some(match kind {
            "message" => Self::Mail,
            "appointment" => Self::Appointment,
            "task" => Self::Task,
            "note" => Self::Note,
            "phone-message" => Self::PhoneMessage,
            "document" => Self::DocumentRef,
            "contact" => Self::Contact,
            "group" => Self::Group,
            "resource" => Self::Resource,
            "organization" => Self::Organization,
            _ => return None,
        })
    }

    /// Whether items of this type stand in address books.
    pub fn is_of_a_book(self) -> bool {
        matches!(self, Self::AddressBookItem | Self::Contact | Self::Group | Self::Resource | Self::Organization)
    }

    /// The sets that name this type: those with itself, and those with what it is a kind of.
    pub fn bits(self) -> u64 {
        let wider = match self {
            Self::Appointment | Self::Task | Self::Note => Self::CalendarItem.bit(),
            Self::Contact | Self::Group | Self::Resource | Self::Organization => Self::AddressBookItem.bit(),
            _ => 0,
        };
        self.bit() | wider
    }
}

impl Field {
    /// The field that a source means: one of the contract's words, or one of these without regard to case and hyphens.
    pub fn of_source(word: &str) -> Option<Self> {
        Some(match word {
            "tags" => Self::Category,
            "body" => Self::MessageBody,
            "start" | "date" => Self::StartDate,
            "due" => Self::DueDate,
            "attachments" => Self::Attachment,
            "recipients" => Self::RecipientStatus,
            _ => return Self::ALL.iter().copied().find(|field| is_spelled(word, field.name())),
        })
    }

    /// The set of what a source says was altered.
    pub fn set_of<'w>(words: impl IntoIterator<Item = &'w str>) -> u64 {
        words.into_iter().filter_map(Self::of_source).fold(0, |set, field| set | field.bit())
    }
}

fn is_spelled(word: &str, name: &str) -> bool {
    let letters = word.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase());
    letters.eq(name.bytes().map(|byte| byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_schema() {
        assert_eq!((EventType::ALL.len(), ItemType::ALL.len(), Field::ALL.len()), (39, 12, 32));
        assert_eq!(EventType::read("ItemUncomplete"), Some(EventType::ItemUncomplete));
        assert_eq!(EventType::read("itemUncomplete"), None);
        let set = EventType::UserMoveComplete.bit() | EventType::AddressBookAdd.bit();
        assert!(EventType::of(set).eq([EventType::AddressBookAdd, EventType::UserMoveComplete]));
    }

    #[test]
    fn fields_are_known_by_every_name() {
        for (word, field) in [
            ("tags", Some(Field::Category)),
            ("recipient-status", Some(Field::RecipientStatus)),
            ("imaddress", Some(Field::IMAddress)),
            ("Subject", Some(Field::Subject)),
            ("flags", None),
            ("", None),
        ] {
            assert_eq!(Field::of_source(word), field, "{word}");
        }
        assert_eq!(Field::set_of(["place", "flags", "name"]), Field::Place.bit() | Field::Name.bit());
    }
}
