//! A tenant as its shard sees it: one live instance that is fed inputs one by one, and what waits for them to be
//! committed.
//!
//! The actor decides nothing about mail. It gives inputs their moment, has them journaled, releases reactions in order
//! after the commit, and when the plugin fails, throws the instance away and has the journal replayed into a new one, in
//! the background: what comes meanwhile waits.

mod allowances;
mod commit;
mod elsewhere;
mod feeding;
mod recovery;
mod sleeping;
mod snapshots;
mod swap;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::background::Background;
use super::calls::Calls;
use super::guard::Guard;
use super::open_requests::{OpenRequests, Respond};
use super::outbox::Outbox;
use super::replay::History;
use super::running::Running;
use super::shard::{Command, Mailbox};
use super::unread::UnreadTotal;
use super::{IngestError, Ingested, Lease, Limits, RequestError};
use crate::OpenError;
use crate::clock::{Clock, Stopwatch, TenantTime, ThreadWatch};
use crate::contract::changes::Batch;
use crate::contract::lifecycle::Gauge;
use crate::contract::requests::{Refusal, Request, Settlement};
use crate::journal::{Chain, Committer, Input, Offsets, Record, SourceSpan, Tenure};
use crate::outbound::Outbound;
use crate::plugin::{Instance, Pin, Plugin, route};
use crate::statistics::{Statistics, Timings};
use allowances::Allowances;
use commit::{Farewell, Release};
use elsewhere::Prepared;
use recovery::Then;
pub(crate) use recovery::{Recovered, Successive, TakeOver};
use sleeping::Rest;
use snapshots::Snapshots;
use swap::Attempt;

/// One tenant on its shard.
pub(crate) struct Actor {
    parts: Parts,
    live: Live,
    /// Commands that wait until there is an instance.
    deferred: VecDeque<Command>,
    time: TenantTime,
    /// The last input that was fed and is to be journaled, the last that was sent to the committer, and the last that is
    /// committed.
    sequence: u64,
    sent: u64,
    committed: u64,
    /// Which life of the instance an append belongs to: what comes of an earlier life's appends says nothing any more.
    generation: u64,
    /// What the appends of this life have in common.
    chain: Chain,
    /// Which replay is expected: what comes of an earlier one is dropped.
    replays: u64,
    /// What the plugin's calls took since that was last asked.
    took: Duration,
    /// How many appends failed since the last that did not.
    failures: u32,
    uncommitted: VecDeque<Record>,
    uncommitted_bytes: usize,
    offsets: Offsets,
    /// None: the plugin is not opened yet.
    settings: Option<Vec<(String, String)>>,
    outbox: Outbox<Release>,
    open: OpenRequests,
    calls: Calls,
    guard: Guard,
    allowances: Allowances,
    wake_at: Option<u64>,
    /// The next tick goes on with what a batch brought that was accepted then.
    waking: Option<Stopwatch>,
    /// Settlements that wait to be told to the plugin together.
    settlements: Vec<Settlement>,
    snapshots: Snapshots,
    rest: Rest,
    /// The component that is in charge.
    tenure: Tenure,
    /// Who was in charge before each record of a swap that is not committed.
    unproven: VecDeque<(u64, Plugin, Tenure)>,
    /// Another one that is to be, when the history is replayed next.
    take_over: Option<TakeOver>,
    /// When the plugin failed, in monotonic time.
    recent_faults: VecDeque<u64>,
    attempt: Option<Attempt>,
    attempts: u64,
    /// The tenant is closing: nothing new is taken.
    farewell: Option<Farewell>,
    /// It may come here soon.
    prepared: Option<Prepared>,
    ended: bool,
}

/// What an actor is given.
pub(crate) struct Parts {
    pub(crate) history: History,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) committer: Committer,
    pub(crate) followers: Background,
    pub(crate) mailbox: Mailbox,
    pub(crate) statistics: Arc<Mutex<Statistics>>,
    pub(crate) timings: Arc<Timings>,
    pub(crate) unread: Arc<UnreadTotal>,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) running: Arc<Running>,
    /// Who has it may answer for the tenant; none: nobody else could.
    pub(crate) lease: Option<Arc<Lease>>,
    /// Gives 32 random bytes.
    pub(crate) seed: fn() -> Vec<u8>,
    /// The component that the tenant began with is kept.
    pub(crate) _pin: Pin,
}

