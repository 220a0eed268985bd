//! What operators get of the journal: a list of what there is, and archives of it, made while the host serves.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::api::{Named, aside};
use super::refusal::Refusal;
use super::{Right, STALL_TIME, State};
use crate::journal::archive::{self, Survey};
use crate::journal::{Journal, JournalError, Seat, SeatFacts, SnapshotFacts};

/// An archive goes out in pieces of about this size, some of which may wait for the client.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_WAITING: usize = 4;

/// What there is of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listing {
    /// In order.
    pub seats: Vec<SeatListing>,
}

/// What there is of one seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatListing {
    /// The tenant's name.
    pub tenant: String,
    /// The plugin's name.
    pub plugin: String,
    /// Which part of the tenant's accounts.
    pub partition: u32,
    /// The sequence of the first record that can be replayed.
    pub first: u64,
    /// The sequence of the last record; less than `first`: there is none.
    pub last: u64,
    /// The tenant's time at the last input, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotListing>,
    /// Why nothing more can be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A snapshot without its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotListing {
    /// The last input that it contains.
    pub sequence: u64,
    /// The tenant's time at that input, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The bytes of the state.
    pub bytes: u64,
}

impl Listing {
    /// What a journal has. Blocks.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn of(journal: &dyn Journal) -> Result<Listing, JournalError> {
        let mut listing = Listing { seats: Vec::new() };
        for seat in journal.seats()? {
            match journal.facts(&seat) {
                Ok(facts) => listing.seats.extend(facts.map(|facts| SeatListing::of(&seat, &facts))),
                Err(JournalError::Damaged(what)) => listing.seats.push(SeatListing::damaged(&seat, what)),
                Err(error) => return Err(error),
            }
        }
        Ok(listing)
    }
}

impl Survey {
    /// What there is, as it is listed.
    pub fn listing(&self) -> Listing {
        Listing { seats: self.seats.iter().map(|(seat, facts)| SeatListing::of(seat, facts)).collect() }
    }
}

impl SeatListing {
    fn of(seat: &Seat, facts: &SeatFacts) -> SeatListing {
        let snapshot = |&SnapshotFacts { sequence, now, bytes, .. }: &_| SnapshotListing { sequence, now, bytes };
        SeatListing {
            tenant: seat.tenant.to_string(),
            plugin: seat.plugin.to_string(),
            partition: seat.partition,
            first: facts.horizon() + 1,
            last: facts.last,
            now: facts.now,
            snapshots: facts.snapshots.iter().map(snapshot).collect(),
            damaged: None,
        }
    }

    fn damaged(seat: &Seat, what: String) -> SeatListing {
        let facts = SeatFacts { last: 0, now: 0, first: 1, snapshots: Vec::new(), regressed: false, swap: 0 };
        SeatListing { damaged: Some(what), ..SeatListing::of(seat, &facts) }
    }
}

pub(super) async fn get_seats(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Json<Listing>, Refusal> {
    state.authorize_all(&headers)?;
    let journal = state.0.journal.clone();
    Ok(Json(aside(move || Listing::of(&*journal)).await?))
}

pub(super) async fn get_backup(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Response, Refusal> {
    state.authorize_all(&headers)?;
    respond(&state, |_| true).await
}

pub(super) async fn get_tenant_backup(
    Shared(state): Shared<State>,
    tenant: Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Path(tenant) = tenant.map_err(|error| Refusal::malformed(error.body_text()))?;
    state.authorize(&headers, &tenant, Right::Administer)?;
    respond(&state, move |seat| *seat.tenant == *tenant).await
}

/// An archive of the seats that are wanted. It is made on a thread of its own, only as fast as the client takes it.
async fn respond(state: &State, wanted: impl Fn(&Seat) -> bool) -> Result<Response, Refusal> {
    let place = state.0.archives.clone().try_acquire_owned().map_err(|_| Refusal::archives())?;
    let journal = state.0.journal.clone();
    let mut seats = {
        let journal = journal.clone();
        aside(move || journal.seats()).await?
    };
    seats.retain(wanted);
    let (pieces, body) = channel(PIECES_WAITING);
    let mut out = Pieces { pieces, network: Handle::current(), waiting: BytesMut::new() };
    tokio::task::spawn_blocking(move || {
        let written = archive::write(&*journal, &seats, &mut out).and_then(|_| Ok(out.send(None)?));
        if let Err(error) = written {
            tracing::warn!(%error, "an archive of the journal is cut off");
        }
        drop(place);
    });
    Ok(([(CONTENT_TYPE, "application/octet-stream")], Body::new(Archive(body))).into_response())
}

/// Where an archive is written to: pieces, and at the end none.
struct Pieces {
    pieces: Sender<Option<Bytes>>,
    network: Handle,
    waiting: BytesMut,
}

impl Pieces {
    /// Blocks until there is room, but no longer than a client may stall.
    fn send(&self, piece: Option<Bytes>) -> io::Result<()> {
        let sent = self.network.block_on(async { tokio::time::timeout(STALL_TIME, self.pieces.send(piece)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = self.waiting.split().freeze();
        if piece.is_empty() { Ok(()) } else { self.send(Some(piece)) }
    }
}

/// The body of a response, as it is written.
struct Archive(Receiver<Option<Bytes>>);

impl HttpBody for Archive {
    type Data = Bytes;
    type Error = io::Error;

    /// An error ends the connection without the last chunk, so that the client knows that something is missing.
    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| match piece {
            Some(piece) => piece.map(|bytes| Ok(Frame::data(bytes))),
            None => Some(Err(io::Error::other("the archive is cut off"))),
        })
    }
}
