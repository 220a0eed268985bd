//! Reading: where a seat ends, its records, what there is of it.
//!
//! Single messages are asked of the stream's leader, because others may be behind. A run of them comes from whichever
//! server has the consumer, which is waited for until it has what the leader had.

use std::pin::pin;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError};
use futures_util::StreamExt;

use super::lanes::Tip;
use super::subjects::{self, Kind};
use super::{Store, failed, index};
use crate::journal::format::{FormatError, Group, Index, Message, decode_message, seat_number};
use crate::journal::{JournalError, Record, Seat, SeatFacts};

/// How many bytes of records a read gives, or a little more.
const READ_BYTES: usize = 4 << 20;

/// A message and where it stands in the stream.
struct Found {
    sequence: u64,
    message: Message,
}

/// Where a seat ends, and its last message.
pub(super) async fn tip(store: &Store, seat: &Seat) -> Result<(Tip, Option<Message>), JournalError> {
    let last = last(store, seat).await?;
    let mut tip = last.as_ref().map_or(Tip::default(), |Found { sequence, message }| Tip {
        last: message.last,
        now: message.now,
        swap: message.swap,
        message: *sequence,
    });
    // A seat may begin with a snapshot.
    if let Some(newest) = index::read(store, seat).await?.0.whole().last()
        && newest.sequence > tip.last
    {
        (tip.last, tip.now) = (newest.sequence, newest.head.now);
    }
    Ok((tip, last.map(|last| last.message)))
}

/// See [`crate::journal::Journal::facts`].
pub(super) async fn facts(store: &Store, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
    let (index, written) = index::read(store, seat).await?;
    let (tip, last) = tip(store, seat).await?;
    if last.is_none() && written == 0 {
        return Ok(None);
    }
    let first = match next(store, seat, 1).await? {
        Some(first) => first.message.first,
        None => tip.last + 1,
    };
    // Messages end before the newest snapshot only where they were lost, or begin behind it.
    let regressed = last.is_some_and(|last| last.last < tip.last);
    let first = first.max(index.horizon + 1);
    let snapshots = index.whole().map(index::facts).collect();
    Ok(Some(SeatFacts { last: tip.last, now: tip.now, first, snapshots, regressed, swap: tip.swap }))
}

/// See [`crate::journal::Journal::seats`].
pub(super) async fn seats(store: &Store) -> Result<Vec<Seat>, JournalError> {
    let mut seats = Vec::new();
    for (stream, number) in store.streams.iter().zip(0..) {
        let all = subjects::all(&store.options.name, number);
        let mut subjects = stream.info_with_subjects(all).await.map_err(|error| failed(&error))?;
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| failed(&error))?;
            seats.extend(subjects::seat(&store.options.name, &subject));
        }
    }
    seats.sort_unstable();
    seats.dedup();
    Ok(seats)
}

/// See [`crate::journal::Journal::read`].
pub(super) async fn read(store: &Store, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
    let Some(last) = store.within(last(store, seat)).await? else { return Ok(vec![]) };
    let continuation = store.continuations_now().remove(seat).filter(|(next, _)| *next == from);
    let first = match continuation {
        _ if from > last.message.last => return Ok(vec![]),
        Some((_, message)) => message,
        None => store.within(locate(store, seat, from, last.sequence)).await?,
    };
    let (records, behind) = Run { store, seat, from }.read(first, last.sequence).await?;
    if let (Some(record), Some(behind)) = (records.last(), behind) {
        store.continuations_now().insert(seat.clone(), (record.sequence + 1, behind));
    }
    Ok(records)
}

/// The first message that has the record.
async fn locate(store: &Store, seat: &Seat, from: u64, last: u64) -> Result<u64, JournalError> {
    let horizon = index::read(store, seat).await?.0.horizon;
    let first = next(store, seat, 1).await?.ok_or_else(|| failed(&"the subject is empty"))?;
    let oldest = first.message.first.max(horizon + 1);
    if from < oldest {
        return Err(JournalError::Damaged(format!("{seat}, record {from}: it is cut; the first is {oldest}")));
    }
    halve(store, seat, from, (first.sequence, last)).await
}