/// How a tenant begins.
pub(crate) struct Beginning {
    /// Used if the journal does not know the tenant.
    pub(crate) seed: Vec<u8>,
    pub(crate) settings: Vec<(String, String)>,
    /// Another component than the one in charge is to take over.
    pub(crate) take_over: Option<TakeOver>,
    /// Where there are too many instances, it waits until there is room, and does not fail.
    pub(crate) patient: bool,
    /// Told once it is open and that is committed, or why it is not.
    pub(crate) opened: Box<dyn FnOnce(Result<(), OpenError>) + Send>,
}

enum Live {
    Instance(Box<Instance>),
    /// The journal is replayed into a new one.
    Replaying(Then),
    /// There is none, because nobody needs it.
    Asleep,
    /// There is none at present, for a reason that may pass: it is tried again at `until`, in monotonic time.
    Down {
        why: String,
        until: u64,
        /// What it is wanted for then, besides what waits.
        then: Option<Box<Then>>,
    },
    /// Another process has the lease, or none has: it begins when the lease is here.
    Elsewhere(Box<Beginning>),
    /// There will be none as long as this process lives.
    Faulted(String),
}

/// A plugin is told the outcomes of so many calls, and then the tenants beside it have their turn.
const OUTCOMES_AT_ONCE: usize = 32;

/// How many inputs' longest time the plugin may take to end everything: the tenants beside it wait.
const DRAIN_INPUTS: u64 = 10;

/// Whether the actor goes on after a command.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    GoesOn,
    Ends,
}

impl Actor {
    pub(crate) fn new(parts: Parts, mut beginning: Beginning) -> Actor {
        let time = TenantTime::start(&*parts.clock, 0);
        let (snapshots, rest) = (Snapshots::new(&*parts.clock), Rest::new(parts.clock.monotonic()));
        let open = OpenRequests::new(parts.unread.clone());
        let guard = Guard::after_load(&[], &[], parts.limits.reaction_bytes);
        let allowances = Allowances::new(&parts.limits, parts.clock.monotonic());
        let (tenure, take_over) = (Tenure::first(parts.history.plugin.id()), beginning.take_over.take());
        let live = match parts.lease {
            Some(_) => Live::Elsewhere(Box::new(beginning)),
            None => Live::Replaying(Then::Begin(beginning)),
        };
        Actor {
            parts,
            live,
            deferred: VecDeque::new(),
            time,
            sequence: 0,
            sent: 0,
            committed: 0,
            generation: 0,
            chain: Chain::default(),
            replays: 0,
            took: Duration::ZERO,
            failures: 0,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            offsets: Offsets::new(),
            settings: None,
            outbox: Outbox::default(),
            open,
            calls: Calls::default(),
            guard,
            allowances,
            wake_at: None,
            waking: None,
            settlements: Vec::new(),
            snapshots,
            rest,
            tenure,
            unproven: VecDeque::new(),
            take_over,
            recent_faults: VecDeque::new(),
            attempt: None,
            attempts: 0,
            farewell: None,
            prepared: None,
            ended: false,
        }
    }

    /// The actor is on its shard now: news find it.
    pub(super) fn seated(&mut self) {
        match self.live {
            Live::Elsewhere(_) => self.come(),
            _ => self.begin_replay(),
        }
    }

