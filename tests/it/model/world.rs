//! One tenant, driven from outside, and everything that is known of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use postbell_notify::Notify;
use postbell_notify::contract::{
    AccountChanges, Batch, Call, CallId, Change, End, Happening, Moment, Reaction, Reply, RequestId, Restart,
    Settlement,
};
use postbell_tests::ews::Event;
use postbell_tests::histories::Random;
use postbell_tests::{schemas, strict_reader};

use super::clients::{HEARTBEAT, IDLE, Log, Stream, Subscription, Subscriptions, Watermarks, Way};
use super::mailbox::{Mailbox, coalesced};
use super::pushing::{self, Listener};

/// Whoever asks here is alice; she may look into bob's mailbox.
pub const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

/// What stands for a watermark that leads nowhere any more: a place in no mailbox.
const VOID: (usize, usize) = (usize::MAX, 0);

/// How much clients were told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub parts: u32,
    pub polls: u32,
    pub pushes: u32,
    pub misses: u32,
}

impl std::ops::Add for Told {
    type Output = Told;

    fn add(self, more: Told) -> Told {
        Told {
            parts: self.parts + more.parts,
            polls: self.polls + more.polls,
            pushes: self.pushes + more.pushes,
            misses: self.misses + more.misses,
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    Changes,
    Gap(usize),
    Subscribe,
    SubscribeAfter(String),
    Poll(String),
    Listen(Vec<String>),
    Settle(RequestId),
    Answer(CallId, Listener),
    HangUp(RequestId),
    Unsubscribe(String),
    Wait(u64),
    Reload,
    Restart(Restart),
    Drain,
}

/// The tenant, and an observer who knows all.
pub struct World {
    pub(super) random: Random,
    pub(super) notify: Notify,
    pub(super) moment: Moment,
    pub(super) requests: RequestId,
    /// How many events a subscription may have pending, and how many are kept of a mailbox.
    pub(super) queue: usize,
    pub(super) history: usize,
    pub(super) mailboxes: [Mailbox; 2],
    pub(super) logs: [Log; 2],
    pub(super) subscriptions: Subscriptions,
    pub(super) watermarks: Watermarks,
    pub(super) streams: BTreeMap<RequestId, Stream>,
    /// Calls that were not judged yet.
    pub(super) calls: Vec<Call>,
    pub(super) told: Told,
}

impl World {
    pub fn new(seed: u64) -> Result<World> {
        let mut random = Random(seed);
        let queue = [5, 40, 200][random.below(3) as usize];
        let history = [8, 80, 300][random.below(3) as usize];
        let minutes = (IDLE / 60_000).to_string();
        let settings = [
            ("domains", "example.org".to_owned()),
            ("ews-heartbeat-seconds", (HEARTBEAT / 1000).to_string()),
            ("ews-streaming-idle-minutes", minutes),
            ("ews-queue-events", queue.to_string()),
            ("ews-history-events", history.to_string()),
            ("ews-streams-per-account", "1000".to_owned()),
        ];
        let settings: Vec<_> = settings.map(|(key, value)| (key.to_owned(), value)).into();
        let moment = Moment { now: 1_795_296_510_624, sequence: 1 };
        let mut notify = Notify::default();
        notify.open(moment, &[seed as u8; 32], &settings).map_err(anyhow::Error::msg)?;
        let mut world = World {
            random,
            notify,
            moment,
            requests: 0,
            queue,
            history,
            mailboxes: [ALICE, BOB].map(Mailbox::new),
            logs: Default::default(),
            subscriptions: BTreeMap::new(),
            watermarks: BTreeMap::new(),
            streams: BTreeMap::new(),
            calls: Vec::new(),
            told: Told::default(),
        };
        let baseline = |mailbox: &Mailbox| {
            let change =
                Change { number: None, at: moment.now, origin: None, counts: vec![], what: mailbox.baseline() };
            AccountChanges { account: mailbox.account.into(), changes: vec![change] }
        };
        let accounts = world.mailboxes.iter().map(baseline).collect();
        world.feed(|notify, at| notify.ingest(at, Batch { accounts, book: vec![] }))?;
        Ok(world)
    }

    pub fn step(&mut self) -> Step {
        let pull: Vec<&str> = self.ids(|way| matches!(way, Way::Pull { .. }));
        let streaming: Vec<&str> = self.ids(|way| matches!(way, Way::Streaming { .. }));
        let streams: Vec<RequestId> = self.streams.keys().copied().collect();
        let calls: Vec<CallId> = self.calls_in_flight().map(|(call, _)| call).collect();
        let random = &mut self.random.clone();
        let step = match random.below(112) {
            0..34 => Step::Changes,
            34 => Step::Gap(random.below(2) as usize),
            35..43 if self.subscriptions.len() < 12 => Step::Subscribe,
            43..47 if !self.watermarks.is_empty() => {
                let known: Vec<&str> = self.watermarks.keys().map(String::as_str).collect();
                let some = if random.below(8) == 0 { "bm9uZQ" } else { random.pick(&known) };
                Step::SubscribeAfter(some.to_owned())
            }
            47..62 if !pull.is_empty() => Step::Poll(random.pick(&pull).to_owned()),
            62..72 if !streaming.is_empty() => {
                let ids = (0..=random.below(3)).map(|_| match random.below(12) {
                    0 => "bm9uZQ".to_owned(),
                    _ => random.pick(&streaming).to_owned(),
                });
                Step::Listen(ids.collect::<BTreeSet<_>>().into_iter().collect())
            }
            72..84 if !streams.is_empty() => Step::Settle(streams[random.below(streams.len() as u64) as usize]),
            84..87 if !streams.is_empty() => Step::HangUp(streams[random.below(streams.len() as u64) as usize]),
            87 if !pull.is_empty() => Step::Unsubscribe(random.pick(&pull).to_owned()),
            88 if !streaming.is_empty() => Step::Unsubscribe(random.pick(&streaming).to_owned()),
            89..94 => Step::Wait([1_000, HEARTBEAT, 70_000, IDLE / 2][random.below(4) as usize] + random.below(900)),
            94 => Step::Wait(IDLE + IDLE / 4),
            95 | 96 => Step::Reload,
            97 => Step::Restart(Restart { down_ms: random.below(2 * IDLE), regressed: random.below(3) == 0 }),
            98 if random.below(3) == 0 => Step::Drain,
            100.. if !calls.is_empty() => {
                let how = match random.below(12) {
                    0 => Listener::SaysNonsense,
                    1 | 2 => Listener::IsDown,
                    3 if random.below(2) == 0 => Listener::SaysUnsubscribe,
                    3 if random.below(2) == 0 => Listener::IsRefused,
                    _ => Listener::SaysOk,
                };
                Step::Answer(calls[random.below(calls.len() as u64) as usize], how)
            }
            _ => Step::Changes,
        };
        self.random = random.clone();
        step
    }

    fn ids(&self, of: impl Fn(&Way) -> bool) -> Vec<&str> {
        self.subscriptions.values().filter(|it| of(&it.way)).map(|it| it.id.as_str()).collect()
    }

    pub fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Changes => self.changes()?,
            Step::Gap(mailbox) => self.gap(*mailbox)?,
            Step::Subscribe => self.subscribe(None)?,
            Step::SubscribeAfter(watermark) => self.subscribe(Some(watermark))?,
            Step::Poll(id) => self.poll(id, None)?,
            Step::Listen(ids) => self.listen(ids)?,
            Step::Settle(request) => self.settle(*request, None, None)?,
            Step::HangUp(request) => self.settle(*request, None, Some(End::Gone))?,
            Step::Answer(call, how) => self.finish_call(*call, *how)?,
            Step::Unsubscribe(id) => self.unsubscribe(id)?,
            Step::Wait(ms) => self.moment.now += ms,
            Step::Reload => self.reload()?,
            Step::Restart(how) => self.restart(*how)?,
            Step::Drain => self.drain()?,
        }
        self.rest()
    }

