//! Snapshots as they are stored: a head with all but the state, and the state in pieces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{FormatError, Place, map, seal, seal_map, unseal};
use crate::journal::{Snapshot, Tenure};

/// How many bytes of the state a piece has at most: with its envelope and its key it then fills a page of 64 KiB.
const PIECE_BYTES: usize = (64 << 10) - 64;

/// A snapshot without its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHead {
    /// The tenant's time, in milliseconds since the Unix epoch.
    pub(crate) now: u64,
    /// The state's format, from the plugin's manifest.
    pub(crate) format: String,
    /// The bytes of each part that `save` gave. A part begins a new piece.
    pub(crate) parts: Vec<u64>,
    /// The sources' offsets. Absent: none.
    #[serde(default)]
    pub(crate) offsets: BTreeMap<String, u64>,
    /// The plugin's settings, each a pair of texts. Absent: none.
    #[serde(default)]
    pub(crate) settings: Vec<(String, String)>,
    /// The bytes of the records before it. Absent: 0.
    #[serde(default)]
    pub(crate) history_bytes: u64,
    /// The component that saved it. Absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenure: Option<Tenure>,
}

impl SnapshotHead {
    /// The head of a snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> SnapshotHead {
        SnapshotHead {
            now: snapshot.now,
            format: snapshot.format.clone(),
            parts: snapshot.parts.iter().map(|part| part.len() as u64).collect(),
            offsets: snapshot.offsets.iter().map(|(source, offset)| (source.to_string(), *offset)).collect(),
            settings: snapshot.settings.clone(),
            history_bytes: snapshot.history_bytes,
            tenure: snapshot.tenure.clone(),
        }
    }

    /// The whole snapshot; `pieces` are all of its pieces, in order. None: they are not what the head says.
    pub(crate) fn with_state(self, sequence: u64, pieces: impl IntoIterator<Item = Vec<u8>>) -> Option<Snapshot> {
        let mut pieces = pieces.into_iter();
        let mut parts = Vec::new();
        for bytes in self.parts {
            let mut part = Vec::new();
            while (part.len() as u64) < bytes {
                part.extend(pieces.next()?);
            }
            if part.len() as u64 != bytes {
                return None;
            }
            parts.push(part);
        }
        let offsets = self.offsets.into_iter().map(|(source, offset)| (source.into(), offset)).collect();
        let SnapshotHead { now, format, settings, history_bytes, tenure, .. } = self;
        let none_is_left = pieces.next().is_none();
        none_is_left.then_some(Snapshot { sequence, now, format, parts, offsets, settings, history_bytes, tenure })
    }
}

/// The state in pieces, in order.
pub(crate) fn pieces(snapshot: &Snapshot) -> impl Iterator<Item = &[u8]> {
    snapshot.parts.iter().flat_map(|part| part.chunks(PIECE_BYTES))
}

/// The head of a snapshot of the seat with this number.
pub(crate) fn encode_snapshot(seat: u64, sequence: u64, head: &SnapshotHead) -> Vec<u8> {
    seal_map(Place::Snapshot { seat, sequence }, head)
}

/// The head of the snapshot that is stored for this seat at this sequence.
pub(crate) fn decode_snapshot(seat: u64, sequence: u64, bytes: &[u8]) -> Result<SnapshotHead, FormatError> {
    map(unseal(Place::Snapshot { seat, sequence }, bytes)?)
}

/// A piece, counted from 0.
pub(crate) fn encode_piece(seat: u64, sequence: u64, piece: u32, state: &[u8]) -> Vec<u8> {
    seal(Place::Piece { seat, sequence, piece }, |bytes| bytes.extend_from_slice(state))
}

/// What the piece has of the state.
pub(crate) fn decode_piece(seat: u64, sequence: u64, piece: u32, bytes: &[u8]) -> Result<&[u8], FormatError> {
    unseal(Place::Piece { seat, sequence, piece }, bytes)
}
