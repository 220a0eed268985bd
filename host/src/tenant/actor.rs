//! A tenant as its shard sees it: one live instance that is fed inputs one by one, and what waits for them to be
//! committed.
//!
//! The actor decides nothing about mail. It gives inputs their moment, has them journaled, releases reactions in order
//! after the commit, and when the plugin fails, throws the instance away and replays the journal into a new one.

mod recovery;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::guard::Guard;
use super::open_requests::{Delivery, OpenRequests, Respond};
use super::outbox::Outbox;
use super::replay;
use super::shard::{Command, Mailbox};
use super::unread::UnreadTotal;
use super::{IngestError, Ingested, Limits, RequestError};
use crate::clock::{Clock, TenantTime};
use crate::contract::lifecycle::{Gauge, Restart};
use crate::contract::outbound;
use crate::contract::requests::{Refusal, Request, Settlement};
use crate::contract::types::{LogLevel, LogLine, Moment, Reaction, Reply};
use crate::journal::{Append, Committer, Input, Journal, JournalError, Offsets, Record, Seat, SourceSpan};
use crate::plugin::{Fault, Instance, Plugin, route};
use crate::statistics::Statistics;

/// One tenant on its shard.
pub(crate) struct Actor {
    parts: Parts,
    live: Live,
    seated: bool,
    time: TenantTime,
    /// The last input that was sent to the journal, and the last that is committed.
    sequence: u64,
    committed: u64,
    /// Which life of the instance an append belongs to: what comes of an earlier life's appends says nothing any more.
    generation: u64,
    uncommitted: VecDeque<Record>,
    offsets: Offsets,
    settings: Vec<(String, String)>,
    outbox: Outbox<Release>,
    open: OpenRequests,
    guard: Guard,
    wake_at: Option<u64>,
    /// Settlements that wait to be told to the plugin together.
    settlements: Vec<Settlement>,
    snapshot_at: u64,
}

/// What an actor is given.
pub(crate) struct Parts {
    pub(crate) seat: Seat,
    pub(crate) plugin: Plugin,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) committer: Committer,
    pub(crate) mailbox: Mailbox,
    pub(crate) statistics: Arc<Mutex<Statistics>>,
    pub(crate) unread: Arc<UnreadTotal>,
}

enum Live {
    Instance(Box<Instance>),
    /// There is none at present, for a reason that may pass: the next input tries again.
    Down(String),
    /// The plugin fails on what the host itself must tell it.
    Faulted(String),
}

/// What is released once the inputs before it are committed.
enum Release {
    Reaction { reaction: Reaction, ingest: Option<(oneshot::Sender<Result<Ingested, IngestError>>, Ingested)> },
    Ingest(oneshot::Sender<Result<Ingested, IngestError>>, Result<Ingested, IngestError>),
    Offset(oneshot::Sender<Result<u64, IngestError>>, u64),
    Configured(oneshot::Sender<Result<(), String>>, Reaction),
    Close(oneshot::Sender<()>),
}

impl Release {
    fn replies(&self) -> &[Reply] {
        match self {
            Release::Reaction { reaction, .. } | Release::Configured(_, reaction) => &reaction.replies,
            Release::Ingest(..) | Release::Offset(..) | Release::Close(_) => &[],
        }
    }
}

/// Whether the actor goes on after a command.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    GoesOn,
    Ends,
}

impl Actor {
    /// A tenant for which the journal has nothing: the plugin is opened with `seed`.
    ///
    /// # Errors
    ///
    /// The plugin failed, or the inner one: it refused its settings.
    pub(crate) fn open(
        parts: Parts,
        seed: Vec<u8>,
        settings: Vec<(String, String)>,
    ) -> Result<Result<Actor, String>, Fault> {
        let instance = parts.plugin.instantiate(&parts.limits.instance)?;
        let mut actor = Actor::with(parts, Live::Instance(Box::new(instance)), 0);
        let input = Input::Open { seed, settings: settings.clone() };
        let at = actor.moment();
        if let Err(why) = actor.call(at, &input)? {
            return Ok(Err(why));
        }
        if let Live::Instance(instance) = &mut actor.live {
            actor.wake_at = instance.outstanding()?.wake_at;
        }
        actor.settings = settings;
        actor.journal(at, input);
        Ok(Ok(actor))
    }

