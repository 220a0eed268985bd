//! What Cyrus IMAP writes to its notify socket (`notifysocket` in imapd.conf, `event_notifier` set): RFC 5423 events and
//! Cyrus's own, as JSON objects. Seen with Cyrus 3.6.1, which has to be told to send more than the least:
//!
//! ```text
//! event_groups: message mailbox flags
//! event_extra_params: messages modseq timestamp vnd.cmu.unseenMessages flagNames
//! ```
//!
//! A folder's id is `inbox`, or the path below its user (`Projects/Sub`); an item's is folder, UIDVALIDITY and UID
//! (`Projects/Sub/1795296515/2`). An event of several messages is a change for each; one of more than [`MAX_UIDS`] is a
//! `gap`: the clients of the account are told to look again. What an event does not say, a change
//! does not say either: of the flags only those that the event names are given, as set or as not set.

mod mailbox;

use jiff::Timestamp;
use serde::Deserialize;

use self::mailbox::Mailbox;
use super::imap::Flags;
use super::users::Users;
use crate::contract::changes::{Change, Folder, FolderCounts, FolderRelocation, Happening, Item, ItemRelocation};

/// The most messages of one event that become changes: a set such as `1:4294967295` is a dozen bytes.
pub const MAX_UIDS: usize = 1_000;

