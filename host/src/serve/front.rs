//! The clients' listener: a task for each connection, TLS where it is wanted, HTTP/1.1 on it, and an orderly end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{Activity, Connection, Patience};
use super::counters::{Counters, Limit};
use super::delivery::Deliveries;
use super::exchange::Exchange;
use super::places::Places;
use super::proxies::Origin;
use super::sending::Sending;
use super::socket::{ClientStream, Socket};
use super::tls::Tls;

/// How long to wait before accepting again after the operating system refused (no file descriptor is free).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A request may have a header for each so many bytes that its head may have: each header costs more than its text.
const BYTES_FOR_A_HEADER: usize = 64;
/// The longest that a silent connection can stay unprobed; the operating system takes no more.
const LONGEST_SILENCE: Duration = Duration::from_secs(32_767);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many there may be at a time.
    pub connections: usize,
    /// How many of these may be from one address that is no trusted proxy's.
    pub connections_per_address: usize,
    /// The size of a request's head, in bytes, and of what a client sends before its turn.
    pub header_bytes: usize,
    /// How long the server waits for a client to send.
    pub patience: Patience,
    /// How long a client may take nothing of what is sent to it, and be silent without being probed.
    pub send_time: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
}

/// The clients' side of the program.
pub struct Front {
    /// Answers the requests.
    pub exchange: Exchange,
    /// The certificate; none: without TLS.
    pub tls: Option<Arc<Tls>>,
    /// What connections may take.
    pub limits: ConnectionLimits,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Front {
    /// The address whose connections are counted together; none: a proxy's, which comes for many.
    fn alone(&self, peer: SocketAddr) -> Option<IpAddr> {
        let address = peer.ip().to_canonical();
        Some(address).filter(|address| !self.exchange.proxies().trusts(*address))
    }
}

/// Serves the connections of a listener. Once `stop` says true, no more are accepted; returns when the last one has
/// ended. Dropping the future closes all of them.
pub async fn listen(listener: TcpListener, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let ConnectionLimits { connections: most, connections_per_address, .. } = front.limits;
    let places = Arc::new(Places::new(most, connections_per_address));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection was accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        match places.take(front.alone(peer)) {
            Ok(place) => {
                let (front, stop) = (front.clone(), stop.clone());
                connections.spawn(async move {
                    admit(stream, peer, &front, stop).await;
                    drop(place);
                });
            }
            Err(limit) => {
                front.counters.refused(limit);
                turn_away(stream, &front, limit).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn admit(stream: TcpStream, peer: SocketAddr, front: &Front, stop: watch::Receiver<bool>) {
    let _connected = front.counters.connected();
    if let Err(error) = prepare(&stream, front.limits.send_time) {
        tracing::debug!(%peer, %error, "the connection was gone before its first request");
        return;
    }
    let origin = Origin { address: peer.ip().to_canonical(), secure: front.tls.is_some() };
    match secured(Socket::new(stream), front, stop.clone()).await {
        Ok(stream) => serve_connection(stream, origin, front, stop).await,
        Err(error) => tracing::debug!(%peer, %error, "there is no TLS on the connection"),
    }
}

/// The connection after its TLS handshake, if it is to have one.
async fn secured(socket: Socket, front: &Front, mut stop: watch::Receiver<bool>) -> io::Result<ClientStream> {
    let Some(tls) = &front.tls else { return Ok(ClientStream::Plain(socket)) };
    let handshake = tokio::time::timeout(front.limits.handshake_time, tls.accept(socket));
    let handshake = tokio::select! {
        ended = handshake => ended,
        _ = stop.wait_for(|stop| *stop) => return Err(io::Error::other("the server stops")),
    };
    match handshake {
        Ok(Ok(stream)) => Ok(ClientStream::Secured(Box::new(stream))),
        Ok(Err(error)) => {
            front.counters.handshake_failed();
            Err(error)
        }
        Err(_) => {
            front.counters.refused(Limit::HandshakeSeconds);
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

async fn serve_connection(stream: ClientStream, origin: Origin, front: &Front, mut stop: watch::Receiver<bool>) {
    let (activity, deliveries) = (Activity::default(), Deliveries::default());
    let ConnectionLimits { patience, send_time, .. } = front.limits;
    let stream = Sending::new(stream, deliveries.clone(), send_time, front.counters.clone());
    let stream = TokioIo::new(Connection::new(stream, activity.clone(), patience, front.counters.clone()));
    let service = service_fn(|request| {
        let (in_flight, deliveries) = (activity.begin(), &deliveries);
        async move {
            let mut response = front.exchange.answer(request, origin).await;
            response.body_mut().hold(in_flight, deliveries);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(front.limits.header_bytes / BYTES_FOR_A_HEADER)
        .max_header_size(front.limits.header_bytes)
        .max_buf_size(front.limits.header_bytes)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        if error.is_parse_too_large() {
            front.counters.refused(Limit::HeaderBytes);
        } else if error.is_parse() {
            front.counters.malformed();
        }
        tracing::debug!(client = %origin.address, error = %Causes(&error), "the connection broke off");
    }
}

/// Every part goes out at once, and a peer that vanished is noticed, also while nothing is said.
fn prepare(stream: &TcpStream, send_time: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    let silence = send_time.min(LONGEST_SILENCE);
    sockopt::set_tcp_keepidle(stream, silence)?;
    sockopt::set_tcp_keepintvl(stream, silence)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(send_time.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

async fn turn_away(mut stream: TcpStream, front: &Front, limit: Limit) {
    let status = match limit {
        Limit::ConnectionsPerAddress => "429 Too Many Requests",
        _ => "503 Service Unavailable",
    };
    let answer = format!("HTTP/1.1 {status}\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    // A courtesy: whether it arrives does not matter, and a fresh socket's queue takes it without waiting. A handshake
    // only to say so would cost what the limit is to save.
    if front.tls.is_none() {
        let _ = stream.try_write(answer.as_bytes());
    }
    let _ = stream.shutdown().await;
}

/// An error with its causes, on one line.
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |cause| write!(formatter, ": {}", Causes(cause)))
    }
}
