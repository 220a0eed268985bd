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

/// Opens what is in the storage, or begins it. Nothing is written where that is refused.
pub(super) fn open(storage: &Arc<Storage>, options: &DatabaseOptions) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    if in_order(storage)? {
        pages::lead_to_records(storage).ok_or_else(|| DatabaseError::Damaged("its pages".into()))?;
        check_version(&builder.create_with_backend(Overlay::over(storage.clone())?)?)?;
    }
    let repairing = options.repairing.clone();
    builder.set_repair_callback(move |repair| {
        if repair.progress() == 0.0 {
            tracing::warn!("the journal was not closed in order; it is repaired up to its last whole commit");
        }
        if let Some(repairing) = &repairing {
            repairing(repair.progress());
        }
    });
    let database = builder.create_with_backend(Handle(storage.clone()))?;
    check_version(&database)?;
    Ok(database)
}

/// Whether there is a journal that was closed in order: then looking into it costs little. A file that never became one,
/// because power was lost while it was begun, is emptied.
fn in_order(storage: &Storage) -> Result<bool, DatabaseError> {
    let mut header = [0; FLAGS + 1];
    let length = storage.length()?;
    if length == 0 {
        return Ok(false);
    }
    if length >= header.len() as u64 {
        storage.peek(0, &mut header)?;
    }
    if header.starts_with(&MAGIC) {
        return Ok(header[FLAGS] & RECOVERY_FLAG == 0);
    }
    if !was_never_begun(storage, length)? {
        return Err(DatabaseError::Damaged("it does not begin as one does".into()));
    }
    storage.empty()?;
    Ok(false)
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

fn check_version(database: &Database) -> Result<(), DatabaseError> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let table = match transaction.open_table(JOURNAL) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
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
