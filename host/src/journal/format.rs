//! The bytes of what is kept: records, snapshots, seats. The database file and backups hold the same.
//!
//! Everything stands in an envelope:
//!
//! | bytes | what                                                                                              |
//! | ----- | ------------------------------------------------------------------------------------------------- |
//! | 1     | the format's version: 1                                                                           |
//! | any   | the content: one CBOR item (RFC 8949), a map with text keys; of a snapshot's piece the bytes as such |
//! | 8     | XXH3-64, little-endian, of all before it and then of the place where the envelope belongs         |
//!
//! The place is not stored, so that what lies at the wrong place is found: a letter for the kind, then numbers as `u64`
//! little-endian and texts after their length as such a number.
//!
//! | kind                | letter | place                          | keys of the content                          |
//! | ------------------- | ------ | ------------------------------ | -------------------------------------------- |
//! | record              | `r`    | seat's number, sequence        | `wit`, `now`, `component`, `reaction`, `input` |
//! | snapshot            | `s`    | seat's number, sequence        | `now`, `format`, `parts`, `offsets`, `settings`,
//! `history_bytes`, `tenure` |
//! | piece of a snapshot | `p`    | seat's number, sequence, piece |                                              |
//! | seat                | `t`    | tenant, plugin, partition      | `number`, `told`, `swap`                         |
//! | the journal itself  | `j`    |                                | `regressions`, `unsynced`                    |
//! | message of a stream | `m`    | tenant, plugin, partition      | `incarnation`, `group`, `first`, `last`, `now`, `swap`,
//! `piece`, `pieces`, `records` |
//! | index of snapshots  | `i`    | tenant, plugin, partition      | `horizon`, `snapshots`                       |
//!
//! What the keys hold is said at the types. A key that a reader does not know it passes over; so a later version may
//! add keys without a new version of the format. A key that says "absent" there may be absent.

mod input;
mod snapshot;
#[cfg(feature = "jetstream")]
mod stream;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Digest, Input, Record, Seat};
use input::StoredInput;
pub(crate) use input::byte_string;
pub(crate) use snapshot::{SnapshotHead, decode_piece, decode_snapshot, encode_piece, encode_snapshot, pieces};
#[cfg(feature = "jetstream")]
pub(crate) use stream::{
    Group, Index, IndexEntry, Message, decode_index, decode_message, encode_index, encode_message, seat_number,
};

/// The format's version.
pub(crate) const VERSION: u8 = 1;

/// The version of `wit/notify.wit` whose names stand in records.
const CONTRACT: &str = "0.1.0";

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    /// They are too few.
    #[error("{0} bytes are too few")]
    Short(usize),
    /// A later program wrote them, or they are damaged in the first byte.
    #[error("format {0} is not known here")]
    Version(u8),
    /// They are not what was written, or lie where something else belongs.
    #[error("its checksum is wrong")]
    Checksum,
    /// The input is one of another version of the contract.
    #[error("contract {0} is not known here")]
    Contract(String),
    /// They are whole, but not understood.
    #[error("{0}")]
    Content(String),
}

/// Where an envelope belongs.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Record {
        seat: u64,
        sequence: u64,
    },
    Snapshot {
        seat: u64,
        sequence: u64,
    },
    Piece {
        seat: u64,
        sequence: u64,
        piece: u32,
    },
    Seat(&'a Seat),
    Journal,
    #[cfg(feature = "jetstream")]
    Message(&'a Seat),
    #[cfg(feature = "jetstream")]
    Index(&'a Seat),
}

impl Place<'_> {
    fn digest(self, hasher: &mut Xxh3) {
        match self {
            Place::Record { seat, sequence } => numbers(hasher, b'r', &[seat, sequence]),
            Place::Snapshot { seat, sequence } => numbers(hasher, b's', &[seat, sequence]),
            Place::Piece { seat, sequence, piece } => numbers(hasher, b'p', &[seat, sequence, piece.into()]),
            Place::Seat(seat) => names(hasher, b't', seat),
            Place::Journal => numbers(hasher, b'j', &[]),
            #[cfg(feature = "jetstream")]
            Place::Message(seat) => names(hasher, b'm', seat),
            #[cfg(feature = "jetstream")]
            Place::Index(seat) => names(hasher, b'i', seat),
        }
    }
}

fn names(hasher: &mut Xxh3, kind: u8, Seat { tenant, plugin, partition }: &Seat) {
    numbers(hasher, kind, &[tenant.len() as u64]);
    hasher.update(tenant.as_bytes());
    hasher.update(&(plugin.len() as u64).to_le_bytes());
    hasher.update(plugin.as_bytes());
    hasher.update(&u64::from(*partition).to_le_bytes());
}

fn numbers(hasher: &mut Xxh3, kind: u8, numbers: &[u64]) {
    hasher.update(&[kind]);
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
}

fn checksum(place: Place, sealed: &[u8]) -> [u8; 8] {
    let mut hasher = Xxh3::new();
    hasher.update(sealed);
    place.digest(&mut hasher);
    hasher.digest().to_le_bytes()
}

/// Puts what `content` writes into an envelope.
fn seal(place: Place, content: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    content(&mut bytes);
    bytes.extend(checksum(place, &bytes));
    bytes
}

/// The content of an envelope that is whole and lies where it belongs.
fn unseal<'a>(place: Place, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
    let (sealed, found) = bytes.split_last_chunk::<8>().ok_or(FormatError::Short(bytes.len()))?;
    let (version, content) = sealed.split_first().ok_or(FormatError::Short(bytes.len()))?;
    if *version != VERSION {
        return Err(FormatError::Version(*version));
    }
    if *found != checksum(place, sealed) {
        return Err(FormatError::Checksum);
    }
    Ok(content)
}

