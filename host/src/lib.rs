//! Postbell runs mail-notification logic as a sandboxed WebAssembly component.
//!
//! A mail platform feeds it changes ("this message arrived in that folder") and hands it the requests of mail clients;
//! the component answers them at once, parks them until something happens, or streams to them. This library loads such
//! a component and keeps it alive: [`Host`] has the engine and the threads, [`plugin::Plugin`] is a component that was
//! compiled and checked, [`tenant::Tenant`] is one plugin instance with its journal and its open requests.
//!
//! # To begin with
//!
//! ```
//! use postbell::contract::changes::{Account, Batch, Change, Happening, Item};
//! use postbell::contract::requests::{Access, Grant, RequestHead};
//! use postbell::tenant::Request;
//! use postbell::{Host, HostOptions, TenantOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::new(HostOptions::default())?;
//! let plugin = host.load(postbell::plugin::bundled())?;
//! let settings = vec![("domains".to_owned(), "example.org".to_owned())];
//! let tenant = host.open("example.org", &plugin, TenantOptions { settings, ..TenantOptions::default() })?;
//!
//! // What happened in a mailbox. Once this returns, it is committed to the journal.
//! let mail = Happening::MessageDelivered(Item::message("mail-1", "inbox"));
//! let batch = Batch::of("alice@example.org", vec![Change::new(tenant.now(), mail)]);
//! let ingested = pollster::block_on(tenant.ingest(batch, None))?;
//! assert!(ingested.rejections.is_empty());
//!
//! // What a client asks. Who it is has been verified by the caller.
//! let head = RequestHead::new("POST", "/EWS/Exchange.asmx", "text/xml; charset=utf-8");
//! let access = Access::Granted(Grant::to(Account::new("id-alice", "alice@example.org")));
//! let answer = pollster::block_on(tenant.request(Request::new(head, "no envelope", access)))?;
//! assert_eq!(answer.status, 500, "SOAP says so of what is no envelope");
//! pollster::block_on(tenant.close());
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - **Threads.** The host has its own. What is `async` here only waits for them: it runs on any executor, on none
//!   (`pollster::block_on`), and inside a runtime. What blocks says so: [`Host::load`] compiles, [`Host::open`] replays.
//! - **Changes** are applied in order, and once where their source counts them ([`tenant::SourceSpan`]). What an adapter
//!   makes of a mail server's own words is in [`ingest`].
//! - **Requests** go through [`tenant::Tenant::identify`], which says where the login stands and which bytes are secret; the
//!   embedder verifies it, overwrites those bytes, and hands the request to [`tenant::Tenant::request`]. An answer is whole, or
//!   comes in parts, for as long as its client listens; dropping it hangs up. What cannot be answered is refused by
//!   [`tenant::Tenant::refuse`], in the client's dialect.
//! - **What is kept** is for the [`journal::Journal`] to say: in memory by default, in a file
//!   ([`journal::DatabaseJournal`]), or wherever the embedder keeps things.
//! - **Calls** that plugins ask for are made by an [`outbound::Outbound`]; by default by none.
//! - **Another version** takes over by [`tenant::Tenant::swap`] while clients stay connected.
//! - **Limits** stand in [`tenant::Limits`]; what goes over one is refused, and counted in [`Statistics`].
//! - **Authors of plugins** check theirs by [`conformance`].
//!
//! The folder `examples` has a mail server, a swap, a journal and logins of one's own.
//!
//! # Features
//!
//! `bundled-plugin` embeds this project's own plugin, and needs a compiler for WebAssembly; `program` adds what the `postbell`
//! program is made of. Both are on by default; a server that embeds wants neither `program` nor, if it loads a component from a
//! file, `bundled-plugin`.
//!
//! What a plugin is told and may do is the contract, `wit/notify.wit`; its types are in [`contract`].

