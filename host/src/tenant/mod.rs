//! Tenants: one plugin instance each, its inputs in order, its open requests.
//!
//! A tenant lives on a shard, a thread that owns the instances of its tenants. [`Tenant`] is the handle: it sends inputs
//! to the shard and waits for what comes of them, on whatever executor its caller uses, or on none.

mod actor;
mod allowance;
mod answer;
mod background;
mod calls;
mod follower;
mod guard;
mod halving;
mod lease;
mod open_requests;
mod outbox;
mod replay;
mod running;
mod seats;
mod shard;
mod swap;
mod tenure;
mod unread;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

pub(crate) use actor::{Actor, Beginning, Parts as ActorParts};
pub use answer::{Answer, Body, Closed, Parts, Receipt};
pub(crate) use background::{Background, Scheduling};
pub use follower::Retention;
pub(crate) use guard::{Guard, is_header};
pub use lease::Lease;
pub(crate) use replay::History;
pub(crate) use running::Running;
pub use running::Version;
pub use seats::SeatError;
use seats::is_same;
pub(crate) use shard::{Mailbox, OwnThreads, Shard};
pub use swap::{
    Difference, MOST_DIFFERENCES, OnDifference, Shadow, Step, Swap, SwapError, SwapEvent, SwapOptions, Swapping,
};
pub(crate) use tenure::{Choice, choose, collect};
pub(crate) use unread::UnreadTotal;

pub use crate::journal::SourceSpan;

use crate::clock::{Clock, Stopwatch};
use crate::contract::changes::{Batch, BookChange};
use crate::contract::lifecycle::Gauge;
use crate::contract::requests::{self, Access, Claims, Refusal, RequestHead, Resolution};
use crate::contract::types::{Rejection, Reply};
use crate::plugin::{self, Fault, InstanceLimits, Library, Plugin};
use crate::statistics::Statistics;
use shard::Command;

/// A tenant that is open; cheap to clone. It stays open until [`Tenant::close`], or until its host is dropped.
///
/// It has one seat for each of its plugins, most tenants one. Changes come to all seats, a request to the one whose plugin
/// has a route for it; what concerns a plugin (its version, settings, figures) is the first seat's, unless it is asked of a
/// handle of another: see [`Tenant::with`] and [`Tenant::seats`].
#[derive(Clone)]
pub struct Tenant {
    inner: Arc<Inner>,
    /// Its other seats.
    beside: Arc<[Tenant]>,
}

struct Inner {
    name: Arc<str>,
    /// The plugin's name.
    plugin: Arc<str>,
    running: Arc<Running>,
    library: Arc<Library>,
    /// See [`Limits::inputs_waiting`].
    inputs_waiting: AtomicUsize,
    clock: Arc<dyn Clock>,
    mailbox: Mailbox,
    background: Background,
    statistics: Arc<Mutex<Statistics>>,
    lease: Option<Arc<Lease>>,
    next_request: AtomicU64,
}

