//! Ids of items and folders on the wire.
//!
//! `Id` is base64 (URL-safe, unpadded) of the account's id, a zero byte, `i` (item) or `f` (folder), and the source's
//! id. `ChangeKey` is base64 of the revision's eight bytes, big-endian. Both follow from what the source says alone, so
//! they stay the same over restarts and versions.

use crate::history::{FolderAt, Subject};
use crate::mailboxes::Mailbox;
use crate::reply::{Text, decode_base64url};

/// What an id names.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// The account's id.
    pub account: String,
    /// Whether it is a folder; else it is an item.
    pub is_folder: bool,
    /// The source's id.
    pub id: String,
}

/// Reads an id; none if it cannot be one of ours.
pub fn parse(text: &str) -> Option<Named> {
    let bytes = decode_base64url(text)?;
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    let (account, rest) = (&bytes[..zero], &bytes[zero + 1..]);
    let (marker, id) = rest.split_first()?;
    let is_folder = match marker {
        b'f' => true,
        b'i' => false,
        _ => return None,
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(Named { account: text(account)?, is_folder, id: text(id)? })
}

/// Writes the id of an event's subject: `prefix` is empty, or "Old" for what was before.
pub fn write_subject(body: &mut Vec<u8>, prefix: &str, mailbox: &Mailbox, subject: &Subject) {
    match subject {
        Subject::Item { id, revision } => write(body, &[prefix, "ItemId"], mailbox.id(), b'i', id, *revision),
        Subject::Folder(at) => write_folder(body, &[prefix, "FolderId"], mailbox.id(), mailbox, *at),
    }
}

/// Writes the id of a folder of this account's mailbox as an element whose name is joined from `element`.
pub fn write_folder(body: &mut Vec<u8>, element: &[&str], account: &str, mailbox: &Mailbox, at: FolderAt) {
    write(body, element, account, b'f', &mailbox.folder(at.folder).id, at.revision);
}

fn write(body: &mut Vec<u8>, element: &[&str], account: &str, marker: u8, id: &str, revision: u64) {
    body.raw("<t:");
    element.iter().for_each(|part| body.raw(part));
    body.raw(r#" Id=""#);
    body.base64url(&[account.as_bytes(), &[0, marker], id.as_bytes()].concat());
    body.raw(r#"" ChangeKey=""#);
    body.base64(&revision.to_be_bytes());
    body.raw(r#""/>"#);
}
