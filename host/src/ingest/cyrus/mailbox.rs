//! Mailboxes as Cyrus names them: IMAP URLs (RFC 5092) of its administrators' namespace, `user/alice/Projects`.

use percent_encoding::percent_decode_str;

use super::{CyrusError, Users};
use crate::contract::changes::{Folder, Item};
use crate::ingest::imap::{self, INBOX};

/// A mailbox of a user, from a URL such as `imap://host/user/alice/Projects;UIDVALIDITY=1795296515/;UID=2`.
pub(super) struct Mailbox {
    pub account: String,
    /// The folder's id.
    pub folder: String,
    /// The one message that the URL names.
    pub uid: Option<u32>,
    uid_validity: Option<u32>,
}

impl Mailbox {
    pub fn read(url: &str, users: &Users) -> Result<Mailbox, CyrusError> {
        let odd = || CyrusError::Url(url.to_owned());
        let (_, path) = url.strip_prefix("imap://").and_then(|rest| rest.split_once('/')).ok_or_else(odd)?;
        let (path, message) = path.split_once("/;UID=").map_or((path, None), |(path, uid)| (path, Some(uid)));
        let (path, validity) = path.split_once(";UIDVALIDITY=").map_or((path, None), |(path, it)| (path, Some(it)));
        let path = percent_decode_str(path).decode_utf8().map_err(|_| odd())?;
        let number = |text: Option<&str>| text.map(|text| text.parse().map_err(|_| odd())).transpose();
        let (user, folder) = owner(&path, users).ok_or_else(|| CyrusError::Shared(url.to_owned()))?;
        Ok(Mailbox {
            account: users.account(&user),
            folder: folder.unwrap_or(INBOX).to_owned(),
            uid: number(message)?,
            uid_validity: number(validity)?,
        })
    }

    /// A message in it. Its UID stands for it only together with the UIDVALIDITY (RFC 9051 section 2.3.1.1).
    pub fn item(&self, uid: u32, kind: &str) -> Result<Item, CyrusError> {
        let validity = self.uid_validity.ok_or(CyrusError::Lacks("UIDVALIDITY"))?;
        Ok(imap::item(&self.folder, validity, uid, kind))
    }

    /// The folder itself; below the root where its path has one part.
    pub fn folder(&self, kind: &str) -> Folder {
        imap::folder(&self.folder, imap::role(&self.folder), kind)
    }
}

/// The user of a mailbox, and the path below it; none for the INBOX. With `virtdomains` Cyrus writes the user's domain
/// at the end of the whole: `user/alice/Projects@example.org`.
fn owner<'a>(path: &'a str, users: &Users) -> Option<(String, Option<&'a str>)> {
    let path = path.strip_prefix("user/")?;
    let (user, folder) = path.split_once('/').map_or((path, None), |(user, folder)| (user, Some(folder)));
    if user.is_empty() || folder == Some("") {
        return None;
    }
    let domain = |folder: &'a str| {
        let (folder, domain) = folder.rsplit_once('@')?;
        (!folder.is_empty() && users.domains.iter().any(|it| it.eq_ignore_ascii_case(domain)))
            .then_some((folder, domain))
    };
    match folder.filter(|_| !user.contains('@')).and_then(domain) {
        Some((folder, domain)) => Some((format!("{user}@{domain}"), Some(folder))),
        None => Some((user.to_owned(), folder)),
    }
}
