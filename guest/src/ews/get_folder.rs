//! GetFolder, as far as clients need it before they subscribe: the ids, names and counts of folders that are known.

use crate::contract::{Account, AccountName, Reply, Request};
use crate::mailboxes::{Condition, FolderNo, Mailbox, ROOT};
use crate::reply::Text;
use crate::soap::{Document, Fields, Node, Violation};
use crate::state::State;
use crate::turn::MAX_ANSWER;

use super::codes::Code;
use super::envelope::Messages;
use super::fault::Fault;
use super::folder_ids::{self, FolderRef, Found};
use super::{Caller, item_ids};

/// How many folders a request may ask for: each can be answered with an error.
const MAX_FOLDERS: usize = 1_000;

/// What is left free for such an answer, in bytes.
const ROOM: usize = 400;

/// What is left free for a folder, in bytes: its name and ids have limits.
const MAX_FOLDER: usize = 16 << 10;

/// Which properties are asked for besides the id.
struct Wanted {
    folders: Vec<FolderRef>,
    shape: Shape,
}

enum Shape {
    Everything,
    Only(Vec<String>),
}

impl Shape {
    fn has(&self, property: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(properties) => properties.iter().any(|asked| asked.strip_prefix("folder:") == Some(property)),
        }
    }
}

/// The accounts that a request names.
pub fn accounts(document: &Document<'_>, operation: Node) -> Vec<AccountName> {
    read(document, operation).map(|wanted| folder_ids::accounts(&wanted.folders)).unwrap_or_default()
}

/// Answers a GetFolder: one message for each folder asked for.
pub fn answer(
    state: &State,
    document: &Document<'_>,
    operation: Node,
    request: &Request,
    caller: &Caller<'_>,
) -> Result<Reply, Fault> {
    let wanted = read(document, operation)?;
    let mut messages = Messages::of("GetFolder");
    let mut left = wanted.folders.len();
    for (folder, account) in folder_ids::resolve(&wanted.folders, caller.acting_as, &request.accounts) {
        left -= 1;
        let found = account.and_then(|account| {
            if messages.length() + MAX_FOLDER + left * ROOM > MAX_ANSWER {
                return Err(Code::ErrorServerBusy);
            }
            let mailbox = state.mailboxes.find_account(account).map(|number| state.mailboxes.get(number));
            match mailbox.map(|mailbox| mailbox.condition) {
                Some(Condition::Open) | None => folder.find(mailbox).map(|found| (account, mailbox, found)),
                Some(Condition::Unavailable) => Err(Code::ErrorMailboxStoreUnavailable),
                Some(Condition::Closed) => Err(Code::ErrorNonExistentMailbox),
            }
        });
        match found {
            Ok((account, mailbox, found)) => messages.success(|body| {
                let mut empty = None;
                let (mailbox, number) = match (mailbox, found) {
                    (Some(mailbox), Found::Known(number)) => (mailbox, number),
                    (_, found) => {
                        let empty = empty.insert(Mailbox::empty(account));
                        let number = match found {
                            Found::Known(number) => number,
                            Found::Promised(name) => empty.promise(name).unwrap_or(ROOT),
                        };
                        (&*empty, number)
                    }
                };
                body.raw("<m:Folders>");
                write(body, account, mailbox, number, folder, &wanted.shape);
                body.raw("</m:Folders>");
            }),
            Err(code) => messages.error(code, "<m:Folders/>"),
        }
    }
    Ok(messages.reply())
}

fn read(document: &Document<'_>, operation: Node) -> Result<Wanted, Violation> {
    let mut fields = Fields::of(document, operation)?;
    let shape = fields.required("FolderShape")?;
    let list = fields.required("FolderIds")?;
    let folders = folder_ids::read(document, list)?;
    if folders.len() > MAX_FOLDERS {
        return Err(document.violation(list, &["The list of folders is too long."]));
    }
    fields.end()?;
    let mut fields = Fields::of(document, shape)?;
    let base = fields.required("BaseShape")?;
    let additional = fields.optional("AdditionalProperties");
    fields.end()?;
    let shape = match document.text(base) {
        "Default" | "AllProperties" => Shape::Everything,
        "IdOnly" => {
            let paths = additional.into_iter().flat_map(|list| document.children(list));
            Shape::Only(paths.filter_map(|path| document.attribute(path, "FieldURI")).map(str::to_owned).collect())
        }
        other => return Err(document.violation(base, &["'", other, "' is not a base shape."])),
    };
    Ok(Wanted { folders, shape })
}

/// Writes a folder (`t:BaseFolderType`, children in the schema's order). Its id is of the account, whose mailbox may bear
/// no more than the name that a source opened it with.
fn write(body: &mut Vec<u8>, account: &Account, mailbox: &Mailbox, number: FolderNo, asked: &FolderRef, shape: &Shape) {
    let folder = mailbox.folder(number);
    let (element, class) = kind(&folder.holds, &folder.role);
    body.raw("<t:");
    body.raw(element);
    body.raw(">");
    item_ids::write_folder(body, &["FolderId"], &account.id, mailbox, mailbox.at(number));
    if shape.has("ParentFolderId") && number != ROOT {
        item_ids::write_folder(body, &["ParentFolderId"], &account.id, mailbox, mailbox.at(folder.parent));
    }
    if shape.has("FolderClass") {
        write_text(body, "FolderClass", class);
    }
    if shape.has("DisplayName") {
        write_text(body, "DisplayName", if number == ROOT { "Root" } else { &folder.name });
    }
    if let Some(total) = folder.total.filter(|_| shape.has("TotalCount")) {
        write_number(body, "TotalCount", total);
    }
    if shape.has("ChildFolderCount") {
        let children = mailbox.folders().filter(|(child, it)| it.parent == number && *child != ROOT).count();
        write_number(body, "ChildFolderCount", children as u32);
    }
    let role = match asked {
        FolderRef::Distinguished { name, .. } => name,
        FolderRef::Id(_) => &folder.role,
    };
    if shape.has("DistinguishedFolderId") && !role.is_empty() {
        write_text(body, "DistinguishedFolderId", role);
    }
    let has_unread = shape.has("UnreadCount") && element != "CalendarFolder" && element != "ContactsFolder";
    if let Some(unread) = folder.unread.filter(|_| has_unread) {
        write_number(body, "UnreadCount", unread);
    }
    body.raw("</t:");
    body.raw(element);
    body.raw(">");
}

/// The element and the class of a folder by what it holds, else by its role.
fn kind(holds: &str, role: &str) -> (&'static str, &'static str) {
    match (holds, role) {
        ("appointment", _) | ("", "calendar") => ("CalendarFolder", "IPF.Appointment"),
        ("contact" | "group", _) | ("", "contacts") => ("ContactsFolder", "IPF.Contact"),
        ("task", _) | ("", "tasks") => ("TasksFolder", "IPF.Task"),
        ("note", _) | ("", "notes") => ("Folder", "IPF.StickyNote"),
        _ => ("Folder", "IPF.Note"),
    }
}

fn write_text(body: &mut Vec<u8>, element: &str, text: &str) {
    body.raw("<t:");
    body.raw(element);
    body.raw(">");
    body.text(text);
    body.raw("</t:");
    body.raw(element);
    body.raw(">");
}

fn write_number(body: &mut Vec<u8>, element: &str, number: u32) {
    body.raw("<t:");
    body.raw(element);
    body.raw(">");
    // The schema's counts are signed.
    body.number(u64::from(number.min(i32::MAX as u32)));
    body.raw("</t:");
    body.raw(element);
    body.raw(">");
}