    /// Gives one input; parts of streams are judged. Gives what else was answered.
    pub(super) fn feed(
        &mut self,
        input: impl FnOnce(&mut Notify, Moment) -> Reaction,
    ) -> Result<(Vec<Reply>, Option<u64>)> {
        let reaction = input(&mut self.notify, self.moment);
        self.moment.sequence += u64::from(reaction.changed);
        ensure!(reaction.rejections.is_empty(), "{:?}", reaction.rejections);
        self.calls.extend(reaction.calls);
        let mut others = Vec::new();
        for reply in reaction.replies {
            let Some(stream) = self.streams.get_mut(&reply.to) else {
                others.push(reply);
                continue;
            };
            let text = std::str::from_utf8(&reply.body)?;
            schemas::judge(text)?;
            let message = strict_reader::part(text)?;
            self.told.parts += 1;
            self.told.misses += u32::from(message.code == "ErrorMissedNotificationEvents");
            let told = (message.clone(), reply.confirm, reply.more);
            let heard = stream.hear(told, &mut self.subscriptions, &self.logs, self.moment.now);
            heard.with_context(|| format!("stream {}: {message:?}", reply.to))?;
        }
        Ok((others, reaction.wake_at))
    }

    /// As above, for an input that is no request.
    pub(super) fn feed_quietly(&mut self, input: impl FnOnce(&mut Notify, Moment) -> Reaction) -> Result<Option<u64>> {
        let (others, wake_at) = self.feed(input)?;
        ensure!(others.is_empty(), "answers to nobody: {others:?}");
        Ok(wake_at)
    }