/// What one tenant may use. Whatever goes over a limit is refused, and counted under the limit's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What its instance may use.
    pub instance: InstanceLimits,
    /// `inputs-waiting`: inputs that wait for the instance.
    pub inputs_waiting: usize,
    /// `open-requests`: requests that have no final part yet.
    pub open_requests: usize,
    /// `unread-bytes`: bytes of one answer that its reader has not taken yet; a reader that lets more pile up is cut off.
    pub unread_bytes: usize,
    /// `unread-parts`: parts of one answer that its reader has not taken yet; likewise.
    pub unread_parts: usize,
    /// `uncommitted`: inputs that were fed and are not committed yet; beyond, nothing more is fed.
    pub uncommitted_inputs: usize,
    /// `uncommitted`: about how many bytes these may have.
    pub uncommitted_bytes: usize,
    /// `outbound-calls`: calls that are on their way; beyond, a call fails.
    pub outbound_calls: usize,
    /// `reaction-bytes`: what the texts and bodies of one reaction may have together; at most 1 MiB, the contract's limit.
    pub reaction_bytes: usize,
    /// `log-lines-per-minute`: lines of the plugin's that are logged; further ones are dropped.
    pub log_lines_per_minute: u64,
    /// `calls-per-minute`: calls that are made for the plugin; further ones fail. It is told of as many, or of 60,000; of
    /// further ones later.
    pub calls_per_minute: u64,
    /// `ticks-per-minute`: how often the plugin's timer is served; further ticks are late.
    pub ticks_per_minute: u64,
    /// `busy-milliseconds`: how long it may compute in a second on a thread that it shares; beyond, it moves to a thread of
    /// its own, which comes after all others, until it is calm.
    pub busy_milliseconds: u64,
    /// `faults-per-minute`: how often an instance is replaced; when it fails more often, the tenant is closed until there
    /// may be one more.
    pub faults_per_minute: u64,
    /// `sleep-milliseconds`: after so long without an input the instance is dropped until the next input or
    /// timer. Where there are more tenants than [`crate::HostOptions::open_tenants`], those go first that were idle longest.
    pub sleep_milliseconds: u64,
    /// `journal-bytes`: about how many bytes of inputs may be in no snapshot; beyond, nothing more is taken until one
    /// succeeds.
    pub journal_bytes: u64,
    /// `swap-behind-bytes`: what the live instance was fed, with what it made of it, and a swap's follower was not yet;
    /// beyond, the swap is given up.
    pub swap_behind_bytes: usize,
    /// When snapshots are taken, and how much history is kept.
    pub retention: Retention,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            instance: InstanceLimits::default(),
            inputs_waiting: 10_000,
            open_requests: 100_000,
            unread_bytes: 4 << 20,
            unread_parts: 1_024,
            uncommitted_inputs: 10_000,
            uncommitted_bytes: 64 << 20,
            outbound_calls: 20_000,
            reaction_bytes: 1 << 20,
            log_lines_per_minute: 600,
            calls_per_minute: 60_000,
            ticks_per_minute: 6_000,
            busy_milliseconds: 500,
            faults_per_minute: 120,
            sleep_milliseconds: 600_000,
            journal_bytes: 1 << 30,
            swap_behind_bytes: 256 << 20,
            retention: Retention::default(),
        }
    }
}

/// How many changes one batch may have, both lists together. A reaction must have room to reject each of them.
pub const MOST_CHANGES: usize = 4_096;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Ingested {
    /// The changes that were not applied: which, in the batch's own order, and why. All others were.
    pub rejections: Vec<Rejection>,
    /// The tenant's journal position after the batch.
    pub sequence: u64,
    /// The source had sent all of this before; nothing was applied now.
    pub repeated: bool,
}

/// Why nothing of a batch was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The source skipped something; it is to go on from `expected`.
    #[error("the source is ahead: the offset expected is {expected}")]
    Gap {
        /// How many units of this source are applied.
        expected: u64,
    },
    /// The first `known` units of the batch are applied already: send the rest, with the span's offset raised as much.
    #[error("the first {known} of this batch are applied already")]
    Overlap {
        /// How many units of this batch are applied.
        known: u64,
    },
    /// The batch has more changes than one input may have; see [`MOST_CHANGES`].
    #[error("more than {MOST_CHANGES} changes in one batch")]
    TooLarge,
    /// Too many inputs wait already; try again later.
    #[error("too many inputs wait")]
    Busy,
    /// The plugin failed on this batch.
    #[error("the plugin failed: {0}")]
    Fault(String),
    /// The journal does not take anything at present.
    #[error("the journal failed: {0}")]
    Journal(String),
    /// The tenant is served elsewhere, or is about to be.
    #[error("another node has the tenant")]
    Moved,
    /// The tenant is closed.
    #[error("the tenant is closed")]
    Closed,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It cannot be answered now. [`Tenant::refuse`] says so in the client's dialect.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The host ended it before its answer began.
    #[error("closed by the host: {0}")]
    Closed(String),
}

