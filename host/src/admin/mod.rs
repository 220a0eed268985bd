//! The admin listener: sources post their changes here, and monitoring reads metrics.
//!
//! - `POST /v1/tenants/{tenant}/changes`, `GET` and `POST /v1/tenants/{tenant}/sources/{source}`: with a key, see
//!   [`State`].
//! - `GET /v1/journal`, `GET /v1/backup`, `GET /v1/tenants/{tenant}/backup`: what is kept of the tenants, with an admin
//!   key.
//! - `GET /v1/plugins`, `PUT /v1/tenants/{tenant}/plugin`, `POST /v1/tenants/{tenant}/rollback`: which plugins run, and
//!   others in their place, with an admin key.
//! - `GET /v1/tenants`, `GET`, `PUT` and `DELETE /v1/tenants/{tenant}`: the tenants themselves, with the server's admin
//!   key; one of its own for `GET`.
//! - `GET /v1/cluster`, `PUT` and `DELETE /v1/cluster/drains/{node}`: the nodes, with the server's admin key.
//! - `DELETE /v1/tenants/{tenant}/logins`: ends logins of the tenant's clients, with an admin key.
//! - `/console/`: pages for operators, after a login with an admin key.
//! - `GET /metrics`, `GET /healthz` and `GET /readyz`: without one, as monitoring expects it; they tell the names of tenants and
//!   counts, so this listener belongs on loopback or on a network of the operator's.
//!
//! Every refusal is `{"error":{"code":"...","message":"..."}}`.

mod api;
pub mod cluster;
mod console;
pub mod intake;
pub mod journal;
mod keys;
mod logins;
mod metrics;
pub mod plugins;
mod refusal;
mod tenants;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};
use std::time::Duration;

use axum::http::HeaderMap;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::cluster::Place;
use self::console::Console;
use self::keys::{Key, bearer};
use self::metrics::{Counters, Totals};
use self::refusal::Refusal;
use crate::clock::Clock;
use crate::cluster::Keeper;
use crate::journal::Journal;
use crate::program::admission::Admission;
use crate::program::tenants::{Changed, Tenants as Managed};
use crate::serve::counters::Counters as ClientCounters;
use crate::serve::logins::Logins;
use crate::serve::peers::Peers;
use crate::tenant::Tenant;
use crate::{Host, Statistics};

/// How long a client may take for the head of a request, and be idle between two.
pub const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a client may take for the whole body of a request.
pub const BODY_TIME: Duration = Duration::from_secs(60);

/// The most bytes of a body.
pub const BODY_BYTES: usize = 16 * 1024 * 1024;

/// The most bytes of a component.
pub const COMPONENT_BYTES: usize = 64 * 1024 * 1024;

/// The most connections at once; further ones wait to be accepted.
pub const CONNECTIONS: usize = 512;

/// The most archives of the journal that are made at once.
pub const ARCHIVES: usize = 4;

/// How long a client may take nothing of an archive.
pub const STALL_TIME: Duration = Duration::from_secs(60);

/// How long requests that have begun may take once the server stops.
const STOP_TIME: Duration = Duration::from_secs(10);

/// How long to wait when the system has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A tenant as the admin listener serves it.
#[derive(Clone)]
pub struct AdminTenant {
    /// The tenant itself.
    pub tenant: Tenant,
    /// Its clients' logins.
    pub logins: Arc<Logins>,
    /// The key of its sources.
    pub ingest_key: Option<String>,
    /// The key of its administrators.
    pub admin_key: Option<String>,
    /// Its mail domains; the first is that of users that a source names without one.
    pub domains: Vec<String>,
}