    /// The calls that were made are what they must be.
    fn judge_calls(&mut self) -> Result<()> {
        for call in std::mem::take(&mut self.calls) {
            pushing::called(&call, &mut self.subscriptions, &self.logs, &mut self.watermarks, self.moment.now)?;
            self.told.pushes += 1;
            self.told.misses += u32::from(String::from_utf8_lossy(&call.body).contains("ErrorReadEventsFailed"));
        }
        Ok(())
    }

    fn calls_in_flight(&self) -> impl Iterator<Item = (CallId, &str)> {
        self.subscriptions.values().filter_map(|it| match &it.way {
            Way::Push(push) => Some((push.call()?, it.id.as_str())),
            _ => None,
        })
    }

    /// A listener has answered, or has not.
    fn finish_call(&mut self, call: CallId, how: Listener) -> Result<()> {
        let id = self.calls_in_flight().find(|(other, _)| *other == call).map(|(_, id)| id.to_owned());
        let id = id.context("a call in flight")?;
        let subscription = self.subscriptions.get_mut(&id).context("it exists")?;
        if !how.answers(subscription, self.moment.now)? {
            self.subscriptions.remove(&id);
        }
        self.feed_quietly(|notify, at| notify.finished(at, call, how.outcome())).map(drop)
    }

    /// Whatever is due is done; then all streams have said what they have to say, and all calls are made.
    pub(super) fn rest(&mut self) -> Result<()> {
        self.judge_calls()?;
        let mut ticks = 0;
        while self.feed_quietly(|notify, at| notify.tick(at))?.is_some_and(|due| due <= self.moment.now) {
            self.judge_calls()?;
            ticks += 1;
            ensure!(ticks < 1_000, "there is no end of ticks");
        }
        self.judge_calls()?;
        self.subscriptions.values().try_for_each(|it| it.is_resting_rightly(self.moment.now))?;
        for stream in self.streams.values() {
            let rightly = stream.is_silent_rightly(&self.subscriptions, self.moment.now);
            rightly.with_context(|| format!("stream {}", stream.request))?;
        }
        let over: Vec<_> = self.streams.values().filter(|it| it.closed && it.unsettled() == 0).collect();
        let over: Vec<_> = over.iter().map(|stream| stream.request).collect();
        over.into_iter().try_for_each(|request| self.settle(request, None, Some(End::Complete)))
    }

    /// One batch: several changes of one mailbox or of both.
    fn changes(&mut self) -> Result<()> {
        let (mut accounts, mut events): (Vec<AccountChanges>, [Vec<Event>; 2]) = Default::default();
        for _ in 0..=self.random.below(3) {
            let number = self.random.below(2) as usize;
            let mut changes = Vec::new();
            for _ in 0..=self.random.below(5) {
                let happened = self.mailboxes[number].happen(&mut self.random, self.moment.now);
                if let Some((old, new)) = happened.renamed {
                    self.follow(number, &old, new);
                }
                events[number].extend(happened.events);
                changes.push(happened.change);
            }
            accounts.push(AccountChanges { account: self.mailboxes[number].account.into(), changes });
        }
        for (number, events) in events.into_iter().enumerate() {
            self.append(number, coalesced(events));
        }
        self.feed_quietly(|notify, at| notify.ingest(at, Batch { accounts, book: vec![] })).map(drop)
    }

    /// Whoever subscribed to a folder goes on with it when it gets another id.
    fn follow(&mut self, mailbox: usize, old: &str, new: String) {
        for subscription in self.subscriptions.values_mut().filter(|it| it.mailbox == mailbox) {
            if let Some(folders) = subscription.folders.as_mut().filter(|folders| folders.contains(old)) {
                folders.insert(new.clone());
            }
        }
    }

    fn append(&mut self, mailbox: usize, events: Vec<Event>) {
        let log = &mut self.logs[mailbox];
        let theirs = || |it: &&mut Subscription| it.mailbox == mailbox;
        for event in events {
            for subscription in self.subscriptions.values_mut().filter(theirs()) {
                subscription.hear(&event, log.events.len(), self.queue);
            }
            log.events.push(event);
        }
        if log.events.len() - log.floor > self.history {
            log.floor = log.events.len() - self.history;
            self.subscriptions.values_mut().filter(theirs()).for_each(|it| it.forget(log.floor));
        }
    }