/// A client's request, with everything that the host found out about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Method, path and the headers that the route asks for.
    pub head: RequestHead,
    /// The body. The secrets that `identify` found in it are overwritten already.
    pub body: Bytes,
    /// Whether the caller is known, and as whom.
    pub access: Access,
    /// How the caller stands to the account that `claims.act-as` named.
    pub act_as: Option<Resolution>,
    /// How the caller stands to the accounts that `claims.accounts` named, in that order.
    pub accounts: Vec<Resolution>,
}

impl Request {
    /// A request that names no other accounts.
    pub fn new(head: RequestHead, body: impl Into<Bytes>, access: Access) -> Request {
        Request { head, body: body.into(), access, act_as: None, accounts: Vec::new() }
    }
}

impl Tenant {
    /// The tenant's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The same tenant with the seats of another handle, which was opened under the same name with another plugin.
    ///
    /// # Errors
    ///
    /// See [`SeatError`].
    pub fn with(&self, other: &Tenant) -> Result<Tenant, SeatError> {
        if self.name() != other.name() {
            return Err(SeatError::OtherTenant(other.name().to_owned()));
        }
        for (own, seat) in self.seats().flat_map(|own| other.seats().map(move |seat| (own.clone(), seat))) {
            let (own, seat) = (own.plugin(), seat.plugin());
            let (own, seat) = (own.manifest(), seat.manifest());
            if own.name == seat.name {
                return Err(SeatError::SamePlugin(seat.name.clone()));
            }
            let shared =
                seat.routes.iter().find(|route| own.routes.iter().any(|other| is_same(&route.prefix, &other.prefix)));
            if let Some(route) = shared {
                let (one, other) = (own.name.clone(), seat.name.clone());
                return Err(SeatError::SharedRoute { prefix: route.prefix.clone(), one, other });
            }
        }
        let beside = self.beside.iter().cloned().chain(other.seats()).collect();
        Ok(Tenant { inner: self.inner.clone(), beside })
    }

