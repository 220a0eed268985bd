//! WaitSets: who waits for which accounts, what was signalled, and what of it the client has.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::commits::Place;
use super::mods::Mods;
use super::types::Types;
use super::wire::Format;
use crate::contract::{Instant, RequestId};
use crate::ids::hex;

mod all;
mod chosen;

pub use all::Sets;

/// A WaitSet; never reused. Smaller ones are older.
pub type SetNo = u32;

/// The id of a WaitSet that its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// Whether it waits for all accounts.
    pub everyone: bool,
    /// The UUID.
    pub uuid: [u8; 16],
}

impl Id {
    const CHOSEN: &str = "WaitSet-";
    const EVERYONE: &str = "AllWaitSet-";

    /// As clients know it.
    pub fn text(&self) -> String {
        let digits = hex(&self.uuid);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        [if self.everyone { Self::EVERYONE } else { Self::CHOSEN }, &parts.join("-")].concat()
    }

    /// The id that a text says, if it can be one.
    pub fn read(text: &str) -> Option<Self> {
        let everyone = Self::is_everyones(text);
        let digits = text.strip_prefix(if everyone { Self::EVERYONE } else { Self::CHOSEN })?.replace('-', "");
        let mut uuid = [0; 16];
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        for (place, byte) in uuid.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(Self { everyone, uuid }).filter(|id| id.text() == text)
    }

    /// Whether a text would be the id of a WaitSet for all accounts.
    pub fn is_everyones(text: &str) -> bool {
        text.starts_with(Self::EVERYONE)
    }
}

/// Why something about an account did not work, in the words of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum ErrorType {
    AlreadyInSetDuringAdd,
    ErrorLoadingMailbox,
    MaintenanceMode,
    NoSuchAccount,
    WrongHostForAccount,
    NotInSetDuringRemove,
    NotInSetDuringUpdate,
    MailboxDeleted,
}

impl ErrorType {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyInSetDuringAdd => "ALREADY_IN_SET_DURING_ADD",
            Self::ErrorLoadingMailbox => "ERROR_LOADING_MAILBOX",
            Self::MaintenanceMode => "MAINTENANCE_MODE",
            Self::NoSuchAccount => "NO_SUCH_ACCOUNT",
            Self::WrongHostForAccount => "WRONG_HOST_FOR_ACCOUNT",
            Self::NotInSetDuringRemove => "NOT_IN_SET_DURING_REMOVE",
            Self::NotInSetDuringUpdate => "NOT_IN_SET_DURING_UPDATE",
            Self::MailboxDeleted => "MAILBOX_DELETED",
        }
    }
}

/// Errors by account, each once.
pub type Errors = BTreeSet<(String, ErrorType)>;

/// A WaitSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitSet {
    /// The id that its client knows.
    pub id: Id,
    /// The id of the account that it belongs to.
    pub owner: String,
    /// Whether an administrator of the whole tenant made it: then rights to its members do not end.
    pub by_administrator: bool,
    /// What members wait for that say nothing of it.
    pub types: Types,
    /// When it was last used, within a sixteenth of its idle life: so most uses leave the state as it was.
    pub accessed: Instant,
    /// How long it lives without being used, in milliseconds.
    pub idle_ms: u64,
    /// The one request that waits for its news.
    pub waiter: Option<Box<Waiter>>,
    /// How far its client is.
    pub progress: Progress,
}

/// How far the client of a WaitSet is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// It waits for accounts that were chosen. What was signalled stands at the members.
    Chosen {
        /// The number of the last answer with news; 1 before the first.
        current: u64,
        /// What happened to accounts that are no longer members, never sent.
        errors: Errors,
        /// The same, sent and not acknowledged.
        sent_errors: Errors,
    },
    /// It waits for all accounts.
    Everyone {
        /// The client has everything up to here.
        acknowledged: Place,
        /// Up to where the last answer went.
        sent: Option<Place>,
    },
}

/// A member: an account that a WaitSet waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it waits for.
    pub types: Types,
    /// The integer ids of the only folders that it waits for, ascending; none: all.
    pub folders: Box<[i64]>,
    /// The change number that the client has.
    pub token: Option<u64>,
    /// When it was added.
    pub added: Instant,
    /// Signalled, never sent.
    pub fresh: Option<Signal>,
    /// Sent, not acknowledged.
    pub sent: Option<Signal>,
}

/// A signal, with the modifications that a member with folders is told.
pub type Signal = Option<Box<Mods>>;

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Which.
    pub request: RequestId,
    /// When its time is over.
    pub until: Instant,
    /// Its time is over: it is to be answered, whatever there is.
    pub over: bool,
    /// What the client asked.
    pub asked: Asked,
    /// How the answer is written.
    pub form: Form,
}

/// What a WaitSetRequest asks, as far as the answer depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The sequence number as it came.
    pub seq: String,
    /// Whether pending modifications are wanted.
    pub expand: bool,
    /// What did not work in adding, updating and removing.
    pub errors: Errors,
}

/// How an answer is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// In which format.
    pub format: Format,
    /// Whether the operation was the administrators'.
    pub admin: bool,
    /// The request's `requestId`.
    pub request_id: Option<String>,
    /// The id of the account whose change number stands in the header.
    pub account: String,
    /// The session that is used.
    pub session: Option<String>,
}

impl WaitSet {
    /// Whether a set that was read from outside is one.
    pub fn is_sound(&self) -> bool {
        self.id.everyone == matches!(self.progress, Progress::Everyone { .. })
    }

    /// When its timer is due: its waiter's time is over, or its idle life.
    fn due(&self) -> Option<Instant> {
        match &self.waiter {
            Some(waiter) => (!waiter.over).then_some(waiter.until),
            None => Some(self.accessed.saturating_add(self.idle_ms).saturating_add(self.idle_ms / 16)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written() {
        let uuid = *b"\x7b\x0c\x3a\x52\x8d\x1e\x4c\x62\x9f\x0b\x1a\x2b\x3c\x4d\x5e\x6f";
        let id = Id { everyone: false, uuid };
        assert_eq!(id.text(), "WaitSet-7b0c3a52-8d1e-4c62-9f0b-1a2b3c4d5e6f");
        for id in [id, Id { everyone: true, uuid }] {
            assert_eq!(Id::read(&id.text()), Some(id));
        }
        for bad in ["", "WaitSet-", "WaitSet-7B0C3A52-8d1e-4c62-9f0b-1a2b3c4d5e6f", "#", "WaitSet-\u{e4}"] {
            assert_eq!(Id::read(bad), None, "{bad}");
        }
    }
}
