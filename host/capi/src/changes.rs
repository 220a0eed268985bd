//! Changes of mailboxes, as JSON or as records.

use std::ffi::c_char;

use host::contract::changes::{
    self, AccountChanges, Batch, Folder, FolderCounts, FolderRelocation, Happening, Item, ItemAlteration,
    ItemRelocation,
};
use host::ingest::{gather, json};
use host::tenant::{self, IngestError, SourceSpan, Tenant};

use crate::border::{Failure, Status, blocking_call, list, optional_text, place, text};
use crate::registry;

/// What happened. The words are those of RFC 5423 where it has them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Mail was delivered: `item` in `folder`.
    MessageDelivered = 0,
    /// Any other item came to be.
    ItemCreated = 1,
    /// An item has other flags, or was altered otherwise.
    ItemModified = 2,
    /// An item is gone.
    ItemDeleted = 3,
    /// An item is now `new_item` in `new_folder`.
    ItemMoved = 4,
    /// An item was copied to `new_item` in `new_folder`.
    ItemCopied = 5,
    /// `folder` came to be, its parts separated by `/`.
    FolderCreated = 6,
    /// `folder` is gone.
    FolderDeleted = 7,
    /// `folder` is now `new_folder`.
    FolderMoved = 8,
    /// Changes of this account were lost.
    Gap = 9,
}

/// A change of one account. Zero and null where there is nothing to say.
#[repr(C)]
pub struct Change {
    /// Name, alias or id of the account.
    pub account: *const c_char,
    /// What happened: one of `postbell_event`.
    pub event: i32,
    /// When, in milliseconds since the Unix epoch; 0: now.
    pub at: u64,
    /// The id of the item.
    pub item: *const c_char,
    /// Its kind; null: a message.
    pub item_kind: *const c_char,
    /// The id of the folder: `inbox`, or its path.
    pub folder: *const c_char,
    /// After a move or copy: the item's id.
    pub new_item: *const c_char,
    /// After a move or copy: the folder's id.
    pub new_folder: *const c_char,
    /// The item's flags after it: seen 1, answered 2, flagged 4, draft 8, deleted 16.
    pub flags: u64,
    /// Its flags before it, if `has_flags_before`.
    pub flags_before: u64,
    /// Whether `flags_before` says anything.
    pub has_flags_before: bool,
    /// Whether `unread` and `total` say anything.
    pub has_counts: bool,
    /// Unread items in the folder where the item now is, after it.
    pub unread: u32,
    /// Items there, after it.
    pub total: u32,
}

/// What became of changes.
#[repr(C)]
#[derive(Default)]
pub struct Ingested {
    /// The tenant's position after them.
    pub sequence: u64,
    /// How many were not applied; the others were.
    pub rejected: u64,
    /// The source had sent all of this before; nothing was applied now.
    pub repeated: bool,
    /// After a gap or an overlap: from which offset to go on.
    pub expected: u64,
}

/// Applies changes, given as the JSON of `POST /v1/tenants/{tenant}/changes`, source and offset included. Returns once that
/// is committed. `ingested` may be null.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_ingest_json(
    tenant: u64,
    body: *const c_char,
    body_length: usize,
    ingested: *mut Ingested,
) -> Status {
    blocking_call(|| {
        let tenant = registry::tenant(tenant)?.tenant;
        let body = list(body.cast::<u8>(), body_length, "json")?;
        let posting = json::posting(body, tenant.now()).map_err(|error| Failure::new(Status::Json, error))?;
        let length = posting.units.len() as u64;
        let origin = posting.source.zip(posting.offset);
        let (batch, _) = gather(posting.units);
        ingest(&tenant, batch, origin, length, ingested)
    })
}

/// Applies changes, and returns once that is committed. With a `source` each is applied once, however often it is sent:
/// `offset` is how many changes this source sent before. `source` and `ingested` may be null.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_ingest(
    tenant: u64,
    source: *const c_char,
    offset: u64,
    changes: *const Change,
    changes_count: usize,
    ingested: *mut Ingested,
) -> Status {
    blocking_call(|| {
        let tenant = registry::tenant(tenant)?.tenant;
        let origin = optional_text(source, "source")?.map(|source| (source.to_owned(), offset));
        let mut accounts: Vec<AccountChanges> = Vec::new();
        for given in list(changes, changes_count, "changes")? {
            let (account, change) = (text(given.account, "account")?, change(given, tenant.now())?);
            match accounts.last_mut().filter(|last| last.account == account) {
                Some(last) => last.changes.push(change),
                None => accounts.push(AccountChanges { account: account.to_owned(), changes: vec![change] }),
            }
        }
        ingest(&tenant, Batch { accounts, book: vec![] }, origin, changes_count as u64, ingested)
    })
}

/// How many changes of this source are applied and committed.
///
/// # Safety
///
/// Pointers are valid or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn postbell_source_offset(tenant: u64, source: *const c_char, offset: *mut u64) -> Status {
    blocking_call(|| {
        let (tenant, source) = (registry::tenant(tenant)?.tenant, text(source, "source")?);
        let offset = place(offset, "offset")?;
        *offset = pollster::block_on(tenant.source_offset(source)).map_err(|error| not_ingested(&error))?;
        Ok(())
    })
}

