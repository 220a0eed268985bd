//! The whole state, and what holds between its parts: timers, work that waits, the life of subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::contract::{Account, CallId, Instant, Moment, RequestId};
use crate::ews::codes::Code;
use crate::ews::streams::Stream;
use crate::groupwise::events::Events;
use crate::groupwise::{SessionNo, Sessions};
use crate::history::{Entry, Position};
use crate::ids::{Keys, subscription_text};
use crate::mailboxes::{MailboxNo, Mailboxes};
use crate::settings::Settings;
use crate::subscriptions::{Push, Stage, Subscription, SubscriptionNo, Subscriptions};
use crate::turn::{MAX_TIMERS, Turn};
use crate::zimbra::{self, Sets};

/// What a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A subscription's idle life ends, or it is to push.
    Subscription(SubscriptionNo),
    /// A stream's heartbeat is due, or its time is over.
    Stream(RequestId),
}

/// What was refused because the tenant as a whole has as much as it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// By the setting `accounts`.
    pub accounts: u64,
    /// By the setting `folders`.
    pub folders: u64,
    /// By the setting `ews-subscriptions`.
    pub subscriptions: u64,
}

/// How many pairs of subscription and event are gathered before they are counted: a bound of memory, nothing else.
const MAX_HEARD: usize = 1 << 17;

/// Where a subscription's events go out by themselves.
enum Outlet {
    /// Nowhere: its client asks, or will open a stream.
    None,
    /// On this stream.
    Stream(RequestId),
    /// By calls, of which one is to be made now or not.
    Push { now: bool },
}

impl Outlet {
    fn of(subscription: &Subscription) -> Self {
        match subscription.stream() {
            Some(request) => Self::Stream(request),
            None if subscription.push().is_some() => Self::Push { now: subscription.must_push() },
            None => Self::None,
        }
    }
}

/// The whole state of a tenant. `timers`, `ready`, `pushing`, `calls` and the indices inside the parts follow from the
/// rest.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The secrets that ids and watermarks are made with.
    pub keys: Keys,
    /// The settings.
    pub settings: Settings,
    /// Accounts, folders and their past.
    pub mailboxes: Mailboxes,
    /// Who wants to hear of what.
    pub subscriptions: Subscriptions,
    /// Open answers to GetStreamingEvents, and closed ones whose last parts are not yet settled.
    pub streams: BTreeMap<RequestId, Stream>,
    /// The address book of the tenant.
    pub book: Book,
    /// WaitSets, and what they wait for.
    pub waitsets: Sets,
    /// How many changes of the address book were heard.
    pub book_changes: u64,
    /// Logins of GroupWise clients.
    pub sessions: Sessions,
    /// What GroupWise applications have recorded.
    pub events: Events,
    /// Since when streams or pushes wait because a reaction was full.
    pub backlog_since: Option<Instant>,
    /// The stream that was served last: the next one after it goes first.
    pub served: RequestId,
    /// The push subscription that was served last, likewise.
    pub pushed: SubscriptionNo,
    /// The number of the last call; each has one that no other had.
    pub last_call: CallId,
    /// How many push subscriptions were dropped because their listeners failed.
    pub pushes_failed: u64,
    /// How many were dropped because the host refused to call them.
    pub pushes_refused: u64,
    /// What was refused because the tenant as a whole has as much as it may have.
    pub refused: Refused,
    timers: BTreeSet<(Instant, Timer)>,
    ready: BTreeSet<RequestId>,
    pushing: BTreeSet<SubscriptionNo>,
    calls: BTreeMap<CallId, SubscriptionNo>,
}

impl State {
    /// When `tick` is next due.
    pub fn wake_at(&self) -> Option<Instant> {
        let sets = self.waitsets.next_timer().map(|(due, _)| due);
        let events = self.events.next_timer(&self.settings);
        let timers = [self.timers.first().map(|(due, _)| *due), self.sessions.next_deadline(), sets, events];
        let timer = timers.into_iter().flatten().min();
        match self.backlog_since {
            Some(since) => Some(timer.map_or(since, |due| due.min(since))),
            None => timer,
        }
    }

