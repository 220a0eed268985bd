//! How a database comes to be open: looked at first, so that what is refused stays as it was.

use std::io::ErrorKind;
use std::sync::Arc;

use redb::{Builder, Database, ReadableDatabase, TableError};

use super::overlay::Overlay;
use super::storage::{Handle, Storage};
use super::tables::JOURNAL;
use super::{DatabaseError, DatabaseOptions, pages};
use crate::journal::format::{self, FormatError};

/// How much memory the store may use for pages.
pub(super) const CACHE_BYTES: usize = 64 << 20;

/// What redb's files begin with, and where it notes that one was not closed in order (its design.md, "Super-header").
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
const FLAGS: usize = MAGIC.len();
const RECOVERY_FLAG: u8 = 2;

/// A file that redb was beginning is shorter than this.
const BEGINNING_BYTES: u64 = 16 << 20;

/// What is in a storage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A database that was closed in order: looking into it costs little.
    InOrder,
    /// A database that must be repaired.
    NotInOrder,
}

/// Opens the journal in the storage, or begins one where there is nothing, if it may. Nothing is written where that is
/// refused.
pub(super) fn open(
    storage: &Arc<Storage>,
    options: &DatabaseOptions,
    may_begin: bool,
) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let found = find(storage, may_begin)?;
    if found == Found::InOrder {
        pages::lead_to_records(storage).ok_or_else(|| DatabaseError::Damaged("its pages".into()))?;
        check_version(&builder.create_with_backend(Overlay::over(storage.clone())?)?, may_begin)?;
    }
    if found == Found::NotInOrder {
        let repairing = options.repairing.clone();
        builder.set_repair_callback(move |repair| tell(repair.progress(), repairing.as_deref()));
    }
    let database = builder.create_with_backend(Handle(storage.clone()))?;
    check_version(&database, may_begin)?;
    Ok(database)
}

fn tell(progress: f64, repairing: Option<&(dyn Fn(f64) + Send + Sync)>) {
    if progress == 0.0 {
        tracing::warn!("the journal was not closed in order; it is repaired up to its last whole commit");
    }
    if let Some(repairing) = repairing {
        repairing(progress);
    }
}

/// Looks what is there. What never became a database, because power was lost while it was begun, is emptied, if one may
/// begin here.
fn find(storage: &Storage, may_begin: bool) -> Result<Found, DatabaseError> {
    let mut header = [0; FLAGS + 1];
    let length = storage.length()?;
    if length >= header.len() as u64 {
        storage.peek(0, &mut header)?;
    }
    if header.starts_with(&MAGIC) {
        let in_order = header[FLAGS] & RECOVERY_FLAG == 0;
        return Ok(if in_order { Found::InOrder } else { Found::NotInOrder });
    }
    if !may_begin || !was_never_begun(storage, length)? {
        return Err(DatabaseError::Damaged("it does not begin as one does".into()));
    }
    storage.empty()?;
    Ok(Found::Nothing)
}

/// redb writes its name last, and nothing behind the first page before.
fn was_never_begun(storage: &Storage, length: u64) -> Result<bool, DatabaseError> {
    if length > BEGINNING_BYTES {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(length).expect("a length below the limit fits")];
    storage.peek(0, &mut bytes)?;
    let named = &bytes[..bytes.len().min(MAGIC.len())];
    let behind = bytes.get(4096..).unwrap_or_default();
    Ok(named.iter().chain(behind).all(|byte| *byte == 0))
}

fn check_version(database: &Database, may_begin: bool) -> Result<(), DatabaseError> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let table = match transaction.open_table(JOURNAL) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => {
            let empty = transaction.list_tables().map_err(redb::Error::from)?.next().is_none();
            let may_begin = may_begin && empty;
            return may_begin.then_some(()).ok_or_else(|| DatabaseError::Damaged("there is no journal in it".into()));
        }
        Err(error) => return Err(redb::Error::from(error).into()),
    };
    let row = table.get(()).map_err(redb::Error::from)?;
    match row.map(|row| format::decode_journal(row.value())) {
        Some(Err(FormatError::Version(found))) => Err(DatabaseError::OtherVersion { found, known: format::VERSION }),
        Some(Err(error)) => Err(DatabaseError::Damaged(format!("its own row: {error}"))),
        Some(Ok(_)) | None => Ok(()),
    }
}

impl From<redb::DatabaseError> for DatabaseError {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => DatabaseError::InUse,
            other => redb::Error::from(other).into(),
        }
    }
}

impl From<redb::Error> for DatabaseError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                DatabaseError::Damaged("the file ends too early".into())
            }
            redb::Error::Io(error) => DatabaseError::Io(error),
            other => DatabaseError::Damaged(other.to_string()),
        }
    }
}