    /// Between two events something happened that the source cannot tell, so nobody may go on from before it.
    fn gap(&mut self, mailbox: usize) -> Result<()> {
        let mut changes = Vec::new();
        for is_before in [true, false] {
            if self.random.below(2) == 0 {
                let happened = self.mailboxes[mailbox].happen(&mut self.random, self.moment.now);
                if let Some((old, new)) = happened.renamed {
                    self.follow(mailbox, &old, new);
                }
                self.append(mailbox, coalesced(happened.events));
                changes.push(happened.change);
            }
            if is_before {
                self.miss(mailbox);
                changes.push(Change {
                    number: None,
                    at: self.moment.now,
                    origin: None,
                    counts: vec![],
                    what: Happening::Gap,
                });
            }
        }
        let accounts = vec![AccountChanges { account: self.mailboxes[mailbox].account.into(), changes }];
        self.feed_quietly(|notify, at| notify.ingest(at, Batch { accounts, book: vec![] })).map(drop)
    }

    fn miss(&mut self, mailbox: usize) {
        self.logs[mailbox].floor = self.logs[mailbox].events.len();
        self.watermarks.values_mut().filter(|(of, _)| *of == mailbox).for_each(|it| *it = VOID);
        self.subscriptions.values_mut().filter(|it| it.mailbox == mailbox).for_each(Subscription::miss);
    }

    /// Some of what is on its way on a stream has arrived.
    pub(super) fn settle(&mut self, request: RequestId, parts: Option<u32>, end: Option<End>) -> Result<()> {
        let Some(stream) = self.streams.get_mut(&request) else { return Ok(()) };
        let more = parts.unwrap_or_else(|| self.random.below(u64::from(stream.unsettled()) + 1) as u32);
        let parts = stream.acknowledge(more, &mut self.subscriptions);
        if end.is_some()
            && let Some(stream) = self.streams.remove(&request)
        {
            stream.end(&mut self.subscriptions, self.moment.now);
        }
        self.feed_quietly(|notify, at| notify.settled(at, &[Settlement { request, parts, end }])).map(drop)
    }

    /// Another instance takes over what this one saved, and would save the same.
    fn reload(&mut self) -> Result<()> {
        let save = |notify: &mut Notify| (0..).map_while(|part| notify.save(part)).collect::<Vec<_>>();
        let saved = save(&mut self.notify);
        let format = &postbell_notify::describe().state_formats[0];
        let mut loaded = Notify::default();
        for (number, part) in (1..).zip(&saved) {
            loaded.load(format, part, number < saved.len()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
        ensure!(save(&mut loaded) == saved, "it saves something else than was loaded");
        self.notify = loaded;
        Ok(())
    }

    /// Every connection is gone; if the state has regressed, so is every watermark, and everybody has missed something.
    fn restart(&mut self, how: Restart) -> Result<()> {
        self.moment.now += how.down_ms;
        self.subscriptions.values_mut().for_each(|it| it.host_was_down(how.down_ms));
        for subscription in self.subscriptions.values_mut() {
            if let Way::Push(push) = &mut subscription.way {
                push.restart(self.moment.now);
            }
        }
        for stream in std::mem::take(&mut self.streams).into_values() {
            stream.end(&mut self.subscriptions, self.moment.now);
        }
        if how.regressed {
            (0..2).for_each(|mailbox| self.miss(mailbox));
        }
        self.feed_quietly(|notify, at| notify.restarted(at, how)).map(drop)
    }

    fn drain(&mut self) -> Result<()> {
        self.streams.values_mut().for_each(Stream::drain);
        self.feed_quietly(|notify, at| notify.drain(at)).map(drop)
    }

    /// Nothing is lost any more: then all have everything that they were not told to have missed.
    pub fn finish(&mut self) -> Result<()> {
        let open: Vec<_> = self.streams.keys().copied().collect();
        open.into_iter().try_for_each(|request| self.settle(request, Some(0), Some(End::Gone)))?;
        let ids: Vec<String> = self.subscriptions.keys().cloned().collect();
        for id in ids {
            let mut rounds = 0;
            while self.subscriptions.get(&id).is_some_and(|it| it.pending() > 0) {
                rounds += 1;
                ensure!(rounds < 100, "{id} never gets everything");
                match &self.subscriptions[&id].way {
                    Way::Pull { .. } => self.poll(&id, Some(usize::MAX))?,
                    Way::Streaming { .. } => self.listen_to_all(&id)?,
                    Way::Push(push) => match push.call() {
                        Some(call) => self.finish_call(call, Listener::SaysOk)?,
                        None => self.moment.now = self.moment.now.max(push.due()),
                    },
                }
                self.rest()?;
            }
        }
        Ok(())
    }

    fn listen_to_all(&mut self, id: &str) -> Result<()> {
        if self.subscriptions[id].may_be_over(self.moment.now) {
            self.moment.now += 2 * IDLE;
        }
        self.listen(&[id.to_owned()])?;
        self.rest()?;
        let request = self.requests;
        let on_their_way = self.streams.get(&request).map_or(0, Stream::unsettled);
        self.settle(request, Some(on_their_way), Some(End::Gone))
    }
}
