//! What clients may and must hear, given what happened: the judge of every answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result, bail, ensure};
use postbell_notify::contract::RequestId;
use postbell_tests::ews::{Event, Message};

use super::mailbox::covers;
use super::pushing::Push;

/// How long a subscription may be idle, in milliseconds: ten minutes, whatever its kind.
pub const IDLE: u64 = 600_000;
/// How long a stream is silent at most, in milliseconds.
pub const HEARTBEAT: u64 = 25_000;
/// How many parts with events a stream may have on their way; then it waits.
const MOST_UNSETTLED: usize = 64;

/// What happened in one mailbox since its beginning.
#[derive(Debug, Default)]
pub struct Log {
    pub events: Vec<Event>,
    /// How many of them are forgotten.
    pub floor: usize,
}

/// One subscription, as its client and an all-knowing observer see it.
#[derive(Debug)]
pub struct Subscription {
    pub id: String,
    pub mailbox: usize,
    pub kinds: Vec<&'static str>,
    pub folders: Option<BTreeSet<String>>,
    /// The events that it covers, by their places in the mailbox's log.
    pub(super) covered: Vec<usize>,
    /// How many of these its client has, or has lost.
    pub(super) done: usize,
    /// It missed events, and its client does not know.
    pub(super) missed: bool,
    /// How often it missed events in its life.
    misses: u32,
    pub way: Way,
    /// When it was used last, and what time the host was down since.
    used: u64,
}

#[derive(Debug)]
pub enum Way {
    Pull {
        watermark: String,
        /// How many events before this watermark the server does not know yet to be done.
        taken: usize,
        /// The last answer from this watermark said that there is more.
        more: bool,
    },
    Streaming {
        stream: Option<RequestId>,
        /// How many covered events went out on the stream, or were done before.
        sent: usize,
        /// The stream was told of the miss.
        told: bool,
    },
    Push(Push),
}

/// Which watermark is after how many events of which mailbox.
pub type Watermarks = BTreeMap<String, (usize, usize)>;

