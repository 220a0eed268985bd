//! What stands in messages of a stream: records in groups, and the index of a seat's snapshots.
//!
//! A group is what was appended at once. Its content, a CBOR array of records' envelopes, is cut into as many messages as
//! the server's payload limit asks for; each says which group it belongs to and what the seat's end is with it, so that
//! the last message of a subject alone tells where the seat stands.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{
    FormatError, Place, SnapshotHead, byte_string, decode_record, encode_record, is_zero, map, seal_map, unseal,
};
use crate::journal::{Record, Seat};

/// A message on the subject of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The life of the journal that appended it: a number drawn when that was opened.
    pub(crate) incarnation: u64,
    /// Which append of that life it was; no other has the number.
    pub(crate) group: u64,
    /// The group's first record.
    pub(crate) first: u64,
    /// The group's last record.
    pub(crate) last: u64,
    /// The tenant's time at the last record, in milliseconds since the Unix epoch.
    pub(crate) now: u64,
    /// See [`crate::journal::SeatFacts::swap`], as of the last record. Absent: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) swap: u64,
    /// Which piece of the group's content this is, counted from 0.
    pub(crate) piece: u32,
    /// How many there are.
    pub(crate) pieces: u32,
    /// The piece.
    #[serde(with = "byte_string")]
    pub(crate) records: Vec<u8>,
}

/// The content of a group, while it is put together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    records: Vec<ciborium::Value>,
    bytes: usize,
}

impl Group {
    /// Adds a record of the seat with this number.
    pub(crate) fn push(&mut self, seat: u64, record: &Record) {
        let bytes = encode_record(seat, record);
        self.bytes += bytes.len() + 9;
        self.records.push(ciborium::Value::Bytes(bytes));
    }

    /// Adds what another group has.
    pub(crate) fn extend(&mut self, other: Group) {
        self.bytes += other.bytes;
        self.records.extend(other.records);
    }

    /// Whether it has no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// About how many bytes its content has, or fewer.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The content.
    pub(crate) fn content(self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.bytes + 9);
        let records = ciborium::Value::Array(self.records);
        ciborium::into_writer(&records, &mut content).expect("plain data in memory can always be written");
        content
    }

    /// The records of a content whose first has this sequence; ends at the first that is damaged, with its sequence.
    pub(crate) fn records(seat: u64, first: u64, content: &[u8]) -> Result<Vec<Decoded>, FormatError> {
        let records: Vec<Bytes> = map(content)?;
        let records = records.into_iter().zip(first..);
        Ok(records.map(|(bytes, at)| decode_record(seat, at, &bytes.0).map_err(|error| (at, error))).collect())
    }
}

/// A record, or at which sequence it is damaged, and how.
pub(crate) type Decoded = Result<Record, (u64, FormatError)>;

#[derive(Deserialize)]
struct Bytes(#[serde(with = "byte_string")] Vec<u8>);

/// Which snapshots a seat has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The snapshot before which everything is gone. Absent: none is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) horizon: u64,
    /// The snapshots, oldest first.
    #[serde(default)]
    pub(crate) snapshots: Vec<IndexEntry>,
}

/// A snapshot in the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexEntry {
    /// The last input that the snapshot contains.
    pub(crate) sequence: u64,
    /// The object that has its parts, one behind the other.
    pub(crate) object: String,
    /// The object is whole. Until then the snapshot is not there.
    pub(crate) whole: bool,
    /// All but the parts.
    pub(crate) head: SnapshotHead,
}

/// Stands for a seat in the places of its records.
pub(crate) fn seat_number(seat: &Seat) -> u64 {
    let mut hasher = Xxh3::new();
    Place::Seat(seat).digest(&mut hasher);
    hasher.digest()
}

/// A message of this seat.
pub(crate) fn encode_message(seat: &Seat, message: &Message) -> Vec<u8> {
    seal_map(Place::Message(seat), message)
}

/// The message that is stored for this seat.
pub(crate) fn decode_message(seat: &Seat, bytes: &[u8]) -> Result<Message, FormatError> {
    map(unseal(Place::Message(seat), bytes)?)
}

/// The index of this seat.
pub(crate) fn encode_index(seat: &Seat, index: &Index) -> Vec<u8> {
    seal_map(Place::Index(seat), index)
}

/// The index that is stored for this seat.
pub(crate) fn decode_index(seat: &Seat, bytes: &[u8]) -> Result<Index, FormatError> {
    map(unseal(Place::Index(seat), bytes)?)
}