    /// Lets run out what is due.
    pub fn run_timers(&mut self, turn: &mut Turn) {
        turn.changed |= self.sessions.run_out(turn.at.now, &self.settings);
        turn.changed |= self.events.run_out(turn.at.now, &self.settings);
        zimbra::waiters::run_timers(self, turn);
        for _ in 0..MAX_TIMERS {
            let Some(&(due, timer)) = self.timers.first() else {
                break;
            };
            if due > turn.at.now {
                break;
            }
            turn.changed = true;
            match timer {
                Timer::Subscription(number) => self.run_out(number),
                Timer::Stream(request) => self.with_stream(request, |stream| stream.run_out(turn.at.now)),
            }
        }
    }

    /// The deadline of a subscription is there.
    fn run_out(&mut self, number: SubscriptionNo) {
        if self.with_push(number, |push| push.stage = Stage::Due).is_some() {
            self.set_deadline(number, None);
        } else {
            self.end_subscription(number);
        }
    }

    /// The next stream with something to send, in turn.
    pub fn next_ready(&self) -> Option<RequestId> {
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        self.ready.range(after).next().or_else(|| self.ready.first()).copied()
    }

    /// Adds a subscription.
    pub fn add_subscription(&mut self, subscription: Subscription) -> SubscriptionNo {
        let (deadline, outlet) = (subscription.deadline, Outlet::of(&subscription));
        let number = self.subscriptions.add(subscription);
        self.timers.extend(deadline.map(|due| (due, Timer::Subscription(number))));
        self.refresh_subscription(number, outlet);
        number
    }

    /// A subscription ends; a stream that it is on is told so.
    pub fn end_subscription(&mut self, number: SubscriptionNo) {
        let Some(subscription) = self.subscriptions.remove(number) else {
            return;
        };
        if let Some(due) = subscription.deadline {
            self.timers.remove(&(due, Timer::Subscription(number)));
        }
        self.pushing.remove(&number);
        if let Some(call) = subscription.push().and_then(Push::call) {
            self.calls.remove(&call);
        }
        if let Some(request) = subscription.stream() {
            self.with_stream(request, |stream| {
                stream.lose(number, Code::ErrorInvalidSubscription, subscription_text(&subscription.id));
            });
        }
    }

    /// Sets when a subscription ends.
    pub fn set_deadline(&mut self, number: SubscriptionNo, deadline: Option<Instant>) {
        let before = self.subscriptions.alter(number, |it| std::mem::replace(&mut it.deadline, deadline));
        let Some((before, _)) = before else {
            return;
        };
        if let Some(due) = before {
            self.timers.remove(&(due, Timer::Subscription(number)));
        }
        self.timers.extend(deadline.map(|due| (due, Timer::Subscription(number))));
    }

    /// Gives a subscription its idle life from now on. Not for a push subscription, which has none.
    ///
    /// The deadline lies a sixteenth later than promised and moves only when less than what is promised would be left,
    /// so that most polls leave the state as it was. Whether it moved.
    pub fn keep_alive(&mut self, number: SubscriptionNo, now: Instant) -> bool {
        let Some(subscription) = self.subscriptions.get(number).filter(|it| it.push().is_none()) else {
            return false;
        };
        let promised = now.saturating_add(subscription.idle_ms);
        if subscription.deadline.is_some_and(|deadline| deadline >= promised) {
            return false;
        }
        let deadline = promised.saturating_add(subscription.idle_ms / 16);
        self.set_deadline(number, Some(deadline));
        true
    }

    /// Adds a stream.
    pub fn add_stream(&mut self, request: RequestId, stream: Stream) {
        self.remove_stream(request);
        self.streams.insert(request, stream);
        self.index_stream(request);
    }

    /// Removes a stream; its subscriptions live on without one.
    pub fn drop_stream(&mut self, request: RequestId, now: Instant) {
        let Some(stream) = self.remove_stream(request) else {
            return;
        };
        for number in stream.subscriptions {
            if self.subscriptions.get(number).is_some_and(|it| it.stream() == Some(request)) {
                self.subscriptions.alter(number, Subscription::leave_stream);
                self.keep_alive(number, now);
            }
        }
    }