    /// A tenant that the journal knows: it goes on where it was.
    ///
    /// # Errors
    ///
    /// The history cannot be replayed; or the plugin refuses its new settings.
    pub(crate) fn resume(parts: Parts, settings: Vec<(String, String)>) -> Result<Actor, String> {
        let mut actor = Actor::with(parts, Live::Down("not opened yet".into()), 0);
        actor.rebuild();
        if let Live::Down(why) | Live::Faulted(why) = &actor.live {
            return Err(why.clone());
        }
        let down_ms = actor.parts.clock.wall().saturating_sub(actor.time.read(&*actor.parts.clock));
        actor.feed_own(Input::Restarted(Restart { down_ms, regressed: false }));
        if actor.settings != settings {
            let (respond, _) = oneshot::channel();
            actor.configure(settings, respond)?;
        }
        Ok(actor)
    }

    fn with(parts: Parts, live: Live, last: u64) -> Actor {
        let time = TenantTime::start(&*parts.clock, last);
        let open = OpenRequests::new(parts.unread.clone());
        Actor {
            parts,
            live,
            seated: false,
            time,
            sequence: 0,
            committed: 0,
            generation: 0,
            uncommitted: VecDeque::new(),
            offsets: Offsets::new(),
            settings: Vec::new(),
            outbox: Outbox::default(),
            open,
            guard: Guard::default(),
            wake_at: None,
            settlements: Vec::new(),
            snapshot_at: 0,
        }
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.parts.mailbox
    }

    pub(super) fn handle(&mut self, command: Command) -> Next {
        if !matches!(command, Command::Acknowledged { .. } | Command::Ended { .. }) {
            self.settle();
            self.revive();
        }
        match command {
            Command::Ingest { batch, span, respond } => {
                self.ingest(Input::Ingest { batch, span, skipped: None }, respond)
            }
            Command::Request { request, respond } => self.request(request, respond),
            Command::Acknowledged { id, parts } => self.settlements.extend(self.open.acknowledged(id, parts)),
            Command::Ended { id, parts, orderly } => self.settlements.extend(self.open.ended(id, parts, orderly)),
            Command::SourceOffset { source, respond } => {
                let offset = self.offsets.get(&*source).copied().unwrap_or(0);
                self.outbox.push(self.sequence, Release::Offset(respond, offset));
            }
            Command::Inspect { respond } => drop(respond.send(self.inspect())),
            Command::Configure { settings, respond } => {
                // A refusal was answered already.
                let _ = self.configure(settings, respond);
            }
            Command::Close { respond } => self.drain(respond),
            Command::Committed { generation, through, outcome } => self.committed(generation, through, outcome),
        }
        self.release()
    }

    /// Tells the plugin what became of its parts, all that is known in one input.
    pub(super) fn settle(&mut self) {
        if !self.settlements.is_empty() {
            let settlements = std::mem::take(&mut self.settlements);
            self.feed_own(Input::Settled(settlements));
        }
    }

    /// Ticks if the time for it has come.
    pub(super) fn tick_if_due(&mut self) -> Next {
        if self.wake_at.is_some_and(|due| due <= self.time.read(&*self.parts.clock)) {
            self.wake_at = None;
            self.feed_own(Input::Tick);
        }
        self.close_overdue();
        self.settle();
        self.release()
    }

    /// Closes the requests that were parked longer than their route allows.
    fn close_overdue(&mut self) {
        let now = self.time.read(&*self.parts.clock);
        while let Some(request) = self.open.overdue(now) {
            self.statistics().refusal("park-ms");
            let why = RequestError::Closed("parked longer than its route allows".into());
            self.settlements.extend(self.open.close(request, why));
        }
    }

