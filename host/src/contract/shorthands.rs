//! Values of the contract of which only the essential is known.

use super::changes::{Account, AccountChanges, Batch, Change, Folder, Happening, Item};
use super::requests::{Grant, Rank, RequestHead};

impl Account {
    /// An account without aliases.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Account {
        Account { id: id.into(), name: name.into(), aliases: Vec::new() }
    }
}

impl Item {
    /// An item without flags, tags and numbers.
    pub fn new(kind: impl Into<String>, id: impl Into<String>, folder: impl Into<String>) -> Item {
        let (kind, id, folder) = (kind.into(), id.into(), folder.into());
        Item { kind, id, folder, number: None, imap_uid: None, revision: None, flags: 0, tags: Vec::new() }
    }

    /// A message without flags, tags and numbers.
    pub fn message(id: impl Into<String>, folder: impl Into<String>) -> Item {
        Item::new("message", id, folder)
    }
}

impl Folder {
    /// A folder of messages, without a role; with the empty parent it is below the root.
    pub fn new(id: impl Into<String>, parent: impl Into<String>, name: impl Into<String>) -> Folder {
        let (id, parent, name, holds) = (id.into(), parent.into(), name.into(), "message".to_owned());
        let role = String::new();
        Folder { id, parent, name, role, holds, number: None, revision: None, unread: None, total: None }
    }
}

impl Change {
    /// What happened at a time, in milliseconds since the Unix epoch; nothing is said of counts.
    pub fn new(at: u64, what: Happening) -> Change {
        Change { number: None, at, origin: None, counts: Vec::new(), what }
    }
}

impl Batch {
    /// Changes of one account, in the order in which they are to be applied.
    pub fn of(account: impl Into<String>, changes: Vec<Change>) -> Batch {
        Batch { accounts: vec![AccountChanges { account: account.into(), changes }], book: Vec::new() }
    }
}

impl RequestHead {
    /// A request without query and headers, over TLS.
    pub fn new(method: impl Into<String>, path: impl Into<String>, content_type: impl Into<String>) -> RequestHead {
        let (method, path, content_type) = (method.into(), path.into(), content_type.into());
        RequestHead { method, path, query: String::new(), content_type, headers: Vec::new(), secure: true }
    }
}

impl Grant {
    /// A user is who it says, and wants no token; its account's id stands for the login.
    pub fn to(account: Account) -> Grant {
        let visit = account.id.clone();
        Grant { account, rank: Rank::User, visit, token_placeholder: None, token_lifetime_ms: 0 }
    }
}