    /// Alters a stream, keeping timers and waiting work as they must be.
    pub fn with_stream(&mut self, request: RequestId, alter: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.streams.get(&request) else {
            return;
        };
        if let Some(due) = stream.due() {
            self.timers.remove(&(due, Timer::Stream(request)));
        }
        self.ready.remove(&request);
        if let Some(stream) = self.streams.get_mut(&request) {
            alter(stream);
        }
        self.index_stream(request);
    }

    /// Appends events to a mailbox's history and counts them for those who wait for them, and for nobody else.
    pub fn append(&mut self, mailbox: MailboxNo, entries: impl Iterator<Item = Entry>) {
        let mut place = self.mailboxes.get(mailbox).history.events() as usize;
        self.mailboxes.append(mailbox, entries);
        let mut heard = Vec::new();
        loop {
            let history = &self.mailboxes.get(mailbox).history;
            let mut listeners = self.subscriptions.listeners(mailbox);
            while let Some(entry) = history.get(place).filter(|_| heard.len() < MAX_HEARD) {
                listeners.hear(&entry.event, |number| heard.push((number, place)));
                place += 1;
            }
            if heard.is_empty() {
                break;
            }
            self.count(mailbox, &mut heard);
        }
        if self.mailboxes.cut(mailbox, u64::from(self.settings.history_events), self.settings.history_bytes) {
            self.forget_gone(mailbox);
            self.miss_what_was_cut(mailbox);
        }
    }

    /// Forgets the folders of a mailbox that are gone and that nothing names any more. One to which somebody subscribed
    /// may come again, and they are to hear of it.
    fn forget_gone(&mut self, mailbox: MailboxNo) {
        let Self { mailboxes, subscriptions, .. } = self;
        mailboxes.forget_gone(mailbox, |folder| subscriptions.name(mailbox, folder));
    }

    /// Forgets a mailbox's history up to now, so that no earlier position is reached.
    pub fn forget_past(&mut self, mailbox: MailboxNo, now: Position) {
        self.mailboxes.forget_past(mailbox, now);
        self.forget_gone(mailbox);
        self.miss(mailbox);
    }

    /// Counts events for subscriptions: who is to hear of which, by its place in the history. Each subscription has its
    /// turn once.
    fn count(&mut self, mailbox: MailboxNo, heard: &mut Vec<(SubscriptionNo, usize)>) {
        let queue = self.settings.queue();
        heard.sort_unstable();
        heard.dedup();
        for theirs in heard.chunk_by(|one, other| one.0 == other.0) {
            self.alter_subscription(theirs[0].0, |subscription, mailboxes| {
                let history = &mailboxes.get(mailbox).history;
                let entries = theirs.iter().filter_map(|(_, place)| history.get(*place));
                entries.for_each(|entry| subscription.count(entry, queue));
            });
        }
        heard.clear();
    }

    /// Cuts what is too old or too much in all histories together, of the address book's deltas, and of records.
    pub fn cut_histories(&mut self, turn: &mut Turn) {
        let horizon = turn.at.now.saturating_sub(self.settings.history_ms());
        let (mut cut, mut aged) = (BTreeSet::new(), 0);
        loop {
            let too_much = self.mailboxes.bytes() > self.settings.history_total_bytes;
            let too_old = aged < MAX_TIMERS && self.mailboxes.oldest_heard().is_some_and(|heard| heard < horizon);
            if !too_much && !too_old {
                break;
            }
            aged += 1;
            cut.extend(self.mailboxes.cut_oldest());
        }
        turn.changed |= self.book.cut(turn.at.now, &self.settings) || !cut.is_empty();
        turn.changed |= self.forget_moves(turn.at.sequence);
        turn.changed |= self.events.cut(&self.settings);
        for mailbox in cut {
            self.forget_gone(mailbox);
            self.miss_what_was_cut(mailbox);
        }
    }

    /// Forgets what items were moved while that takes more than its share; whose, each input begins elsewhere.
    fn forget_moves(&mut self, sequence: u64) -> bool {
        let start = sequence % (self.mailboxes.count() as u64).max(1);
        self.mailboxes.forget_moves(self.settings.moved_bytes(), start as MailboxNo)
    }