    /// When to tick next, in the clock's monotonic time.
    pub(super) fn due(&self) -> Option<u64> {
        let live = matches!(self.live, Live::Instance(_));
        let tick = self.wake_at.filter(|_| live);
        let instant = [tick, self.open.first_deadline()].into_iter().flatten().min()?;
        Some(self.time.due(instant, &*self.parts.clock))
    }

    fn ingest(&mut self, input: Input, respond: oneshot::Sender<Result<Ingested, IngestError>>) {
        let Input::Ingest { span, .. } = &input else { unreachable!("the caller made an ingest") };
        if let Some(known) = span.as_ref().and_then(|span| self.known(span)) {
            let sequence = self.sequence;
            let known = known.map(|()| Ingested { rejections: vec![], sequence, repeated: true });
            return self.outbox.push(sequence, Release::Ingest(respond, known));
        }
        match self.feed(input) {
            Ok(Ok(mut reaction)) => {
                let rejections = std::mem::take(&mut reaction.rejections);
                let ingested = Ingested { rejections, sequence: self.sequence, repeated: false };
                self.outbox.push(self.sequence, Release::Reaction { reaction, ingest: Some((respond, ingested)) });
            }
            Ok(Err(why)) => unreachable!("only settings are refused: {why}"),
            Err(why) => drop(respond.send(Err(self.why_not(why)))),
        }
    }

    /// What is wrong with a span, or that all of it is applied already.
    fn known(&self, span: &SourceSpan) -> Option<Result<(), IngestError>> {
        let expected = self.offsets.get(&*span.source).copied().unwrap_or(0);
        if span.offset > expected {
            return Some(Err(IngestError::Gap { expected }));
        }
        let known = expected - span.offset;
        if known == 0 {
            return None;
        }
        Some(if known >= span.length { Ok(()) } else { Err(IngestError::Overlap { known }) })
    }

    fn why_not(&self, why: String) -> IngestError {
        match self.live {
            Live::Down(_) => IngestError::Journal(why),
            Live::Instance(_) | Live::Faulted(_) => IngestError::Fault(why),
        }
    }

    fn request(&mut self, request: Box<Request>, respond: Respond) {
        if self.open.unanswered() >= self.parts.limits.open_requests {
            self.statistics().refusal("open-requests");
            return drop(respond.send(Err(RequestError::Refused(Refusal::Busy))));
        }
        let id = request.id;
        let parked = route(&self.parts.plugin.manifest().routes, &request.head.path).map_or(0, |route| route.park_ms);
        let at_most = self.time.read(&*self.parts.clock).saturating_add(parked);
        match self.feed(Input::Answer(request)) {
            Ok(Ok(reaction)) => {
                self.open.open(id, respond, at_most);
                self.outbox.push(self.sequence, Release::Reaction { reaction, ingest: None });
            }
            Ok(Err(_)) | Err(_) => drop(respond.send(Err(RequestError::Refused(Refusal::Fault)))),
        }
    }

    fn configure(
        &mut self,
        settings: Vec<(String, String)>,
        respond: oneshot::Sender<Result<(), String>>,
    ) -> Result<(), String> {
        match self.feed(Input::Configure { settings: settings.clone() }) {
            Ok(Ok(reaction)) => {
                self.settings = settings;
                self.outbox.push(self.sequence, Release::Configured(respond, reaction));
                Ok(())
            }
            Ok(Err(why)) | Err(why) => {
                // An error means that nobody waits.
                let _ = respond.send(Err(why.clone()));
                Err(why)
            }
        }
    }

    fn inspect(&mut self) -> Vec<Gauge> {
        let Live::Instance(instance) = &mut self.live else { return vec![] };
        match instance.inspect() {
            Ok(gauges) => gauges,
            Err(fault) => {
                self.fault(&fault, "inspect");
                self.rebuild();
                vec![]
            }
        }
    }

