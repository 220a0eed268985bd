//! Folders as requests name them: by id or by distinguished name, in the caller's mailbox or another's.

use crate::contract::{Account, AccountName, Resolution, Standing};
use crate::mailboxes::{FolderNo, Mailbox, ROOT};
use crate::soap::{Document, Fields, MAX_NAME, Node, Violation};

use super::codes::Code;
use super::item_ids::{self, Named};

/// `DistinguishedFolderIdNameType` of the 15.2 schema.
const DISTINGUISHED: [&str; 67] = [
    "calendar",
    "contacts",
    "deleteditems",
    "drafts",
    "inbox",
    "journal",
    "notes",
    "outbox",
    "sentitems",
    "tasks",
    "msgfolderroot",
    "publicfoldersroot",
    "root",
    "junkemail",
    "searchfolders",
    "voicemail",
    "recoverableitemsroot",
    "recoverableitemsdeletions",
    "recoverableitemsversions",
    "recoverableitemspurges",
    "recoverableitemsdiscoveryholds",
    "archiveroot",
    "archivemsgfolderroot",
    "archivedeleteditems",
    "archiveinbox",
    "archiverecoverableitemsroot",
    "archiverecoverableitemsdeletions",
    "archiverecoverableitemsversions",
    "archiverecoverableitemspurges",
    "archiverecoverableitemsdiscoveryholds",
    "syncissues",
    "conflicts",
    "localfailures",
    "serverfailures",
    "recipientcache",
    "quickcontacts",
    "conversationhistory",
    "adminauditlogs",
    "todosearch",
    "mycontacts",
    "directory",
    "imcontactlist",
    "peopleconnect",
    "favorites",
    "mecontact",
    "personmetadata",
    "teamspaceactivity",
    "teamspacemessaging",
    "teamspaceworkitems",
    "scheduled",
    "orionnotes",
    "tagitems",
    "alltaggeditems",
    "externalcontacts",
    "teamchat",
    "teamchathistory",
    "yammerroot",
    "yammerinbound",
    "yammeroutbound",
    "yammerfeeds",
    "onedriveroot",
    "onedriverecylebin",
    "onedrivesystem",
    "onedrivevolume",
    "important",
    "starred",
    "archive",
];

/// Those that every mailbox of Exchange has: clients ask for them before anything has happened in them.
const IN_EVERY_MAILBOX: [&str; 16] = [
    "calendar",
    "contacts",
    "deleteditems",
    "drafts",
    "inbox",
    "journal",
    "junkemail",
    "notes",
    "outbox",
    "recoverableitemsdeletions",
    "recoverableitemspurges",
    "recoverableitemsroot",
    "recoverableitemsversions",
    "searchfolders",
    "sentitems",
    "tasks",
];

/// How many accounts a request may name, each folder one; the contract says so.
const MAX_ACCOUNTS: usize = 4_096;

/// Whether this is a distinguished folder's name.
pub fn is_distinguished(name: &str) -> bool {
    DISTINGUISHED.contains(&name)
}

/// One folder as a request names it.
#[derive(Debug, PartialEq, Eq)]
pub enum FolderRef {
    /// By an id that events or GetFolder gave.
    Id(Option<Named>),
    /// By its distinguished name, in the mailbox with this address or the caller's.
    Distinguished {
        /// The name.
        name: String,
        /// The address.
        mailbox: Option<String>,
    },
}

/// Reads `FolderIds`: one or more.
pub fn read(document: &Document<'_>, folder_ids: Node) -> Result<Vec<FolderRef>, Violation> {
    let folders: Result<Vec<_>, _> = document.children(folder_ids).map(|node| read_one(document, node)).collect();
    match folders {
        Ok(folders) if folders.is_empty() => Err(document.violation(folder_ids, &["The list of folders is empty."])),
        Ok(folders) if folders.len() > MAX_ACCOUNTS => {
            Err(document.violation(folder_ids, &["The list of folders is too long."]))
        }
        folders => folders,
    }
}

/// The accounts that folders name, in their order.
pub fn accounts(folders: &[FolderRef]) -> Vec<AccountName> {
    folders.iter().filter_map(FolderRef::account).collect()
}

