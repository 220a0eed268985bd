//! HTTP/1.1 by hand, over a socket: what is sent is exactly what the test says, and chunks are seen one by one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use rustix::net::{AddressFamily, SocketType};

use crate::{PATIENCE, schemas};

/// What bytes go through, both ways.
pub trait Stream: Read + Write + std::fmt::Debug + Send {}

impl<S: Read + Write + std::fmt::Debug + Send> Stream for S {}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

/// Status and headers of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: Head,
    /// The body, without its transfer coding.
    pub body: String,
}

/// A request with `Host`, `Content-Length`, and these headers.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend(body);
    bytes
}

/// The value of `Authorization` for Basic authentication.
pub fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{login}:{password}")))
}

impl Connection {
    /// Connects. Reads give up after [`PATIENCE`].
    pub fn open(address: SocketAddr) -> Result<Connection> {
        Ok(Connection::over(socket(address)?))
    }

    /// Connects. Reads give up after so long.
    pub fn patient(address: SocketAddr, patience: Duration) -> Result<Connection> {
        let socket = socket(address)?;
        socket.set_read_timeout(Some(patience))?;
        Ok(Connection::over(socket))
    }

    /// A connection whose bytes go through this.
    pub fn over(stream: impl Stream + 'static) -> Connection {
        Connection { stream: BufReader::new(Box::new(stream)) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        self.answer()
    }

    /// Reads an answer to its end.
    pub fn answer(&mut self) -> Result<Answer> {
        let head = self.head()?;
        let mut body = Vec::new();
        if head.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            body.resize(length.parse()?, 0);
            self.stream.read_exact(&mut body).context("reading the body")?;
        } else {
            ensure!(head.status < 200 || head.status == 204, "an answer whose end cannot be told: {head:?}");
        }
        let body = String::from_utf8(body)?;
        // A stream's parts were judged one by one.
        if head.header("transfer-encoding").is_none() {
            schemas::judge(&body)?;
        }
        Ok(Answer { head, body })
    }

    /// Reads status and headers.
    pub fn head(&mut self) -> Result<Head> {
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let mut head =
            Head { status: status.with_context(|| format!("a status line: {first:?}"))?, headers: Vec::new() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(head);
            }
            let (name, value) = line.split_once(':').with_context(|| format!("a header: {line:?}"))?;
            head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads one chunk of a chunked body; none after the last.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("the size of a chunk: {line:?}"))?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).context("reading a chunk")?;
        let end = self.line()?;
        ensure!(end.is_empty(), "after a chunk: {end:?}");
        std::str::from_utf8(&chunk).map_or(Ok(()), schemas::judge)?;
        Ok((size > 0).then_some(chunk))
    }

    /// Fails unless the server has closed the connection, or closes it now, without another byte.
    pub fn closed(&mut self) -> Result<()> {
        match self.stream.fill_buf() {
            Ok([]) => Ok(()),
            Ok(bytes) => bail!("more came: {:?}", String::from_utf8_lossy(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error).context("waiting for the end of the connection"),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("reading a line")?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => bail!("the connection ended inside a line: {line:?}"),
        }
    }
}

/// A socket that is connected, from this address of the machine's. Reads give up after [`PATIENCE`].
pub fn socket_from(local: Ipv4Addr, address: SocketAddr) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((local, 0)))?;
    rustix::net::connect(&socket, &address)?;
    prepared(TcpStream::from(socket))
}

/// A socket that is connected. Reads give up after [`PATIENCE`].
pub fn socket(address: SocketAddr) -> Result<TcpStream> {
    prepared(TcpStream::connect(address)?)
}

fn prepared(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Head {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(this, _)| this == name).map(|(_, value)| value.as_str())
    }
}