    /// Ends what is open in each dialect's way. What does not fit into one reaction comes by ticks.
    fn drain(&mut self, respond: oneshot::Sender<()>) {
        self.feed_own(Input::Drain);
        for _ in 0..10_000 {
            let now = self.time.read(&*self.parts.clock);
            if self.wake_at.is_none_or(|due| due > now) {
                break;
            }
            self.feed_own(Input::Tick);
        }
        self.outbox.push(self.sequence, Release::Close(respond));
    }

    fn moment(&mut self) -> Moment {
        Moment { now: self.time.read(&*self.parts.clock), sequence: self.sequence + 1 }
    }

    /// Feeds an input of the host's own. One that fails is tried once more; then the plugin is told that it was
    /// restarted; if it fails on that too, the tenant is closed as faulted.
    fn feed_own(&mut self, input: Input) {
        let restarted = Input::Restarted(Restart { down_ms: 0, regressed: false });
        for attempt in [input.clone(), input, restarted] {
            match self.feed(attempt) {
                Ok(Ok(reaction)) => {
                    return self.outbox.push(self.sequence, Release::Reaction { reaction, ingest: None });
                }
                Ok(Err(why)) => unreachable!("only settings are refused: {why}"),
                Err(_) if matches!(self.live, Live::Instance(_)) => {}
                Err(_) => return,
            }
        }
        self.give_up("it fails on the host's own inputs".into());
    }

    /// Feeds one input and has it journaled if it must be. The inner error is the plugin's refusal of settings. The
    /// outer error says why there is no reaction; the instance was rebuilt then, if it could be.
    fn feed(&mut self, input: Input) -> Result<Result<Reaction, String>, String> {
        if let Live::Down(why) | Live::Faulted(why) = &self.live {
            return Err(why.clone());
        }
        let at = self.moment();
        match self.call(at, &input) {
            Ok(Ok(reaction)) => {
                self.wake_at = reaction.wake_at;
                if reaction.changed || matches!(input, Input::Ingest { span: Some(_), .. } | Input::Configure { .. }) {
                    self.journal(at, input);
                }
                Ok(Ok(reaction))
            }
            Ok(Err(refused)) => Ok(Err(refused)),
            Err(fault) => {
                self.fault(&fault, input.kind());
                self.rebuild();
                Err(fault.to_string())
            }
        }
    }

    fn call(&mut self, at: Moment, input: &Input) -> Result<Result<Reaction, String>, Fault> {
        let Live::Instance(instance) = &mut self.live else { unreachable!("the caller has seen an instance") };
        let reaction = instance.feed(at, input)?;
        let memory = instance.memory();
        if let Ok(reaction) = &reaction {
            self.guard.check(input, reaction).map_err(Fault::Contract)?;
        }
        let mut statistics = self.statistics();
        statistics.input(input.kind());
        statistics.memory = memory;
        Ok(reaction)
    }

    fn journal(&mut self, at: Moment, input: Input) {
        self.sequence = at.sequence;
        let mut settings = None;
        replay::note(&input, &mut self.offsets, &mut settings);
        let record = Record { sequence: at.sequence, now: at.now, digest: Default::default(), input };
        self.uncommitted.push_back(record.clone());
        if self.seated {
            self.append(record);
        }
    }

    /// The actor is on its shard now: what it did before can be committed, because the news of that finds it.
    pub(super) fn seat(&mut self) {
        self.seated = true;
        for record in self.uncommitted.clone() {
            self.append(record);
        }
    }

    fn append(&self, record: Record) {
        let (mailbox, generation, through) = (self.parts.mailbox.clone(), self.generation, record.sequence);
        let append = Append { seat: self.parts.seat.clone(), expected: through - 1, records: vec![record] };
        self.parts.committer.append(append, move |outcome| {
            mailbox.send(Command::Committed { generation, through, outcome });
        });
    }

