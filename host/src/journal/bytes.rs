//! Records and snapshots as bytes, for a journal of the embedder's own: the format of the database file, without its
//! seats' numbers.

use super::format::{self, SnapshotHead};
use super::{JournalError, Record, Snapshot};

/// The number of the seat for which the bytes are sealed: what the bytes belong to is the embedder's to know.
const SEAT: u64 = 0;

impl Record {
    /// Everything but the sequence, with the format's version and a checksum. Later versions of this library read it.
    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode_record(SEAT, self)
    }

    /// The record that stands at this sequence.
    ///
    /// # Errors
    ///
    /// The bytes are not what [`Record::to_bytes`] gave for this sequence, or of a later version of the format.
    pub fn from_bytes(sequence: u64, bytes: &[u8]) -> Result<Record, JournalError> {
        let damaged = |error| JournalError::Damaged(format!("record {sequence}: {error}"));
        format::decode_record(SEAT, sequence, bytes).map_err(damaged)
    }
}

impl Snapshot {
    /// Everything but the sequence: the head, then the pieces of the state, each after its length as a `u32`, little-endian.
    /// Later versions of this library read it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, &format::encode_snapshot(SEAT, self.sequence, &SnapshotHead::of(self)));
        for (number, piece) in (0..).zip(format::pieces(self)) {
            push(&mut bytes, &format::encode_piece(SEAT, self.sequence, number, piece));
        }
        bytes
    }

    /// The snapshot that stands at this sequence.
    ///
    /// # Errors
    ///
    /// The bytes are not what [`Snapshot::to_bytes`] gave for this sequence, or of a later version of the format.
    pub fn from_bytes(sequence: u64, bytes: &[u8]) -> Result<Snapshot, JournalError> {
        let damaged = |what: String| JournalError::Damaged(format!("snapshot {sequence}: {what}"));
        let mut rest = bytes;
        let mut next = || take(&mut rest);
        let head = next().ok_or_else(|| damaged("it has no head".into()))?;
        let head = format::decode_snapshot(SEAT, sequence, head).map_err(|error| damaged(error.to_string()))?;
        let mut pieces = Vec::new();
        while let Some(piece) = next() {
            let number = pieces.len() as u32;
            let piece =
                format::decode_piece(SEAT, sequence, number, piece).map_err(|error| damaged(error.to_string()))?;
            pieces.push(piece.to_vec());
        }
        if !rest.is_empty() {
            return Err(damaged("its last piece is cut off".into()));
        }
        head.with_state(sequence, pieces).ok_or_else(|| damaged("its pieces are not what its head says".into()))
    }
}

fn push(bytes: &mut Vec<u8>, envelope: &[u8]) {
    let length = u32::try_from(envelope.len()).expect("a piece is small, and so is a head");
    bytes.extend(length.to_le_bytes());
    bytes.extend(envelope);
}

/// The next envelope; none: there is no whole one.
fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (envelope, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Digest, Input};

    fn snapshot(parts: Vec<Vec<u8>>) -> Snapshot {
        let (offsets, settings) = ([("a".into(), 5)].into(), vec![("domains".into(), "example.org".into())]);
        let (now, format, history_bytes, tenure) = (7, "x/1".into(), 9, None);
        Snapshot { sequence: 3, now, format, parts, offsets, settings, history_bytes, tenure }
    }

    #[test]
    fn what_was_written_is_read() {
        let record = Record { sequence: 4, now: 5, digest: Digest::default(), input: Input::Tick.into() };
        assert_eq!(Record::from_bytes(4, &record.to_bytes()), Ok(record));
        for parts in [vec![], vec![vec![1; 200_000], vec![2], vec![3; 64 << 10]]] {
            let snapshot = snapshot(parts);
            assert_eq!(Snapshot::from_bytes(3, &snapshot.to_bytes()), Ok(snapshot));
        }
    }

    #[test]
    fn what_was_altered_is_damaged() {
        let record = Record { sequence: 4, now: 5, digest: Digest::default(), input: Input::Tick.into() }.to_bytes();
        assert!(Record::from_bytes(5, &record).is_err() && Record::from_bytes(4, b"").is_err());
        let bytes = snapshot(vec![vec![1; 100], vec![2; 100]]).to_bytes();
        assert!(Snapshot::from_bytes(4, &bytes).is_err());
        for length in 0..bytes.len() {
            assert!(Snapshot::from_bytes(3, &bytes[..length]).is_err(), "{length} bytes");
        }
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert!(Snapshot::from_bytes(3, &altered).is_err(), "another byte {place}");
        }
    }
}
