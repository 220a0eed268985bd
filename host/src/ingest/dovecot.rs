//! What Dovecot hands to the Lua driver of its push notifications, one JSON object an event: the members of the event's
//! table, and `user`. Seen with Dovecot 2.3.19, where only the Lua driver may be configured (beside another one it gets
//! events twice).
//!
//! Ids are as for Cyrus: a folder's is `inbox`, or its path with `/` between its parts (which must be the namespace's
//! `separator`), an item's is folder, UIDVALIDITY and UID. The folders that Dovecot's own configuration gives a special
//! use have their role by their name. Dovecot itself tells neither the time of an event nor counts, and of a move only an
//! append and an expunge: it becomes a creation and a deletion. What our script for it knows beyond that is in members of
//! our own: `time`, `unread` and `messages`; and `postbell source dovecot` makes one event, `MessageMove`, of an append and
//! an expunge that are a move (`mailbox_old`, `uid_validity_old`, `uid_old`: where the message was). What it finds out by
//! asking IMAP it tells by two more: `MessageFlags` (the flags that a message has now) and `MailboxKnown` (a mailbox that is
//! there, of which no client is told); `special_use` of a mailbox is its attribute of RFC 6154.
//!
//! Before every change of flags Dovecot tells of flags that were cleared, though none was; a message that is read or
//! marked as deleted it tells of twice. What repeats another event, or says nothing, gives no change.

use serde::Deserialize;

use super::imap::{self, Flags, INBOX};
use super::users::Users;
use crate::contract::changes::{
    Change, Folder, FolderCounts, FolderRelocation, Happening, Item, ItemAlteration, ItemRelocation,
};

/// Messages are all that Dovecot holds.
const KIND: &str = "message";