    /// Ends GroupWise's sessions while they take more than they may, but not this one. Where it was forgotten who owes, the
    /// address book's sequences begin anew, so that everybody reads the whole.
    pub fn cut_sessions(&mut self, but: Option<SessionNo>, now: Instant) {
        if self.sessions.cut(but, &self.settings) {
            self.book.begin_anew(now);
        }
    }

    /// Every subscription to a mailbox has missed what was pending, and perhaps more.
    pub fn miss(&mut self, mailbox: MailboxNo) {
        let last = self.mailboxes.get(mailbox).history.last();
        for number in self.subscriptions.of_mailbox(mailbox) {
            self.with_subscription(number, |subscription| subscription.miss(last));
        }
    }

    /// The client of a subscription has everything up to here.
    pub fn acknowledge(&mut self, number: SubscriptionNo, upto: Position) {
        self.alter_subscription(number, |subscription, mailboxes| {
            subscription.acknowledge(&mailboxes.get(subscription.mailbox).history, upto);
        });
    }

    /// The mailbox of an account that a client names, which comes to be now if not by an earlier change; none: the tenant
    /// has as many as it may have.
    pub fn mailbox_named(&mut self, account: &Account, turn: &mut Turn) -> Option<MailboxNo> {
        turn.changed = true;
        if self.mailboxes.find_account(account).is_none() && !self.has_room_for_account() {
            return None;
        }
        Some(self.mailboxes.named(account, Position { sequence: turn.at.sequence, index: 0 }))
    }

    /// Whether there may be one more account; counts the refusal if not.
    pub fn has_room_for_account(&mut self) -> bool {
        let room = self.mailboxes.count() < self.settings.accounts as usize;
        self.refused.accounts += u64::from(!room);
        room
    }

    /// Alters a subscription, and what is to be sent accordingly.
    pub fn with_subscription(&mut self, number: SubscriptionNo, alter: impl FnOnce(&mut Subscription)) {
        self.alter_subscription(number, |subscription, _| alter(subscription));
    }

    /// Alters how a push subscription is doing, and what is to be sent accordingly.
    pub fn with_push<T>(&mut self, number: SubscriptionNo, alter: impl FnOnce(&mut Push) -> T) -> Option<T> {
        self.alter_subscription(number, |subscription, _| subscription.push_mut().map(alter))?
    }

    fn alter_subscription<T>(
        &mut self,
        number: SubscriptionNo,
        alter: impl FnOnce(&mut Subscription, &Mailboxes) -> T,
    ) -> Option<T> {
        let Self { subscriptions, mailboxes, .. } = self;
        let (given, subscription) = subscriptions.alter(number, |subscription| alter(subscription, mailboxes))?;
        let outlet = Outlet::of(subscription);
        self.refresh_subscription(number, outlet);
        Some(given)
    }

    /// The next push subscription with something to send, in turn.
    pub fn next_push(&self) -> Option<SubscriptionNo> {
        let after = (Bound::Excluded(self.pushed), Bound::Unbounded);
        self.pushing.range(after).next().or_else(|| self.pushing.first()).copied()
    }

    /// Numbers a new call, made for a subscription.
    pub fn begin_call(&mut self, number: SubscriptionNo) -> CallId {
        self.last_call += 1;
        self.calls.insert(self.last_call, number);
        self.last_call
    }

    /// A call has ended: whose it was.
    pub fn end_call(&mut self, call: CallId) -> Option<SubscriptionNo> {
        self.calls.remove(&call)
    }

    /// No call is in flight any more: whose they were.
    pub fn forget_calls(&mut self) -> Vec<SubscriptionNo> {
        std::mem::take(&mut self.calls).into_values().collect()
    }

    /// The calls in flight, ascending.
    pub fn calls(&self) -> Vec<CallId> {
        let mut calls: Vec<_> = self.calls.keys().copied().chain(self.events.lines.calls()).collect();
        calls.sort_unstable();
        calls
    }

