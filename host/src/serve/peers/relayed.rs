//! An answer in parts that another node gives, on its way to a client of this one.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::FORWARDED;
use crate::serve::answer::PartSource;
use crate::serve::delivery::Settle;
use crate::tenant::Closed;

/// How many parts may wait for the client; the rest stays at the other node.
const WAITING: usize = 4;

/// The longest part, in bytes: a reaction has no longer ones.
const LONGEST: usize = 16 << 20;

/// What comes before a part.
const FRAME: usize = 8;

/// The part, and how many confirmed ones there were up to and with it.
type Part = (Bytes, u32);

pub(super) struct Relayed {
    parts: mpsc::Receiver<Result<Part, Closed>>,
    confirmed: u32,
    receipt: Option<Box<dyn Settle>>,
}

/// How to say what the client has.
pub(super) struct Acknowledge {
    pub(super) client: reqwest::Client,
    pub(super) url: String,
    pub(super) secret: HeaderValue,
}

impl Relayed {
    /// Reads from the other node for as long as the client is there, and the node.
    pub(super) fn start(response: reqwest::Response, lives: watch::Receiver<()>, acknowledge: Acknowledge) -> Relayed {
        let (sender, parts) = mpsc::channel(WAITING);
        let (has, heard) = mpsc::unbounded_channel();
        let told = tokio::spawn(acknowledge.run(heard));
        tokio::spawn(read(response, lives, sender, told));
        Relayed { parts, confirmed: 0, receipt: Some(Box::new(Receipt(has))) }
    }
}

impl PartSource for Relayed {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>> {
        self.parts.poll_recv(context).map(|part| {
            part.map(|part| {
                part.map(|(bytes, confirmed)| {
                    self.confirmed = confirmed;
                    bytes
                })
            })
        })
    }

    fn confirmed(&self) -> u32 {
        self.confirmed
    }

    fn receipt(&mut self) -> Option<Box<dyn Settle>> {
        self.receipt.take()
    }
}

async fn read(
    mut response: reqwest::Response,
    mut lives: watch::Receiver<()>,
    parts: mpsc::Sender<Result<Part, Closed>>,
    mut told: JoinHandle<()>,
) {
    let mut unread = BytesMut::new();
    loop {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk.map_err(|error| Closed(format!("the node that has the tenant: {error}"))),
            _ = lives.changed() => Err(Closed("the node that had the tenant is gone".into())),
            // It would wait for acknowledgements that do not come.
            _ = &mut told => Err(Closed("the node that has the tenant does not hear what its client has".into())),
            () = parts.closed() => return hang_up(response, told).await,
        };
        match chunk {
            Ok(Some(chunk)) => unread.extend_from_slice(&chunk),
            Ok(None) if unread.is_empty() => return,
            Ok(None) => return drop(parts.send(Err(Closed("an answer ends within a part".into()))).await),
            Err(closed) => return drop(parts.send(Err(closed)).await),
        }
        loop {
            match next_part(&mut unread) {
                Ok(Some(part)) => {
                    if parts.send(Ok(part)).await.is_err() {
                        return hang_up(response, told).await;
                    }
                }
                Ok(None) => break,
                Err(closed) => return drop(parts.send(Err(closed)).await),
            }
        }
    }
}

/// The client is gone. So it is for the other node, once that has heard what arrived before.
async fn hang_up(response: reqwest::Response, told: JoinHandle<()>) {
    // It does not panic, and nobody aborts it.
    let _ = told.await;
    drop(response);
}

/// What comes before a part that other nodes are sent.
pub(in crate::serve) fn framed(part: &Bytes, confirmed: u32) -> Bytes {
    let length = u32::try_from(part.len()).expect("a reaction is smaller");
    let mut frame = BytesMut::with_capacity(FRAME + part.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&confirmed.to_be_bytes());
    frame.extend_from_slice(part);
    frame.freeze()
}

