//! The sending side of a connection: it knows what the peer has acknowledged, and gives up a peer that takes nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::counters::{Counters, Limit};
use super::delivery::Deliveries;
use super::socket::SendQueue;

/// How long after a flush the peer's acknowledgement is looked for; then twice as long, and so on up to [`LAST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// A stream that tells [`Deliveries`] what of it has arrived: while there is something to tell, at each flush, when the
/// peer says something, after a pause, and at the end. Where the stream does not know, what is written counts as
/// arrived.
///
/// What counts are the bytes that the system was given. A stream that holds back some of what was written to it (TLS)
/// gives up all of it in a flush: so what was handed out lies within the bytes that were sent when a flush has ended.
///
/// To shut it down is to wait until the answers on it are settled, or the peer is gone.
pub struct Sending<S: SendQueue> {
    stream: S,
    deliveries: Deliveries,
    send_time: Duration,
    counters: Arc<Counters>,
    look_again: Option<Pin<Box<Sleep>>>,
    pause: Duration,
    /// Runs while the stream takes nothing, with the bytes that were acknowledged when it began.
    stall: Option<(u64, Pin<Box<Sleep>>)>,
    shut: bool,
}

impl<S: SendQueue> Sending<S> {
    /// `send_time`: how long the peer may take nothing of what is sent to it.
    pub fn new(stream: S, deliveries: Deliveries, send_time: Duration, counters: Arc<Counters>) -> Sending<S> {
        Sending {
            stream,
            deliveries,
            send_time,
            counters,
            look_again: None,
            pause: FIRST_LOOK,
            stall: None,
            shut: false,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.stream.sent().saturating_sub(self.stream.unacknowledged().unwrap_or(0))
    }

    fn look(&self) {
        if self.deliveries.outstanding() {
            self.deliveries.acknowledged(self.acknowledged());
        }
    }

    /// Tells what has arrived, and is woken to look again while something has not.
    fn settle(&mut self, context: &mut Context<'_>) {
        self.look();
        while self.deliveries.outstanding() {
            let pause = self.pause;
            let timer = self.look_again.get_or_insert_with(|| Box::pin(sleep(pause)));
            if timer.as_mut().poll(context).is_pending() {
                return;
            }
            (self.look_again, self.pause) = (None, LAST_LOOK.min(pause * 2));
            self.look();
        }
        self.look_again = None;
    }

    /// Ready when the peer has acknowledged nothing for as long as it may.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let (acknowledged, send_time) = (self.acknowledged(), self.send_time);
            let (before, timer) = self.stall.get_or_insert_with(|| (acknowledged, Box::pin(sleep(send_time))));
            ready!(timer.as_mut().poll(context));
            if *before == acknowledged {
                self.counters.refused(Limit::SendSeconds);
                return Poll::Ready(());
            }
            self.stall = None;
        }
    }

    /// What came of an attempt to send. Counts the time that the peer takes nothing.
    fn tried<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Ok(done)) => {
                self.stall = None;
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.given_up(error))),
            Poll::Pending => {
                self.settle(context);
                self.poll_stalled(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// The operating system gives up a peer after the same time (`TCP_USER_TIMEOUT`), and may be the first.
    fn given_up(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::TimedOut {
            self.counters.refused(Limit::SendSeconds);
        }
        error
    }
}

impl<S: SendQueue + AsyncRead + Unpin> Sending<S> {
    /// Whether the connection broke off; what the peer still says is thrown away.
    fn is_broken(&mut self, context: &mut Context<'_>) -> bool {
        loop {
            let mut bytes = [0; 1024];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(())) | Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
            }
        }
    }
}

impl<S: SendQueue> Drop for Sending<S> {
    fn drop(&mut self) {
        self.look();
        self.deliveries.end();
    }
}

impl<S: SendQueue + AsyncRead + Unpin> AsyncRead for Sending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.look();
        Poll::Ready(read.map_err(|error| self.given_up(error)))
    }
}