#[cfg(feature = "program")]
pub mod admin;
pub mod clock;
#[cfg(feature = "program")]
pub mod cluster;
pub mod conformance;
pub mod contract;
pub mod ingest;
pub mod journal;
pub mod outbound;
pub mod plugin;
#[cfg(feature = "program")]
pub mod program;
#[cfg(feature = "program")]
pub mod serve;
mod statistics;
pub mod tenant;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clock::{Clock, SystemClock};
use journal::{Committer, Journal, MemoryJournal, Seat};
use outbound::{NoCalls, Outbound};
use plugin::{Compiler, Library, Plugin, PluginError, PluginLimits, Verify};
pub use statistics::{HistogramFigures, Statistics, Timings};
use tenant::{
    Actor, ActorParts, Background, Beginning, Choice, Lease, Limits, Mailbox, OwnThreads, Running, Scheduling, Shard,
    Tenant, UnreadTotal, first_request,
};

/// Engine, threads, journal and clock, shared by all tenants. Cheap to clone; when the last handle is dropped its
/// tenants end where they are, without a farewell to their clients.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    library: Arc<Library>,
    options: HostOptions,
    committer: Committer,
    background: Background,
    followers: Background,
    unread: Arc<UnreadTotal>,
    timings: Arc<Timings>,
    shards: Vec<Shard>,
    own_threads: OwnThreads,
    open: Mutex<Names>,
}

/// The seats that are open, and where they live.
#[derive(Default)]
struct Names {
    /// By the names of the tenant and of the plugin.
    mailboxes: BTreeMap<(Arc<str>, Arc<str>), Mailbox>,
    /// The key of the next one.
    next: u64,
    /// With so many, those are looked for that are closed.
    crowded: usize,
}

impl Names {
    fn forget_closed(&mut self) {
        if self.mailboxes.len() >= self.crowded {
            self.mailboxes.retain(|_, mailbox| mailbox.is_open());
            self.crowded = 2 * self.mailboxes.len() + 64;
        }
    }
}

/// What a host is made of.
#[derive(Clone)]
pub struct HostOptions {
    /// Where it takes the time from.
    pub clock: Arc<dyn Clock>,
    /// Where inputs are kept.
    pub journal: Arc<dyn Journal>,
    /// Who makes the calls that plugins ask for.
    pub outbound: Arc<dyn Outbound>,
    /// Who compiles components.
    pub compiler: Compiler,
    /// What a component may be and take until it is loaded.
    pub plugin_limits: PluginLimits,
    /// Folder for compiled components; none: each load compiles.
    pub cache: Option<PathBuf>,
    /// Folder for the components that tenants run or may go back to; none: they are kept as long as the host lives.
    pub components: Option<PathBuf>,
    /// Judges whether a component that was kept before may still be loaded; none: each may.
    pub verify: Option<Verify>,
    /// How many instances there can be at once: one for each tenant, and some for what runs beside them. At most as many
    /// as the kernel lets a process have: each takes four memory maps, and a quarter of `vm.max_map_count` is left for
    /// everything else.
    pub instances: u32,
    /// How many tenants may have an instance while they are idle; of further ones, those sleep that were idle longest. At
    /// most seven eighths of the instances: the others are for what runs beside tenants.
    pub open_tenants: usize,
    /// Whether address space for all instances is reserved at start: they are made faster then. Without, what watches memory
    /// (valgrind, a sanitizer) sees each.
    pub pool: bool,
    /// How many threads the tenants are spread over. As many replay journals and take snapshots.
    pub shards: usize,
    /// How many tenants that are busy may have a thread of their own; see [`Limits::busy_milliseconds`].
    pub own_threads: usize,
    /// Open a tenant also where a replay of its journal gives something else than it gave when that was new.
    pub accept_divergence: bool,
    /// `unread-bytes-total`: bytes of answers, of all tenants, that their readers have not taken yet. While there are more,
    /// a reader that is behind is cut off when a further part comes for it.
    pub unread_bytes: usize,
}

impl Default for HostOptions {
    /// The system's clock, a journal in memory, no outbound calls, compilation in this process without a cache, a shard
    /// for each processor.
    fn default() -> Self {
        HostOptions {
            clock: Arc::new(SystemClock::default()),
            journal: Arc::new(MemoryJournal::default()),
            outbound: Arc::new(NoCalls),
            compiler: Compiler::default(),
            plugin_limits: PluginLimits::default(),
            cache: None,
            components: None,
            verify: None,
            instances: 1_000,
            open_tenants: 10_000,
            pool: true,
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            own_threads: 64,
            accept_divergence: false,
            unread_bytes: 256 << 20,
        }
    }
}

