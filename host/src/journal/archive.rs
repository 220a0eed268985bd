//! Archives: what a journal has of some seats, as one stream of bytes. A backup is an archive, and so is what a server
//! gives its tools.
//!
//! [`write()`] works while the host serves. Of each seat it gives the horizon's snapshot, then records and later
//! snapshots in the order of their sequence, up to the record that was the last one when it began. Where the journal is
//! cut beyond what is written already, the new horizon's snapshot follows and says that it voids what the archive has
//! of the seat so far. What the journal cannot read is named and passed over. [`Reader`] gives all of it back,
//! verified.
//!
//! # The format, version 1
//!
//! An archive begins with the line `postbell archive 1\n`. Then come frames, the last of which is an end:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the frame's kind |
//! | 4 | the payload's length, little-endian, at most [`PAYLOAD_BYTES`] |
//! | length | the payload |
//! | 8 | XXH3-64, little-endian, of all bytes of the archive before these |
//!
//! So a frame that is lost, doubled or moved shows like one that is altered. Payloads are
//!
//! | kind | payload |
//! |---|---|
//! | 1, seat | a CBOR map: `tenant`, `plugin`, `partition`. The frames up to the next seat are about it |
//! | 2, snapshot | its sequence, 8 bytes little-endian; a byte, 1 if it voids what came before it of its seat, else 0;
//! its head |
//! | 3, piece | the next piece of that snapshot's state. There are as many as the head says that the state has bytes |
//! | 4, record | its sequence, 8 bytes little-endian; the record |
//! | 5, damage | a CBOR map: `sequence`, `what`. The record or snapshot there could not be read |
//! | 6, end | a CBOR map: how many `seats`, `snapshots`, `records` and `damages` came before it. Nothing follows |
//!
//! Heads, pieces and records are those of [`format`], with its envelope; the seat's number is its place in the archive,
//! counted from 1.

mod read;
mod survey;
#[cfg(test)]
mod tests;
mod write;

use std::io;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::format;
use super::{JournalError, Record, Seat, Snapshot};

pub use read::{Reader, restore};
pub use survey::Survey;
pub use write::write;

/// The most bytes of a payload: no input is larger, whatever limits a server has.
pub const PAYLOAD_BYTES: u32 = 256 << 20;

/// What every archive begins with, and the version that this program writes and reads.
const WORDS: &[u8] = b"postbell archive ";
const VERSION: &[u8] = b"1\n";

/// Why an archive is not written, or not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes are something else.
    #[error("it is no archive of Postbell's")]
    Foreign,
    /// The archive is of a version that this program does not know.
    #[error("it is an archive of another version ({0:?}, expected \"1\")")]
    OtherVersion(String),
    /// It ends before its end.
    #[error("it is torn: it ends after {0} bytes, before its end")]
    Torn(u64),
    /// It is not as it was written.
    #[error("it is damaged before byte {at}: {what}")]
    Altered {
        /// How many bytes of it were read.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// It is whole, but what it was made from was not.
    #[error("it was made from a damaged journal: {0}")]
    Incomplete(Damage),
    /// Its bytes cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The journal that it is made from, or put into, fails.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Something of a seat that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The seat.
    pub seat: Seat,
    /// The sequence of the record or snapshot.
    pub sequence: u64,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} at {}: {}", self.seat, self.sequence, self.what)
    }
}

/// One thing in an archive.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// What follows is of this seat.
    Seat(Seat),
    /// A snapshot of the seat.
    Snapshot {
        /// The snapshot itself.
        snapshot: Snapshot,
        /// It voids what came before it of its seat.
        horizon: bool,
    },
    /// A record of the seat.
    Record(Record),
    /// What is missing of the seat.
    Damage(Damage),
}

/// How much an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Seats.
    pub seats: u64,
    /// Snapshots, also those that later ones void.
    pub snapshots: u64,
    /// Records, also those that later snapshots void.
    pub records: u64,
    /// Records and snapshots that could not be read.
    pub damages: u64,
}

#[derive(Serialize, Deserialize)]
struct SeatFrame {
    tenant: String,
    plugin: String,
    partition: u32,
}

#[derive(Serialize, Deserialize)]
struct DamageFrame {
    sequence: u64,
    what: String,
}

/// The kinds of frames, as they stand in an archive.
mod kind {
    pub const SEAT: u8 = 1;
    pub const SNAPSHOT: u8 = 2;
    pub const PIECE: u8 = 3;
    pub const RECORD: u8 = 4;
    pub const DAMAGE: u8 = 5;
    pub const END: u8 = 6;
}