fn seal_map(place: Place, map: &impl Serialize) -> Vec<u8> {
    seal(place, |bytes| ciborium::into_writer(map, bytes).expect("plain data in memory can always be written"))
}

/// Reads one map; never reserves memory for lengths that only the bytes claim.
fn map<T: DeserializeOwned>(mut content: &[u8]) -> Result<T, FormatError> {
    let map = ciborium::from_reader(&mut content).map_err(|error| FormatError::Content(error.to_string()))?;
    if !content.is_empty() {
        return Err(FormatError::Content(format!("{} bytes too many", content.len())));
    }
    Ok(map)
}

/// A record's content, as it is written.
#[derive(Serialize)]
struct WrittenRecord<'a> {
    wit: &'static str,
    now: u64,
    component: u64,
    reaction: u64,
    #[serde(with = "StoredInput")]
    input: &'a Input,
}

/// A record's content, as it is read.
#[derive(Deserialize)]
struct ReadRecord {
    /// The version of the contract whose names the input has. Absent: "0.1.0".
    #[serde(default = "first_contract")]
    wit: String,
    /// The tenant's time, in milliseconds since the Unix epoch.
    now: u64,
    /// The digest's component. Absent: 0, which no replay is compared with.
    #[serde(default)]
    component: u64,
    /// The digest's reaction. Absent: 0.
    #[serde(default)]
    reaction: u64,
    /// The input, as [`input`] says.
    #[serde(with = "StoredInput")]
    input: Input,
}

fn first_contract() -> String {
    "0.1.0".into()
}

/// A record of the seat with this number.
pub(crate) fn encode_record(seat: u64, record: &Record) -> Vec<u8> {
    let Record { sequence, now, digest: Digest { component, reaction }, input } = record;
    let (component, reaction) = (*component, *reaction);
    let content = WrittenRecord { wit: CONTRACT, now: *now, component, reaction, input };
    seal_map(Place::Record { seat, sequence: *sequence }, &content)
}

/// The record that is stored for this seat at this sequence.
pub(crate) fn decode_record(seat: u64, sequence: u64, bytes: &[u8]) -> Result<Record, FormatError> {
    record(sequence, unseal(Place::Record { seat, sequence }, bytes)?)
}

fn record(sequence: u64, content: &[u8]) -> Result<Record, FormatError> {
    match map::<ReadRecord>(content) {
        Ok(read) if read.wit != CONTRACT => Err(FormatError::Contract(read.wit)),
        Ok(ReadRecord { now, component, reaction, input, .. }) => {
            Ok(Record { sequence, now, digest: Digest { component, reaction }, input: Arc::new(input) })
        }
        Err(error) => Err(other_contract(content).map_or(error, FormatError::Contract)),
    }
}

/// The contract that a record names, if it is another one than ours.
fn other_contract(content: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Contract {
        wit: String,
    }
    map::<Contract>(content).ok().map(|content| content.wit).filter(|contract| contract != CONTRACT)
}

/// What belongs to a seat for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeatRow {
    /// Stands for the seat in the keys of its entries. Never given again.
    pub(crate) number: u64,
    /// Of how many of the journal's regressions its plugin was told. Absent: of none.
    #[serde(default)]
    pub(crate) told: u64,
    /// See [`super::SeatFacts::swap`]. Absent: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) swap: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What belongs to a seat for good.
pub(crate) fn encode_seat(seat: &Seat, row: &SeatRow) -> Vec<u8> {
    seal_map(Place::Seat(seat), row)
}

/// What belongs to this seat for good.
pub(crate) fn decode_seat(seat: &Seat, bytes: &[u8]) -> Result<SeatRow, FormatError> {
    map(unseal(Place::Seat(seat), bytes)?)
}

/// What belongs to the journal itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalRow {
    /// How often the state became older than what clients were told of it. Absent: never.
    #[serde(default)]
    pub(crate) regressions: u64,
    /// A run is on, or ended without order, that may lose what it acknowledged. Absent: no.
    #[serde(default)]
    pub(crate) unsynced: bool,
}

/// What belongs to the journal itself.
pub(crate) fn encode_journal(row: &JournalRow) -> Vec<u8> {
    seal_map(Place::Journal, row)
}

/// What belongs to the journal itself. Its envelope's version is that of the whole.
pub(crate) fn decode_journal(bytes: &[u8]) -> Result<JournalRow, FormatError> {
    map(unseal(Place::Journal, bytes)?)
}

#[cfg(test)]
mod tests;
