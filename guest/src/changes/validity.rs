//! What makes a change one that can be applied. Vocabularies are open: kinds, flags, fields and tags are not judged.

use super::Applied;
use crate::contract::{Account, BookChange, Change, Folder, Happening, Item};

/// How long an id or a name may be, in bytes.
const MAX_NAME: usize = 1024;

/// Whether a change says what it must.
pub(super) fn change(change: &Change) -> Applied {
    change.counts.iter().try_for_each(|counts| id(&counts.folder))?;
    match &change.what {
        Happening::MessageDelivered(item)
        | Happening::ItemCreated(item)
        | Happening::ItemDeleted(item)
        | Happening::FreeBusyChanged(item) => self::item(item),
        Happening::ItemModified(alteration) => item(&alteration.item),
        Happening::ItemMoved(relocation) | Happening::ItemCopied(relocation) => {
            item(&relocation.before).and_then(|()| item(&relocation.after))
        }
        Happening::Baseline(folders) => folders.iter().try_for_each(folder),
        Happening::FolderCreated(it) | Happening::FolderDeleted(it) => folder(it),
        Happening::FolderModified(alteration) => folder(&alteration.folder),
        Happening::FolderMoved(relocation) | Happening::FolderCopied(relocation) => {
            folder(&relocation.before).and_then(|()| folder(&relocation.after))
        }
        Happening::AccountOpened(it) | Happening::AccountModified(it) => account(it),
        Happening::TagCreated(tag) | Happening::TagModified(tag) | Happening::TagDeleted(tag) => id(&tag.id),
        Happening::Hinted(_) | Happening::Gap | Happening::AccountClosed | Happening::AccountAvailable => Ok(()),
        Happening::AccountUnavailable(_) | Happening::AccessChanged(_) => Ok(()),
        Happening::VisitBegan(_) | Happening::VisitEnded(_) => Ok(()),
    }
}

/// Whether all folders that a change names are such.
pub(super) fn names_only(change: &Change, are_such: impl Fn(&str) -> bool) -> bool {
    let both = |folder: &Folder| are_such(&folder.id) && are_such(&folder.parent);
    let counted = change.counts.iter().all(|counts| are_such(&counts.folder));
    let named = match &change.what {
        Happening::MessageDelivered(item)
        | Happening::ItemCreated(item)
        | Happening::ItemDeleted(item)
        | Happening::FreeBusyChanged(item) => are_such(&item.folder),
        Happening::ItemModified(alteration) => are_such(&alteration.item.folder),
        Happening::ItemMoved(relocation) | Happening::ItemCopied(relocation) => {
            are_such(&relocation.before.folder) && are_such(&relocation.after.folder)
        }
        Happening::Baseline(folders) => folders.iter().all(both),
        Happening::FolderCreated(folder) | Happening::FolderDeleted(folder) => both(folder),
        Happening::FolderModified(alteration) => both(&alteration.folder),
        Happening::FolderMoved(relocation) | Happening::FolderCopied(relocation) => {
            both(&relocation.before) && both(&relocation.after)
        }
        _ => true,
    };
    counted && named
}

/// Whether a change of the address book says what it must.
pub(super) fn book_change(change: &BookChange) -> Applied {
    match change {
        BookChange::Added(entry) | BookChange::Modified(entry) => {
            id(&entry.id)?;
            entry.fields.iter().try_for_each(|field| not_long(&field.name))
        }
        BookChange::Deleted(entry) => id(entry),
        BookChange::Gap | BookChange::RebuildStarted | BookChange::RebuildFinished => Ok(()),
    }
}

fn item(item: &Item) -> Applied {
    id(&item.id).and_then(|()| id(&item.folder))
}

fn folder(folder: &Folder) -> Applied {
    id(&folder.id)?;
    [&folder.parent, &folder.name, &folder.role, &folder.holds].into_iter().try_for_each(|text| not_long(text))
}

fn account(account: &Account) -> Applied {
    id(&account.id).and_then(|()| id(&account.name))?;
    account.aliases.iter().try_for_each(|alias| id(alias))
}

fn id(id: &str) -> Applied {
    if id.is_empty() {
        return Err("an id or a name is empty");
    }
    if id.contains('\0') {
        return Err("an id or a name contains the character 0");
    }
    not_long(id)
}

fn not_long(text: &str) -> Applied {
    if text.len() > MAX_NAME { Err("an id or a name is longer than 1024 bytes") } else { Ok(()) }
}