/// The folders, each with the account that it is in, as far as the caller may look into it.
pub fn resolve<'r>(
    folders: &'r [FolderRef],
    own: &'r Account,
    resolutions: &'r [Resolution],
) -> impl Iterator<Item = (&'r FolderRef, Result<&'r Account, Code>)> {
    let mut resolutions = resolutions.iter();
    folders.iter().map(move |folder| {
        let account = match folder {
            FolderRef::Id(None) => Err(Code::ErrorInvalidIdMalformed),
            FolderRef::Distinguished { mailbox: None, .. } => Ok(own),
            _ => judge(resolutions.next()),
        };
        (folder, account)
    })
}

/// A folder of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'f> {
    /// It is known.
    Known(FolderNo),
    /// No source has spoken of it, but every mailbox has one of this distinguished name.
    Promised(&'f str),
}

impl FolderRef {
    /// The folder in its mailbox; of a mailbox that nobody has heard of, what every mailbox has. The id of a folder that
    /// was promised stays good.
    pub fn find(&self, mailbox: Option<&Mailbox>) -> Result<Found<'_>, Code> {
        let by_role = |name: &str| match mailbox {
            Some(mailbox) => mailbox.find_role(name),
            None => matches!(name, "root" | "msgfolderroot").then_some(ROOT),
        };
        let (known, name) = match self {
            Self::Id(None) => return Err(Code::ErrorInvalidIdMalformed),
            Self::Id(Some(named)) if !named.is_folder => return Err(Code::ErrorCannotUseItemIdForFolderId),
            Self::Id(Some(named)) if named.id.is_empty() => (Some(ROOT), ""),
            Self::Id(Some(named)) => (mailbox.and_then(|mailbox| mailbox.find(&named.id)), named.id.as_str()),
            Self::Distinguished { name, .. } => (None, name.as_str()),
        };
        let promised = IN_EVERY_MAILBOX.contains(&name);
        let is_name = promised || matches!(self, Self::Distinguished { .. });
        match known.or_else(|| is_name.then(|| by_role(name)).flatten()) {
            Some(number) => Ok(Found::Known(number)),
            None if promised => Ok(Found::Promised(name)),
            None => Err(Code::ErrorFolderNotFound),
        }
    }

    fn account(&self) -> Option<AccountName> {
        match self {
            Self::Id(named) => named.as_ref().map(|named| AccountName::Id(named.account.clone())),
            Self::Distinguished { mailbox, .. } => mailbox.as_deref().map(super::address),
        }
    }
}

fn judge(resolution: Option<&Resolution>) -> Result<&Account, Code> {
    match resolution {
        Some(Resolution { account: Some(account), standing: Standing::Itself | Standing::Permitted }) => Ok(account),
        Some(Resolution { standing: Standing::Forbidden, .. }) => Err(Code::ErrorAccessDenied),
        Some(Resolution { standing: Standing::Unavailable | Standing::Elsewhere, .. }) => {
            Err(Code::ErrorMailboxStoreUnavailable)
        }
        _ => Err(Code::ErrorNonExistentMailbox),
    }
}

fn read_one(document: &Document<'_>, node: Node) -> Result<FolderRef, Violation> {
    let name = document.name(node);
    let id = || {
        let id = document.attribute(node, "Id").filter(|id| !id.is_empty());
        id.ok_or_else(|| document.violation(node, &["The element '", name, "' lacks its 'Id'."]))
    };
    match name {
        "FolderId" => {
            Fields::of(document, node)?.end()?;
            Ok(FolderRef::Id(item_ids::parse(id()?)))
        }
        "DistinguishedFolderId" => {
            let id = id()?;
            if !is_distinguished(id) {
                return Err(document.violation(node, &["'", id, "' is not the name of a distinguished folder."]));
            }
            let mut fields = Fields::of(document, node)?;
            let mailbox = fields.optional("Mailbox");
            fields.end()?;
            let mailbox = mailbox.map(|mailbox| address(document, mailbox)).transpose()?.flatten();
            Ok(FolderRef::Distinguished { name: id.to_owned(), mailbox })
        }
        _ => Err(document.violation(node, &["The element '", name, "' does not name a folder."])),
    }
}

/// The address in an `EmailAddressType`.
fn address(document: &Document<'_>, mailbox: Node) -> Result<Option<String>, Violation> {
    let mut fields = Fields::of(document, mailbox)?;
    fields.optional("Name");
    let address = fields.optional("EmailAddress");
    for other in ["RoutingType", "MailboxType", "ItemId", "OriginalDisplayName"] {
        fields.optional(other);
    }
    fields.end()?;
    address.map(|address| document.required_text(address, 8 * MAX_NAME).map(str::to_owned)).transpose()
}
