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
mod limits;
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
pub use limits::Limits;
pub(crate) use replay::History;
pub(crate) use running::Running;
pub use running::Version;
pub use seats::SeatError;
pub(crate) use shard::{Mailbox, OwnThreads, Shard};
pub use swap::{
    Difference, MOST_DIFFERENCES, OnDifference, Shadow, Step, Swap, SwapError, SwapEvent, SwapOptions, Swapping,
};
pub(crate) use tenure::{Choice, choose, collect};
pub(crate) use unread::UnreadTotal;

pub use crate::journal::SourceSpan;

use crate::clock::{Clock, Stopwatch};
use crate::contract::changes::Batch;
use crate::contract::lifecycle::Gauge;
use crate::contract::requests::{self, Access, Claims, Refusal, RequestHead, Resolution};
use crate::contract::types::{Rejection, Reply};
use crate::plugin::{Fault, Library, Plugin};
use crate::statistics::Statistics;
use answer::Start;
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

/// How many changes one batch may have, both lists together. A reaction must have room to reject each of them.
pub const MOST_CHANGES: usize = 4_096;

/// A request on its way. Whoever drops it closes `response` before `receipt` tells of that: a tenant that finds it open will
/// be told.
struct Sent {
    response: oneshot::Receiver<Result<Start, RequestError>>,
    receipt: Receipt,
}

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

    /// Hands a request to the plugin, at once, and waits until its answer begins. Dropping the future hangs up.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn request(&self, request: Request) -> impl Future<Output = Result<Answer, RequestError>> + Send + '_ {
        let seat = self.seat_for(&request.head.path);
        let sent = seat.send_request(request);
        async move {
            let mut sent = sent?;
            match (&mut sent.response).await {
                // Much time may have passed since it was released: the process slept.
                Ok(Ok(_)) if !seat.may_speak() => Err(RequestError::Refused(Refusal::Moved)),
                Ok(Ok(start)) => Ok(start.answer(sent.receipt)),
                Ok(Err(error)) => {
                    sent.receipt.disarm();
                    Err(error)
                }
                Err(_) => Err(RequestError::Closed("the tenant is closed".into())),
            }
        }
    }

    fn send_request(&self, request: Request) -> Result<Sent, RequestError> {
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
        Ok(Sent { response, receipt })
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

    /// Tells each seat something, and gives what says what came of it.
    fn each<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<oneshot::Receiver<T>> {
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

    /// It may come here soon: reads what the journal has of it, so that it opens sooner, and says whether it could. What was
    /// read is kept for two minutes.
    pub async fn prepare(&self) -> bool {
        let each = join_all(self.each(|respond| Command::Prepare { respond })).await;
        each.into_iter().all(|could| could == Ok(true))
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