    /// Every idle life lasts this much longer; what is to be pushed is not put off.
    pub fn postpone(&mut self, by_ms: u64) {
        let lives = self.subscriptions.iter().filter(|(_, it)| it.push().is_none());
        let deadlines: Vec<_> = lives.filter_map(|(number, it)| it.deadline.map(|due| (number, due))).collect();
        for (number, due) in deadlines {
            self.set_deadline(number, Some(due.saturating_add(by_ms)));
        }
        self.sessions.postpone(by_ms);
        self.events.postpone(by_ms);
    }

    /// Clients were told what this state does not know: nothing that they hold is good any more, and all have missed
    /// events. Positions will come again and name something else, so the era that is in every watermark must never come
    /// again, even if this very input is lost: that is why it is a time.
    pub fn regress(&mut self, at: Moment) {
        self.keys.era = at.now.max(self.keys.era.saturating_add(1));
        // Calls that were forgotten had numbers, too: fewer than a thousand for every millisecond there ever was.
        self.last_call = self.last_call.max(at.now.saturating_mul(1024));
        self.book.begin_anew(at.now);
        self.events.regress(at.now);
        zimbra::waiters::regress(self);
        let now = Position { sequence: at.sequence, index: 0 };
        let mailboxes: Vec<_> = self.mailboxes.iter().map(|(number, _)| number).collect();
        mailboxes.into_iter().for_each(|mailbox| self.forget_past(mailbox, now));
    }

    /// Makes anew what the pending events of each subscription count for.
    pub fn weigh_queues(&mut self) {
        let Self { subscriptions, mailboxes, .. } = self;
        let numbers: Vec<_> = subscriptions.iter().map(|(number, _)| number).collect();
        for number in numbers {
            subscriptions
                .alter(number, |subscription| subscription.weigh(&mailboxes.get(subscription.mailbox).history));
        }
    }

    /// Makes timers and waiting work from the rest of the state.
    pub fn index(&mut self) {
        let deadlines = self
            .subscriptions
            .iter()
            .filter_map(|(number, subscription)| subscription.deadline.map(|due| (due, Timer::Subscription(number))));
        self.timers = deadlines.collect();
        let pushing = self.subscriptions.iter().filter(|(_, subscription)| subscription.must_push());
        self.pushing = pushing.map(|(number, _)| number).collect();
        let calls = self.subscriptions.iter().filter_map(|(number, it)| it.push()?.call().map(|call| (call, number)));
        self.calls = calls.collect();
        self.ready.clear();
        let requests: Vec<_> = self.streams.keys().copied().collect();
        requests.into_iter().for_each(|request| self.index_stream(request));
    }

    fn miss_what_was_cut(&mut self, mailbox: MailboxNo) {
        let history = &self.mailboxes.get(mailbox).history;
        let (floor, last) = (history.floor(), history.last());
        while let Some(number) = self.subscriptions.pending_since(mailbox, floor) {
            self.with_subscription(number, |subscription| subscription.miss(last));
        }
    }

    /// Takes a stream out, timers and all, to work on it together with the rest; [`Self::add_stream`] puts it back.
    pub fn remove_stream(&mut self, request: RequestId) -> Option<Stream> {
        let stream = self.streams.remove(&request)?;
        if let Some(due) = stream.due() {
            self.timers.remove(&(due, Timer::Stream(request)));
        }
        self.ready.remove(&request);
        Some(stream)
    }

    fn index_stream(&mut self, request: RequestId) {
        if let Some(stream) = self.streams.get(&request) {
            self.timers.extend(stream.due().map(|due| (due, Timer::Stream(request))));
            self.refresh(request);
        }
    }

    fn refresh_subscription(&mut self, number: SubscriptionNo, outlet: Outlet) {
        match outlet {
            Outlet::None => {}
            Outlet::Stream(request) => self.refresh(request),
            Outlet::Push { now: true } => drop(self.pushing.insert(number)),
            Outlet::Push { now: false } => drop(self.pushing.remove(&number)),
        }
    }

    fn refresh(&mut self, request: RequestId) {
        let Some(stream) = self.streams.get(&request) else {
            return;
        };
        if stream.has_work(&self.subscriptions) {
            self.ready.insert(request);
        } else {
            self.ready.remove(&request);
        }
    }
}