fn next_part(unread: &mut BytesMut) -> Result<Option<Part>, Closed> {
    let Some(frame) = unread.first_chunk::<FRAME>() else { return Ok(None) };
    let [a, b, c, d, confirmed @ ..] = *frame;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > LONGEST {
        return Err(Closed("another node sends what is no part".into()));
    }
    if unread.len() < FRAME + length {
        return Ok(None);
    }
    unread.advance(FRAME);
    Ok(Some((unread.split_to(length).freeze(), u32::from_be_bytes(confirmed))))
}

/// What the client has.
enum Has {
    Parts(u32),
    All,
}

/// Dropped before it is complete, the client is gone; so is the connection to the other node then.
struct Receipt(mpsc::UnboundedSender<Has>);

impl Settle for Receipt {
    fn acknowledge(&mut self, parts: u32) {
        // An error means that the other node does not hear any more.
        let _ = self.0.send(Has::Parts(parts));
    }

    fn complete(self: Box<Self>) {
        // As above.
        let _ = self.0.send(Has::All);
    }
}

impl Acknowledge {
    /// Says the latest of what was heard, one after the other, for as long as the other node hears it.
    async fn run(self, mut heard: mpsc::UnboundedReceiver<Has>) {
        while let Some(mut has) = heard.recv().await {
            while let Ok(later) = heard.try_recv() {
                has = later;
            }
            let query = match has {
                Has::Parts(parts) => format!("parts={parts}"),
                Has::All => "complete".to_owned(),
            };
            let said = self.client.post(format!("{}?{query}", self.url)).header(FORWARDED, self.secret.clone());
            match said.send().await {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => {}
                other => {
                    let answer = other.map(|response| response.status());
                    return tracing::debug!(?answer, "the node that has the tenant does not hear what its client has");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn parts_come_out_as_they_went_in_however_they_are_cut() {
        let parts = [("one", 0), ("", 1), ("three", 1)]
            .map(|(part, confirmed)| (Bytes::from_static(part.as_bytes()), confirmed));
        let sent: Vec<u8> = parts.iter().flat_map(|(part, confirmed)| framed(part, *confirmed)).collect();
        for size in 1..sent.len() {
            let (mut unread, mut received) = (BytesMut::new(), Vec::new());
            for piece in sent.chunks(size) {
                unread.extend_from_slice(piece);
                while let Some(part) = next_part(&mut unread).expect("good frames") {
                    received.push(part);
                }
            }
            assert_eq!((received.as_slice(), unread.len()), (&parts[..], 0), "{size}");
        }
        assert!(next_part(&mut BytesMut::from(&[255; 8][..])).is_err());
    }

    /// Another node answers with one part and goes on, and does not know the answer when it is told what arrived.
    #[tokio::test]
    async fn a_stream_whose_acknowledgements_are_not_heard_is_broken_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let part = framed(&Bytes::from_static(b"part"), 1);
        tokio::spawn(async move {
            let (mut answering, _) = listener.accept().await.expect("a connection");
            answering.read_buf(&mut Vec::new()).await.expect("a request");
            let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", part.len());
            answering.write_all(&[head.as_bytes(), &part, b"\r\n"].concat()).await.expect("it is read");
            let (mut hearing, _) = listener.accept().await.expect("another one");
            hearing.read_buf(&mut Vec::new()).await.expect("a request");
            let unknown = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            hearing.write_all(unknown).await.expect("it is read");
            std::future::pending::<()>().await;
        });
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response = client.get(format!("http://{address}/")).send().await.expect("an answer");
        let (_lives, lives) = watch::channel(());
        let (url, secret) = (format!("http://{address}/answer"), HeaderValue::from_static("secret"));
        let mut relayed = Relayed::start(response, lives, Acknowledge { client, url, secret });
        let mut receipt = relayed.receipt().expect("somebody waits for it");
        let mut next = async || poll_fn(|context| relayed.poll_part(context)).await;
        assert_eq!(next().await, Some(Ok(Bytes::from_static(b"part"))));
        receipt.acknowledge(1);
        assert!(matches!(next().await, Some(Err(Closed(_)))));
    }
}