/// Who is served. Cheap to clone.
///
/// Changes of a tenant are taken from who has its ingest key, its admin key or the server's admin key; what is kept of
/// it is given to who has one of the admin keys, and what is kept of all to who has the server's. Without any of them
/// nobody is served: a key that is not set opens nothing. Who has a key of this server, but not this tenant's, learns
/// whether a tenant exists (404 or 401); who has none always gets 401.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    admin_key: Option<Key>,
    tenants: RwLock<Tenants>,
    /// How many tenants have figures of their own.
    most_shown: usize,
    host: Host,
    counters: Counters,
    clients: Arc<ClientCounters>,
    journal: Arc<dyn Journal>,
    archives: Arc<Semaphore>,
    admission: Admission,
    /// None yet: the server still starts.
    managed: OnceLock<Managed>,
    /// How often the configuration was read again, and taken or not.
    reloads: [AtomicU64; 2],
    stopping: AtomicBool,
    clock: Arc<dyn Clock>,
    console: Console,
    /// None, or none yet: no other node could have a tenant.
    place: OnceLock<Place>,
}

/// The tenants by their names.
#[derive(Default)]
struct Tenants {
    seats: BTreeMap<String, Arc<Seat>>,
    /// How many of them are shown.
    shown: usize,
    /// What happened to those that were not, and are gone.
    gone: Totals,
}

struct Seat {
    tenant: Tenant,
    logins: Arc<Logins>,
    keys: Vec<(Right, Key)>,
    domains: Vec<String>,
    /// Whether its figures are its own; else they are among those of all the others.
    shown: bool,
}

impl Seat {
    /// Whether a key gives this right to the tenant.
    fn gives(&self, key: &str, right: Right) -> bool {
        self.keys.iter().any(|(its, own)| *its >= right && own.matches(key))
    }
}

/// What the admin listener is made of.
pub struct AdminParts {
    /// The tenants.
    pub tenants: Vec<AdminTenant>,
    /// The server's key, good for every tenant; none: closed.
    pub admin_key: Option<String>,
    /// `metrics-tenants`: how many tenants have figures of their own in `/metrics`.
    pub metrics_tenants: usize,
    /// What the clients' listener counts.
    pub clients: Arc<ClientCounters>,
    /// Where the tenants are.
    pub host: Host,
    /// Which components may take over.
    pub admission: Admission,
    /// The time of the console's sessions.
    pub clock: Arc<dyn Clock>,
}

/// What a key allows; the greater right includes the lesser.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Ingest,
    Administer,
}

impl State {
    /// Serves these.
    pub fn new(parts: AdminParts) -> State {
        let AdminParts { tenants, admin_key, metrics_tenants, clients, host, admission, clock } = parts;
        let state = State(Arc::new(Shared {
            admin_key: admin_key.as_deref().map(Key::of),
            tenants: RwLock::default(),
            most_shown: metrics_tenants,
            journal: host.journal(),
            host,
            counters: Counters::default(),
            clients,
            archives: Arc::new(Semaphore::new(ARCHIVES)),
            admission,
            managed: OnceLock::new(),
            reloads: Default::default(),
            stopping: AtomicBool::new(false),
            clock,
            console: Console::default(),
            place: OnceLock::new(),
        }));
        for tenant in tenants {
            state.insert(tenant);
        }
        state
    }

    /// One more tenant, or another in the place of the one with its name.
    pub fn insert(&self, tenant: AdminTenant) {
        let AdminTenant { tenant, logins, ingest_key, admin_key, domains } = tenant;
        let keys = [(Right::Ingest, ingest_key), (Right::Administer, admin_key)];
        let keys = keys.iter().filter_map(|(right, key)| Some((*right, Key::of(key.as_deref()?)))).collect();
        let mut tenants = self.0.tenants.write().expect("nothing panics while this lock is held");
        let former = tenants.seats.get(tenant.name()).map(|seat| seat.shown);
        let shown = former.unwrap_or(tenants.shown < self.0.most_shown);
        tenants.shown += usize::from(shown && former.is_none());
        tenants.seats.insert(tenant.name().to_owned(), Arc::new(Seat { tenant, logins, keys, domains, shown }));
    }

