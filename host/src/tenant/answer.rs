//! The client's half of an open request: the answer as it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

use super::shard::{Command, Mailbox};
use super::unread::Unread;
use crate::Timings;
use crate::clock::Stopwatch;

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// Headers, as the plugin gave them.
    pub headers: Vec<(String, String)>,
    /// What follows them.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Parts, one by one as they come to be.
    Parts(Parts),
}

/// The parts of an answer, in order. Dropping it before its end hangs up.
///
/// To ask for a part is also to say what the client has: all parts but the one given last; and to ask once more after
/// the last part, that it has all of them. The plugin hears of that. Who knows better what has arrived, because there is
/// a network between this and the client, takes the [receipt](Parts::receipt).
#[derive(Debug)]
pub struct Parts {
    line: UnboundedReceiver<Part>,
    unread: Arc<Unread>,
    /// None: the reader has taken it, or the answer is over.
    receipt: Option<Receipt>,
    /// Confirmed parts before the last one given, and with it.
    confirmed: (u32, u32),
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Open,
    /// The last one given was the last of all.
    Last,
    Ended,
}

/// The host ended an answer before the plugin's final part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed by the host: {0}")]
pub struct Closed(
    /// Why.
    pub String,
);

/// What goes down the line from the tenant to the reader.
#[derive(Debug)]
pub(crate) enum Part {
    Body { bytes: Bytes, confirm: bool, last: bool, woken: Option<Woken> },
    Closed(String),
}

/// The first part of an answer.
#[derive(Debug)]
pub(crate) struct Start {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: StartBody,
    pub(super) woken: Option<Woken>,
}

/// A part that a change brought to a client that was parked: when the client's side takes it, the wake is over.
#[derive(Debug)]
pub(crate) struct Woken {
    /// Since the change was accepted.
    pub(super) accepted: Stopwatch,
    pub(super) timings: Arc<Timings>,
}

impl Woken {
    fn over(self) {
        self.timings.woke(self.accepted.elapsed());
    }
}

#[derive(Debug)]
pub(crate) enum StartBody {
    Whole(Bytes),
    Line { line: UnboundedReceiver<Part>, unread: Arc<Unread> },
}

impl Start {
    pub(super) fn answer(self, receipt: Receipt) -> Answer {
        let body = match self.body {
            StartBody::Whole(bytes) => {
                self.woken.into_iter().for_each(Woken::over);
                receipt.disarm();
                Body::Whole(bytes)
            }
            StartBody::Line { line, unread } => {
                Body::Parts(Parts { line, unread, receipt: Some(receipt), confirmed: (0, 0), stage: Stage::Open })
            }
        };
        Answer { status: self.status, headers: self.headers, body }
    }
}

impl Parts {
    /// The next part; none after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, Closed>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Parts::next`], for bodies of HTTP servers.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>> {
        match self.stage {
            Stage::Open => {}
            Stage::Last => {
                self.stage = Stage::Ended;
                if let Some(receipt) = self.receipt.take() {
                    receipt.complete();
                }
                return Poll::Ready(None);
            }
            Stage::Ended => return Poll::Ready(None),
        }
        if let Some(receipt) = &mut self.receipt {
            receipt.acknowledge(self.confirmed.0);
        }
        Poll::Ready(Some(match ready!(self.line.poll_recv(context)) {
            Some(Part::Body { bytes, confirm, last, woken }) => {
                woken.into_iter().for_each(Woken::over);
                self.unread.take(bytes.len());
                self.confirmed = (self.confirmed.1, self.confirmed.1 + u32::from(confirm));
                self.stage = if last { Stage::Last } else { Stage::Open };
                Ok(bytes)
            }
            Some(Part::Closed(why)) => self.closed(why),
            None => self.closed("the tenant is gone".into()),
        }))
    }

    /// The host knows already that this answer is over.
    fn closed(&mut self, why: String) -> Result<Bytes, Closed> {
        self.stage = Stage::Ended;
        if let Some(receipt) = self.receipt.take() {
            receipt.disarm();
        }
        Err(Closed(why))
    }

    /// How many of the parts given so far are confirmed ones: those of which the plugin hears when the client has them.
    pub fn confirmed(&self) -> u32 {
        self.confirmed.1
    }

    /// Takes it upon the caller to say what the client has: from now on, to ask for parts says nothing. None if it was
    /// taken before, or if the answer is over.
    pub fn receipt(&mut self) -> Option<Receipt> {
        self.receipt.take()
    }
}

/// For servers that send bodies from a stream.
impl futures_core::Stream for Parts {
    type Item = Result<Bytes, Closed>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Parts::poll_next(&mut self, context)
    }
}

/// Says what the client has of an answer. To drop it before [`Receipt::complete`] is to say that the client is gone, and
/// has no more than was said.
#[derive(Debug)]
pub struct Receipt {
    id: u64,
    mailbox: Mailbox,
    acknowledged: u32,
    armed: bool,
}

impl Receipt {
    pub(super) fn new(id: u64, mailbox: Mailbox) -> Receipt {
        Receipt { id, mailbox, acknowledged: 0, armed: true }
    }

    /// The client has the first `parts` of the answer's confirmed parts. It is a total: one that is not above the last
    /// says nothing.
    pub fn acknowledge(&mut self, parts: u32) {
        if parts > self.acknowledged {
            self.acknowledged = parts;
            self.mailbox.tell(Command::Acknowledged { id: self.id, parts });
        }
    }

    /// The client has all parts, the final one included. Before the plugin has given that one it is as good as dropping.
    pub fn complete(mut self) {
        self.end(true);
    }

    /// There is nothing to say any more: nobody waits to hear of the end.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }

    fn end(&mut self, orderly: bool) {
        self.armed = false;
        self.mailbox.tell(Command::Ended { id: self.id, parts: self.acknowledged, orderly });
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.armed {
            self.end(false);
        }
    }
}
