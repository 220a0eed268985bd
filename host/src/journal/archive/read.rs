//! From an archive to what is in it, and into a journal.

use std::io::{self, Read};

use xxhash_rust::xxh3::Xxh3;

use super::{ArchiveError, Counts, Damage, DamageFrame, Item, PAYLOAD_BYTES, SeatFrame, VERSION, WORDS, kind};
use crate::journal::{Append, Chain, Journal, Record, Seat, format};

/// So many bytes of records are appended at once where an archive is put into a journal.
const APPEND_BYTES: u64 = 4 << 20;

/// An archive that is read item by item. After an error there is no further item.
pub struct Reader<R> {
    input: R,
    sum: Xxh3,
    position: u64,
    seat: Option<Seat>,
    /// Only what is of this tenant is given.
    tenant: Option<String>,
    counts: Counts,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads what every archive begins with.
    ///
    /// # Errors
    ///
    /// It is no archive, or one of another version.
    pub fn new(input: R) -> Result<Reader<R>, ArchiveError> {
        let counts = Counts::default();
        let (sum, tenant) = (Xxh3::new(), None);
        let mut reader = Reader { input, sum, position: 0, seat: None, tenant, counts, ended: false };
        let words = reader.exactly::<{ WORDS.len() }>().map_err(|error| match error {
            ArchiveError::Torn(_) => ArchiveError::Foreign,
            other => other,
        })?;
        if words != *WORDS {
            return Err(ArchiveError::Foreign);
        }
        let version = reader.exactly::<{ VERSION.len() }>()?;
        if version != *VERSION {
            return Err(ArchiveError::OtherVersion(String::from_utf8_lossy(&version).trim_end().to_owned()));
        }
        Ok(reader)
    }

    /// Gives only what is of this tenant; the rest is verified all the same.
    pub fn only(self, tenant: Option<&str>) -> Reader<R> {
        Reader { tenant: tenant.map(str::to_owned), ..self }
    }

    fn is_wanted(&self) -> bool {
        let seat = self.seat.as_ref();
        self.tenant.as_ref().is_none_or(|tenant| seat.is_some_and(|seat| *seat.tenant == **tenant))
    }

    /// What came so far; once there is no further item: all that the archive holds.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn item(&mut self) -> Result<Option<Item>, ArchiveError> {
        let (kind, payload) = self.frame()?;
        let item = match kind {
            kind::SEAT => self.seat(&payload)?,
            kind::SNAPSHOT => self.snapshot(&payload)?,
            kind::RECORD => self.record(&payload)?,
            kind::DAMAGE => {
                self.counts.damages += 1;
                let DamageFrame { sequence, what } = self.decode(&payload)?;
                Item::Damage(Damage { seat: self.seated()?, sequence, what })
            }
            kind::END => return self.end(&payload).map(|()| None),
            other => return Err(self.altered(format!("there is no frame of the kind {other}"))),
        };
        Ok(Some(item))
    }

    fn seat(&mut self, payload: &[u8]) -> Result<Item, ArchiveError> {
        self.counts.seats += 1;
        let SeatFrame { tenant, plugin, partition } = self.decode(payload)?;
        let seat = Seat { tenant: tenant.into(), plugin: plugin.into(), partition };
        self.seat = Some(seat.clone());
        Ok(Item::Seat(seat))
    }

    fn seated(&self) -> Result<Seat, ArchiveError> {
        self.seat.clone().ok_or_else(|| self.altered("something comes before the first seat"))
    }

    fn record(&mut self, payload: &[u8]) -> Result<Item, ArchiveError> {
        self.counts.records += 1;
        self.seated()?;
        let (sequence, stored) = self.sequence(payload)?;
        let record = format::decode_record(self.counts.seats, sequence, stored);
        record.map(Item::Record).map_err(|error| self.altered(error.to_string()))
    }

    fn snapshot(&mut self, payload: &[u8]) -> Result<Item, ArchiveError> {
        self.counts.snapshots += 1;
        self.seated()?;
        let (sequence, rest) = self.sequence(payload)?;
        let Some((horizon @ (0 | 1), head)) = rest.split_first() else {
            return Err(self.altered("a snapshot without its flag"));
        };
        let head = format::decode_snapshot(self.counts.seats, sequence, head);
        let head = head.map_err(|error| self.altered(error.to_string()))?;
        let pieces = self.pieces(sequence, head.parts.iter().fold(0, |sum, part| sum.saturating_add(*part)))?;
        let snapshot = head.with_state(sequence, pieces).ok_or_else(|| self.altered("a snapshot of odd pieces"))?;
        Ok(Item::Snapshot { snapshot, horizon: *horizon == 1 })
    }

    /// The pieces of a snapshot's state, which has so many bytes.
    fn pieces(&mut self, sequence: u64, bytes: u64) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let (mut pieces, mut left, mut number) = (Vec::new(), bytes, 0);
        while left > 0 {
            let (kind::PIECE, payload) = self.frame()? else {
                return Err(self.altered("a piece of a snapshot is missing"));
            };
            let piece = format::decode_piece(self.counts.seats, sequence, number, &payload);
            let piece = piece.map_err(|error| self.altered(error.to_string()))?;
            left = left.saturating_sub(piece.len() as u64);
            number += 1;
            pieces.push(piece.to_vec());
        }
        Ok(pieces)
    }

    /// The sequence that a payload begins with, and the rest.
    fn sequence<'a>(&self, payload: &'a [u8]) -> Result<(u64, &'a [u8]), ArchiveError> {
        let (sequence, rest) = payload.split_first_chunk().ok_or_else(|| self.altered("a frame without a sequence"))?;
        Ok((u64::from_le_bytes(*sequence), rest))
    }

    fn end(&mut self, payload: &[u8]) -> Result<(), ArchiveError> {
        let counts: Counts = self.decode(payload)?;
        if counts != self.counts {
            return Err(self.altered(format!("it says that it holds {counts:?}, and holds {:?}", self.counts)));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.altered("it goes on after its end")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), ArchiveError> {
        let [kind] = self.exactly()?;
        let length = u32::from_le_bytes(self.exactly()?);
        if length > PAYLOAD_BYTES {
            return Err(self.altered(format!("a frame of {length} bytes")));
        }
        // Not reserved at once: a length that is altered may be more than there is.
        let mut payload = Vec::new();
        self.input.by_ref().take(length.into()).read_to_end(&mut payload)?;
        self.took(&payload);
        if payload.len() < length as usize {
            return Err(ArchiveError::Torn(self.position));
        }
        let sum = self.sum.digest();
        if u64::from_le_bytes(self.exactly()?) != sum {
            return Err(self.altered("the checksum is another"));
        }
        Ok((kind, payload))
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Torn(self.position),
            _ => error.into(),
        })?;
        self.took(&bytes);
        Ok(bytes)
    }

    fn took(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.position += bytes.len() as u64;
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, payload: &[u8]) -> Result<T, ArchiveError> {
        ciborium::from_reader(payload).map_err(|error| self.altered(error.to_string()))
    }

    fn altered(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Altered { at: self.position, what: what.into() }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Item, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let item = self.item().transpose();
            self.ended = !matches!(item, Some(Ok(_)));
            if self.ended || self.is_wanted() {
                return item;
            }
        }
        None
    }
}