/// The first message that ends with the record or behind it, which is the first piece of its group. The sequences of
/// records and of messages grow together.
async fn halve(store: &Store, seat: &Seat, record: u64, (first, last): (u64, u64)) -> Result<u64, JournalError> {
    let (mut low, mut high) = (first, last);
    while low < high {
        let middle = low + (high - low) / 2;
        match next(store, seat, middle).await? {
            Some(found) if found.message.last < record => low = found.sequence + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first message of the stream at `sequence` or behind it that is the seat's.
async fn next(store: &Store, seat: &Seat, sequence: u64) -> Result<Option<Found>, JournalError> {
    let subject = store.subject(seat, Kind::Records);
    found(seat, store.stream(seat).get_first_raw_message_by_subject(subject, sequence).await)
}

/// Where the group begins that has the record, or else the last one; none: there is none.
pub(super) async fn group_of(store: &Store, seat: &Seat, record: u64) -> Result<Option<u64>, JournalError> {
    let (Some(first), Some(last)) = (next(store, seat, 1).await?, last(store, seat).await?) else { return Ok(None) };
    let record = record.min(last.message.last);
    halve(store, seat, record, (first.sequence, last.sequence)).await.map(Some)
}

async fn last(store: &Store, seat: &Seat) -> Result<Option<Found>, JournalError> {
    let subject = store.subject(seat, Kind::Records);
    found(seat, store.stream(seat).get_last_raw_message_by_subject(&subject).await)
}

fn found(seat: &Seat, message: Result<StreamMessage, RawMessageError>) -> Result<Option<Found>, JournalError> {
    let Some(StreamMessage { sequence, payload, .. }) = given(message)? else { return Ok(None) };
    let message = decode_message(seat, &payload).map_err(|error| damaged(seat, sequence, &error))?;
    Ok(Some(Found { sequence, message }))
}

/// The message, if there is one.
pub(super) fn given(message: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, JournalError> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Names the message that is not what was stored.
pub(super) fn damaged(seat: &Seat, message: u64, error: &FormatError) -> JournalError {
    JournalError::Damaged(format!("{seat}, message {message} of its stream: {error}"))
}

/// A run of records that is read.
struct Run<'a> {
    store: &'a Store,
    seat: &'a Seat,
    from: u64,
}

impl Run<'_> {
    /// The records from message `first` on, up to message `last` or until they are enough; and where to go on.
    async fn read(&self, first: u64, last: u64) -> Result<(Vec<Record>, Option<u64>), JournalError> {
        let (store, subject) = (self.store, self.store.subject(self.seat, Kind::Records));
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: first };
        let config = OrderedConfig { filter_subject: subject, deliver_policy, ..OrderedConfig::default() };
        let messages = store.within(async {
            let consumer = store.stream(self.seat).create_consumer(config).await.map_err(|error| failed(&error))?;
            consumer.messages().await.map_err(|error| failed(&error))
        });
        let mut messages = pin!(messages.await?);
        let (mut records, mut bytes, mut gathered) = (Vec::new(), 0, Vec::new());
        loop {
            let message = store.within(async { Ok(messages.next().await) }).await?;
            let message = message.ok_or_else(|| failed(&"a consumer has ended"))?.map_err(|error| failed(&error))?;
            let sequence = message.info().map_err(|error| failed(&error))?.stream_sequence;
            bytes += message.payload.len();
            let whole = decode_message(self.seat, &message.payload)
                .map_err(|error| damaged(self.seat, sequence, &error))
                .and_then(|message| self.gather(message, sequence, &mut gathered, &mut records));
            match whole {
                // Who reads on from it is told.
                Err(_) if !records.is_empty() => return Ok((records, None)),
                Err(error) => return Err(error),
                Ok(whole) if sequence >= last || (whole && bytes >= READ_BYTES) => {
                    return Ok((records, whole.then_some(sequence + 1)));
                }
                Ok(_) => {}
            }
        }
    }

    /// Takes a message, and the records of its group if it is the last piece; whether it is.
    fn gather(
        &self,
        message: Message,
        sequence: u64,
        gathered: &mut Vec<Message>,
        records: &mut Vec<Record>,
    ) -> Result<bool, JournalError> {
        let missing = |what: u64| JournalError::Damaged(format!("{}, record {what}: it is missing", self.seat));
        if message.piece as usize != gathered.len() || gathered.iter().any(|before| before.group != message.group) {
            return Err(missing(message.first));
        }
        let (first, whole) = (message.first, message.piece + 1 == message.pieces);
        gathered.push(message);
        if !whole {
            return Ok(false);
        }
        let expected = records.last().map_or(self.from, |record| record.sequence + 1);
        if first > expected {
            return Err(missing(expected));
        }
        let content: Vec<u8> = gathered.drain(..).flat_map(|message| message.records).collect();
        let group = Group::records(seat_number(self.seat), first, &content);
        for record in group.map_err(|error| damaged(self.seat, sequence, &error))? {
            let record =
                record.map_err(|(at, error)| JournalError::Damaged(format!("{}, record {at}: {error}", self.seat)));
            records.extend(Some(record?).filter(|record| record.sequence >= self.from));
        }
        Ok(true)
    }
}

impl Index {
    /// The snapshots that are there.
    pub(super) fn whole(&self) -> impl DoubleEndedIterator<Item = &crate::journal::format::IndexEntry> {
        self.snapshots.iter().filter(|entry| entry.whole && entry.sequence >= self.horizon)
    }
}
