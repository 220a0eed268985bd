//! Random subscriptions, changes, polls, streams, lost answers, restarts: every subscription gets every event that it
//! covers, in order, at least once, and never one that it does not cover, or is told that it missed some.
//!
//! The native logic is driven directly and time is the test's own. A history follows from its seed: a failure names it, and
//! `POSTBELL_MODEL_SEED=<seed>` runs it alone and tells its steps; `POSTBELL_MODEL_SEEDS=<how many>` runs more.

mod clients;
mod mailbox;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use postbell_notify::Notify;
use postbell_notify::contract::{
    Access, Account, AccountChanges, AccountName, Batch, Change, End, Grant, Happening, Moment, Rank, Reaction, Reply,
    Request, RequestHead, RequestId, Resolution, Restart, Settlement, Standing,
};
use postbell_tests::ews::{self, Event, Message, envelope, folder_id};
use postbell_tests::histories::Random;
use postbell_tests::http::{Answer, Head};
use postbell_tests::strict_reader;

use clients::{HEARTBEAT, IDLE, Log, Stream, Subscription, Subscriptions, Watermarks, Way};
use mailbox::{FOLDERS, Mailbox, coalesced};

const SEEDS: u64 = 60;
const STEPS: usize = 300;

/// Whoever asks here is alice; she may look into bob's mailbox.
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

const KINDS: [&str; 7] = [
    "CopiedEvent",
    "CreatedEvent",
    "DeletedEvent",
    "ModifiedEvent",
    "MovedEvent",
    "NewMailEvent",
    "FreeBusyChangedEvent",
];

#[test]
fn every_subscription_hears_what_it_covers() -> Result<()> {
    if let Some(seed) = asked("POSTBELL_MODEL_SEED")? {
        return run(seed, true).map(drop);
    }
    let mut all = Told::default();
    for seed in 0..asked("POSTBELL_MODEL_SEEDS")?.unwrap_or(SEEDS) {
        let told = run(seed, false).with_context(|| format!("POSTBELL_MODEL_SEED={seed}"))?;
        all = Told { parts: all.parts + told.parts, polls: all.polls + told.polls, misses: all.misses + told.misses };
    }
    ensure!(all.parts > 1_000 && all.polls > 1_000 && all.misses > 100, "hardly anything happened: {all:?}");
    Ok(())
}

/// What stands for a watermark that leads nowhere any more: a place in no mailbox.
const VOID: (usize, usize) = (usize::MAX, 0);

/// The number in an environment variable.
fn asked(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
}

/// How much clients were told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    parts: u32,
    polls: u32,
    misses: u32,
}

fn run(seed: u64, aloud: bool) -> Result<Told> {
    let mut world = World::new(seed)?;
    for number in 0..STEPS {
        let step = world.step();
        if aloud {
            eprintln!("{number}: {step:?}");
        }
        world.take(&step).with_context(|| format!("step {number}, {step:?}"))?;
    }
    world.finish().context("at the end")?;
    Ok(world.told)
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Changes,
    Gap(usize),
    Subscribe,
    SubscribeAfter(String),
    Poll(String),
    Listen(Vec<String>),
    Settle(RequestId),
    HangUp(RequestId),
    Unsubscribe(String),
    Wait(u64),
    Reload,
    Restart(Restart),
    Drain,
}

struct World {
    random: Random,
    notify: Notify,
    moment: Moment,
    requests: RequestId,
    /// How many events a subscription may have pending, and how many are kept of a mailbox.
    queue: usize,
    history: usize,
    mailboxes: [Mailbox; 2],
    logs: [Log; 2],
    subscriptions: Subscriptions,
    watermarks: Watermarks,
    streams: BTreeMap<RequestId, Stream>,
    told: Told,
}

