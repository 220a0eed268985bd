//! A seat's index of snapshots: one message, replaced as a whole, if nobody else has replaced it meanwhile.

use async_nats::HeaderMap;

use super::publish::{Attempt, expect, send};
use super::read::{damaged, given};
use super::subjects::Kind;
use super::{Store, failed};
use crate::journal::format::{Index, IndexEntry, decode_index, encode_index};
use crate::journal::{JournalError, Seat, SnapshotFacts};

/// The index, and the sequence of its message; 0: there is none yet.
pub(super) async fn read(store: &Store, seat: &Seat) -> Result<(Index, u64), JournalError> {
    let subject = store.subject(seat, Kind::Snapshots);
    let message = given(store.stream(seat).get_last_raw_message_by_subject(&subject).await)?;
    let Some(message) = message else { return Ok((Index::default(), 0)) };
    let index = decode_index(seat, &message.payload).map_err(|error| damaged(seat, message.sequence, &error))?;
    Ok((index, message.sequence))
}

/// Changes the index. `change` is called again where somebody else changed it first.
pub(super) async fn change<T>(store: &Store, seat: &Seat, change: impl Fn(&mut Index) -> T) -> Result<T, JournalError> {
    loop {
        let (before, written) = read(store, seat).await?;
        let mut index = before.clone();
        let result = change(&mut index);
        if index == before {
            return Ok(result);
        }
        let mut headers = HeaderMap::new();
        expect(&mut headers, written);
        let subject = store.subject(seat, Kind::Snapshots);
        match send(store, subject.clone(), headers, encode_index(seat, &index)).await {
            Ok(_) => {
                forget_older(store, seat, &subject).await;
                return Ok(result);
            }
            Err(Attempt::Moved) => {}
            Err(Attempt::Again(why) | Attempt::Never(why)) => return Err(failed(&why)),
        }
    }
}

/// Nobody reads any but the last. What stays for an error goes with the next change.
async fn forget_older(store: &Store, seat: &Seat, subject: &str) {
    if let Err(error) = store.stream(seat).purge().filter(subject).keep(1).await {
        tracing::warn!(%seat, %error, "an older index of snapshots stays for now");
    }
}

/// A snapshot without its state.
pub(super) fn facts(entry: &IndexEntry) -> SnapshotFacts {
    let head = &entry.head;
    SnapshotFacts {
        sequence: entry.sequence,
        now: head.now,
        bytes: head.parts.iter().sum(),
        history_bytes: head.history_bytes,
        format: head.format.clone(),
        tenure: head.tenure.clone(),
    }
}
