//! The sending side of a connection: it knows what the peer has acknowledged, and gives up a peer that takes nothing.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::counters::{Counters, Limit};
use super::delivery::Deliveries;

/// How long after a flush the peer's acknowledgement is looked for; then twice as long, and so on up to [`LAST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// A stream that knows how much of what was written to it is still on its way.
pub trait SendQueue {
    /// How many of the bytes written the peer has not acknowledged; none if that cannot be known.
    fn unacknowledged(&self) -> Option<u64>;
}

impl SendQueue for TcpStream {
    fn unacknowledged(&self) -> Option<u64> {
        // `SIOCOUTQ`, tcp(7); the number is that of all architectures that wasmtime compiles for.
        const SIOCOUTQ: Opcode = 0x5411;
        // SAFETY: SIOCOUTQ writes one `int`; what is no TCP socket refuses it or does likewise.
        let unacknowledged = unsafe { ioctl(self.as_fd(), Getter::<SIOCOUTQ, std::ffi::c_int>::new()) };
        unacknowledged.ok().and_then(|bytes| u64::try_from(bytes).ok())
    }
}

/// A stream that tells [`Deliveries`] what of it has arrived: while there is something to tell, at each flush, when the
/// peer says something, after a pause, and at the end. Where the stream does not know, what is written counts as
/// arrived.
///
/// To shut it down is to wait until the answers on it are settled, or the peer is gone.
pub struct Sending<S: SendQueue> {
    stream: S,
    deliveries: Deliveries,
    send_time: Duration,
    counters: Arc<Counters>,
    written: u64,
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
            written: 0,
            look_again: None,
            pause: FIRST_LOOK,
            stall: None,
            shut: false,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.written.saturating_sub(self.stream.unacknowledged().unwrap_or(0))
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

    /// Counts what was written, or the time that nothing was.
    fn wrote(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Ok(bytes)) => {
                self.written += bytes as u64;
                self.stall = None;
                Poll::Ready(Ok(bytes))
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
        self.wrote(context, polled)
    }

    /// The HTTP implementation flushes when it has written everything that it took from the bodies.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.deliveries.flushed(self.written) {
            (self.look_again, self.pause) = (None, FIRST_LOOK);
        }
        self.settle(context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
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
        self.wrote(context, polled)
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

    /// A stream whose queue the test decides about.
    struct Pipe {
        stream: DuplexStream,
        unacknowledged: Arc<AtomicU64>,
    }

    impl SendQueue for Pipe {
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

    impl AsyncWrite for Pipe {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
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
        let (client, stream) = duplex(100);
        let (unacknowledged, counters) = (Arc::<AtomicU64>::default(), Arc::<Counters>::default());
        let (deliveries, told) = (Deliveries::default(), Told::default());
        let delivery = Some(deliveries.answer(told.receipt(1)));
        let pipe = Pipe { stream, unacknowledged: unacknowledged.clone() };
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

    /// What the operating system says of a real socket.
    #[tokio::test]
    async fn the_system_knows_what_has_arrived() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let (client, accepted) = tokio::join!(socket.connect(listener.local_addr()?), listener.accept());
        let (mut client, mut server) = (client?, accepted?.0);
        assert_eq!(server.unacknowledged(), Some(0));
        let mut written = 0;
        while let Ok(more) = server.try_write(&[b'x'; 65_536]) {
            written += more as u64;
        }
        let unacknowledged = server.unacknowledged().expect("the system knows");
        assert!(0 < unacknowledged && unacknowledged < written, "{unacknowledged} of {written}");
        client.read_exact(&mut vec![0; usize::try_from(written).expect("it fits")]).await?;
        client.write_all(b"G").await?;
        server.read_u8().await?;
        assert_eq!(server.unacknowledged(), Some(0));
        Ok(())
    }
}