/// Why a line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum CyrusError {
    /// It is no JSON object, or a member that is needed has another type.
    #[error("not an event of Cyrus: {0}")]
    Json(#[from] serde_json::Error),
    /// An event of its kind needs this member.
    #[error("the event lacks `{0}`")]
    Lacks(&'static str),
    /// `timestamp` is no RFC 3339 time since 1970.
    #[error("`{0}` is not a time")]
    Time(String),
    /// `uri` or `oldMailboxID` is no IMAP URL (RFC 5092) of a mailbox.
    #[error("`{0}` is not the URL of a mailbox")]
    Url(String),
    /// The mailbox belongs to no user, so no account hears of it.
    #[error("`{0}` is not the mailbox of a user")]
    Shared(String),
    /// A set of UIDs cannot be read, or is empty.
    #[error("`{0}` is not a set of UIDs")]
    UidSet(String),
    /// A set names more than [`MAX_UIDS`]; [`changes`] makes a `gap` of it.
    #[error("more than {MAX_UIDS} messages")]
    ManyUids,
    /// `uidset` and `vnd.cmu.oldUidset` do not belong together.
    #[error("as many UIDs before as after: {before} and {after}")]
    Unpaired {
        /// How many `vnd.cmu.oldUidset` names.
        before: usize,
        /// How many `uidset` names.
        after: usize,
    },
    /// A rename that makes one user's mailbox another's.
    #[error("the mailbox moves from `{from}` to `{to}`: close the one account and open the other")]
    BetweenAccounts {
        /// The account that had it.
        from: String,
        /// The account that has it now.
        to: String,
    },
}

/// The changes that a line stands for, each with its account; none for what changes nothing that a client could see (a
/// login, for one). `now`: the time of an event without `timestamp`, in milliseconds since the Unix epoch.
pub fn changes(line: &[u8], users: &Users, now: u64) -> Result<Vec<(String, Change)>, CyrusError> {
    let event: Event = serde_json::from_slice(line)?;
    let (Some(deed), Some(kind)) = (event.event.deed(), kind_of_items(&event.mbtype)) else { return Ok(Vec::new()) };
    let mailbox = Mailbox::read(&event.uri, users)?;
    let at = event.timestamp.as_deref().map_or(Ok(now), milliseconds)?;
    let happenings = match event.happenings(deed, kind, &mailbox, users) {
        Err(CyrusError::ManyUids) => vec![Happening::Gap],
        happenings => happenings?,
    };
    let mut changes: Vec<_> = happenings
        .into_iter()
        .map(|what| (mailbox.account.clone(), Change { number: None, at, origin: None, counts: Vec::new(), what }))
        .collect();
    // The counts are those after the whole event.
    if let Some((_, last)) = changes.last_mut() {
        last.counts = event.counts(&mailbox).into_iter().collect();
    }
    Ok(changes)
}

#[derive(Deserialize)]
struct Event {
    event: Name,
    #[serde(default)]
    uri: String,
    timestamp: Option<String>,
    modseq: Option<u64>,
    messages: Option<u32>,
    #[serde(rename = "vnd.cmu.unseenMessages")]
    unseen: Option<u32>,
    uidset: Option<String>,
    #[serde(rename = "flagNames")]
    flag_names: Option<String>,
    #[serde(rename = "oldMailboxID")]
    old_mailbox: Option<String>,
    #[serde(rename = "vnd.cmu.oldUidset")]
    old_uidset: Option<String>,
    #[serde(rename = "vnd.cmu.mbtype", default)]
    mbtype: String,
}

/// The events that Cyrus knows.
#[derive(Clone, Copy, Deserialize)]
enum Name {
    MessageNew,
    MessageAppend,
    MessageExpunge,
    MessageExpire,
    #[serde(rename = "vnd.cmu.MessageMove")]
    MessageMove,
    #[serde(rename = "vnd.cmu.MessageCopy")]
    MessageCopy,
    MessageRead,
    MessageTrash,
    FlagsSet,
    FlagsClear,
    MailboxCreate,
    MailboxDelete,
    MailboxRename,
    MailboxModseq,
    MailboxSubscribe,
    #[serde(alias = "MailboxUnsubscribe")]
    MailboxUnSubscribe,
    AclChange,
    Login,
    Logout,
    QuotaChange,
    QuotaExceed,
    QuotaWithin,
    CalendarAlarm,
    ApplePushService,
    ApplePushServiceDAV,
    MessagesUnscheduled,
}

/// What an event does, if it does something that a client could see.
#[derive(Clone, Copy)]
enum Deed {
    Items(fn(Item) -> Happening),
    Relocation(fn(ItemRelocation) -> Happening),
    Flags { names: Option<&'static str>, set: bool },
    Folder(fn(Folder) -> Happening),
    Rename,
}

impl Name {
    fn deed(self) -> Option<Deed> {
        Some(match self {
            Name::MessageNew => Deed::Items(Happening::MessageDelivered),
            Name::MessageAppend => Deed::Items(Happening::ItemCreated),
            Name::MessageExpunge | Name::MessageExpire => Deed::Items(Happening::ItemDeleted),
            Name::MessageMove => Deed::Relocation(Happening::ItemMoved),
            Name::MessageCopy => Deed::Relocation(Happening::ItemCopied),
            Name::MessageRead => Deed::Flags { names: Some("\\Seen"), set: true },
            Name::MessageTrash => Deed::Flags { names: Some("\\Deleted"), set: true },
            Name::FlagsSet => Deed::Flags { names: None, set: true },
            Name::FlagsClear => Deed::Flags { names: None, set: false },
            Name::MailboxCreate => Deed::Folder(Happening::FolderCreated),
            Name::MailboxDelete => Deed::Folder(Happening::FolderDeleted),
            Name::MailboxRename => Deed::Rename,
            Name::MailboxModseq
            | Name::MailboxSubscribe
            | Name::MailboxUnSubscribe
            | Name::AclChange
            | Name::Login
            | Name::Logout
            | Name::QuotaChange
            | Name::QuotaExceed
            | Name::QuotaWithin
            | Name::CalendarAlarm
            | Name::ApplePushService
            | Name::ApplePushServiceDAV
            | Name::MessagesUnscheduled => return None,
        })
    }
}

impl Event {
    fn happenings(
        &self,
        deed: Deed,
        kind: &'static str,
        mailbox: &Mailbox,
        users: &Users,
    ) -> Result<Vec<Happening>, CyrusError> {
        let item = |mailbox: &Mailbox, uid| Ok(Item { revision: self.modseq, ..mailbox.item(uid, kind)? });
        match deed {
            Deed::Items(happening) => {
                let Flags { bits, tags } =
                    Flags::named(self.flag_names.as_deref().unwrap_or_default().split_ascii_whitespace());
                let created = |uid| Ok(happening(Item { flags: bits, tags: tags.clone(), ..item(mailbox, uid)? }));
                self.uids(mailbox)?.into_iter().map(created).collect()
            }
            Deed::Flags { names, set } => {
                let names = names.or(self.flag_names.as_deref()).ok_or(CyrusError::Lacks("flagNames"))?;
                let flags = Flags::named(names.split_ascii_whitespace());
                let altered = |uid| Ok(Happening::ItemModified(flags.alteration(item(mailbox, uid)?, set)));
                self.uids(mailbox)?.into_iter().map(altered).collect()
            }
            Deed::Relocation(happening) => self.relocations(happening, mailbox, users, item),
            Deed::Folder(happening) => Ok(vec![happening(mailbox.folder(kind))]),
            Deed::Rename => {
                let before = self.former(users)?;
                if before.account != mailbox.account {
                    return Err(CyrusError::BetweenAccounts { from: before.account, to: mailbox.account.clone() });
                }
                let relocation = FolderRelocation { before: before.folder(kind), after: mailbox.folder(kind) };
                Ok(vec![Happening::FolderMoved(relocation)])
            }
        }
    }

    /// Moves and copies. What comes from another account, or from a shared mailbox, is new to this one; of a move, the
    /// other hears by the expunge that Cyrus reports as well.
    fn relocations(
        &self,
        happening: fn(ItemRelocation) -> Happening,
        mailbox: &Mailbox,
        users: &Users,
        item: impl Fn(&Mailbox, u32) -> Result<Item, CyrusError>,
    ) -> Result<Vec<Happening>, CyrusError> {
        let after = self.uids(mailbox)?;
        let former = match self.former(users) {
            Err(CyrusError::Shared(_)) => None,
            former => Some(former?).filter(|former| former.account == mailbox.account),
        };
        let Some(former) = former else {
            return after.into_iter().map(|uid| Ok(Happening::ItemCreated(item(mailbox, uid)?))).collect();
        };
        let before = uids(self.old_uidset.as_deref().ok_or(CyrusError::Lacks("vnd.cmu.oldUidset"))?)?;
        if before.len() != after.len() {
            return Err(CyrusError::Unpaired { before: before.len(), after: after.len() });
        }
        let relocated = |(before, after)| {
            let before = Item { revision: None, ..item(&former, before)? };
            Ok(happening(ItemRelocation { before, after: item(mailbox, after)? }))
        };
        before.into_iter().zip(after).map(relocated).collect()
    }

    fn former(&self, users: &Users) -> Result<Mailbox, CyrusError> {
        Mailbox::read(self.old_mailbox.as_deref().ok_or(CyrusError::Lacks("oldMailboxID"))?, users)
    }

    /// The messages concerned: a set, or, where there is one message, the end of the URL.
    fn uids(&self, mailbox: &Mailbox) -> Result<Vec<u32>, CyrusError> {
        match (&self.uidset, mailbox.uid) {
            (Some(set), _) => uids(set),
            (None, Some(uid)) => Ok(vec![uid]),
            (None, None) => Err(CyrusError::Lacks("uidset")),
        }
    }

    fn counts(&self, mailbox: &Mailbox) -> Option<FolderCounts> {
        let (total, unread) = (self.messages?, self.unseen?);
        Some(FolderCounts { folder: mailbox.folder.clone(), unread, total, revision: self.modseq })
    }
}

/// The kind of the items in a mailbox of this type (a letter, then those of its state); none: clients do not see it.
fn kind_of_items(mbtype: &str) -> Option<&'static str> {
    match mbtype.chars().next() {
        Some('c') => Some("appointment"),
        Some('a') => Some("contact"),
        Some('b' | 'j' | 's' | 'p') => None,
        _ => Some("message"),
    }
}

fn milliseconds(time: &str) -> Result<u64, CyrusError> {
    let odd = || CyrusError::Time(time.to_owned());
    let time: Timestamp = time.parse().map_err(|_| odd())?;
    u64::try_from(time.as_millisecond()).map_err(|_| odd())
}

/// The numbers of a set (RFC 9051 `sequence-set` without `*`), in its order.
fn uids(set: &str) -> Result<Vec<u32>, CyrusError> {
    let odd = || CyrusError::UidSet(set.to_owned());
    let mut all = Vec::new();
    for range in set.split(',') {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().map_err(|_| odd())?, last.parse().map_err(|_| odd())?);
        let (first, last) = (first.min(last), first.max(last));
        if first == 0 {
            return Err(odd());
        }
        if (last - first) as usize >= MAX_UIDS - all.len() {
            return Err(CyrusError::ManyUids);
        }
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
