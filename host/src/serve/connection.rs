//! One client's connection, as the HTTP implementation sees it: it ends when the client is too slow, idle, or gone.
//!
//! hyper has one timer, for a head and the pause before it alike, and takes the end of the client's side for its
//! absence at once. Here a pause may be longer than a head, and a client that has closed only its sending side (`nc -N`)
//! still gets an answer that comes within [`HALF_CLOSED`].

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::counters::{Counters, Limit};

/// How long an answer may take to begin after the client has closed its sending side.
pub const HALF_CLOSED: Duration = Duration::from_secs(1);

/// What a connection is doing; shared by the connection and the request on it.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    requests: AtomicU64,
    /// Who waits for the client to send; what it waits for changes with the end of a request.
    reader: Mutex<Option<Waker>>,
}

impl Shared {
    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const STREAMING: u8 = 2;

impl Activity {
    /// A request has arrived; it is over when the result is dropped.
    pub fn begin(&self) -> InFlight {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.phase.store(ANSWERING, Ordering::Relaxed);
        InFlight(self.0.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct InFlight(Arc<Shared>);

impl InFlight {
    /// The answer comes in parts: from now on a client that closes its sending side is taken as gone.
    pub fn stream(&self) {
        self.0.phase.store(STREAMING, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut reader = self.0.reader();
        self.0.phase.store(IDLE, Ordering::Relaxed);
        if let Some(reader) = reader.take() {
            reader.wake();
        }
    }
}

/// How long a connection waits for its client.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a request's head, from its first byte; for the first request, from the connection's beginning.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// A stream whose reading side ends by [`Patience`] and [`Activity`].
pub struct Connection<S> {
    stream: S,
    activity: Activity,
    patience: Patience,
    counters: Arc<Counters>,
    /// The request that the fields below are about.
    request: u64,
    /// Whether a byte of its head has arrived.
    head_began: bool,
    client_ended: bool,
    timer: Option<(Wait, Pin<Box<Sleep>>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Head,
    Idle,
    Answer,
}

impl<S> Connection<S> {
    /// A connection that has just been accepted.
    pub fn new(stream: S, activity: Activity, patience: Patience, counters: Arc<Counters>) -> Connection<S> {
        Connection {
            stream,
            activity,
            patience,
            counters,
            request: 0,
            head_began: true,
            client_ended: false,
            timer: None,
        }
    }

    /// What to wait for while nothing arrives; none: for ever.
    fn wait(&mut self) -> Option<(Wait, Duration)> {
        let requests = self.activity.0.requests.load(Ordering::Relaxed);
        if self.request != requests {
            (self.request, self.head_began, self.timer) = (requests, false, None);
        }
        match (self.activity.0.phase.load(Ordering::Relaxed), self.client_ended) {
            (ANSWERING, true) => Some((Wait::Answer, HALF_CLOSED)),
            (_, true) => Some((Wait::Answer, Duration::ZERO)),
            (IDLE, false) if self.head_began => Some((Wait::Head, self.patience.head)),
            (IDLE, false) => Some((Wait::Idle, self.patience.idle)),
            (_, false) => None,
        }
    }

    /// Ready when the connection has waited long enough for its client.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // The end of a request begins a pause, and hyper does not read again by itself to find that out.
        *self.activity.0.reader() = Some(context.waker().clone());
        let Some((wait, duration)) = self.wait() else {
            self.timer = None;
            return Poll::Pending;
        };
        if duration.is_zero() {
            return Poll::Ready(());
        }
        if self.timer.as_ref().is_none_or(|(current, _)| *current != wait) {
            self.timer = Some((wait, Box::pin(tokio::time::sleep(duration))));
        }
        let (_, timer) = self.timer.as_mut().expect("it was just set");
        ready!(timer.as_mut().poll(context));
        match wait {
            Wait::Head => self.counters.refused(Limit::HeaderSeconds),
            Wait::Idle => self.counters.refused(Limit::IdleSeconds),
            Wait::Answer => {}
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    /// As the stream's; its end is reported once patience is over too.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if !self.client_ended && Pin::new(&mut self.stream).poll_read(context, buffer)?.is_ready() {
            if buffer.filled().len() > before {
                let idle = self.activity.0.phase.load(Ordering::Relaxed) == IDLE;
                self.wait();
                self.head_began |= idle;
                return Poll::Ready(Ok(()));
            }
            self.client_ended = true;
        }
        self.poll_patience(context).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    struct Scene {
        client: DuplexStream,
        server: Connection<DuplexStream>,
        activity: Activity,
        counters: Arc<Counters>,
    }

    fn scene() -> Scene {
        let (client, server) = duplex(100);
        let (activity, counters) = (Activity::default(), Arc::new(Counters::default()));
        let patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(60) };
        let server = Connection::new(server, activity.clone(), patience, counters.clone());
        Scene { client, server, activity, counters }
    }

    async fn read(server: &mut Connection<DuplexStream>) -> usize {
        server.read(&mut [0; 10]).await.expect("the stream works")
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_sends_a_head_is_cut_off() {
        let mut scene = scene();
        assert_eq!(read(&mut scene.server).await, 0);
        assert_eq!(scene.counters.refusals()["header-seconds"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_may_be_longer_than_a_head() {
        let mut scene = scene();
        scene.client.write_all(b"GET").await.expect("sent");
        assert_eq!(read(&mut scene.server).await, 3);
        drop(scene.activity.begin());
        assert_eq!(read(&mut scene.server).await, 0);
        assert_eq!((scene.counters.refusals()["header-seconds"], scene.counters.refusals()["idle-seconds"]), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_begins_with_the_end_of_a_request() {
        let mut scene = scene();
        let in_flight = scene.activity.begin();
        let reading = tokio::spawn(async move { read(&mut scene.server).await });
        tokio::task::yield_now().await;
        drop(in_flight);
        let ended = tokio::time::timeout(Duration::from_secs(61), reading).await.expect("it is awake");
        assert_eq!(ended.expect("no panic"), 0);
        assert_eq!(scene.counters.refusals()["idle-seconds"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_head_that_stalls_is_cut_off() {
        let mut scene = scene();
        drop(scene.activity.begin());
        scene.client.write_all(b"G").await.expect("sent");
        assert_eq!(read(&mut scene.server).await, 1);
        assert_eq!(read(&mut scene.server).await, 0);
        assert_eq!(scene.counters.refusals()["header-seconds"], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_its_time() {
        let mut scene = scene();
        let in_flight = scene.activity.begin();
        let long = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(long, read(&mut scene.server)).await.is_err(), "the server still waits");
        drop(in_flight);
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_client_has_a_second_for_its_answer() {
        let mut scene = scene();
        let in_flight = scene.activity.begin();
        scene.client.shutdown().await.expect("closed");
        let nearly = HALF_CLOSED - Duration::from_millis(10);
        assert!(tokio::time::timeout(nearly, read(&mut scene.server)).await.is_err(), "there is some time left");
        assert_eq!(read(&mut scene.server).await, 0);
        drop(in_flight);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_answer_the_end_is_the_end() {
        let mut scene = scene();
        let in_flight = scene.activity.begin();
        scene.client.shutdown().await.expect("closed");
        let reading = tokio::spawn(async move { read(&mut scene.server).await });
        tokio::task::yield_now().await;
        drop(in_flight);
        let at_once = tokio::time::timeout(Duration::from_millis(1), reading).await.expect("it is awake");
        assert_eq!(at_once.expect("no panic"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_a_stream_is_gone_at_once() {
        let mut scene = scene();
        let in_flight = scene.activity.begin();
        in_flight.stream();
        drop(scene.client);
        let at_once = tokio::time::timeout(Duration::from_millis(1), read(&mut scene.server)).await;
        assert_eq!(at_once, Ok(0));
    }
}
