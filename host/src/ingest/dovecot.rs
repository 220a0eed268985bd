//! What Dovecot hands to the Lua driver of its push notifications, one JSON object an event: the members of the event's
//! table, and `user`. Seen with Dovecot 2.3.19, where only the Lua driver may be configured (beside another one it gets
//! events twice).
//!
//! Ids are as for Cyrus: a folder's is `inbox`, or its path with `/` between its parts (which must be the namespace's
//! `separator`), an item's is folder, UIDVALIDITY and UID. The folders that Dovecot's own configuration gives a special
//! use have their role by their name. Dovecot tells neither the time of an event nor counts, and of a move only an append
//! and an expunge: it becomes a creation and a deletion.
//!
//! Before every change of flags Dovecot tells of flags that were cleared, though none was; a message that is read or
//! marked as deleted it tells of twice. What repeats another event, or says nothing, gives no change.

use serde::Deserialize;

use super::imap::{self, Flags, INBOX};
use super::users::Users;
use crate::contract::changes::{Change, Folder, FolderRelocation, Happening, Item};

/// Messages are all that Dovecot holds.
const KIND: &str = "message";

/// Names of mailboxes with a special use in the configuration that comes with Dovecot (15-mailboxes.conf), and the roles
/// that RFC 6154 section 2 means by it.
const ROLES: [(&str, &str); 5] =
    [("inbox", INBOX), ("Drafts", "drafts"), ("Junk", "junkemail"), ("Sent", "sentitems"), ("Trash", "deleteditems")];

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
    Ok(what.map(|what| (account, Change { number: None, at: now, origin: None, counts: Vec::new(), what })))
}

#[derive(Deserialize)]
struct Event {
    name: Name,
    user: String,
    mailbox: String,
    mailbox_old: Option<String>,
    uid: Option<u32>,
    uid_validity: Option<u32>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    keywords: Vec<String>,
}

/// The events that Dovecot knows.
#[derive(Clone, Copy, Deserialize)]
enum Name {
    MessageNew,
    MessageAppend,
    MessageExpunge,
    MessageRead,
    MessageTrash,
    FlagsSet,
    FlagsClear,
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
            Name::FlagsSet => self.alteration(true)?,
            Name::FlagsClear => self.alteration(false)?,
            Name::MailboxCreate => Some(Happening::FolderCreated(self.folder()?)),
            Name::MailboxDelete => Some(Happening::FolderDeleted(self.folder()?)),
            Name::MailboxRename => {
                let before = self.mailbox_old.as_deref().ok_or(DovecotError::Lacks("mailbox_old"))?;
                let before = folder(given(before, "mailbox_old")?);
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
        let number = |given: Option<u32>, name| match given {
            None => Err(DovecotError::Lacks(name)),
            Some(0) => Err(DovecotError::Empty(name)),
            Some(number) => Ok(number),
        };
        let (validity, uid) = (number(self.uid_validity, "uid_validity")?, number(self.uid, "uid")?);
        Ok(imap::item(&id(given(&self.mailbox, "mailbox")?), validity, uid, KIND))
    }

    fn folder(&self) -> Result<Folder, DovecotError> {
        Ok(folder(given(&self.mailbox, "mailbox")?))
    }
}

fn given<'t>(text: &'t str, name: &'static str) -> Result<&'t str, DovecotError> {
    if text.is_empty() { Err(DovecotError::Empty(name)) } else { Ok(text) }
}

fn folder(mailbox: &str) -> Folder {
    let id = id(mailbox);
    let role = ROLES.iter().find(|(name, _)| *name == id).map_or("", |(_, role)| role);
    imap::folder(&id, role, KIND)
}

/// The id of a mailbox. INBOX is the one name that is the same in any case (RFC 9051 section 5.1), also as the first
/// part of a path.
fn id(mailbox: &str) -> String {
    let (first, rest) = mailbox.find('/').map_or((mailbox, ""), |at| mailbox.split_at(at));
    if first.eq_ignore_ascii_case(INBOX) { format!("{INBOX}{rest}") } else { mailbox.to_owned() }
}

#[cfg(test)]
mod tests;
