//! One group on its way: tried until it is stored, or another owner's is.
//!
//! Trying again is safe whatever became of the attempt before: each names the same last message, so one of them at most is
//! stored. The server refuses with 10071 where the last message is another one: then that message tells whether it is the
//! group itself (an attempt had succeeded, and its answer was lost) or another owner's. With 10164 it refuses only for the
//! moment, as where an append before is not replicated yet.

use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{HeaderMap, Request};
use serde::Deserialize;

use super::lanes::Tip;
use super::subjects::Kind;
use super::{Store, failed, read};
use crate::journal::format::{Message, encode_message};
use crate::journal::{JournalError, Seat};

/// What a message has besides its piece of the records, at most, in bytes: our envelope and the server's headers.
const OVERHEAD: usize = 1_024;

/// How many messages a server takes as one batch.
const BATCH: usize = 1_000;

/// How long an attempt waits for its answer; the next one asks again.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long the first retry waits; each further one twice as long, up to `LONGEST_PAUSE`.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest that a retry waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Error codes of JetStream, from the server's `errors.json`.
const WRONG_LAST_SEQUENCE: u64 = 10_071;
const WRONG_LAST_SEQUENCE_FOR_NOW: u64 = 10_164;

/// Why a group is not stored.
pub(super) enum Refusal {
    /// Another group of this life is, that had been given up.
    Late,
    Other(JournalError),
}

/// Why an attempt failed.
pub(super) enum Attempt {
    /// The subject's last message is another one.
    Moved,
    /// It may succeed later, or has already.
    Again(String),
    /// It never will.
    Never(String),
}

/// The answer to a message; in the middle of a batch there is none.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// How many bytes of records a message has at most.
pub(super) fn piece_bytes(store: &Store, seat: &Seat) -> usize {
    let stream = store.stream(seat).cached_info().config.max_message_size;
    let stream = usize::try_from(stream).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    store.client.server_info().max_payload.min(stream).saturating_sub(OVERHEAD).max(OVERHEAD)
}

/// Stores a group behind the tip `before`; the sequence of its last message in the stream.
pub(super) async fn publish(
    store: &Store,
    seat: &Seat,
    group: u64,
    content: Vec<u8>,
    (before, end): (Tip, Tip),
) -> Result<u64, Refusal> {
    let pieces = content.chunks(piece_bytes(store, seat)).collect::<Vec<_>>();
    let batched = store.stream(seat).cached_info().config.allow_atomic_publish;
    if pieces.len() > 1 && (!batched || pieces.len() > BATCH) {
        return Err(Refusal::Other(too_large(content.len(), batched)));
    }
    let count = pieces.len() as u32;
    let messages = pieces.into_iter().zip(0..).map(|(records, piece)| {
        let (first, records) = (before.last + 1, records.to_vec());
        let Tip { last, now, swap, .. } = end;
        let incarnation = store.incarnation;
        let message = Message { incarnation, group, first, last, now, swap, piece, pieces: count, records };
        encode_message(seat, &message)
    });
    let publication = Publication { store, seat, group, messages: messages.collect(), before };
    let patience = store.options.patience;
    let mut why = "no server answers".to_owned();
    match tokio::time::timeout(patience, publication.publish(&mut why)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Refusal::Other(failed(&format_args!("nothing stored within {} s: {why}", patience.as_secs())))),
    }
}

fn too_large(bytes: usize, batched: bool) -> JournalError {
    let why = match batched {
        true => "that is more than a batch takes",
        false => "that is more than a message takes, and batches need servers from 2.12 (`allow_atomic`)",
    };
    JournalError::Store(format!("NATS: an append has {bytes} bytes: {why}"))
}

struct Publication<'a> {
    store: &'a Store,
    seat: &'a Seat,
    group: u64,
    messages: Vec<Vec<u8>>,
    before: Tip,
}

impl Publication<'_> {
    async fn publish(&self, why: &mut String) -> Result<u64, Refusal> {
        let mut pause = PAUSE;
        loop {
            let again = match self.attempt().await {
                Ok(sequence) => return Ok(sequence),
                Err(Attempt::Moved) => match self.fence().await {
                    Ok(outcome) => return outcome,
                    Err(error) => error.to_string(),
                },
                Err(Attempt::Never(why)) => return Err(Refusal::Other(failed(&why))),
                Err(Attempt::Again(why)) => why,
            };
            tracing::debug!(seat = %self.seat, why = again, "an append is tried again");
            *why = again;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self) -> Result<u64, Attempt> {
        let subject = self.store.subject(self.seat, Kind::Records);
        let count = self.messages.len();
        let batch = (count > 1).then(|| self.store.client.new_inbox());
        let mut sequence = 0;
        for (message, place) in self.messages.iter().zip(1..) {
            let mut headers = HeaderMap::new();
            if place == 1 {
                expect(&mut headers, self.before.message);
            }
            if let Some(batch) = &batch {
                // The part behind the prefix: an id has 64 characters at most.
                headers.insert("Nats-Batch-Id", batch.rsplit('.').next().unwrap_or(batch));
                headers.insert("Nats-Batch-Sequence", place.to_string());
                if place == count {
                    headers.insert("Nats-Batch-Commit", "1");
                }
            }
            sequence = send(self.store, subject.clone(), headers, message.clone()).await?;
        }
        Ok(sequence)
    }

    /// The subject's last message is not the expected one: whose is it? The outer error: it could not be read.
    async fn fence(&self) -> Result<Result<u64, Refusal>, JournalError> {
        let (tip, last) = read::tip(self.store, self.seat).await?;
        let own = last.as_ref().filter(|last| last.incarnation == self.store.incarnation);
        Ok(match own.map(|own| own.group == self.group) {
            Some(true) => Ok(tip.message),
            Some(false) => Err(Refusal::Late),
            None => Err(Refusal::Other(JournalError::Conflict { expected: self.before.last, found: tip.last })),
        })
    }
}

/// What the subject's last message must be.
pub(super) fn expect(headers: &mut HeaderMap, message: u64) {
    headers.insert("Nats-Expected-Last-Subject-Sequence", message.to_string());
}

/// Sends one message and waits for its answer: its sequence, where there is one.
pub(super) async fn send(store: &Store, subject: String, headers: HeaderMap, payload: Vec<u8>) -> Result<u64, Attempt> {
    let request = Request::new().headers(headers).payload(payload.into()).timeout(Some(ATTEMPT));
    let answer = store.client.send_request(subject, request).await.map_err(|error| unanswered(&error))?;
    if answer.payload.is_empty() {
        return Ok(0);
    }
    let acknowledgement = serde_json::from_slice::<Acknowledgement>(&answer.payload);
    let acknowledgement =
        acknowledgement.map_err(|error| Attempt::Again(format!("an answer like no other: {error}")))?;
    match acknowledgement.error {
        None => Ok(acknowledgement.seq),
        Some(refused) => Err(refused.into()),
    }
}

fn unanswered(error: &RequestError) -> Attempt {
    match error.kind() {
        RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => Attempt::Never(error.to_string()),
        RequestErrorKind::NoResponders => Attempt::Again("the stream has no leader".into()),
        _ => Attempt::Again(error.to_string()),
    }
}

impl From<Refused> for Attempt {
    fn from(Refused { code, err_code, description }: Refused) -> Attempt {
        let why = format!("{description} ({err_code})");
        match (err_code, code) {
            (WRONG_LAST_SEQUENCE, _) => Attempt::Moved,
            (WRONG_LAST_SEQUENCE_FOR_NOW, _) | (_, 503) => Attempt::Again(why),
            _ => Attempt::Never(why),
        }
    }
}