impl World {
    fn new(seed: u64) -> Result<World> {
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

    fn step(&mut self) -> Step {
        let pull: Vec<&str> = self.ids(|way| matches!(way, Way::Pull { .. }));
        let streaming: Vec<&str> = self.ids(|way| matches!(way, Way::Streaming { .. }));
        let streams: Vec<RequestId> = self.streams.keys().copied().collect();
        let random = &mut self.random.clone();
        let step = match random.below(100) {
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
            87 if !self.subscriptions.is_empty() => {
                let all: Vec<&str> = self.subscriptions.keys().map(String::as_str).collect();
                Step::Unsubscribe(random.pick(&all).to_owned())
            }
            88..94 => Step::Wait([1_000, HEARTBEAT, 70_000, IDLE / 2][random.below(4) as usize] + random.below(900)),
            94 => Step::Wait(IDLE + IDLE / 4),
            95 | 96 => Step::Reload,
            97 => Step::Restart(Restart { down_ms: random.below(2 * IDLE), regressed: random.below(3) == 0 }),
            98 if random.below(3) == 0 => Step::Drain,
            _ => Step::Changes,
        };
        self.random = random.clone();
        step
    }

    fn ids(&self, of: impl Fn(&Way) -> bool) -> Vec<&str> {
        self.subscriptions.values().filter(|it| of(&it.way)).map(|it| it.id.as_str()).collect()
    }

    fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Changes => self.changes()?,
            Step::Gap(mailbox) => self.gap(*mailbox)?,
            Step::Subscribe => self.subscribe(None)?,
            Step::SubscribeAfter(watermark) => self.subscribe(Some(watermark))?,
            Step::Poll(id) => self.poll(id, None)?,
            Step::Listen(ids) => self.listen(ids)?,
            Step::Settle(request) => self.settle(*request, None, None)?,
            Step::HangUp(request) => self.settle(*request, None, Some(End::Gone))?,
            Step::Unsubscribe(id) => self.unsubscribe(id)?,
            Step::Wait(ms) => self.moment.now += ms,
            Step::Reload => self.reload()?,
            Step::Restart(how) => self.restart(*how)?,
            Step::Drain => self.drain()?,
        }
        self.rest()
    }

    /// Gives one input; parts of streams are judged. Gives what else was answered.
    fn feed(&mut self, input: impl FnOnce(&mut Notify, Moment) -> Reaction) -> Result<(Vec<Reply>, Option<u64>)> {
        let reaction = input(&mut self.notify, self.moment);
        self.moment.sequence += u64::from(reaction.changed);
        ensure!(reaction.rejections.is_empty(), "{:?}", reaction.rejections);
        let mut others = Vec::new();
        for reply in reaction.replies {
            let Some(stream) = self.streams.get_mut(&reply.to) else {
                others.push(reply);
                continue;
            };
            let message = strict_reader::part(std::str::from_utf8(&reply.body)?)?;
            self.told.parts += 1;
            self.told.misses += u32::from(message.code == "ErrorMissedNotificationEvents");
            let told = (message.clone(), reply.confirm, reply.more);
            let heard = stream.hear(told, &mut self.subscriptions, &self.logs, self.moment.now);
            heard.with_context(|| format!("stream {}: {message:?}", reply.to))?;
        }
        Ok((others, reaction.wake_at))
    }

    /// As above, for an input that is no request.
    fn feed_quietly(&mut self, input: impl FnOnce(&mut Notify, Moment) -> Reaction) -> Result<Option<u64>> {
        let (others, wake_at) = self.feed(input)?;
        ensure!(others.is_empty(), "answers to nobody: {others:?}");
        Ok(wake_at)
    }

    /// Whatever is due is done; then all streams have said what they have to say.
    fn rest(&mut self) -> Result<()> {
        let mut ticks = 0;
        while self.feed_quietly(|notify, at| notify.tick(at))?.is_some_and(|due| due <= self.moment.now) {
            ticks += 1;
            ensure!(ticks < 1_000, "there is no end of ticks");
        }
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

    fn subscribe(&mut self, after: Option<&str>) -> Result<()> {
        let mailbox = self.random.below(2) as usize;
        let kinds: Vec<_> = KINDS.into_iter().filter(|_| self.random.below(3) > 0).collect();
        let kinds = if kinds.is_empty() { vec!["NewMailEvent"] } else { kinds };
        let folders = (self.random.below(2) == 0).then(|| self.some_folders(mailbox));
        let pull = after.is_some() || self.random.below(2) == 0;
        let body = self.subscribe_body(mailbox, &kinds, folders.as_ref(), pull, after);
        let message = self.ask("Subscribe", &body)?;

        let start = match after {
            None => Some(self.logs[mailbox].events.len()),
            Some(after) => {
                let known = self.watermarks.get(after).filter(|(of, _)| *of == mailbox).map(|(_, place)| *place);
                known.filter(|place| *place >= self.logs[mailbox].floor)
            }
        };
        let Some(start) = start else {
            ensure!(message.code == "ErrorInvalidWatermark", "the watermark is too old, or another's: {message:?}");
            return Ok(());
        };
        ensure!(message.code == "NoError", "{message:?}");
        let way = match message.watermark {
            Some(watermark) => {
                ensure!(pull && after.is_none_or(|after| after == watermark), "{watermark}");
                let place = *self.watermarks.entry(watermark.clone()).or_insert((mailbox, start));
                ensure!(place == (mailbox, start), "a watermark for two places");
                Way::Pull { watermark, taken: 0, more: false }
            }
            None => Way::Streaming { stream: None, sent: 0, told: false },
        };
        ensure!(matches!(way, Way::Pull { .. }) == pull);
        let id = message.subscription.context("an id")?;
        let mut new = Subscription::new(id.clone(), mailbox, (kinds, folders), way, self.moment.now);
        new.start(&self.logs[mailbox], start, self.queue);
        ensure!(self.subscriptions.insert(id, new).is_none(), "the id is another's");
        Ok(())
    }

    fn some_folders(&mut self, mailbox: usize) -> BTreeSet<String> {
        let all = self.mailboxes[mailbox].folders();
        (0..=self.random.below(3)).map(|_| self.random.pick(&all).to_owned()).collect()
    }

    /// Folders by name or by id; all of bob's in his name.
    fn subscribe_body(
        &mut self,
        mailbox: usize,
        kinds: &[&str],
        folders: Option<&BTreeSet<String>>,
        pull: bool,
        after: Option<&str>,
    ) -> String {
        let account = self.mailboxes[mailbox].account;
        let folder = |id: &String| match FOLDERS.contains(&id.as_str()) && self.random.below(2) == 0 {
            true => format!(
                r#"<t:DistinguishedFolderId Id="{id}"><t:Mailbox><t:EmailAddress>{account}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"#
            ),
            false => format!(r#"<t:FolderId Id="{}"/>"#, folder_id(account, id)),
        };
        let named = folders.map(|folders| folders.iter().map(folder).collect::<String>());
        let named = named.map(|folders| format!("<t:FolderIds>{folders}</t:FolderIds>"));
        let wanted: String = kinds.iter().map(|kind| format!("<t:EventType>{kind}</t:EventType>")).collect();
        let wanted = format!("<t:EventTypes>{wanted}</t:EventTypes>");
        let named = named.as_deref().unwrap_or(ews::ALL_FOLDERS);
        let operation = if pull { ews::subscribe_pull(named) } else { ews::subscribe_streaming(named) };
        let after = after.map(|watermark| format!("<t:Watermark>{watermark}</t:Watermark>")).unwrap_or_default();
        let body = envelope(&operation.replace(ews::EVENT_TYPES, &format!("{wanted}{after}")));
        if folders.is_some() {
            return body;
        }
        let name = format!("<t:PrimarySmtpAddress>{account}</t:PrimarySmtpAddress>");
        let acting =
            format!("<t:ExchangeImpersonation><t:ConnectingSID>{name}</t:ConnectingSID></t:ExchangeImpersonation>");
        body.replace("</s:Header>", &format!("{acting}</s:Header>"))
    }

    /// Alice asks what has one answer, which comes at once.
    fn ask(&mut self, operation: &str, body: &str) -> Result<Message> {
        let request = self.request(body);
        let (mut others, _) = self.feed(|notify, at| notify.answer(at, &request))?;
        ensure!(others.len() == 1 && others[0].to == request.id && !others[0].more, "{others:?}");
        let reply = others.remove(0);
        let headers = reply.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let answer = Answer { head: Head { status: reply.status, headers }, body: String::from_utf8(reply.body)? };
        Ok(strict_reader::messages(&answer, operation)?.remove(0))
    }

    fn request(&mut self, body: &str) -> Request {
        self.requests += 1;
        let account = |name: &str| Account { id: name.into(), name: name.into(), aliases: vec![] };
        let resolve = |named: AccountName| {
            let (AccountName::Name(name)
            | AccountName::Id(name)
            | AccountName::Address(name)
            | AccountName::PrincipalName(name)
            | AccountName::Sid(name)) = named;
            let standing = if name == ALICE { Standing::Itself } else { Standing::Permitted };
            Resolution { account: Some(account(&name)), standing }
        };
        let claims = postbell_notify::identify(&RequestHead::default(), body.as_bytes());
        Request {
            id: self.requests,
            head: RequestHead::default(),
            body: body.as_bytes().to_vec(),
            access: Access::Granted(Grant {
                account: account(ALICE),
                rank: Rank::User,
                visit: "v1".into(),
                token_placeholder: None,
                token_lifetime_ms: 0,
            }),
            act_as: claims.act_as.map(resolve),
            accounts: claims.accounts.into_iter().map(resolve).collect(),
        }
    }

    /// The client may lose the answer, or take a part of it for all: it asks again from there.
    fn poll(&mut self, id: &str, take: Option<usize>) -> Result<()> {
        let Way::Pull { watermark, .. } = &self.subscriptions[id].way else { return Ok(()) };
        let body = envelope(&ews::get_events(id, watermark));
        let message = self.ask("GetEvents", &body)?;
        let subscription = self.subscriptions.get_mut(id).context("it exists")?;
        if message.code == "ErrorSubscriptionNotFound" {
            ensure!(subscription.may_be_over(self.moment.now), "it lives");
            self.subscriptions.remove(id);
            return Ok(());
        }
        ensure!(!subscription.must_be_over(self.moment.now), "it should be over: {message:?}");
        if message.code == "NoError" {
            subscription.use_at(self.moment.now);
        }
        let random = &mut self.random;
        let taken = |told: usize| {
            take.map(|most| most.min(told)).unwrap_or_else(|| match random.below(4) {
                0 => 0,
                1 => random.below(told as u64 + 1) as usize,
                _ => told,
            })
        };
        self.told.polls += 1;
        let log = &self.logs[subscription.mailbox];
        let polled = subscription.polled(message.clone(), log, &mut self.watermarks, taken);
        polled.with_context(|| format!("{message:?}"))?;
        if subscription.missed_for_good() {
            ensure!(message.code == "ErrorInvalidWatermark", "{message:?}");
            self.told.misses += 1;
            if self.random.below(2) == 0 {
                return self.unsubscribe(id);
            }
        }
        Ok(())
    }

    fn listen(&mut self, ids: &[String]) -> Result<()> {
        let now = self.moment.now;
        let minutes = [1, 2, 30][self.random.below(3) as usize];
        let named: Vec<&str> = ids.iter().map(String::as_str).collect();
        let request = self.request(&envelope(&ews::get_streaming_events(&named, minutes)));
        // Those that may be over or not are used only when they surely are one of both.
        let in_doubt =
            |id: &&String| self.subscriptions.get(*id).is_some_and(|it| it.may_be_over(now) && !it.must_be_over(now));
        if ids.iter().any(|id| in_doubt(&id)) {
            return Ok(());
        }
        let is_good = |id: &&String| self.subscriptions.get(*id).is_some_and(|it| !it.must_be_over(now));
        let (good, bad): (Vec<_>, Vec<_>) = ids.iter().partition(is_good);
        let [good, bad] = [good, bad].map(|ids| ids.into_iter().cloned().collect::<Vec<_>>());
        for id in &bad {
            self.subscriptions.remove(id);
        }
        for stream in self.streams.values_mut() {
            for id in &good {
                if stream.has(id) {
                    stream.lose(id, "ErrorNewEventStreamConnectionOpened");
                }
            }
        }
        let stream = Stream::new(request.id, good, bad, now + u64::from(minutes) * 60_000);
        stream.join(&mut self.subscriptions);
        self.streams.insert(request.id, stream);
        self.feed_quietly(|notify, at| notify.answer(at, &request)).map(drop)
    }

    /// Some of what is on its way on a stream has arrived.
    fn settle(&mut self, request: RequestId, parts: Option<u32>, end: Option<End>) -> Result<()> {
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

    fn unsubscribe(&mut self, id: &str) -> Result<()> {
        let now = self.moment.now;
        let subscription = self.subscriptions.remove(id).context("it exists")?;
        for stream in self.streams.values_mut().filter(|stream| stream.has(id)) {
            stream.lose(id, "ErrorInvalidSubscription");
        }
        let message = self.ask("Unsubscribe", &envelope(&ews::unsubscribe(id)))?;
        match message.code.as_str() {
            "NoError" => ensure!(!subscription.must_be_over(now), "it should be over"),
            _ => ensure!(message.code == "ErrorSubscriptionNotFound" && subscription.may_be_over(now), "{message:?}"),
        }
        let message = self.ask("Unsubscribe", &envelope(&ews::unsubscribe(id)))?;
        ensure!(message.code == "ErrorSubscriptionNotFound", "{message:?}");
        Ok(())
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
    fn finish(&mut self) -> Result<()> {
        let open: Vec<_> = self.streams.keys().copied().collect();
        open.into_iter().try_for_each(|request| self.settle(request, Some(0), Some(End::Gone)))?;
        let ids: Vec<String> = self.subscriptions.keys().cloned().collect();
        for id in ids {
            let mut rounds = 0;
            while self.subscriptions.get(&id).is_some_and(|it| it.pending() > 0) {
                rounds += 1;
                ensure!(rounds < 100, "{id} never gets everything");
                match self.subscriptions[&id].way {
                    Way::Pull { .. } => self.poll(&id, Some(usize::MAX))?,
                    Way::Streaming { .. } => self.listen_to_all(&id)?,
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