fn ingest(
    tenant: &Tenant,
    batch: Batch,
    origin: Option<(String, u64)>,
    length: u64,
    ingested: *mut Ingested,
) -> Result<(), Failure> {
    let mut told = Ingested::default();
    let offset = origin.as_ref().map_or(0, |(_, offset)| *offset);
    let span = origin.map(|(source, offset)| SourceSpan { source, offset, length });
    let result = pollster::block_on(tenant.ingest(batch, span));
    match &result {
        Ok(tenant::Ingested { rejections, sequence, repeated }) => {
            (told.sequence, told.rejected, told.repeated) = (*sequence, rejections.len() as u64, *repeated);
        }
        Err(IngestError::Gap { expected }) => told.expected = *expected,
        Err(IngestError::Overlap { known }) => told.expected = offset + known,
        Err(_) => {}
    }
    if !ingested.is_null() {
        *place(ingested, "ingested")? = told;
    }
    result.map(drop).map_err(|error| not_ingested(&error))
}

fn not_ingested(error: &IngestError) -> Failure {
    let status = match error {
        IngestError::Gap { .. } => Status::Gap,
        IngestError::Overlap { .. } => Status::Overlap,
        IngestError::TooLarge => Status::TooLarge,
        IngestError::Busy => Status::Busy,
        IngestError::Fault(_) => Status::Fault,
        IngestError::Journal(_) => Status::Journal,
        IngestError::Moved | IngestError::Closed => Status::Closed,
    };
    Failure::new(status, error)
}

fn change(given: &Change, now: u64) -> Result<changes::Change, Failure> {
    let what = happening(given)?;
    let at = if given.at == 0 { now } else { given.at };
    let counts = if given.has_counts { vec![counts(given)?] } else { vec![] };
    Ok(changes::Change { counts, ..changes::Change::new(at, what) })
}

fn happening(given: &Change) -> Result<Happening, Failure> {
    let item = || item(given, text(given.item, "item")?, text(given.folder, "folder")?);
    let new_item = || item_after(given);
    let folder = || Ok::<_, Failure>(folder_of(text(given.folder, "folder")?));
    const EVENTS: [(Event, i32); 10] = [
        (Event::MessageDelivered, 0),
        (Event::ItemCreated, 1),
        (Event::ItemModified, 2),
        (Event::ItemDeleted, 3),
        (Event::ItemMoved, 4),
        (Event::ItemCopied, 5),
        (Event::FolderCreated, 6),
        (Event::FolderDeleted, 7),
        (Event::FolderMoved, 8),
        (Event::Gap, 9),
    ];
    let event = EVENTS.iter().find(|(_, number)| *number == given.event).map(|(event, _)| *event);
    let event = event.ok_or_else(|| Failure::new(Status::Value, format!("there is no event {}", given.event)))?;
    Ok(match event {
        Event::MessageDelivered => Happening::MessageDelivered(item()?),
        Event::ItemCreated => Happening::ItemCreated(item()?),
        Event::ItemModified => {
            let flags_before = given.has_flags_before.then_some(given.flags_before);
            let fields = if given.has_flags_before { vec!["flags".to_owned()] } else { vec![] };
            Happening::ItemModified(ItemAlteration { item: item()?, flags_before, tags_before: None, fields })
        }
        Event::ItemDeleted => Happening::ItemDeleted(item()?),
        Event::ItemMoved => Happening::ItemMoved(ItemRelocation { before: item()?, after: new_item()? }),
        Event::ItemCopied => Happening::ItemCopied(ItemRelocation { before: item()?, after: new_item()? }),
        Event::FolderCreated => Happening::FolderCreated(folder()?),
        Event::FolderDeleted => Happening::FolderDeleted(folder()?),
        Event::FolderMoved => {
            let after = folder_of(text(given.new_folder, "new_folder")?);
            Happening::FolderMoved(FolderRelocation { before: folder()?, after })
        }
        Event::Gap => Happening::Gap,
    })
}

fn item(given: &Change, id: &str, folder: &str) -> Result<Item, Failure> {
    let kind = optional_text(given.item_kind, "item_kind")?.unwrap_or("message");
    Ok(Item { flags: given.flags, ..Item::new(kind, id, folder) })
}

fn item_after(given: &Change) -> Result<Item, Failure> {
    item(given, text(given.new_item, "new_item")?, text(given.new_folder, "new_folder")?)
}

fn folder_of(path: &str) -> Folder {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    Folder::new(path, parent, name)
}

fn counts(given: &Change) -> Result<FolderCounts, Failure> {
    let folder = optional_text(given.new_folder, "new_folder")?.map_or_else(|| text(given.folder, "folder"), Ok)?;
    Ok(FolderCounts { folder: folder.to_owned(), unread: given.unread, total: given.total, revision: None })
}