/// Why a line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum DovecotError {
    /// It is no JSON object, or a member that is needed is missing or has another type.
    #[error("not an event of Dovecot: {0}")]
    Json(#[from] serde_json::Error),
    /// An event of its kind needs this member.
    #[error("the event lacks `{0}`")]
    Lacks(&'static str),
    /// A member that names a user or a mailbox is empty, or a UID or UIDVALIDITY is 0.
    #[error("`{0}` is empty or 0")]
    Empty(&'static str),
}

/// The change that a line stands for, with its account; none for what changes nothing that a client could see (a
/// subscription, for one). `now`: when it was heard of, in milliseconds since the Unix epoch.
pub fn change(line: &[u8], users: &Users, now: u64) -> Result<Option<(String, Change)>, DovecotError> {
    let event: Event = serde_json::from_slice(line)?;
    let what = event.happening()?;
    let account = users.account(given(&event.user, "user")?);
    let (at, counts) = (event.time.map_or(now, |seconds| seconds.saturating_mul(1_000)), event.counts());
    Ok(what.map(|what| (account, Change { number: None, at, origin: None, counts, what })))
}

#[derive(Deserialize)]
struct Event {
    name: Name,
    user: String,
    mailbox: String,
    mailbox_old: Option<String>,
    uid: Option<u32>,
    uid_validity: Option<u32>,
    uid_old: Option<u32>,
    uid_validity_old: Option<u32>,
    #[serde(default)]
    flags: Vec<String>,
    special_use: Option<String>,
    #[serde(default)]
    keywords: Vec<String>,
    /// In seconds since the Unix epoch.
    time: Option<u64>,
    /// In `mailbox`, after this event and those with it.
    unread: Option<u32>,
    messages: Option<u32>,
}

/// The events that Dovecot knows, and ours.
#[derive(Clone, Copy, Deserialize)]
enum Name {
    MessageNew,
    MessageAppend,
    MessageExpunge,
    MessageMove,
    MessageFlags,
    MessageRead,
    MessageTrash,
    FlagsSet,
    FlagsClear,
    MailboxKnown,
    MailboxCreate,
    MailboxDelete,
    MailboxRename,
    MailboxSubscribe,
    MailboxUnsubscribe,
}

impl Event {
    fn happening(&self) -> Result<Option<Happening>, DovecotError> {
        Ok(match self.name {
            Name::MessageNew => Some(Happening::MessageDelivered(self.flagged_item()?)),
            Name::MessageAppend => Some(Happening::ItemCreated(self.flagged_item()?)),
            Name::MessageExpunge => Some(Happening::ItemDeleted(self.item()?)),
            Name::MessageMove => {
                Some(Happening::ItemMoved(ItemRelocation { before: self.former_item()?, after: self.flagged_item()? }))
            }
            Name::MessageFlags => Some(Happening::ItemModified(ItemAlteration {
                item: self.flagged_item()?,
                flags_before: None,
                tags_before: None,
                fields: vec!["flags".to_owned(), "tags".to_owned()],
            })),
            Name::FlagsSet => self.alteration(true)?,
            Name::FlagsClear => self.alteration(false)?,
            Name::MailboxKnown => {
                let (unread, total) = (self.unread, self.messages);
                Some(Happening::Baseline(vec![Folder { unread, total, ..self.folder()? }]))
            }
            Name::MailboxCreate => Some(Happening::FolderCreated(self.folder()?)),
            Name::MailboxDelete => Some(Happening::FolderDeleted(self.folder()?)),
            Name::MailboxRename => {
                let before = folder(self.former_mailbox()?);
                Some(Happening::FolderMoved(FolderRelocation { before, after: self.folder()? }))
            }
            Name::MessageRead | Name::MessageTrash | Name::MailboxSubscribe | Name::MailboxUnsubscribe => None,
        })
    }

    /// None: no flag was altered.
    fn alteration(&self, set: bool) -> Result<Option<Happening>, DovecotError> {
        let (item, flags) = (self.item()?, self.named_flags());
        let altered = flags.bits != 0 || !flags.tags.is_empty();
        Ok(altered.then(|| Happening::ItemModified(flags.alteration(item, set))))
    }

    fn flagged_item(&self) -> Result<Item, DovecotError> {
        let Flags { bits, tags } = self.named_flags();
        Ok(Item { flags: bits, tags, ..self.item()? })
    }

    fn named_flags(&self) -> Flags {
        Flags::named(self.flags.iter().chain(&self.keywords).map(String::as_str))
    }

    fn item(&self) -> Result<Item, DovecotError> {
        let (validity, uid) = (number(self.uid_validity, "uid_validity")?, number(self.uid, "uid")?);
        Ok(imap::item(&id(given(&self.mailbox, "mailbox")?), validity, uid, KIND))
    }

    fn former_item(&self) -> Result<Item, DovecotError> {
        let validity = number(self.uid_validity_old, "uid_validity_old")?;
        Ok(imap::item(&id(self.former_mailbox()?), validity, number(self.uid_old, "uid_old")?, KIND))
    }

    fn former_mailbox(&self) -> Result<&str, DovecotError> {
        given(self.mailbox_old.as_deref().ok_or(DovecotError::Lacks("mailbox_old"))?, "mailbox_old")
    }

    fn counts(&self) -> Vec<FolderCounts> {
        let counts = |(unread, total)| FolderCounts { folder: id(&self.mailbox), unread, total, revision: None };
        self.unread.zip(self.messages).map(counts).into_iter().collect()
    }

    fn folder(&self) -> Result<Folder, DovecotError> {
        let folder = folder(given(&self.mailbox, "mailbox")?);
        Ok(match self.special_use.as_deref().map(imap::role_of_use) {
            Some(role) => Folder { role: role.to_owned(), ..folder },
            None => folder,
        })
    }
}

fn number(given: Option<u32>, name: &'static str) -> Result<u32, DovecotError> {
    match given {
        None => Err(DovecotError::Lacks(name)),
        Some(0) => Err(DovecotError::Empty(name)),
        Some(number) => Ok(number),
    }
}

fn given<'t>(text: &'t str, name: &'static str) -> Result<&'t str, DovecotError> {
    if text.is_empty() { Err(DovecotError::Empty(name)) } else { Ok(text) }
}

fn folder(mailbox: &str) -> Folder {
    let id = id(mailbox);
    imap::folder(&id, imap::role(&id), KIND)
}

/// The id of a mailbox. INBOX is the one name that is the same in any case (RFC 9051 section 5.1), also as the first
/// part of a path.
fn id(mailbox: &str) -> String {
    let (first, rest) = mailbox.find('/').map_or((mailbox, ""), |at| mailbox.split_at(at));
    if first.eq_ignore_ascii_case(INBOX) { format!("{INBOX}{rest}") } else { mailbox.to_owned() }
}

#[cfg(test)]
mod tests;