/// What a tenant is opened with.
#[derive(Clone, Debug, Default)]
pub struct TenantOptions {
    /// The plugin's settings.
    pub settings: Vec<(String, String)>,
    /// What it may use.
    pub limits: Limits,
    /// Where several processes could serve the tenant: who has this may. It opens when it is told that the lease is here, by
    /// [`Tenant::leased`]. None: nobody else could.
    pub lease: Option<Arc<Lease>>,
}

/// Told whether a tenant is open.
type Opened = Box<dyn FnOnce(Result<(), OpenError>) + Send>;

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This machine cannot run the engine.
    #[error("the engine does not start: {0}")]
    Engine(String),
}

/// Why a tenant is not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A tenant of this name is open already, with this plugin.
    #[error("a tenant of this name is open already")]
    Duplicate,
    /// The plugin refuses its settings; the text names the setting.
    #[error("settings refused: {0}")]
    Settings(String),
    /// The plugin fails at `open`.
    #[error("the plugin failed: {0}")]
    Fault(String),
    /// The journal knows the tenant, but does not give its state.
    #[error("its history does not give its state: {0}")]
    History(String),
    /// It was closed before it was open.
    #[error("the tenant was closed meanwhile")]
    Closed,
    /// There are as many instances as there may be.
    #[error("no room for it: {0}")]
    Full(String),
    /// The journal does not take it.
    #[error("the journal failed: {0}")]
    Journal(String),
}

impl Host {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// This machine cannot run the engine.
    pub fn new(mut options: HostOptions) -> Result<Host, HostError> {
        options.instances = possible(options.instances);
        let engine = plugin::engine(options.instances, options.pool);
        let engine = engine.map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let library = Arc::new(Library::new(engine, options.clone()));
        let own_threads = OwnThreads::new(options.own_threads);
        let most_awake = most_awake(&options);
        let shard = |number| Shard::start(number, options.clock.clone(), most_awake, own_threads.clone());
        let shards = (0..options.shards.max(1)).map(shard).collect();
        let committer = Committer::start(options.journal.clone(), options.clock.clone());
        let background = Background::start("postbell-pure", options.shards.max(2), Scheduling::Ordinary);
        let followers = Background::start("postbell-follow", options.shards.max(2), Scheduling::Batch);
        let unread = UnreadTotal::new(options.unread_bytes);
        let (timings, open) = (Arc::default(), Mutex::default());
        let inner =
            Inner { library, options, committer, background, followers, unread, timings, shards, own_threads, open };
        Ok(Host { inner: Arc::new(inner) })
    }

    /// Compiles a component, or takes its code from the cache, and checks it. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be a plugin; the error says at which step that showed.
    pub fn load(&self, component: &[u8]) -> Result<Plugin, PluginError> {
        self.inner.library.load(component, None)
    }

    /// As [`Host::load`], of a component that has a signature: [`HostOptions::verify`] is given it when the component is
    /// loaded again by a later host.
    ///
    /// # Errors
    ///
    /// As [`Host::load`].
    pub fn load_signed(&self, component: &[u8], signature: &str) -> Result<Plugin, PluginError> {
        self.inner.library.load(component, Some(signature))
    }

    /// Removes the kept components that no tenant of the journal runs or may go back to. Blocks.
    pub fn collect_components(&self) {
        tenant::collect(&*self.inner.options.journal, &self.inner.library);
    }

