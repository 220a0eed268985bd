//! Request bodies: read within their limits, or read and thrown away.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{self, HeaderMap};

/// How much of a body that nobody wants is read, so that the client gets to read the answer, in bytes.
const DISCARDED: usize = 16 << 20;

/// What a request's body may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Its size, in bytes.
    pub bytes: usize,
    /// The time that it may take to arrive.
    pub time: Duration,
}

/// Why a body is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreceived {
    /// It is larger than allowed.
    TooLarge,
    /// It takes longer than allowed.
    TooSlow,
    /// The client ended it early, or framed it wrongly.
    Broken,
}

/// The whole body, if it is small and quick enough.
pub async fn receive<B>(headers: &HeaderMap, mut body: B, limits: BodyLimits) -> Result<Vec<u8>, Unreceived>
where
    B: Body<Data = Bytes> + Unpin,
{
    let collected = tokio::time::timeout(limits.time, collect(&mut body, limits.bytes)).await;
    let collected = collected.unwrap_or(Err(Unreceived::TooSlow));
    if collected == Err(Unreceived::TooLarge) {
        discard(headers, body, limits).await;
    }
    collected
}

async fn collect<B: Body<Data = Bytes> + Unpin>(body: &mut B, most: usize) -> Result<Vec<u8>, Unreceived> {
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(Unreceived::TooLarge);
    }
    let mut bytes = Vec::with_capacity(announced as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreceived::Broken)?;
        let data = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
        if bytes.len() + data.len() > most {
            return Err(Unreceived::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    const LIMITS: BodyLimits = BodyLimits { bytes: 10, time: Duration::from_secs(5) };

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
            assert_eq!(receive(&HeaderMap::new(), body, LIMITS).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_read_unless_the_client_waits_for_a_go_ahead() {
        let waiting = HeaderMap::from_iter([(header::EXPECT, HeaderValue::from_static("100-continue"))]);
        for (headers, pieces_taken) in [(HeaderMap::new(), 3), (waiting, 0)] {
            let body = Pieces { announced: Some(11), ..pieces(&[Some(Ok("012345")), Some(Ok("67890"))]) };
            let taken = body.taken.clone();
            assert_eq!(receive(&headers, body, LIMITS).await, Err(Unreceived::TooLarge));
            assert_eq!(taken.load(Ordering::Relaxed), pieces_taken);
        }
    }
}