impl<S: SendQueue + AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sending<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.tried(context, polled)
    }

    /// The HTTP implementation flushes when it has written everything that it took from the bodies.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.tried(context, polled))?;
        if self.deliveries.flushed(self.stream.sent()) {
            (self.look_again, self.pause) = (None, FIRST_LOOK);
        }
        self.settle(context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            let polled = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.tried(context, polled))?;
            self.shut = true;
        }
        self.settle(context);
        if !self.deliveries.outstanding() || self.is_broken(context) {
            return Poll::Ready(Ok(()));
        }
        self.poll_stalled(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.tried(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::delivery::Delivery;
    use crate::serve::delivery::testing::Told;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    const SEND_TIME: Duration = Duration::from_secs(60);

    /// A stream whose queue the test decides about. One that holds back keeps what is written until it is flushed, as TLS
    /// may.
    struct Pipe {
        stream: DuplexStream,
        sent: u64,
        held: Option<Vec<u8>>,
        unacknowledged: Arc<AtomicU64>,
    }

    impl SendQueue for Pipe {
        fn sent(&self) -> u64 {
            self.sent
        }

        fn unacknowledged(&self) -> Option<u64> {
            Some(self.unacknowledged.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
        }
    }

    const UNKNOWN: u64 = u64::MAX;

    impl AsyncRead for Pipe {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl Pipe {
        fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
            self.sent += sent as u64;
            Poll::Ready(Ok(sent))
        }
    }

    impl AsyncWrite for Pipe {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            match &mut self.held {
                Some(held) => {
                    held.extend_from_slice(bytes);
                    Poll::Ready(Ok(bytes.len()))
                }
                None => self.poll_send(context, bytes),
            }
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            while let Some(held) = self.held.take_if(|held| !held.is_empty()) {
                let sent = self.poll_send(context, &held);
                let left = if let Poll::Ready(Ok(sent)) = sent { &held[sent..] } else { &held[..] };
                self.held = Some(left.to_vec());
                ready!(sent)?;
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }

    struct Scene {
        client: DuplexStream,
        server: Sending<Pipe>,
        unacknowledged: Arc<AtomicU64>,
        told: Told,
        delivery: Option<Delivery>,
        counters: Arc<Counters>,
    }

    /// A connection that takes 100 bytes while its client reads nothing, with an answer on it.
    fn scene() -> Scene {
        scene_with(None)
    }

    fn scene_with(held: Option<Vec<u8>>) -> Scene {
        let (client, stream) = duplex(100);
        let (unacknowledged, counters) = (Arc::<AtomicU64>::default(), Arc::<Counters>::default());
        let (deliveries, told) = (Deliveries::default(), Told::default());
        let delivery = Some(deliveries.answer(told.receipt(1)));
        let pipe = Pipe { stream, sent: 0, held, unacknowledged: unacknowledged.clone() };
        let server = Sending::new(pipe, deliveries, SEND_TIME, counters.clone());
        Scene { client, server, unacknowledged, told, delivery, counters }
    }

    impl Scene {
        /// Sends a part of ten bytes, with so many confirmed parts before it; so many bytes are on their way then.
        async fn part(&mut self, confirmed: u32, unacknowledged: u64) {
            self.delivery.as_mut().expect("the answer goes on").part(10, confirmed);
            self.unacknowledged.store(unacknowledged, Ordering::Relaxed);
            self.server.write_all(&[b'x'; 10]).await.expect("written");
            self.server.flush().await.expect("flushed");
        }

        /// Polls the connection as its task does, until nothing happens any more for so long.
        async fn run(&mut self, time: Duration) {
            let polling = std::future::poll_fn(|context| {
                let flushed = Pin::new(&mut self.server).poll_flush(context);
                assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
                Poll::<()>::Pending
            });
            assert!(timeout(time, polling).await.is_err(), "it never ends");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_settled_when_the_next_has_arrived() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.part(1, 20).await;
        scene.run(FIRST_LOOK * 10).await;
        assert_eq!(scene.told.take(), "");
        scene.unacknowledged.store(1, Ordering::Relaxed);
        scene.run(LAST_LOOK).await;
        assert_eq!(scene.told.take(), "", "the last byte is missing");
        scene.unacknowledged.store(0, Ordering::Relaxed);
        scene.run(LAST_LOOK).await;
        assert_eq!(scene.told.take(), "1: 1");
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_looks_for_the_former_ones() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.part(1, 20).await;
        scene.part(2, 10).await;
        assert_eq!(scene.told.take(), "1: 1");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_settled_when_it_has_arrived() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.delivery.take().expect("an answer").complete();
        scene.run(LAST_LOOK * 10).await;
        assert_eq!(scene.told.take(), "");
        scene.unacknowledged.store(0, Ordering::Relaxed);
        scene.run(LAST_LOOK).await;
        assert_eq!(scene.told.take(), "1: complete");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_request_ends_the_former_in_order() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.delivery.take().expect("an answer").complete();
        scene.server.flush().await.expect("flushed");
        scene.unacknowledged.store(0, Ordering::Relaxed);
        scene.client.write_all(b"G").await.expect("sent");
        scene.server.read_u8().await.expect("received");
        assert_eq!(scene.told.take(), "1: complete");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_looked_at_once_more() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.part(1, 20).await;
        scene.part(2, 30).await;
        scene.unacknowledged.store(10, Ordering::Relaxed);
        drop(scene.server);
        assert_eq!(scene.told.take(), "1: 1, 1: gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shut_down_waits_for_the_end_to_arrive() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.delivery.take().expect("an answer").complete();
        scene.server.flush().await.expect("flushed");
        assert!(timeout(LAST_LOOK * 10, scene.server.shutdown()).await.is_err(), "it waits");
        scene.unacknowledged.store(0, Ordering::Relaxed);
        timeout(LAST_LOOK, scene.server.shutdown()).await.expect("it is awake").expect("shut down");
        assert_eq!(scene.told.take(), "1: complete");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shut_down_does_not_wait_for_ever() {
        let mut scene = scene();
        scene.part(0, 10).await;
        scene.delivery.take().expect("an answer").complete();
        scene.server.flush().await.expect("flushed");
        timeout(SEND_TIME * 2, scene.server.shutdown()).await.expect("it gives up").expect("shut down");
        assert_eq!(scene.counters.refusals()["send-seconds"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let mut scene = scene();
        scene.unacknowledged.store(100, Ordering::Relaxed);
        let error = timeout(SEND_TIME * 2, scene.server.write_all(&[b'x'; 101])).await.expect("it gives up");
        assert_eq!(error.expect_err("given up").kind(), io::ErrorKind::TimedOut);
        assert_eq!(scene.counters.refusals()["send-seconds"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_little_is_waited_for() {
        let mut scene = scene();
        scene.unacknowledged.store(100, Ordering::Relaxed);
        let writing = tokio::spawn(async move { scene.server.write_all(&[b'x'; 101]).await.map(|()| scene.server) });
        for left in (90..100).rev() {
            tokio::time::sleep(SEND_TIME - Duration::from_secs(1)).await;
            assert!(!writing.is_finished(), "{left}");
            scene.unacknowledged.store(left, Ordering::Relaxed);
        }
        scene.client.read_exact(&mut [0; 101]).await.expect("received");
        assert!(writing.await.expect("no panic").is_ok());
        assert_eq!(scene.counters.refusals()["send-seconds"], 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_does_not_know_counts_what_is_written() {
        let mut scene = scene();
        scene.part(0, UNKNOWN).await;
        scene.part(1, UNKNOWN).await;
        assert_eq!(scene.told.take(), "1: 1");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_stream_holds_back_has_not_arrived() {
        let mut scene = scene_with(Some(Vec::new()));
        scene.part(0, 0).await;
        scene.delivery.as_mut().expect("the answer goes on").part(100, 1);
        scene.server.write_all(&[b'x'; 100]).await.expect("taken");
        assert!(timeout(LAST_LOOK * 10, scene.server.flush()).await.is_err(), "ten bytes have no room");
        assert_eq!(scene.told.take(), "", "the system was given 100 of 110 bytes, and all of these have arrived");
        scene.client.read_exact(&mut [0; 10]).await.expect("received");
        scene.server.flush().await.expect("flushed");
        assert_eq!(scene.told.take(), "1: 1");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_what_is_held_back_is_given_up() {
        let mut scene = scene_with(Some(Vec::new()));
        scene.unacknowledged.store(100, Ordering::Relaxed);
        scene.server.write_all(&[b'x'; 101]).await.expect("taken");
        let error = timeout(SEND_TIME * 2, scene.server.flush()).await.expect("it gives up");
        assert_eq!(error.expect_err("given up").kind(), io::ErrorKind::TimedOut);
        assert_eq!(scene.counters.refusals()["send-seconds"], 1);
    }
}
