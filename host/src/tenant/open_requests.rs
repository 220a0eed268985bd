//! The tenant's half of its open requests: who waits, and what was sent to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::answer::{Part, Start, StartBody, Woken};
use super::unread::{Unread, UnreadTotal};
use super::{Limits, RequestError};
use crate::contract::requests::{End, Settlement};
use crate::contract::types::Reply;

/// Told how an answer begins.
pub(super) type Respond = oneshot::Sender<Result<Start, RequestError>>;

/// The requests without a final part, and those whose confirmed parts are not settled yet.
pub(super) struct OpenRequests {
    requests: BTreeMap<u64, Open>,
    /// Those that have no final part yet, by the instant at which the host closes them.
    deadlines: BTreeSet<(u64, u64)>,
    unread: Arc<UnreadTotal>,
}

struct Open {
    stage: Stage,
    deadline: u64,
    /// How many confirmed parts were sent, and how many of them, from the first, the reader has.
    confirmed: u32,
    acknowledged: u32,
    /// The plugin hears of no more acknowledged parts than these: it has changed, and what it made behind them is not what
    /// the reader got.
    cap: Option<u32>,
}

enum Stage {
    /// Nothing was sent.
    Parked(Respond),
    /// Parts were sent, more will follow.
    Streaming { line: mpsc::UnboundedSender<Part>, unread: Arc<Unread> },
    /// The final part was sent; the reader may still be at it.
    Sent,
}

/// What became of a delivery.
#[derive(Debug, PartialEq)]
pub(super) enum Delivery {
    Done,
    /// Nobody waits under that number: they hung up, which the plugin did not know yet.
    Unknown,
    /// The reader is so far behind that it was cut off, by the limit of this name; what to tell the plugin.
    CutOff {
        limit: &'static str,
        settlement: Settlement,
    },
}

impl Open {
    fn settlement(&self, request: u64, end: Option<End>) -> Settlement {
        let complete = end == Some(End::Complete) && self.cap.is_some();
        let end = if complete { Some(End::Gone) } else { end };
        Settlement { request, parts: self.told(), end }
    }

    /// What of the acknowledged parts the plugin hears.
    fn told(&self) -> u32 {
        self.cap.map_or(self.acknowledged, |cap| self.acknowledged.min(cap))
    }

    /// The reader says that it has the first `parts` confirmed parts, of those that there are. Whether that is news.
    fn acknowledge(&mut self, parts: u32) -> bool {
        let before = self.told();
        self.acknowledged = self.acknowledged.max(parts.min(self.confirmed));
        self.told() > before
    }
}

impl OpenRequests {
    /// None; `unread`: what their readers have not taken counts there.
    pub(super) fn new(unread: Arc<UnreadTotal>) -> OpenRequests {
        OpenRequests { requests: BTreeMap::new(), deadlines: BTreeSet::new(), unread }
    }

    /// How many have no final part yet.
    pub(super) fn unanswered(&self) -> usize {
        self.deadlines.len()
    }

