//! What the adapters of IMAP servers share: how folders, messages and flags are called here.

use crate::contract::changes::{Folder, Item, ItemAlteration};

/// The id of every account's INBOX.
pub(super) const INBOX: &str = "inbox";

/// Names of mailboxes with a special use in the configurations that come with Dovecot (15-mailboxes.conf) and Cyrus
/// (`autocreate_inbox_folders`), and the roles that RFC 6154 section 2 means by it.
const ROLES: [(&str, &str); 6] = [
    (INBOX, INBOX),
    ("Drafts", "drafts"),
    ("Junk", "junkemail"),
    ("Spam", "junkemail"),
    ("Sent", "sentitems"),
    ("Trash", "deleteditems"),
];

/// The role of a folder by its id; empty: none.
pub(super) fn role(id: &str) -> &'static str {
    ROLES.iter().find(|(name, _)| *name == id).map_or("", |(_, role)| role)
}

/// The role of a folder with this special use (RFC 6154 section 2); empty: none that the contract knows.
pub(super) fn role_of_use(special_use: &str) -> &'static str {
    match special_use {
        "\\Drafts" => "drafts",
        "\\Junk" => "junkemail",
        "\\Sent" => "sentitems",
        "\\Trash" => "deleteditems",
        _ => "",
    }
}

/// A message. Its UID stands for it only together with the UIDVALIDITY (RFC 9051 section 2.3.1.1).
pub(super) fn item(folder: &str, validity: u32, uid: u32, kind: &str) -> Item {
    Item {
        kind: kind.to_owned(),
        id: format!("{folder}/{validity}/{uid}"),
        folder: folder.to_owned(),
        number: None,
        imap_uid: Some(uid),
        revision: None,
        flags: 0,
        tags: Vec::new(),
    }
}

/// A folder, whose id is its path; below the root where that has one part.
pub(super) fn folder(path: &str, role: &str, kind: &str) -> Folder {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    Folder {
        id: path.to_owned(),
        parent: parent.to_owned(),
        name: name.to_owned(),
        role: role.to_owned(),
        holds: kind.to_owned(),
        number: None,
        revision: None,
        unread: None,
        total: None,
    }
}

/// Flags as the contract has them: bits for those that it knows, tags for the others.
pub(super) struct Flags {
    pub bits: u64,
    pub tags: Vec<String>,
}

impl Flags {
    /// Those of these names.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Flags {
        let mut flags = Flags { bits: 0, tags: Vec::new() };
        for name in names {
            match name.to_ascii_lowercase().as_str() {
                "\\seen" => flags.bits |= 1,
                "\\answered" => flags.bits |= 2,
                "\\flagged" => flags.bits |= 4,
                "\\draft" => flags.bits |= 8,
                "\\deleted" => flags.bits |= 16,
                "$forwarded" => flags.bits |= 32,
                "\\recent" => {}
                _ if flags.tags.iter().any(|tag| tag == name) => {}
                _ => flags.tags.push(name.to_owned()),
            }
        }
        flags
    }

    /// These flags set, or cleared, on an item.
    pub fn alteration(&self, item: Item, set: bool) -> ItemAlteration {
        let (with, without) = ((self.bits, self.tags.clone()), (0, Vec::new()));
        let (before, after) = if set { (without, with) } else { (with, without) };
        let (has_bits, has_tags) = (self.bits != 0, !self.tags.is_empty());
        let fields = [("flags", has_bits), ("tags", has_tags)];
        ItemAlteration {
            item: Item { flags: after.0, tags: after.1, ..item },
            flags_before: has_bits.then_some(before.0),
            tags_before: has_tags.then_some(before.1),
            fields: fields.into_iter().filter(|(_, has)| *has).map(|(field, _)| field.to_owned()).collect(),
        }
    }
}