    /// A handle for each seat alone, the first one first.
    pub fn seats(&self) -> impl Iterator<Item = Tenant> + '_ {
        std::iter::once(Tenant { inner: self.inner.clone(), beside: Arc::new([]) }).chain(self.beside.iter().cloned())
    }

    /// The seat of the plugin with this name.
    pub fn seat_of(&self, plugin: &str) -> Option<Tenant> {
        self.seats().find(|seat| *seat.inner.plugin == *plugin)
    }

    /// The seat whose plugin has the longest route to this path; the first one where none has any.
    pub fn seat_for(&self, path: &str) -> Tenant {
        let length =
            |seat: &Tenant| plugin::route(&seat.plugin().manifest().routes, path).map(|route| route.prefix.len());
        // Of several with the same route, which other versions of their plugins may have come to have, the first.
        let mut best = (None, None);
        for seat in self.seats() {
            let length = length(&seat);
            if best.0.is_none() || length > best.1 {
                best = (Some(seat), length);
            }
        }
        best.0.expect("there is a first seat")
    }

    /// The plugin that it runs now.
    pub fn plugin(&self) -> Plugin {
        self.version().plugin
    }

    /// The plugin that it runs now, since when, and what was before it.
    pub fn version(&self) -> Version {
        self.inner.running.version()
    }

    /// Has another component take over, or the same one anew. Clients notice nothing; whatever fails leaves the tenant as
    /// it was.
    pub fn swap(&self, plugin: &Plugin, options: SwapOptions) -> Swapping {
        self.begin_swap(plugin, options, false)
    }

    fn begin_swap(&self, plugin: &Plugin, options: SwapOptions, back: bool) -> Swapping {
        let (report, swapping) = Swapping::new(&self.inner.mailbox);
        self.send(Command::Swap { plugin: plugin.clone(), options, back, report });
        swapping
    }

    /// Has the component take over again that was there before the last swap, with all that happened since.
    ///
    /// # Errors
    ///
    /// There is none, or it is not kept any more.
    pub async fn roll_back(&self) -> Result<Swapping, SwapError> {
        let prepare = |why: String| SwapError { step: Step::Prepare, why };
        let former = self.version().tenure.previous.ok_or_else(|| prepare("there was no version before".into()))?;
        let library = self.inner.library.clone();
        let plugin = self.inner.background.run(self.inner.mailbox.key(), move || library.get(former.component)).await;
        let plugin = plugin.map_err(|error| prepare(error.to_string()))?;
        Ok(self.begin_swap(&plugin, SwapOptions::default(), true))
    }

    /// The time of day, in milliseconds since the Unix epoch: for changes whose source does not say when they happened.
    pub fn now(&self) -> u64 {
        self.inner.clock.wall()
    }

    /// Applies a batch, and returns once that is committed, at each seat. With a span it is applied once, however often it is
    /// sent. A seat that never heard of the source, while others did, begins where these are, and is told that it missed what
    /// was before.
    ///
    /// # Errors
    ///
    /// See [`IngestError`]; in each case nothing of the batch was applied, or, where there are several seats, it was not
    /// applied at each: with a span it can be sent again.
    pub async fn ingest(&self, batch: Batch, span: Option<SourceSpan>) -> Result<Ingested, IngestError> {
        if self.beside.is_empty() {
            return self.ingest_here(batch, span).await;
        }
        let seats: Vec<Tenant> = self.seats().collect();
        let each = seats.iter().map(|seat| seat.ingest_here(batch.clone(), span.clone()));
        let mut outcomes = join_all(each).await;
        if let Some(span) = span
            && outcomes.iter().any(Result::is_ok)
        {
            for (seat, outcome) in seats.iter().zip(&mut outcomes) {
                if matches!(outcome, Err(IngestError::Gap { expected: 0 })) {
                    seat.join_source(&span.source, span.offset).await?;
                    *outcome = seat.ingest_here(batch.clone(), Some(span.clone())).await;
                }
            }
        }
        seats::together(outcomes)
    }

    /// The seat's share of a source begins at this offset: of what was before it will hear nothing.
    async fn join_source(&self, source: &str, offset: u64) -> Result<Ingested, IngestError> {
        let missed = Batch { accounts: vec![], book: vec![BookChange::Gap] };
        self.ingest_here(missed, Some(SourceSpan { source: source.to_owned(), offset: 0, length: offset })).await
    }

    async fn ingest_here(&self, batch: Batch, span: Option<SourceSpan>) -> Result<Ingested, IngestError> {
        let changes = batch.accounts.iter().map(|account| account.changes.len()).sum::<usize>() + batch.book.len();
        if changes > MOST_CHANGES {
            return Err(IngestError::TooLarge);
        }
        if !self.has_room() {
            return Err(IngestError::Busy);
        }
        let (respond, response) = oneshot::channel();
        self.send(Command::Ingest { batch, span, accepted: Stopwatch::start(), respond });
        response.await.unwrap_or(Err(IngestError::Closed))
    }

    /// How many units of this source are applied and committed, at each seat that ever heard of it.
    ///
    /// # Errors
    ///
    /// The tenant is closed, or the journal failed.
    pub async fn source_offset(&self, source: &str) -> Result<u64, IngestError> {
        let mut least = None;
        for seat in self.seats() {
            let offset = seat.source_offset_here(source).await?;
            least = [least, Some(offset).filter(|offset| *offset > 0)].into_iter().flatten().min();
        }
        Ok(least.unwrap_or(0))
    }

    async fn source_offset_here(&self, source: &str) -> Result<u64, IngestError> {
        let (respond, response) = oneshot::channel();
        self.send(Command::SourceOffset { source: source.into(), respond });
        response.await.unwrap_or(Err(IngestError::Closed))
    }

    /// What a request says of itself: a pure function of the plugin.
    ///
    /// # Errors
    ///
    /// The plugin failed on it.
    pub async fn identify(&self, head: &RequestHead, body: &Bytes) -> Result<Claims, RequestError> {
        self.seat_for(&head.path).identify_here(head, body).await
    }

    async fn identify_here(&self, head: &RequestHead, body: &Bytes) -> Result<Claims, RequestError> {
        let (running, head, body) = (self.inner.running.clone(), head.clone(), body.clone());
        let identified = move || {
            let claims = running.scratch().identify(&head, &body)?;
            guard::check_claims(&body, claims)
        };
        match self.inner.background.run(self.inner.mailbox.key(), identified).await {
            Ok(claims) => Ok(claims),
            Err(fault) => {
                self.pure_function_failed("identify", &fault);
                let full = matches!(fault, Fault::Instances(_));
                Err(RequestError::Refused(if full { Refusal::Busy } else { Refusal::Fault }))
            }
        }
    }

    fn pure_function_failed(&self, function: &str, fault: &Fault) {
        if let Fault::Instances(_) = fault {
            return self.statistics_now().refusal(fault.reason());
        }
        tracing::error!(tenant = self.name(), function, %fault, "the plugin failed");
        self.statistics_now().fault(fault.reason());
    }

    /// The refusal of a request in the dialect of its route; where the plugin fails at it, a plain one.
    pub async fn refuse(&self, head: &RequestHead, body: &Bytes, why: Refusal) -> Reply {
        self.seat_for(&head.path).refuse_here(head, body, why).await
    }

    async fn refuse_here(&self, head: &RequestHead, body: &Bytes, why: Refusal) -> Reply {
        let (running, head, body) = (self.inner.running.clone(), head.clone(), body.clone());
        let refuse = move || running.scratch().refuse(&head, &body, why).and_then(guard::check_refusal);
        self.inner.background.run(self.inner.mailbox.key(), refuse).await.unwrap_or_else(|fault| {
            self.pure_function_failed("refuse", &fault);
            plain_refusal(why)
        })
    }

    /// Hands a request to the plugin and waits until its answer begins. Dropping the future hangs up.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub async fn request(&self, request: Request) -> Result<Answer, RequestError> {
        self.seat_for(&request.head.path).request_here(request).await
    }

    async fn request_here(&self, request: Request) -> Result<Answer, RequestError> {
        if !self.has_room() {
            return Err(RequestError::Refused(Refusal::Busy));
        }
        let id = self.inner.next_request.fetch_add(1, Ordering::Relaxed);
        let (respond, response) = oneshot::channel();
        let receipt = Receipt::new(id, self.inner.mailbox.clone());
        let Request { head, body, access, act_as, accounts } = request;
        let request = requests::Request { id, head, body: body.into(), access, act_as, accounts };
        let trace = tracing::Span::current();
        trace.record("tenant", self.name()).record("request", id);
        self.send(Command::Request { request: Box::new(request), respond, trace });
        match response.await {
            // Much time may have passed since it was released: the process slept.
            Ok(Ok(_)) if !self.may_speak() => Err(RequestError::Refused(Refusal::Moved)),
            Ok(Ok(start)) => Ok(start.answer(receipt)),
            Ok(Err(error)) => {
                receipt.disarm();
                Err(error)
            }
            Err(_) => Err(RequestError::Closed("the tenant is closed".into())),
        }
    }

    /// The plugin's own gauges; none if the tenant is closed or the plugin fails.
    pub async fn inspect(&self) -> Vec<Gauge> {
        let (respond, response) = oneshot::channel();
        self.send(Command::Inspect { respond });
        response.await.unwrap_or_default()
    }

    /// Gives the plugin new settings.
    ///
    /// # Errors
    ///
    /// The plugin refused them, with its reason, and goes on with the former ones; or the tenant is closed or failed.
    pub async fn configure(&self, settings: Vec<(String, String)>) -> Result<(), String> {
        let (respond, response) = oneshot::channel();
        self.send(Command::Configure { settings, respond });
        response.await.unwrap_or_else(|_| Err("the tenant is closed".into()))
    }

    /// Lets each of its seats use something else from now on.
    pub fn limit(&self, limits: Limits) {
        self.beside.iter().for_each(|seat| seat.limit(limits.clone()));
        self.inner.inputs_waiting.store(limits.inputs_waiting, Ordering::Relaxed);
        self.inner.mailbox.tell(Command::Limit { limits: Box::new(limits) });
    }

    /// What happened to this tenant since this process opened it.
    pub fn statistics(&self) -> Statistics {
        self.statistics_now().clone()
    }

    /// Lets the plugin end every open request in its dialect's way, then closes the tenant. Returns once all of that is
    /// committed; answers that have begun can still be read to their end.
    pub async fn close(&self) {
        let each = self.each(|respond| Command::Close { respond });
        // An error means that it was closed already.
        drop(join_all(each).await);
    }

    /// Tells each seat something, and gives what says that it was done.
    fn each(&self, command: impl Fn(oneshot::Sender<()>) -> Command) -> Vec<oneshot::Receiver<()>> {
        let tell = |seat: Tenant| {
            let (respond, response) = oneshot::channel();
            seat.send(command(respond));
            response
        };
        self.seats().map(tell).collect()
    }

    /// It has the lease now, or may have: it opens where it does. `used`: see [`crate::Host::last_used`].
    pub fn leased(&self, used: Option<u64>) {
        self.beside.iter().for_each(|seat| seat.leased(used));
        let first = first_request(&*self.inner.clock, used);
        self.inner.next_request.fetch_max(first, Ordering::Relaxed);
        self.inner.mailbox.tell(Command::Leased);
    }

    /// Lets the plugin end every open request in its dialect's way, then lets the tenant go to another process. Returns
    /// once nothing more is said for it here; the lease is the caller's to end.
    pub async fn leave(&self) {
        let each = self.each(|respond| Command::Leave { respond });
        // An error means that it was closed already.
        drop(join_all(each).await);
    }

    fn may_speak(&self) -> bool {
        self.inner.lease.as_ref().is_none_or(|lease| lease.holds())
    }

    /// Whether another input may wait; counts the refusal if not.
    fn has_room(&self) -> bool {
        let room = self.inner.mailbox.waiting() < self.inner.inputs_waiting.load(Ordering::Relaxed);
        if !room {
            self.statistics_now().refusal("inputs-waiting");
        }
        room
    }

    fn send(&self, command: Command) {
        self.inner.mailbox.send(command);
    }

    fn statistics_now(&self) -> std::sync::MutexGuard<'_, Statistics> {
        self.inner.statistics.lock().expect("nothing panics while this lock is held")
    }

    pub(crate) fn start(parts: Handle) -> Tenant {
        let Handle { name, running, library, limits, clock, first_request, mailbox, background, statistics, lease } =
            parts;
        let next_request = AtomicU64::new(first_request);
        let plugin = running.version().plugin.manifest().name.as_str().into();
        Tenant {
            beside: Arc::new([]),
            inner: Arc::new(Inner {
                name,
                plugin,
                running,
                library,
                inputs_waiting: AtomicUsize::new(limits.inputs_waiting),
                clock,
                mailbox,
                background,
                statistics,
                lease,
                next_request,
            }),
        }
    }
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tenant").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// What a handle is made of.
pub(crate) struct Handle {
    pub(crate) name: Arc<str>,
    pub(crate) running: Arc<Running>,
    pub(crate) library: Arc<Library>,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) first_request: u64,
    pub(crate) mailbox: Mailbox,
    pub(crate) background: Background,
    pub(crate) statistics: Arc<Mutex<Statistics>>,
    pub(crate) lease: Option<Arc<Lease>>,
}

/// The number of the first request of a tenant that opens now and was last used at `used`, by its own time.
///
/// It lies above every number of an earlier life, as long as that gave less than a million in each millisecond: a
/// tenant's time never goes back, even where the wall clock was set back in between.
pub(crate) fn first_request(clock: &dyn Clock, used: Option<u64>) -> u64 {
    clock.wall().max(used.map_or(0, |used| used + 1)) << 20 | 1
}

fn plain_refusal(why: Refusal) -> Reply {
    let (status, text) = match why {
        Refusal::TooLarge => (413, "The request is too large.\n"),
        Refusal::Busy | Refusal::Throttled => (503, "The server is busy.\n"),
        Refusal::Fault => (500, "The server failed on this request.\n"),
        Refusal::Stopping | Refusal::Moved => (503, "The server is stopping.\n"),
    };
    let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
    Reply { to: 0, status, headers, body: text.into(), more: false, confirm: false }
}