    /// The numbers of all of them: those for which a part or the news of their end is still to come.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.requests.keys().copied()
    }

    /// As `numbers`, above one.
    pub(super) fn numbers_after(&self, after: u64) -> impl Iterator<Item = u64> {
        self.requests.range((Bound::Excluded(after), Bound::Unbounded)).map(|(id, _)| *id)
    }

    /// Whether there is such a request.
    pub(super) fn has(&self, id: u64) -> bool {
        self.requests.contains_key(&id)
    }

    /// Whether nothing was sent to it yet.
    pub(super) fn is_parked(&self, id: u64) -> bool {
        self.requests.get(&id).is_some_and(|open| matches!(open.stage, Stage::Parked(_)))
    }

    /// Whether it has no final part yet.
    pub(super) fn is_unanswered(&self, id: u64) -> bool {
        self.requests.get(&id).is_some_and(|open| !matches!(open.stage, Stage::Sent))
    }

    /// Of this one the plugin hears of no more acknowledged parts than so many; none: as before.
    pub(super) fn cap(&mut self, id: u64, cap: Option<u32>) {
        if let (Some(open), Some(cap)) = (self.requests.get_mut(&id), cap) {
            open.cap = Some(open.cap.map_or(cap, |before| before.min(cap)));
        }
    }

    /// Of all but these it hears of none.
    pub(super) fn cap_all_but(&mut self, known: &BTreeSet<u64>) {
        for (_, open) in self.requests.iter_mut().filter(|(id, _)| !known.contains(id)) {
            open.cap = Some(0);
        }
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Opens a request that the host closes at `deadline` if it has no final part by then.
    pub(super) fn open(&mut self, id: u64, respond: Respond, deadline: u64) {
        self.deadlines.insert((deadline, id));
        self.requests
            .insert(id, Open { stage: Stage::Parked(respond), deadline, confirmed: 0, acknowledged: 0, cap: None });
    }

    /// When the first of them is to be closed.
    pub(super) fn first_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One that is to be closed.
    pub(super) fn overdue(&self, now: u64) -> Option<u64> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// Sends one part of an answer; `woken`: a change brought it.
    pub(super) fn deliver(&mut self, reply: Reply, limits: &Limits, woken: Option<Woken>) -> Delivery {
        let id = reply.to;
        let Some(open) = self.requests.get_mut(&id) else { return Delivery::Unknown };
        let (last, confirm) = (!reply.more, reply.confirm);
        let stage = match std::mem::replace(&mut open.stage, Stage::Sent) {
            Stage::Sent => return Delivery::Unknown,
            Stage::Parked(respond) => Ok(begin(respond, reply, &self.unread, woken)),
            Stage::Streaming { line, unread } => go_on(line, unread, reply, limits, woken),
        };
        let stage = match stage {
            Ok(stage) => stage,
            Err(limit) => {
                let settlement = open.settlement(id, Some(End::ClosedByHost));
                self.remove(id);
                return Delivery::CutOff { limit, settlement };
            }
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

    /// The host ends a request, for a reason that its reader sees; the settlement that says so to the plugin.
    pub(super) fn close(&mut self, id: u64, error: RequestError) -> Option<Settlement> {
        let open = self.remove(id)?;
        let settlement = open.settlement(id, Some(End::ClosedByHost));
        match open.stage {
            // An error means that the reader is gone too.
            Stage::Parked(respond) => drop(respond.send(Err(error))),
            Stage::Streaming { line, .. } => drop(line.send(Part::Closed(error.to_string()))),
            Stage::Sent => {}
        }
        Some(settlement)
    }

    /// The reader has the first `parts` confirmed parts; the settlement to tell the plugin of, if that is news to it.
    pub(super) fn acknowledged(&mut self, id: u64, parts: u32) -> Option<Settlement> {
        let open = self.requests.get_mut(&id)?;
        open.acknowledge(parts).then(|| open.settlement(id, None))
    }

    /// The reader is gone, or has everything; the settlement to tell the plugin of, if it waits for one.
    pub(super) fn ended(&mut self, id: u64, parts: u32, orderly: bool) -> Option<Settlement> {
        let mut open = self.remove(id)?;
        let complete = orderly && matches!(open.stage, Stage::Sent);
        open.acknowledge(if complete { open.confirmed } else { parts });
        Some(open.settlement(id, Some(if complete { End::Complete } else { End::Gone })))
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let open = self.requests.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        Some(open)
    }
}

/// The first part. A reader that is gone already is noticed by its own end.
fn begin(respond: Respond, reply: Reply, total: &Arc<UnreadTotal>, woken: Option<Woken>) -> Stage {
    let Reply { status, headers, body, more, confirm, .. } = reply;
    let bytes = Bytes::from(body);
    if !more && !confirm {
        drop(respond.send(Ok(Start { status, headers, body: StartBody::Whole(bytes), woken })));
        return Stage::Sent;
    }
    let (sender, line) = mpsc::unbounded_channel();
    let unread = Unread::new(total, bytes.len());
    drop(sender.send(Part::Body { bytes, confirm, last: !more, woken }));
    let body = StartBody::Line { line, unread: unread.clone() };
    drop(respond.send(Ok(Start { status, headers, body, woken: None })));
    Stage::Streaming { line: sender, unread }
}

/// A later part; an error if the reader is too far behind: the name of the limit.
fn go_on(
    line: mpsc::UnboundedSender<Part>,
    unread: Arc<Unread>,
    reply: Reply,
    limits: &Limits,
    woken: Option<Woken>,
) -> Result<Stage, &'static str> {
    let bytes = Bytes::from(reply.body);
    if let Err(limit) = unread.send(bytes.len(), limits) {
        drop(line.send(Part::Closed(format!("the reader is too slow ({limit})"))));
        return Err(limit);
    }
    drop(line.send(Part::Body { bytes, confirm: reply.confirm, last: !reply.more, woken }));
    Ok(Stage::Streaming { line, unread })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::Receiver;

    fn part(to: u64, more: bool, confirm: bool) -> Reply {
        Reply { to, status: 200, headers: vec![], body: b"12345".into(), more, confirm }
    }

    /// Request 7, which has got these parts (more, confirm).
    fn open(parts: &[(bool, bool)]) -> (OpenRequests, Receiver<Result<Start, RequestError>>) {
        let mut requests = OpenRequests::new(UnreadTotal::new(1 << 20));
        let (respond, response) = oneshot::channel();
        requests.open(7, respond, 1_000);
        for (more, confirm) in parts {
            assert_eq!(requests.deliver(part(7, *more, *confirm), &Limits::default(), None), Delivery::Done);
        }
        (requests, response)
    }

    fn settlement(parts: u32, end: Option<End>) -> Settlement {
        Settlement { request: 7, parts, end }
    }

    #[test]
    fn what_the_reader_has_is_a_total_that_never_goes_back() {
        let (mut requests, _reader) = open(&[(true, false), (true, true), (true, true), (true, true)]);
        assert_eq!(requests.acknowledged(7, 2), Some(settlement(2, None)));
        assert_eq!(requests.acknowledged(7, 2), None);
        assert_eq!(requests.acknowledged(7, 1), None);
        assert_eq!(requests.acknowledged(8, 1), None);
        assert_eq!(requests.acknowledged(7, 99), Some(settlement(3, None)), "of those that there are");
        assert_eq!(requests.ended(7, 0, false), Some(settlement(3, Some(End::Gone))));
        assert_eq!(requests.ended(7, 3, false), None);
    }

    #[test]
    fn an_answer_is_complete_after_its_final_part() {
        for (more, expected) in [(false, settlement(2, Some(End::Complete))), (true, settlement(1, Some(End::Gone)))] {
            let (mut requests, _reader) = open(&[(true, true), (more, true)]);
            assert_eq!(requests.ended(7, 1, true), Some(expected));
        }
    }

    #[test]
    fn who_is_closed_keeps_what_it_has() {
        let (mut requests, _reader) = open(&[(true, true), (true, true)]);
        requests.acknowledged(7, 1);
        let closed = requests.close(7, RequestError::Closed("why".into()));
        assert_eq!(closed, Some(settlement(1, Some(End::ClosedByHost))));
        assert_eq!((requests.unanswered(), requests.first_deadline()), (0, None));
    }

    #[test]
    fn who_is_too_far_behind_is_cut_off() {
        let (mut requests, _reader) = open(&[(true, true), (true, true)]);
        requests.acknowledged(7, 1);
        let limits = Limits { unread_parts: 2, ..Limits::default() };
        let settlement = settlement(1, Some(End::ClosedByHost));
        let expected = Delivery::CutOff { limit: "unread-parts", settlement };
        assert_eq!(requests.deliver(part(7, true, true), &limits, None), expected);
        assert_eq!(requests.deliver(part(7, true, true), &limits, None), Delivery::Unknown);
    }
}