    pub(super) fn handle(&mut self, command: Command) -> Next {
        match command {
            Command::Acknowledged { id, parts } => self.settlements.extend(self.open.acknowledged(id, parts)),
            Command::Ended { id, parts, orderly } => self.settlements.extend(self.open.ended(id, parts, orderly)),
            Command::Finished { call, ticket, outcome } => self.finished(call, ticket, outcome),
            Command::Committed { generation, through, outcome } => self.committed(generation, through, outcome),
            Command::Replayed { replay, result } => self.replayed(replay, result),
            Command::Followed { through, result } => self.followed(through, result),
            Command::Follower { attempt, result } => self.follower(attempt, result),
            Command::SwapUnwatched => {}
            Command::Sweep { swap, after } => self.sweep(swap, after),
            Command::Limit { limits } => self.limit(*limits),
            Command::Leased => self.come(),
            Command::Prepare { respond } => {
                self.parts.mailbox.taken();
                self.prepare(respond);
            }
            Command::Prepared { result, respond } => self.note_prepared(result, respond),
            Command::Close { respond } if self.is_unopened() && self.deferred.is_empty() => {
                self.close_unopened(respond)
            }
            // Who looks does not wait.
            Command::Inspect { respond } if !matches!(self.live, Live::Instance(_) | Live::Asleep) => {
                self.parts.mailbox.taken();
                drop(respond.send(vec![]));
            }
            command => {
                self.hurry();
                self.deferred.push_back(command);
            }
        }
        self.go_on();
        self.release()
    }