impl Subscription {
    pub fn new(
        id: String,
        mailbox: usize,
        (kinds, folders): (Vec<&'static str>, Option<BTreeSet<String>>),
        way: Way,
        now: u64,
    ) -> Subscription {
        Subscription { id, mailbox, kinds, folders, covered: vec![], done: 0, missed: false, misses: 0, way, used: now }
    }

    /// It goes on from a place in the log.
    pub fn start(&mut self, log: &Log, from: usize) {
        let places = (from..log.events.len()).filter(|place| self.covers(&log.events[*place]));
        self.covered = places.collect();
    }

    fn covers(&self, event: &Event) -> bool {
        covers(&self.kinds, self.folders.as_ref(), event)
    }

    /// Something happens that has this place in the log.
    pub fn hear(&mut self, event: &Event, place: usize, queue: usize) {
        if !self.covers(event) || self.missed_for_good() {
            return;
        }
        self.covered.push(place);
        if self.covered.len() - self.done > queue {
            self.miss();
        }
    }

    /// Events up to this place are forgotten.
    pub fn forget(&mut self, floor: usize) {
        if self.covered.get(self.done).is_some_and(|oldest| *oldest < floor) {
            self.miss();
        }
    }

    /// Everything pending is lost.
    pub fn miss(&mut self) {
        self.missed = true;
        self.misses += 1;
        self.done = self.covered.len();
        if let Way::Streaming { sent, told, .. } = &mut self.way {
            (*sent, *told) = (self.done, false);
        }
    }

    /// Only streams go on after a miss.
    pub fn missed_for_good(&self) -> bool {
        self.missed && !matches!(self.way, Way::Streaming { .. })
    }

    /// How many events its client does not have.
    pub fn pending(&self) -> usize {
        let taken = if let Way::Pull { taken, .. } = self.way { taken } else { 0 };
        self.covered.len() - self.done - if self.missed { 0 } else { taken }
    }

    /// The stream that it is on.
    fn stream(&self) -> Option<RequestId> {
        if let Way::Streaming { stream, .. } = self.way { stream } else { None }
    }

    pub fn use_at(&mut self, now: u64) {
        self.used = now;
    }

    pub fn host_was_down(&mut self, ms: u64) {
        self.used += ms;
    }

    /// Whether it may have ended by itself.
    pub fn may_be_over(&self, now: u64) -> bool {
        !matches!(self.way, Way::Streaming { stream: Some(_), .. } | Way::Push(_)) && now >= self.used + IDLE
    }

    /// Whether it must have ended by itself. It may live on a little.
    pub fn must_be_over(&self, now: u64) -> bool {
        self.may_be_over(now) && now > self.used + IDLE + IDLE / 8
    }

    /// Judges an answer to GetEvents with the current watermark. The client then takes so many of its events.
    pub fn polled(
        &mut self,
        answer: Message,
        log: &Log,
        watermarks: &mut Watermarks,
        take: impl FnOnce(usize) -> usize,
    ) -> Result<()> {
        let Way::Pull { watermark, taken, more } = &mut self.way else { bail!("not polled") };
        if answer.code == "ErrorInvalidWatermark" {
            ensure!(self.missed, "nothing was missed");
            return Ok(());
        }
        ensure!(answer.code == "NoError", "{answer:?}");
        ensure!(!self.missed, "it missed events and is not told");
        let notification = answer.notifications.into_iter().next().context("a notification")?;
        ensure!(notification.subscription == self.id && notification.previous.as_ref() == Some(watermark));
        self.done += std::mem::take(taken);
        let pending = &self.covered[self.done..];
        if pending.is_empty() {
            let only = &notification.events[0];
            ensure!(notification.events.len() == 1 && only.kind == "StatusEvent", "{:?}", notification.events);
            ensure!(only.watermark.as_ref() == Some(watermark) && notification.more == Some(false));
            return Ok(());
        }
        let told = notification.events.len();
        check_events(&notification.events, log, pending)?;
        // After an answer that said that there is more, the same question is answered with everything.
        let all = *more || pending.len() <= 50;
        ensure!(told == if all { pending.len() } else { 50 }, "{told} of {}", pending.len());
        ensure!(notification.more == Some(!all), "{:?}", notification.more);
        for (event, place) in notification.events.iter().zip(pending) {
            let text = event.watermark.clone().context("a watermark")?;
            let after = (self.mailbox, place + 1);
            ensure!(*watermarks.entry(text).or_insert(after) == after, "a watermark for two places");
        }
        *more |= !all;
        *taken = take(told);
        if *taken > 0 {
            *watermark = notification.events[*taken - 1].watermark.clone().context("a watermark")?;
            *more = false;
        }
        Ok(())
    }

    /// The stream goes; what was on its way is not done.
    fn leave(&mut self, request: RequestId, now: u64) {
        if let Way::Streaming { stream, told, .. } = &mut self.way
            && *stream == Some(request)
        {
            (*stream, *told) = (None, false);
            self.used = now;
        }
    }
}

/// The first of these places are what the events say.
pub fn check_events(events: &[Event], log: &Log, places: &[usize]) -> Result<()> {
    ensure!(events.len() <= places.len(), "{} events, but only {} happened", events.len(), places.len());
    for (event, place) in events.iter().zip(places) {
        let said = Event { watermark: None, time: None, ..event.clone() };
        ensure!(said == log.events[*place], "said: {said}\nhappened: {}", log.events[*place]);
    }
    Ok(())
}

/// All subscriptions, by the ids that their clients know.
pub type Subscriptions = BTreeMap<String, Subscription>;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    pub request: RequestId,
    ids: Vec<String>,
    /// Errors that it must tell, each about one id.
    owed: Vec<(&'static str, String)>,
    /// Parts that were not acknowledged: what is done when they are.
    unsettled: VecDeque<Part>,
    settled: u32,
    ends_at: u64,
    /// It has said that it is open, or something better.
    begun: bool,
    spoke_at: Option<u64>,
    pub closed: bool,
    drained: bool,
}

/// What an acknowledgement means: covered events of subscriptions, and misses.
#[derive(Debug, Default)]
struct Part {
    events: Vec<(String, usize)>,
    misses: Vec<(String, u32)>,
}

impl Stream {
    /// A stream that was just asked for; those of its ids that are no good it must name.
    pub fn new(request: RequestId, good: Vec<String>, bad: Vec<String>, ends_at: u64) -> Stream {
        let owed = bad.into_iter().map(|id| ("ErrorInvalidSubscription", id)).collect();
        let (unsettled, settled) = (VecDeque::new(), 0);
        Stream {
            request,
            ids: good,
            owed,
            unsettled,
            settled,
            ends_at,
            begun: false,
            spoke_at: None,
            closed: false,
            drained: false,
        }
    }

    /// Its subscriptions go out on it, from the first event that is not done.
    pub fn join(&self, subscriptions: &mut Subscriptions) {
        for id in &self.ids {
            let subscription = subscriptions.get_mut(id).expect("it is good");
            subscription.way = Way::Streaming { stream: Some(self.request), sent: subscription.done, told: false };
        }
    }

    /// It no longer has this subscription, and must say so.
    pub fn lose(&mut self, id: &str, code: &'static str) {
        self.ids.retain(|other| other != id);
        if !self.closed {
            self.owed.push((code, id.to_owned()));
        }
    }

    pub fn has(&self, id: &str) -> bool {
        self.ids.iter().any(|other| other == id)
    }

    pub fn drain(&mut self) {
        self.drained = true;
    }