/// Puts what an archive holds into a journal that has nothing of its seats. Blocks. On error the journal has some of it.
///
/// # Errors
///
/// The archive is torn, altered, or names damage, or the journal failed.
pub fn restore(reader: &mut Reader<impl Read>, journal: &dyn Journal) -> Result<Counts, ArchiveError> {
    let mut filling = Filling { journal, seat: None, records: Vec::new() };
    let mut appended = reader.position;
    while let Some(item) = reader.next().transpose()? {
        let Item::Record(record) = item else {
            filling.append()?;
            filling.put(item)?;
            continue;
        };
        filling.records.push(record);
        if reader.position - appended >= APPEND_BYTES {
            filling.append()?;
            appended = reader.position;
        }
    }
    filling.append()?;
    Ok(reader.counts)
}

/// A journal that is filled, and the records that it does not have yet.
struct Filling<'a> {
    journal: &'a dyn Journal,
    seat: Option<Seat>,
    records: Vec<Record>,
}

impl Filling<'_> {
    fn put(&mut self, item: Item) -> Result<(), ArchiveError> {
        match (item, &self.seat) {
            (Item::Seat(seat), _) => self.seat = Some(seat),
            (Item::Snapshot { snapshot, horizon }, Some(seat)) => {
                self.journal.put_snapshot(seat, &snapshot)?;
                if horizon {
                    self.journal.cut(seat, snapshot.sequence)?;
                }
            }
            (Item::Damage(damage), _) => return Err(ArchiveError::Incomplete(damage)),
            (Item::Record(record), _) => self.records.push(record),
            (Item::Snapshot { .. }, None) => unreachable!("the reader gives a seat first"),
        }
        Ok(())
    }

    /// Appends what waits. Whether it follows what is there is for the journal to say.
    fn append(&mut self) -> Result<(), ArchiveError> {
        let records = std::mem::take(&mut self.records);
        let (Some(first), Some(seat)) = (records.first(), &self.seat) else { return Ok(()) };
        let expected = first.sequence.saturating_sub(1);
        if let Some((record, _)) = records.iter().zip(expected + 1..).find(|(record, due)| record.sequence != *due) {
            let what = "it does not follow the record before it".to_owned();
            return Err(ArchiveError::Incomplete(Damage { seat: seat.clone(), sequence: record.sequence, what }));
        }
        let append = Append { seat: seat.clone(), expected, records, chain: Chain::default() };
        self.journal.append(&[append]).into_iter().collect::<Result<(), _>>().map_err(ArchiveError::from)
    }
}
