//! Interface `changes`: what happened in mailboxes and in the address book.

use super::Instant;

/// A message, appointment, contact or other thing in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Item {
    /// message, contact, appointment, ...: an open vocabulary.
    pub kind: String,
    /// The source's id; not empty.
    pub id: String,
    /// The id of its folder; not empty.
    pub folder: String,
    /// The source's number of it.
    pub number: Option<u64>,
    /// Its IMAP UID.
    pub imap_uid: Option<u32>,
    /// Grows with every alteration.
    pub revision: Option<u64>,
    /// Bits; see the WIT.
    pub flags: u64,
    /// Keywords.
    pub tags: Vec<String>,
}

/// What was altered in an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ItemAlteration {
    /// The item as it is now.
    pub item: Item,
    /// Its flags before.
    pub flags_before: Option<u64>,
    /// Its tags before.
    pub tags_before: Option<Vec<String>>,
    /// Names of what was altered; empty: not known.
    pub fields: Vec<String>,
}

/// A folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Folder {
    /// The source's id; not empty.
    pub id: String,
    /// The id of its parent; empty: the root.
    pub parent: String,
    /// Display name.
    pub name: String,
    /// A distinguished name of EWS (inbox, drafts, ...); empty: none.
    pub role: String,
    /// The kind of its items.
    pub holds: String,
    /// The source's number of it.
    pub number: Option<u64>,
    /// Grows with every alteration.
    pub revision: Option<u64>,
    /// Unread items.
    pub unread: Option<u32>,
    /// All items.
    pub total: Option<u32>,
}

/// What was altered in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FolderAlteration {
    /// The folder as it is now.
    pub folder: Folder,
    /// Names of what was altered; empty: not known.
    pub fields: Vec<String>,
}

/// An item that was moved or copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ItemRelocation {
    /// Where it was, or the original.
    pub before: Item,
    /// Where it is, or the copy.
    pub after: Item,
}

/// A folder that was moved, renamed or copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FolderRelocation {
    /// Where it was, or the original.
    pub before: Folder,
    /// Where it is, or the copy.
    pub after: Folder,
}

/// Counts of one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FolderCounts {
    /// The folder's id.
    pub folder: String,
    /// Unread items.
    pub unread: u32,
    /// All items.
    pub total: u32,
    /// The folder's revision.
    pub revision: Option<u64>,
}

/// An account: id, login name and further names.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Account {
    pub id: String,
    pub name: String,
    pub aliases: Vec<String>,
}

/// A tag of an account.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tag {
    pub id: String,
    pub name: String,
}

/// Somebody's presence in an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Visit {
    /// login, proxy, trusted-application.
    pub kind: String,
    /// Who.
    pub by: String,
}

/// A change of somebody's rights to an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AccessChange {
    /// added, modified, removed.
    pub kind: String,
    /// Whose rights.
    pub who: String,
}

/// Why an account is not available.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Absence {
    /// For a while.
    Maintenance,
    /// It lives elsewhere now.
    Moved(String),
}

/// What happened.
#[allow(missing_docs, reason = "documented in the WIT")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Happening {
    Baseline(Vec<Folder>),
    MessageDelivered(Item),
    ItemCreated(Item),
    ItemModified(ItemAlteration),
    ItemDeleted(Item),
    ItemMoved(ItemRelocation),
    ItemCopied(ItemRelocation),
    FolderCreated(Folder),
    FolderModified(FolderAlteration),
    FolderDeleted(Folder),
    FolderMoved(FolderRelocation),
    FolderCopied(FolderRelocation),
    FreeBusyChanged(Item),
    TagCreated(Tag),
    TagModified(Tag),
    TagDeleted(Tag),
    Hinted(Vec<String>),
    Gap,
    AccountOpened(Account),
    AccountModified(Account),
    AccountClosed,
    AccountUnavailable(Absence),
    AccountAvailable,
    AccessChanged(AccessChange),
    VisitBegan(Visit),
    VisitEnded(Visit),
}

/// One change of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Change {
    /// The account's change number after it.
    pub number: Option<u64>,
    /// When it happened.
    pub at: Instant,
    /// Who made it.
    pub origin: Option<String>,
    /// Counts of the folders concerned, after it.
    pub counts: Vec<FolderCounts>,
    /// What happened.
    pub what: Happening,
}

/// Changes of one account, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AccountChanges {
    /// The account's id, name or alias.
    pub account: String,
    /// Its changes.
    pub changes: Vec<Change>,
}

/// One entry of the system address book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// The source's id; not empty.
    pub id: String,
    /// Its UUID.
    pub uuid: Option<String>,
    /// contact, group, resource, organization.
    pub kind: String,
    /// What it says.
    pub fields: Vec<Field>,
    /// A group's members.
    pub members: Vec<Member>,
}

/// One field of an entry.
#[allow(missing_docs, reason = "documented in the WIT")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Field {
    pub name: String,
    pub label: String,
    pub value: String,
}

/// One member of a group.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    pub id: String,
    pub name: String,
    pub email: String,
    pub kind: String,
}

/// A change of the system address book.
#[allow(missing_docs, reason = "documented in the WIT")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BookChange {
    Added(Entry),
    Modified(Entry),
    Deleted(String),
    Gap,
    RebuildStarted,
    RebuildFinished,
}

/// What one `ingest` brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Batch {
    /// Changes of accounts.
    pub accounts: Vec<AccountChanges>,
    /// Changes of the address book.
    pub book: Vec<BookChange>,
}