    fn committed(&mut self, generation: u64, through: u64, outcome: Result<(), JournalError>) {
        if generation != self.generation {
            return;
        }
        if let Err(error) = outcome {
            return self.void(&error);
        }
        self.committed = through;
        while self.uncommitted.pop_front_if(|record| record.sequence <= through).is_some() {}
        self.statistics().sequence = through;
        if through == self.sequence && through - self.snapshot_at >= self.parts.limits.inputs_between_snapshots {
            self.snapshot();
        }
    }

    /// An append failed: what was built on it never happened.
    fn void(&mut self, error: &JournalError) {
        tracing::error!(tenant = &*self.parts.seat.tenant, %error, sequence = self.committed + 1, "the journal failed");
        self.generation += 1;
        self.uncommitted.clear();
        let failed = || IngestError::Journal(error.to_string());
        for release in self.outbox.void().collect::<Vec<_>>() {
            match release {
                Release::Reaction { ingest: Some((respond, _)), .. } => drop(respond.send(Err(failed()))),
                Release::Ingest(respond, _) => drop(respond.send(Err(failed()))),
                Release::Offset(respond, _) => drop(respond.send(Err(failed()))),
                Release::Configured(respond, _) => drop(respond.send(Err(error.to_string()))),
                // Requests whose answer is void are known to the host only; rebuilding closes them.
                Release::Reaction { ingest: None, .. } => {}
                Release::Close(respond) => self.outbox.push(0, Release::Close(respond)),
            }
        }
        self.rebuild();
    }

    /// Carries out what may leave.
    fn release(&mut self) -> Next {
        while let Some(release) = self.outbox.release(self.committed) {
            match release {
                Release::Reaction { reaction, ingest } => {
                    self.carry_out(reaction);
                    if let Some((respond, ingested)) = ingest {
                        drop(respond.send(Ok(ingested)));
                    }
                }
                Release::Ingest(respond, outcome) => drop(respond.send(outcome)),
                Release::Offset(respond, offset) => drop(respond.send(Ok(offset))),
                Release::Configured(respond, reaction) => {
                    self.carry_out(reaction);
                    drop(respond.send(Ok(())));
                }
                Release::Close(respond) => {
                    self.close_all("the tenant is closed");
                    self.parts.mailbox.close();
                    // An error means that nobody waits.
                    let _ = respond.send(());
                    return Next::Ends;
                }
            }
        }
        self.statistics().open_requests = self.open.unanswered() as u64;
        Next::GoesOn
    }

    fn carry_out(&mut self, reaction: Reaction) {
        for line in reaction.logs {
            self.log(&line);
        }
        for reply in reaction.replies {
            if let Delivery::CutOff { limit, settlement } = self.open.deliver(reply, &self.parts.limits) {
                self.statistics().refusal(limit);
                self.settlements.push(settlement);
            }
        }
        for call in reaction.calls {
            let outcome = outbound::Outcome::Refused("this host makes no outbound calls".into());
            self.feed_own(Input::Finished { call: call.id, outcome });
        }
    }

    fn log(&self, line: &LogLine) {
        let (tenant, message) = (&*self.parts.seat.tenant, &*line.message);
        match line.level {
            LogLevel::Debug => tracing::debug!(target: "postbell::guest", tenant, "{message}"),
            LogLevel::Info => tracing::info!(target: "postbell::guest", tenant, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "postbell::guest", tenant, "{message}"),
            LogLevel::Error => tracing::error!(target: "postbell::guest", tenant, "{message}"),
        }
    }

    fn fault(&self, fault: &Fault, function: &str) {
        tracing::error!(tenant = &*self.parts.seat.tenant, %fault, function, "the plugin failed; its instance is rebuilt");
        self.statistics().fault(fault.reason());
    }

    fn statistics(&self) -> std::sync::MutexGuard<'_, Statistics> {
        self.parts.statistics.lock().expect("nothing panics while this lock is held")
    }
}