    /// Opens a tenant: a new one if the journal does not know it, else one that goes on where it was. Blocks.
    ///
    /// A tenant that has several plugins is opened with each of them; [`Tenant::with`] makes one of the handles.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(&self, name: &str, plugin: &Plugin, options: TenantOptions) -> Result<Tenant, OpenError> {
        let (opened, result) = std::sync::mpsc::channel();
        let told = move |result| {
            // An error means that this thread is gone.
            let _ = opened.send(result);
        };
        let tenant = self.begin(name, plugin, options, false, Box::new(told))?;
        let stopped = || Err(OpenError::Journal("the host has stopped".into()));
        result.recv().unwrap_or_else(|_| stopped()).map(|()| tenant)
    }

    /// As [`Host::open`], in the background: the tenant takes changes and requests at once, which wait until it is open,
    /// and those that are waited for open first. `opened` is told, on a thread that must not be held up, once it is open,
    /// or why it is not: then it is closed.
    ///
    /// # Errors
    ///
    /// A tenant of this name is open already, or the journal failed; `opened` is not called.
    pub fn open_later(
        &self,
        name: &str,
        plugin: &Plugin,
        options: TenantOptions,
        opened: impl FnOnce(Result<(), OpenError>) + Send + 'static,
    ) -> Result<Tenant, OpenError> {
        self.begin(name, plugin, options, true, Box::new(opened))
    }

    fn begin(
        &self,
        name: &str,
        plugin: &Plugin,
        options: TenantOptions,
        patient: bool,
        opened: Opened,
    ) -> Result<Tenant, OpenError> {
        let name: Arc<str> = name.into();
        let mailbox = self.reserve(seat(name.clone(), plugin))?;
        let used = self.last_used(&name, plugin).inspect_err(|_| mailbox.close())?;
        let first_request = first_request(&*self.inner.options.clock, used);
        let opening = self.opening(&name, plugin).inspect_err(|_| mailbox.close())?;
        Ok(self.start(name, plugin, options, (patient, opened), first_request, opening, &mailbox))
    }

    /// When a tenant was last used, in milliseconds since the Unix epoch, by what the journal has of it; none: nothing.
    ///
    /// # Errors
    ///
    /// The journal failed.
    pub fn last_used(&self, name: &str, plugin: &Plugin) -> Result<Option<u64>, OpenError> {
        let facts = self.inner.options.journal.facts(&seat(name.into(), plugin));
        Ok(facts.map_err(|error| OpenError::Journal(error.to_string()))?.map(|facts| facts.now))
    }

    /// Which component is in charge.
    fn opening(&self, name: &Arc<str>, plugin: &Plugin) -> Result<(Choice, plugin::Pin), OpenError> {
        let (library, failed) =
            (&self.inner.library, |error: &dyn std::fmt::Display| OpenError::Journal(error.to_string()));
        let pin = library.keep(plugin).map_err(|error| failed(&error))?;
        let seat = seat(name.clone(), plugin);
        let choice = tenant::choose(&*self.inner.options.journal, library, &seat, plugin);
        Ok((choice.map_err(|error| failed(&error))?, pin))
    }

    /// Where inputs are kept.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.inner.options.journal.clone()
    }

    /// How long things take here.
    pub fn timings(&self) -> Arc<Timings> {
        self.inner.timings.clone()
    }

    /// How many instances there are now, whatever they are for: see [`HostOptions::instances`].
    pub fn instances(&self) -> u64 {
        self.inner.library.instances()
    }

    /// How many tenants have a thread of their own now.
    pub fn own_threads(&self) -> usize {
        self.inner.own_threads.now()
    }

    /// How many components were not loaded, by the limit or the step at which that showed.
    pub fn plugin_refusals(&self) -> BTreeMap<&'static str, u64> {
        self.inner.library.refusals()
    }

    /// Where it takes its time from.
    #[cfg(feature = "program")]
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.inner.options.clock
    }

    /// Whether a plugin takes these settings, as far as a new tenant goes.
    ///
    /// # Errors
    ///
    /// It refuses them, or fails.
    pub fn try_settings(&self, plugin: &Plugin, settings: &[(String, String)]) -> Result<(), OpenError> {
        let at = contract::types::Moment { now: self.inner.options.clock.wall(), sequence: 1 };
        let fault = |fault: plugin::Fault| OpenError::Fault(fault.to_string());
        let mut scratch = plugin.instantiate(&plugin::InstanceLimits::default()).map_err(fault)?;
        scratch.open(at, &[0; 32], settings).map_err(fault)?.map_err(OpenError::Settings)
    }

    /// Takes the seat, if none that is still open has it, and a place on a shard.
    fn reserve(&self, seat: Seat) -> Result<Mailbox, OpenError> {
        let mut open = self.names();
        let name = (seat.tenant, seat.plugin);
        if open.mailboxes.get(&name).is_some_and(Mailbox::is_open) {
            return Err(OpenError::Duplicate);
        }
        open.forget_closed();
        let key = open.next;
        open.next += 1;
        // As many on each as on the others: how many may be awake is shared among them.
        let fewest = self.inner.shards.iter().min_by_key(|shard| shard.tenants()).expect("there is a shard");
        let mailbox = fewest.mailbox(key);
        open.mailboxes.insert(name, mailbox.clone());
        Ok(mailbox)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a tenant is made of comes together here")]
    fn start(
        &self,
        name: Arc<str>,
        plugin: &Plugin,
        options: TenantOptions,
        (patient, opened): (bool, Opened),
        first_request: u64,
        (choice, pin): (Choice, plugin::Pin),
        mailbox: &Mailbox,
    ) -> Tenant {
        let TenantOptions { settings, limits, lease } = options;
        let HostOptions { clock, journal, outbound, accept_divergence, .. } = &self.inner.options;
        let statistics = Arc::<Mutex<Statistics>>::default();
        let Choice { plugin: in_charge, tenure, take_over } = choice;
        let running = Arc::new(Running::new(&in_charge, &tenure, limits.instance.clone()));
        let library = self.inner.library.clone();
        let history = tenant::History {
            plugin: in_charge,
            configured: plugin.id(),
            library: library.clone(),
            limits: limits.instance.clone(),
            reaction_bytes: limits.reaction_bytes,
            journal: journal.clone(),
            seat: seat(name.clone(), plugin),
            accept_divergence: *accept_divergence,
        };
        let parts = ActorParts {
            history,
            limits: limits.clone(),
            clock: clock.clone(),
            committer: self.inner.committer.clone(),
            followers: self.inner.followers.clone(),
            mailbox: mailbox.clone(),
            statistics: statistics.clone(),
            timings: self.inner.timings.clone(),
            unread: self.inner.unread.clone(),
            outbound: outbound.clone(),
            running: running.clone(),
            lease: lease.clone(),
            seed,
            _pin: pin,
        };
        mailbox.open(Actor::new(parts, Beginning { seed: seed(), settings, take_over, patient, opened }));
        let (clock, background) = (clock.clone(), self.inner.background.clone());
        let mailbox = mailbox.clone();
        let handle = tenant::Handle {
            name,
            running,
            library,
            limits,
            clock,
            first_request,
            mailbox,
            background,
            statistics,
            lease,
        };
        Tenant::start(handle)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.inner.open.lock().expect("nothing panics while this lock is held")
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").field("tenants", &self.names().mailboxes.keys()).finish_non_exhaustive()
    }
}

/// How many idle tenants of one shard may have an instance.
fn most_awake(options: &HostOptions) -> usize {
    let room = (options.instances - options.instances / 8) as usize;
    (options.open_tenants.min(room) / options.shards.max(1)).max(1)
}

/// So many instances, or as many as the kernel lets a process have.
fn possible(instances: u32) -> u32 {
    match plugin::instance_ceiling() {
        Some(ceiling) if ceiling < instances => {
            tracing::warn!(
                instances,
                ceiling,
                "the kernel lets a process have fewer instances than were asked for; vm.max_map_count says how many"
            );
            ceiling.max(1)
        }
        _ => instances,
    }
}

fn seat(tenant: Arc<str>, plugin: &Plugin) -> Seat {
    Seat { tenant, plugin: plugin.manifest().name.as_str().into(), partition: 0 }
}

/// A new tenant's only source of chance.
fn seed() -> Vec<u8> {
    let mut seed = vec![0; 32];
    getrandom::fill(&mut seed).expect("the operating system has randomness");
    seed
}

/// A number that no other life has.
#[cfg(feature = "jetstream")]
fn number() -> u64 {
    getrandom::u64().expect("the operating system has randomness")
}
