//! Request bodies: read within their limits, or read and thrown away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{self, HeaderMap};

use super::room::{NoRoom, Room, Share};

/// How much of a body that nobody wants is read, so that the client gets to read the answer, in bytes.
const DISCARDED: usize = 16 << 20;

/// How much room is made for what a client says that it will send, in bytes.
const UNSEEN: u64 = 8 << 10;

/// What a request's body may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Its size, in bytes.
    pub bytes: usize,
    /// The size of all bodies that are there at a time, in bytes.
    pub bytes_total: usize,
    /// The time that it may take to arrive.
    pub time: Duration,
}

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreceived {
    /// It is larger than allowed.
    TooLarge,
    /// All bodies together are larger than allowed.
    NoRoom,
    /// It takes longer than allowed.
    TooSlow,
    /// The client ended it early, or framed it wrongly.
    Broken,
}

/// A body, and its share of the room for all.
#[derive(Debug)]
pub struct Received {
    /// All of it.
    pub bytes: Vec<u8>,
    /// To be kept as long as the bytes are.
    pub share: Share,
}

impl From<NoRoom> for Unreceived {
    fn from(NoRoom: NoRoom) -> Unreceived {
        Unreceived::NoRoom
    }
}

/// The whole body, if it is small and quick enough.
pub async fn receive<B>(body: &mut B, limits: BodyLimits, room: &Arc<Room>) -> Result<Received, Unreceived>
where
    B: Body<Data = Bytes> + Unpin,
{
    let collected = tokio::time::timeout(limits.time, collect(body, limits.bytes, room.share())).await;
    collected.unwrap_or(Err(Unreceived::TooSlow))
}

async fn collect<B>(body: &mut B, most: usize, mut share: Share) -> Result<Received, Unreceived>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(Unreceived::TooLarge);
    }
    // What is only announced takes no room.
    let mut bytes = Vec::with_capacity(announced.min(UNSEEN) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreceived::Broken)?;
        let data = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
        if bytes.len() + data.len() > most {
            return Err(Unreceived::TooLarge);
        }
        share.grow(data.len())?;
        bytes.extend_from_slice(data);
    }
    Ok(Received { bytes, share })
}

/// Reads a body and throws it away, within limits: a client that is still sending does not read, and closing upon what
/// it has sent would take the answer from it. A client that waits for a go-ahead (`Expect`) with a body that is too
/// large is not given it.
pub async fn discard<B: Body<Data = Bytes> + Unpin>(headers: &HeaderMap, mut body: B, limits: BodyLimits) {
    if headers.contains_key(header::EXPECT) && body.size_hint().lower() > limits.bytes as u64 {
        return;
    }
    let reading = async {
        let mut left = Some(DISCARDED);
        while let (Some(rest), Some(Ok(frame))) = (left, body.frame().await) {
            left = rest.checked_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    };
    // What has not arrived by then is closed upon.
    let _ = tokio::time::timeout(limits.time, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Frame;
    use hyper::header::HeaderValue;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    const LIMITS: BodyLimits = BodyLimits { bytes: 10, bytes_total: 25, time: Duration::from_secs(5) };

    /// A body of pieces; `None` is a piece that never arrives, `Some(Err)` a broken connection.
    #[derive(Default)]
    struct Pieces {
        pieces: VecDeque<Option<Result<&'static str, ()>>>,
        announced: Option<u64>,
        taken: Arc<AtomicUsize>,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = ();

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
            self.taken.fetch_add(1, Ordering::Relaxed);
            let bytes = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
            match self.pieces.front() {
                Some(None) => Poll::Pending,
                _ => Poll::Ready(self.pieces.pop_front().flatten().map(|piece| piece.map(bytes))),
            }
        }

        fn size_hint(&self) -> hyper::body::SizeHint {
            self.announced.map(hyper::body::SizeHint::with_exact).unwrap_or_default()
        }
    }

    fn pieces(pieces: &[Option<Result<&'static str, ()>>]) -> Pieces {
        Pieces { pieces: pieces.iter().copied().collect(), ..Pieces::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_within_the_limits_arrive_whole() {
        for (body, expected) in [
            (pieces(&[]), Ok(b"".to_vec())),
            (pieces(&[Some(Ok("01234")), Some(Ok("56789"))]), Ok(b"0123456789".to_vec())),
            (pieces(&[Some(Ok("01234")), Some(Ok("56789")), Some(Ok("a"))]), Err(Unreceived::TooLarge)),
            (pieces(&[Some(Ok("01234")), None]), Err(Unreceived::TooSlow)),
            (pieces(&[Some(Ok("01234")), Some(Err(()))]), Err(Unreceived::Broken)),
        ] {
            assert_eq!(received(body, &room()).await.map(|received| received.bytes), expected);
        }
    }

    fn room() -> Arc<Room> {
        Arc::new(Room::new(LIMITS.bytes_total, Arc::default()))
    }

    async fn received(mut body: Pieces, room: &Arc<Room>) -> Result<Received, Unreceived> {
        receive(&mut body, LIMITS, room).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_there_leave_no_room_for_others() {
        let room = room();
        let ten = || pieces(&[Some(Ok("01234")), Some(Ok("56789"))]);
        let there = (received(ten(), &room).await.expect("room"), received(ten(), &room).await.expect("room"));
        assert_eq!(received(ten(), &room).await.err(), Some(Unreceived::NoRoom));
        drop(there.0);
        assert!(received(ten(), &room).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_read_unless_the_client_waits_for_a_go_ahead() {
        let waiting = HeaderMap::from_iter([(header::EXPECT, HeaderValue::from_static("100-continue"))]);
        for (headers, pieces_taken) in [(HeaderMap::new(), 3), (waiting, 0)] {
            let mut body = Pieces { announced: Some(11), ..pieces(&[Some(Ok("012345")), Some(Ok("67890"))]) };
            let taken = body.taken.clone();
            assert_eq!(receive(&mut body, LIMITS, &room()).await.err(), Some(Unreceived::TooLarge));
            discard(&headers, body, LIMITS).await;
            assert_eq!(taken.load(Ordering::Relaxed), pieces_taken);
        }
    }
}