    /// A tenant is gone.
    pub fn remove(&self, name: &str) {
        let mut tenants = self.0.tenants.write().expect("nothing panics while this lock is held");
        let Some(seat) = tenants.seats.remove(name) else { return };
        let outcomes = self.0.counters.take(name);
        if seat.shown {
            tenants.shown -= 1;
        } else {
            let mut statistics = Statistics::default();
            seat.tenant.seats().for_each(|seat| statistics.add(&seat.statistics().counts()));
            tenants.gone.add(&statistics, outcomes);
        }
    }

    /// Who changes tenants; said once.
    pub fn manage(&self, tenants: Managed) {
        // An error means that it was said before.
        let _ = self.0.managed.set(tenants);
    }

    fn managed(&self) -> Result<&Managed, Refusal> {
        self.0.managed.get().ok_or_else(Refusal::starting)
    }

    /// Other nodes could have the tenants, from now on.
    pub fn join(&self, keeper: Keeper, peers: Arc<Peers>) {
        // An error means that it was said before.
        let _ = self.0.place.set(Place { keeper, peers });
    }

    fn place(&self) -> Result<&Place, Refusal> {
        self.0.place.get().ok_or_else(Refusal::no_cluster)
    }

    /// Clients get their last answers now, and new ones should not come.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// The configuration was read again, and taken or not.
    pub fn reloaded(&self, taken: bool) {
        self.0.reloads[usize::from(taken)].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was refused, and how often taken.
    fn reloads(&self) -> [u64; 2] {
        self.0.reloads.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// What a change made counts here, too.
    pub fn publish(&self, changed: Changed) {
        for name in &changed.removed {
            self.remove(name);
        }
        for tenant in changed.put {
            self.insert(tenant);
        }
    }

    fn tenants(&self) -> RwLockReadGuard<'_, Tenants> {
        self.0.tenants.read().expect("nothing panics while this lock is held")
    }

    /// The tenant, if the request's key has this right to it.
    fn authorize(&self, headers: &HeaderMap, tenant: &str, right: Right) -> Result<Arc<Seat>, Refusal> {
        self.authorize_key(bearer(headers), tenant, right)
    }

    /// The tenant, if a key has this right to it.
    fn authorize_key(&self, key: Option<&str>, tenant: &str, right: Right) -> Result<Arc<Seat>, Refusal> {
        let key = key.ok_or_else(|| Refusal::key(right))?;
        let for_all = self.is_administrator(key);
        let tenants = self.tenants();
        match tenants.seats.get(tenant) {
            Some(seat) if for_all || seat.gives(key, right) => Ok(seat.clone()),
            None if for_all || tenants.seats.values().any(|seat| seat.gives(key, Right::Ingest)) => {
                Err(Refusal::tenant(tenant))
            }
            _ => Err(Refusal::key(right)),
        }
    }

    /// Whether the request's key is the server's.
    fn authorize_all(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match bearer(headers) {
            Some(key) if self.is_administrator(key) => Ok(()),
            _ => Err(Refusal::server_key()),
        }
    }

    fn is_administrator(&self, key: &str) -> bool {
        self.0.admin_key.as_ref().is_some_and(|own| own.matches(key))
    }
}

/// Serves the admin listener until `shutdown` turns true (or its sender is gone), then lets requests that have begun
/// end.
pub async fn listen(listener: TcpListener, state: State, mut shutdown: watch::Receiver<bool>) {
    let router = api::router(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let stop = shutdown.clone();
    let accepting = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        serve(stream, router, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopped(&mut shutdown) => {}
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIME, ended).await.is_err() {
        tracing::warn!("requests to the admin listener are cut off");
    }
}

async fn serve(stream: TcpStream, router: axum::Router, mut shutdown: watch::Receiver<bool>) {
    // Answers are small and complete: to wait for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin listener ended badly");
    }
}

/// Waits until the server is to stop.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