    /// Judges a part.
    pub fn hear(
        &mut self,
        (message, confirm, more): (Message, bool, bool),
        subscriptions: &mut Subscriptions,
        logs: &[Log],
        now: u64,
    ) -> Result<()> {
        ensure!(!self.closed, "it was closed");
        let mut part = Part::default();
        if message.class == "Error" {
            self.hear_error(&message, subscriptions, &mut part)?;
        } else if let Some(status) = &message.status {
            self.closed = status == "Closed";
            let due = now >= self.ends_at || self.drained || self.ids.is_empty();
            ensure!(!self.closed || due && self.owed.is_empty(), "it closes too early");
            let silent = self.spoke_at.is_some_and(|spoke| now >= spoke + HEARTBEAT);
            ensure!(self.closed || silent || !self.begun, "a sign of life without need");
            self.begun = true;
        } else {
            self.begun = true;
            for notification in &message.notifications {
                ensure!(self.has(&notification.subscription), "not on this stream: {}", notification.subscription);
                let subscription = subscriptions.get_mut(&notification.subscription).context("it exists")?;
                let Way::Streaming { sent, told, .. } = &mut subscription.way else { bail!("not streaming") };
                ensure!(*told || !subscription.missed, "events before it is told that it missed some");
                check_events(&notification.events, &logs[subscription.mailbox], &subscription.covered[*sent..])?;
                *sent += notification.events.len();
                part.events.push((subscription.id.clone(), *sent));
            }
            let count: usize = message.notifications.iter().map(|notification| notification.events.len()).sum();
            ensure!(count <= 50, "{count} events in one part");
        }
        ensure!(more != self.closed, "Closed and nothing else is the last part");
        let matters = !part.events.is_empty() || !part.misses.is_empty();
        ensure!(confirm == matters, "parts with events, and those only, are acknowledged");
        self.unsettled.extend(matters.then_some(part));
        self.spoke_at = Some(now);
        Ok(())
    }

    fn hear_error(&mut self, message: &Message, subscriptions: &mut Subscriptions, part: &mut Part) -> Result<()> {
        ensure!(!message.bad.is_empty(), "{message:?}");
        for id in &message.bad {
            if message.code == "ErrorMissedNotificationEvents" {
                ensure!(self.has(id), "not on this stream: {id}");
                let subscription = subscriptions.get_mut(id).context("it exists")?;
                let Way::Streaming { told, .. } = &mut subscription.way else { bail!("not streaming") };
                ensure!(subscription.missed && !*told, "nothing was missed, or it was told: {id}");
                *told = true;
                part.misses.push((id.clone(), subscription.misses));
            } else {
                let owed = self.owed.iter().position(|(code, owed)| *code == message.code && owed == id);
                self.owed.remove(owed.with_context(|| format!("an error for no reason: {message:?}"))?);
            }
        }
        Ok(())
    }

    /// When all that is due has been said: nothing may be left to say.
    pub fn is_silent_rightly(&self, subscriptions: &Subscriptions, now: u64) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        ensure!(self.owed.is_empty(), "not told: {:?}", self.owed);
        ensure!(now < self.ends_at && !self.drained && !self.ids.is_empty(), "not closed");
        ensure!(self.spoke_at.is_some_and(|spoke| now < spoke + HEARTBEAT), "no sign of life");
        if self.unsettled.len() >= MOST_UNSETTLED {
            return Ok(());
        }
        for subscription in self.ids.iter().map(|id| &subscriptions[id]) {
            let Way::Streaming { sent, told, .. } = &subscription.way else { bail!("not streaming") };
            ensure!(*told || !subscription.missed, "not told that it missed events: {}", subscription.id);
            ensure!(*sent == subscription.covered.len(), "not sent to {}: {}", subscription.id, subscription.pending());
        }
        Ok(())
    }

    pub fn unsettled(&self) -> u32 {
        self.unsettled.len() as u32
    }

    /// So many more of its parts are acknowledged; gives how many are in all.
    pub fn acknowledge(&mut self, more: u32, subscriptions: &mut Subscriptions) -> u32 {
        for part in self.unsettled.drain(..more as usize) {
            for (id, upto) in part.events {
                if let Some(subscription) = subscriptions.get_mut(&id) {
                    subscription.done = subscription.done.max(upto);
                    if let Way::Streaming { sent, .. } = &mut subscription.way {
                        *sent = (*sent).max(subscription.done);
                    }
                }
            }
            for (id, miss) in part.misses {
                // A later one was not told yet; and what another stream was told since counts there.
                let told = |it: &&mut Subscription| it.misses == miss && it.stream() == Some(self.request);
                if let Some(subscription) = subscriptions.get_mut(&id).filter(told) {
                    subscription.missed = false;
                }
            }
        }
        self.settled += more;
        self.settled
    }

    /// It is gone.
    pub fn end(self, subscriptions: &mut Subscriptions, now: u64) {
        for id in &self.ids {
            if let Some(subscription) = subscriptions.get_mut(id) {
                subscription.leave(self.request, now);
            }
        }
    }
}
