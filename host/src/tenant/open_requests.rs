//! The tenant's half of its open requests: who waits, and what was sent to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::RequestError;
use super::answer::{Part, Start, StartBody};
use crate::contract::requests::{End, Settlement};
use crate::contract::types::Reply;

/// Told how an answer begins.
pub(super) type Respond = oneshot::Sender<Result<Start, RequestError>>;

/// The requests without a final part, and those whose confirmed parts are not settled yet.
#[derive(Default)]
pub(super) struct OpenRequests {
    requests: BTreeMap<u64, Open>,
    /// Those that have no final part yet, by the instant at which the host closes them.
    deadlines: BTreeSet<(u64, u64)>,
}

struct Open {
    stage: Stage,
    deadline: u64,
    confirmed: u32,
}

enum Stage {
    /// Nothing was sent.
    Parked(Respond),
    /// Parts were sent, more will follow.
    Streaming { line: mpsc::UnboundedSender<Part>, unread: Arc<AtomicUsize> },
    /// The final part was sent; the reader may still be at it.
    Sent,
}

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Done,
    /// Nobody waits under that number: they hung up, which the plugin did not know yet.
    Unknown,
    /// The reader is so far behind that it was cut off; the plugin must be told.
    CutOff,
}

impl OpenRequests {
    /// How many have no final part yet.
    pub(super) fn unanswered(&self) -> usize {
        self.deadlines.len()
    }

    /// The numbers of all of them: those for which a part or the news of their end is still to come.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.requests.keys().copied()
    }

    /// Opens a request that the host closes at `deadline` if it has no final part by then.
    pub(super) fn open(&mut self, id: u64, respond: Respond, deadline: u64) {
        self.deadlines.insert((deadline, id));
        self.requests.insert(id, Open { stage: Stage::Parked(respond), deadline, confirmed: 0 });
    }

    /// When the first of them is to be closed.
    pub(super) fn first_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One that is to be closed.
    pub(super) fn overdue(&self, now: u64) -> Option<u64> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// Sends one part of an answer.
    pub(super) fn deliver(&mut self, reply: Reply, unread_limit: usize) -> Delivery {
        let id = reply.to;
        let Some(open) = self.requests.get_mut(&id) else { return Delivery::Unknown };
        let (last, confirm) = (!reply.more, reply.confirm);
        let stage = match std::mem::replace(&mut open.stage, Stage::Sent) {
            Stage::Sent => return Delivery::Unknown,
            Stage::Parked(respond) => Some(begin(respond, reply)),
            Stage::Streaming { line, unread } => go_on(line, unread, reply, unread_limit),
        };
        let Some(stage) = stage else {
            self.remove(id);
            return Delivery::CutOff;
        };
        open.confirmed += u32::from(confirm);
        if !last {
            open.stage = stage;
        } else if open.confirmed > 0 {
            self.deadlines.remove(&(open.deadline, id));
        } else {
            self.remove(id);
        }
        Delivery::Done
    }

    /// The host ends a request, for a reason that its reader sees.
    pub(super) fn close(&mut self, id: u64, error: RequestError) {
        match self.remove(id).map(|open| open.stage) {
            // An error means that the reader is gone too.
            Some(Stage::Parked(respond)) => drop(respond.send(Err(error))),
            Some(Stage::Streaming { line, .. }) => drop(line.send(Part::Closed(error.to_string()))),
            Some(Stage::Sent) | None => {}
        }
    }

    /// The reader took the first `parts` confirmed parts; the settlement to tell the plugin of, if it waits for one.
    pub(super) fn acknowledged(&self, id: u64, parts: u32) -> Option<Settlement> {
        self.requests.contains_key(&id).then_some(Settlement { request: id, parts, end: None })
    }

    /// The reader is gone; the settlement to tell the plugin of, if it waits for one.
    pub(super) fn ended(&mut self, id: u64, parts: u32, orderly: bool) -> Option<Settlement> {
        self.remove(id)?;
        let end = if orderly { End::Complete } else { End::Gone };
        Some(Settlement { request: id, parts, end: Some(end) })
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.requests.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        Some(open)
    }
}

/// The first part. A reader that is gone already is noticed by its own end.
fn begin(respond: Respond, reply: Reply) -> Stage {
    let Reply { status, headers, body, more, confirm, .. } = reply;
    let bytes = Bytes::from(body);
    if !more && !confirm {
        drop(respond.send(Ok(Start { status, headers, body: StartBody::Whole(bytes) })));
        return Stage::Sent;
    }
    let (sender, line) = mpsc::unbounded_channel();
    let unread = Arc::new(AtomicUsize::new(bytes.len()));
    drop(sender.send(Part::Body { bytes, confirm, last: !more }));
    let body = StartBody::Line { line, unread: unread.clone() };
    drop(respond.send(Ok(Start { status, headers, body })));
    Stage::Streaming { line: sender, unread }
}

/// A later part; none if the reader is too far behind.
fn go_on(
    line: mpsc::UnboundedSender<Part>,
    unread: Arc<AtomicUsize>,
    reply: Reply,
    unread_limit: usize,
) -> Option<Stage> {
    let bytes = Bytes::from(reply.body);
    if unread.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > unread_limit {
        drop(line.send(Part::Closed("the reader is too slow".into())));
        return None;
    }
    drop(line.send(Part::Body { bytes, confirm: reply.confirm, last: !reply.more }));
    Some(Stage::Streaming { line, unread })
}
