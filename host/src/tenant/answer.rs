//! The client's half of an open request: the answer as it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

use super::shard::{Command, Mailbox};

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
#[derive(Debug)]
pub struct Parts {
    line: UnboundedReceiver<Part>,
    unread: Arc<AtomicUsize>,
    hang_up: HangUp,
    /// Confirmed parts before the last one given, and with it.
    confirmed: (u32, u32),
    /// The last one given was the last of all.
    complete: bool,
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
    Body { bytes: Bytes, confirm: bool, last: bool },
    Closed(String),
}

/// The first part of an answer.
#[derive(Debug)]
pub(crate) struct Start {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: StartBody,
}

#[derive(Debug)]
pub(crate) enum StartBody {
    Whole(Bytes),
    Line { line: UnboundedReceiver<Part>, unread: Arc<AtomicUsize> },
}

impl Start {
    pub(super) fn answer(self, hang_up: HangUp) -> Answer {
        let body = match self.body {
            StartBody::Whole(bytes) => {
                hang_up.disarm();
                Body::Whole(bytes)
            }
            StartBody::Line { line, unread } => {
                Body::Parts(Parts { line, unread, hang_up, confirmed: (0, 0), complete: false })
            }
        };
        Answer { status: self.status, headers: self.headers, body }
    }
}

impl Parts {
    /// The next part; none after the last. To ask for another one is to say that the former ones but the last have
    /// reached the client's side; the plugin hears of that.
    pub async fn next(&mut self) -> Option<Result<Bytes, Closed>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Parts::next`], for bodies of HTTP servers.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Closed>>> {
        if !self.hang_up.armed {
            return Poll::Ready(None);
        }
        if self.complete {
            self.hang_up.end(self.confirmed.1);
            return Poll::Ready(None);
        }
        self.acknowledge();
        match ready!(self.line.poll_recv(context)) {
            Some(Part::Body { bytes, confirm, last }) => {
                self.unread.fetch_sub(bytes.len(), Ordering::Relaxed);
                self.confirmed = (self.confirmed.1, self.confirmed.1 + u32::from(confirm));
                self.complete = last;
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Part::Closed(why)) => {
                self.hang_up.armed = false;
                Poll::Ready(Some(Err(Closed(why))))
            }
            None => {
                self.hang_up.armed = false;
                Poll::Ready(Some(Err(Closed("the tenant is gone".into()))))
            }
        }
    }

    fn acknowledge(&mut self) {
        if self.confirmed.0 > self.hang_up.acknowledged {
            self.hang_up.acknowledged = self.confirmed.0;
            let (id, parts) = (self.hang_up.id, self.confirmed.0);
            self.hang_up.mailbox.tell(Command::Acknowledged { id, parts });
        }
    }
}

/// Tells the tenant when a reader goes away before the end.
#[derive(Debug)]
pub(super) struct HangUp {
    id: u64,
    mailbox: Mailbox,
    acknowledged: u32,
    armed: bool,
}

impl HangUp {
    pub(super) fn new(id: u64, mailbox: Mailbox) -> HangUp {
        HangUp { id, mailbox, acknowledged: 0, armed: true }
    }

    /// There is nothing to hang up any more, and nobody waits to hear of the end.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }

    /// The reader has everything.
    fn end(&mut self, confirmed: u32) {
        self.armed = false;
        self.mailbox.tell(Command::Ended { id: self.id, parts: confirmed, orderly: true });
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if self.armed {
            self.mailbox.tell(Command::Ended { id: self.id, parts: self.acknowledged, orderly: false });
        }
    }
}
