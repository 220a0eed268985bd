//! A client's socket: it counts what is handed to the system, and may be wrapped in TLS.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A stream that knows how much of what was handed to the system is still on its way.
///
/// Both counts are of the same bytes: under TLS of the encrypted ones. What a TLS session has been given and not yet
/// encrypted and sent is in neither; a flush that has ended leaves nothing there.
pub trait SendQueue {
    /// How many bytes were handed to the system.
    fn sent(&self) -> u64;

    /// How many of these the peer has not acknowledged; none if that cannot be known.
    fn unacknowledged(&self) -> Option<u64>;
}

/// A TCP connection that counts what is written to it.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    sent: u64,
}

impl Socket {
    /// A connection on which nothing was written.
    pub fn new(stream: TcpStream) -> Socket {
        Socket { stream, sent: 0 }
    }

    fn count(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.sent += bytes as u64;
        }
        polled
    }
}

impl SendQueue for Socket {
    fn sent(&self) -> u64 {
        self.sent
    }

    fn unacknowledged(&self) -> Option<u64> {
        // `SIOCOUTQ`, tcp(7); the number is that of all architectures that wasmtime compiles for.
        const SIOCOUTQ: Opcode = 0x5411;
        // SAFETY: SIOCOUTQ writes one `int`; what is no TCP socket refuses it or does likewise.
        let unacknowledged = unsafe { ioctl(self.stream.as_fd(), Getter::<SIOCOUTQ, std::ffi::c_int>::new()) };
        unacknowledged.ok().and_then(|bytes| u64::try_from(bytes).ok())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(polled)
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
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What a client's bytes come through.
#[derive(Debug)]
pub enum ClientStream {
    /// As they are.
    Plain(Socket),
    /// Encrypted.
    Secured(Box<TlsStream<Socket>>),
}

impl SendQueue for ClientStream {
    fn sent(&self) -> u64 {
        self.socket().sent()
    }

    fn unacknowledged(&self) -> Option<u64> {
        self.socket().unacknowledged()
    }
}

impl ClientStream {
    fn socket(&self) -> &Socket {
        match self {
            ClientStream::Plain(socket) => socket,
            ClientStream::Secured(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for ClientStream {
    /// A client that closes without TLS's own farewell has closed all the same (RFC 9112, section 9.8): whether its
    /// request is whole, HTTP's framing tells.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            ClientStream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            ClientStream::Secured(stream) => Poll::Ready(match ready!(Pin::new(stream).poll_read(context, buffer)) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                read => read,
            }),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            ClientStream::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            ClientStream::Plain(stream) => Pin::new(stream).poll_flush(context),
            ClientStream::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            ClientStream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            ClientStream::Secured(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            ClientStream::Secured(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            ClientStream::Plain(stream) => stream.is_write_vectored(),
            ClientStream::Secured(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What the operating system says of a real socket.
    #[tokio::test]
    async fn the_system_knows_what_has_arrived() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let (client, accepted) = tokio::join!(socket.connect(listener.local_addr()?), listener.accept());
        let (mut client, mut server) = (client?, Socket::new(accepted?.0));
        assert_eq!((server.sent(), server.unacknowledged()), (0, Some(0)));
        let filling = async { while server.write(&[b'x'; 65_536]).await.is_ok() {} };
        assert!(tokio::time::timeout(std::time::Duration::from_millis(100), filling).await.is_err(), "it fills up");
        let (sent, unacknowledged) = (server.sent(), server.unacknowledged().expect("the system knows"));
        assert!(0 < unacknowledged && unacknowledged < sent, "{unacknowledged} of {sent}");
        client.read_exact(&mut vec![0; usize::try_from(sent).expect("it fits")]).await?;
        client.write_all(b"G").await?;
        server.read_u8().await?;
        assert_eq!(server.unacknowledged(), Some(0));
        Ok(())
    }
}
