//! Snapshots: each an object, and an entry in the index that comes first, is marked when the object is whole, and goes
//! before the object does. So what a crash leaves behind is named, and the seat's next snapshot removes it.

use std::sync::Arc;

use async_nats::jetstream::object_store::{DeleteErrorKind, GetErrorKind, ObjectMetadata};
use tokio::io::AsyncReadExt;

use super::{Store, failed, index, read, subjects};
use crate::journal::format::{Index, IndexEntry, SnapshotHead};
use crate::journal::{JournalError, Seat, Snapshot};

/// How many bytes of an object a message has.
const CHUNK_BYTES: usize = 128 << 10;

/// See [`crate::journal::Journal::put_snapshot`].
pub(super) async fn put(store: &Store, seat: &Seat, snapshot: Snapshot) -> Result<(), JournalError> {
    let sequence = snapshot.sequence;
    let subject = store.subject(seat, subjects::Kind::Snapshots);
    let object = format!("{subject}/{sequence}/{}-{}", store.incarnation, store.new_group());
    let head = SnapshotHead::of(&snapshot);
    let entry = IndexEntry { sequence, object: object.clone(), whole: false, head };
    let left = store.within(index::change(store, seat, |index| begin(index, entry.clone()))).await?;
    remove(store, left).await;
    write(store, &object, snapshot.parts.concat()).await?;
    let replaced = store.within(index::change(store, seat, |index| finish(index, sequence, &object))).await?;
    remove(store, replaced).await;
    store.lanes.forget(seat);
    Ok(())
}

/// Notes that a snapshot comes; the objects of those that never became whole.
fn begin(index: &mut Index, entry: IndexEntry) -> Vec<String> {
    let left = |other: &IndexEntry| !other.whole && other.sequence <= entry.sequence && other.object != entry.object;
    let objects = objects(index.snapshots.extract_if(.., |other| left(other)));
    if !index.snapshots.contains(&entry) {
        index.snapshots.push(entry);
        index.snapshots.sort_by_key(|entry| entry.sequence);
    }
    objects
}

/// Notes that a snapshot is whole; the objects of those that it replaces.
fn finish(index: &mut Index, sequence: u64, object: &str) -> Vec<String> {
    for entry in index.snapshots.iter_mut().filter(|entry| entry.object == object) {
        entry.whole = true;
    }
    objects(index.snapshots.extract_if(.., |other| other.sequence == sequence && other.object != object))
}

fn objects(entries: impl Iterator<Item = IndexEntry>) -> Vec<String> {
    entries.map(|entry| entry.object).collect()
}

/// Bounded by each message's own limit, since a large state takes its time.
async fn write(store: &Store, object: &str, state: Vec<u8>) -> Result<(), JournalError> {
    let metadata =
        ObjectMetadata { name: object.to_owned(), chunk_size: Some(CHUNK_BYTES), ..ObjectMetadata::default() };
    store.snapshots.put(metadata, &mut &*state).await.map(drop).map_err(|error| failed(&error))
}

/// Objects that nothing names any more. What stays for an error takes room, and nothing else.
async fn remove(store: &Store, objects: Vec<String>) {
    for object in objects {
        match store.snapshots.delete(&object).await {
            Err(error) if !matches!(error.kind(), DeleteErrorKind::NotFound) => {
                tracing::warn!(object, %error, "a snapshot that nobody needs stays");
            }
            _ => {}
        }
    }
}

/// See [`crate::journal::Journal::snapshot`].
pub(super) async fn get(store: &Store, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
    let (index, _) = store.within(index::read(store, seat)).await?;
    let entry = index.whole().find(|entry| entry.sequence == sequence);
    let Some(IndexEntry { object, head, .. }) = entry else { return Ok(None) };
    let damaged = |what: &dyn std::fmt::Display| JournalError::Damaged(format!("{seat}, snapshot {sequence}: {what}"));
    let mut reader = match store.snapshots.get(object).await {
        Ok(reader) => reader,
        Err(error) if matches!(error.kind(), GetErrorKind::NotFound) => return missing(store, seat, sequence).await,
        Err(error) => return Err(failed(&error)),
    };
    let expected = head.parts.iter().sum::<u64>();
    let mut state = Vec::new();
    // To its end, where its digest is compared.
    while state.len() as u64 <= expected {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = async { reader.read_buf(&mut chunk).await.map_err(|error| failed(&error)) };
        if store.within(read).await? == 0 {
            break;
        }
        state.extend(chunk);
    }
    if state.len() as u64 != expected || reader.info.size as u64 != expected {
        return Err(damaged(&"it is not whole"));
    }
    let mut rest = &*state;
    let parts = head.parts.iter().map(|bytes| rest.split_off(..*bytes as usize).expect("it was counted").to_vec());
    let parts = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let snapshot = head.clone().with_state(sequence, parts);
    snapshot.map(|snapshot| Some(Arc::new(snapshot))).ok_or_else(|| damaged(&"it is not whole"))
}

/// The index named an object that is not there: it was cut in between, or is lost.
async fn missing(store: &Store, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
    let (index, _) = store.within(index::read(store, seat)).await?;
    match index.whole().any(|entry| entry.sequence == sequence) {
        false => Ok(None),
        true => Err(failed(&format_args!("{seat}, snapshot {sequence}: its object is not there"))),
    }
}

/// See [`crate::journal::Journal::cut`]. The index says first what is gone; then it goes.
pub(super) async fn cut(store: &Store, seat: &Seat, horizon: u64) -> Result<(), JournalError> {
    let cut = |index: &mut Index| {
        if !index.whole().any(|entry| entry.sequence == horizon) {
            return None;
        }
        index.horizon = horizon;
        Some(objects(index.snapshots.extract_if(.., |entry| entry.sequence < horizon)))
    };
    let Some(older) = store.within(index::change(store, seat, cut)).await? else { return Ok(()) };
    remove(store, older).await;
    let first = store.within(read::group_of(store, seat, horizon + 1)).await?;
    let Some(first) = first else { return Ok(()) };
    let subject = store.subject(seat, subjects::Kind::Records);
    // Up to that message: the subject's last one always stays.
    let purged = store.stream(seat).purge().filter(subject).sequence(first);
    store.within(async { purged.await.map(drop).map_err(|error| failed(&error)) }).await
}

/// See [`crate::journal::Journal::remove`]. One request takes records and index, also the last message of each: whoever
/// comes next begins anew, and an owner from before expects a message that is gone.
pub(super) async fn remove_seat(store: &Store, seat: &Seat) -> Result<(), JournalError> {
    let (index, _) = store.within(index::read(store, seat)).await?;
    let purged = store.stream(seat).purge().filter(store.subject(seat, subjects::Kind::Any));
    store.within(async { purged.await.map(drop).map_err(|error| failed(&error)) }).await?;
    store.lanes.forget(seat);
    store.continuations_now().remove(seat);
    remove(store, objects(index.snapshots.into_iter())).await;
    Ok(())
}