    /// Takes the commands that wait, in order, as long as there is an instance or a reason to refuse them.
    pub(super) fn go_on(&mut self) {
        // What clients have, and what became of calls, waits for an instance, too.
        if matches!(self.live, Live::Asleep) {
            self.revive();
        }
        while !self.deferred.is_empty() {
            self.settle();
            self.revive();
            if matches!(self.live, Live::Replaying(_)) {
                return;
            }
            let Some(command) = self.deferred.pop_front() else { return };
            self.parts.mailbox.taken();
            // Whoever waits for the response to what is dropped hears that the tenant is closed.
            if self.farewell.is_none() {
                self.take(command);
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Ingest { batch, span, accepted, respond } => self.ingest(batch, span, accepted, respond),
            Command::Request { request, respond, trace } => self.request(request, respond, &trace),
            Command::SourceOffset { source, respond } => self.source_offset(&source, respond),
            Command::Inspect { respond } => drop(respond.send(self.inspect())),
            Command::Configure { settings, respond } => self.configure(settings, respond),
            Command::Close { respond } => self.drain(respond),
            Command::Leave { respond } => self.leave(respond),
            Command::Swap { plugin, options, back, report } => self.swap(plugin, options, back, report),
            Command::Acknowledged { .. }
            | Command::Ended { .. }
            | Command::Finished { .. }
            | Command::Committed { .. }
            | Command::Replayed { .. }
            | Command::Followed { .. }
            | Command::Follower { .. }
            | Command::SwapUnwatched
            | Command::Leased
            | Command::Prepare { .. }
            | Command::Prepared { .. }
            | Command::Sweep { .. }
            | Command::Limit { .. } => unreachable!("these never wait"),
        }
    }

    /// Nothing more comes at present: what became of parts and calls is told.
    pub(super) fn end_turn(&mut self) -> Next {
        let before = self.outbox.len();
        self.settle();
        // What was not journaled waits for no commit.
        if self.outbox.len() == before { Next::GoesOn } else { self.release() }
    }

    /// Tells the plugin what became of its parts, all that is known in one input, and of its calls, each in one and some
    /// at a time.
    pub(super) fn settle(&mut self) {
        if !self.settlements.is_empty() && matches!(self.live, Live::Instance(_)) && !self.is_full() {
            let settlements = std::mem::take(&mut self.settlements);
            self.feed_own(Input::Settled(settlements));
        }
        for _ in 0..OUTCOMES_AT_ONCE {
            let may = matches!(self.live, Live::Instance(_)) && !self.is_full();
            let Some((call, outcome)) = self.calls.outcome().filter(|_| may).cloned() else { return };
            if !self.may_hear_outcome() {
                return;
            }
            self.feed_own(Input::Finished { call, outcome });
        }
    }

    /// Does what is due.
    pub(super) fn tick_if_due(&mut self) -> Next {
        self.revive();
        let may = matches!(self.live, Live::Instance(_)) && !self.is_full();
        let due = may && self.wake_at.is_some_and(|due| due <= self.time.read(&*self.parts.clock));
        if due && self.may_tick() {
            self.wake_at = None;
            self.feed_own(Input::Tick);
            self.note_late_tick();
        }
        self.close_overdue();
        self.unprepare_if_due();
        self.follow_if_due();
        self.settle();
        self.go_on();
        self.sleep_if_due();
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

    /// When something is due next, in the clock's monotonic time.
    pub(super) fn due(&self) -> Option<u64> {
        let ticks = matches!(self.live, Live::Instance(_) | Live::Asleep) && !self.is_full();
        let due = |instant| self.time.due(instant);
        let tick = self.wake_at.filter(|_| ticks).map(due).map(|due| due.max(self.next_tick()));
        let told = matches!(self.live, Live::Instance(_)) && !self.is_full();
        let outcome = self.calls.outcome().filter(|_| told).map(|_| self.next_outcome());
        let deadline = self.open.first_deadline().map(due);
        let again = match &self.live {
            Live::Down { until, .. } => Some(*until),
            _ => None,
        };
        let farewell = self.farewell.as_ref().map(|farewell| farewell.until);
        let own = [tick, outcome, deadline, again, farewell, self.snapshot_due(), self.shadow_due()];
        let unprepared = self.prepared.as_ref().map(|prepared| prepared.until);
        let own = own.into_iter().chain([self.sleep_due(), self.room_due(), unprepared]);
        own.flatten().min()
    }

    fn ingest(
        &mut self,
        batch: Batch,
        span: Option<SourceSpan>,
        accepted: Stopwatch,
        respond: oneshot::Sender<Result<Ingested, IngestError>>,
    ) {
        if let Some(why) = self.refusal() {
            return drop(respond.send(Err(why)));
        }
        if let Some(known) = span.as_ref().and_then(|span| self.known(span)) {
            let sequence = self.sequence;
            let known = known.map(|()| Ingested { rejections: vec![], sequence, repeated: true });
            return self.outbox.push(sequence, Release::Ingest(respond, known));
        }
        match self.feed(Input::Ingest { batch, span, skipped: None }) {
            Ok(Ok(mut reaction)) => {
                let rejections = std::mem::take(&mut reaction.rejections);
                let ingested = Ingested { rejections, sequence: self.sequence, repeated: false };
                self.push_woken(accepted, reaction);
                self.outbox.push(self.sequence, Release::Ingest(respond, Ok(ingested)));
            }
            Ok(Err(why)) => unreachable!("only settings are refused: {why}"),
            Err(failed) => self.find_culprit(*failed, respond),
        }
    }

    /// Why a batch cannot be taken now.
    fn refusal(&mut self) -> Option<IngestError> {
        match &self.live {
            Live::Down { why, .. } => Some(IngestError::Journal(why.clone())),
            Live::Faulted(why) => Some(IngestError::Fault(why.clone())),
            Live::Elsewhere(_) => Some(IngestError::Moved),
            Live::Instance(_) | Live::Replaying(_) | Live::Asleep => {
                let limit = self.full()?;
                self.statistics().refusal(limit);
                Some(IngestError::Busy)
            }
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

    fn request(&mut self, request: Box<Request>, respond: Respond, trace: &tracing::Span) {
        // Its client has gone while it waited here, and nobody will say so again.
        if respond.is_closed() {
            return;
        }
        let limit = match () {
            () if self.open.unanswered() >= self.parts.limits.open_requests => "open-requests",
            () => match self.full() {
                Some(limit) => limit,
                None => return self.answer(request, respond, trace),
            },
        };
        self.statistics().refusal(limit);
        drop(respond.send(Err(RequestError::Refused(Refusal::Busy))));
    }

    fn answer(&mut self, request: Box<Request>, respond: Respond, trace: &tracing::Span) {
        let id = request.id;
        let routes = &self.parts.history.plugin.manifest().routes;
        let parked = route(routes, &request.head.path).map_or(0, |route| route.park_ms);
        let at_most = self.time.read(&*self.parts.clock).saturating_add(parked);
        // What the host says of it meanwhile belongs to it, too.
        let fed = trace.in_scope(|| self.feed(Input::Answer(request)));
        match fed {
            Ok(Ok(reaction)) => {
                trace.record("sequence", self.sequence);
                self.open.open(id, respond, at_most);
                self.outbox.push(self.sequence, Release::Reaction(reaction));
            }
            Ok(Err(why)) => unreachable!("only settings are refused: {why}"),
            Err(failed) => {
                let why = match (&failed.fault, &self.live) {
                    (None, Live::Down { .. }) => Refusal::Busy,
                    (None, Live::Elsewhere(_)) => Refusal::Moved,
                    _ => Refusal::Fault,
                };
                drop(respond.send(Err(RequestError::Refused(why))));
                self.replay_after(&failed, Then::GoOn);
            }
        }
    }

    fn source_offset(&mut self, source: &str, respond: oneshot::Sender<Result<u64, IngestError>>) {
        let offset = self.offsets.get(source).copied().unwrap_or(0);
        match &self.live {
            Live::Down { why, .. } => drop(respond.send(Err(IngestError::Journal(why.clone())))),
            Live::Faulted(why) => drop(respond.send(Err(IngestError::Fault(why.clone())))),
            Live::Elsewhere(_) => drop(respond.send(Err(IngestError::Moved))),
            Live::Instance(_) | Live::Replaying(_) | Live::Asleep => {
                self.outbox.push(self.sequence, Release::Offset(respond, offset));
            }
        }
    }

    fn configure(&mut self, settings: Vec<(String, String)>, respond: oneshot::Sender<Result<(), String>>) {
        if let Live::Elsewhere(beginning) = &mut self.live {
            beginning.settings = settings;
            return drop(respond.send(Ok(())));
        }
        match self.feed(Input::Configure { settings }) {
            Ok(Ok(reaction)) => self.outbox.push(self.sequence, Release::Configured(respond, reaction)),
            // An error means that nobody waits.
            Ok(Err(why)) => drop(respond.send(Err(why))),
            Err(failed) => {
                drop(respond.send(Err(failed.why.clone())));
                self.replay_after(&failed, Then::GoOn);
            }
        }
    }

    fn inspect(&mut self) -> Vec<Gauge> {
        let Live::Instance(instance) = &mut self.live else { return vec![] };
        let inspected = instance.inspect();
        self.took += instance.time();
        match inspected {
            Ok(gauges) => gauges,
            Err(fault) => {
                self.fault(&fault, "inspect");
                self.replay(Then::GoOn);
                vec![]
            }
        }
    }

    /// Ends what is open in each dialect's way. What does not fit into one reaction comes by ticks.
    fn drain(&mut self, respond: oneshot::Sender<()>) {
        self.end_all();
        self.outbox.push(self.sequence, Release::Close(respond));
    }

    fn end_all(&mut self) {
        self.give_swap_up("the tenant is closed");
        let began = ThreadWatch::start();
        let most = Duration::from_millis(self.parts.limits.instance.call_milliseconds.saturating_mul(DRAIN_INPUTS));
        self.feed_own(Input::Drain);
        // Without an instance there is nothing that it could end.
        let most_ticks = if matches!(self.live, Live::Instance(_)) { 10_000 } else { 0 };
        for _ in 0..most_ticks {
            let now = self.time.read(&*self.parts.clock);
            if self.wake_at.is_none_or(|due| due > now) || began.elapsed() > most {
                break;
            }
            self.feed_own(Input::Tick);
        }
    }

    /// The limit that lets nothing more be taken from outside.
    fn full(&self) -> Option<&'static str> {
        match () {
            () if self.is_full() => Some("uncommitted"),
            () if self.calls.outcomes() >= self.parts.limits.inputs_waiting => Some("inputs-waiting"),
            () if self.needs_snapshot() => Some("journal-bytes"),
            () => None,
        }
    }

    /// Whether so much waits to be committed that nothing more may be fed.
    fn is_full(&self) -> bool {
        let Limits { uncommitted_inputs, uncommitted_bytes, .. } = &self.parts.limits;
        self.outbox.len() >= *uncommitted_inputs || self.uncommitted_bytes >= *uncommitted_bytes
    }

    fn statistics(&self) -> std::sync::MutexGuard<'_, Statistics> {
        self.parts.statistics.lock().expect("nothing panics while this lock is held")
    }
}
