//! `postbell serve`: from a configuration to a running server, and to its orderly end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::admission::{self, Admission};
use super::cluster::{self, ClusterConfig};
use super::config::{Config, Fixed, Limits, PushConfig, Setting, TenantConfig};
use super::data::DataDirectory;
use super::logging::{self, LogFormat};
use super::opening::{self, Wanted};
use super::service::{self, Progress};
use super::signatures::TrustedKeys;
use super::tenants::{Tenants, TenantsParts, client_tenant};
use super::{Failure, demo, demo_config, inspect};
use crate::admin::{self, AdminParts, AdminTenant};
use crate::clock::{Clock, SystemClock};
use crate::cluster::{Keeper, Kept};
use crate::journal::{DatabaseJournal, JetStreamJournal, Journal, MemoryJournal, SourceSpan};
use crate::outbound::caller::Caller;
use crate::plugin::Plugin;
use crate::serve::counters::Counters;
use crate::serve::exchange::Exchange;
use crate::serve::front::{self, Front};
use crate::serve::gate::Gate;
use crate::serve::logins::Logins;
use crate::tenant::{IngestError, Lease, Tenant};
use crate::{Host, HostOptions, TenantOptions};

/// How many connections may wait to be accepted: after a restart all clients come at once, and who finds no place tries
/// again only a second later. The system may allow fewer.
const BACKLOG: u32 = 4096;

/// How many files are open that are no connection: the journal, the listeners, what is read for a while.
const OTHER_FILES: usize = 64;

/// `postbell serve ...`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The configuration, a TOML file.
    #[arg(long, value_name = "FILE", required_unless_present = "demo", conflicts_with = "demo")]
    config: Option<PathBuf>,
    /// Serve the demo: tenant example.org with alice, bob, carol and admin, password `postbell`.
    #[arg(long)]
    demo: bool,
    /// Where clients connect; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", requires = "demo", conflicts_with = "config")]
    listen: Option<SocketAddr>,
    /// Where sources and operators connect; port 0 takes a free one [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDRESS", requires = "demo", conflicts_with = "config")]
    admin_listen: Option<SocketAddr>,
    /// The data directory; without it nothing is kept on disk. Compiled plugins are kept in it too, or in the folder that
    /// POSTBELL_CACHE names, which servers of one user may share.
    #[arg(long, value_name = "DIR", requires = "demo", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// A NATS server that keeps what a data directory keeps otherwise, nats://HOST:PORT; may be given again, or with
    /// commas, for more of them. The demo is content with one server; a configuration says more in `[cluster]`.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    cluster: Vec<String>,
    /// This server's name among those that share the tenants, which no other has [default: the machine's name].
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Without the traffic that the demo plays to carol, and without the stream of hers that is printed.
    #[arg(long, requires = "demo", conflicts_with = "config")]
    no_traffic: bool,
    /// A setting of the demo's plugin; may be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting, requires = "demo", conflicts_with = "config")]
    set: Vec<Setting>,
    /// Open tenants also where a replay of their journal gives something else than it gave when that was new.
    #[arg(long)]
    accept_divergence: bool,
    /// The form of the log on stderr. POSTBELL_LOG filters it (`debug`, `warn`, `postbell=debug`, ...).
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok(Setting { key: key.to_owned(), value: value.to_owned(), at: None })
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// A mistake in the configuration, a plugin or data directory that cannot be used, a listener that cannot be had.
/// Nothing is served then.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    let _logging = logging::start(args.log_format);
    let traffic = args.demo && !args.no_traffic;
    let demo = args.demo;
    let mut config = match &args.config {
        Some(path) => Config::load(path)?,
        None => demo_config::config(args.listen, args.admin_listen, args.data, args.set)?,
    };
    if !args.cluster.is_empty() {
        let unless_said = if demo { demo_config::cluster() } else { ClusterConfig::default() };
        config.cluster = Some(config.cluster.take().unwrap_or(unless_said).at(args.cluster));
    }
    match (&mut config.cluster, args.node) {
        (Some(cluster), Some(node)) => cluster.node = Some(node),
        (None, Some(_)) => return Err(Failure::Usage("--node is of use only with --cluster or `[cluster]`".into())),
        (_, None) => {}
    }
    fit(&mut config, raise_file_limit());
    let runtime = Runtime::new().context("the network threads")?;
    // From here on a signal is an orderly end, even while plugins still compile.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let data = config.data.as_deref().map(DataDirectory::open).transpose()?;
    let Some(Journals { journal, database, cluster }) = journal(&config, data.as_ref(), &runtime, &mut signals)? else {
        return Ok(());
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (defaults, trusted) = (HostOptions::default(), config.trusted_keys.clone());
    let host = Host::new(HostOptions {
        clock: clock.clone(),
        journal,
        outbound: Arc::new(caller(&config.push, &runtime)?),
        compiler: inspect::compiler(&config.limits)?,
        plugin_limits: config.plugin_limits.clone(),
        cache: inspect::cache().or(data.as_ref().map(DataDirectory::cache)),
        components: data.as_ref().map(DataDirectory::components),
        verify: Some(Arc::new(move |component, signature| admission::verify_kept(&trusted, component, signature))),
        instances: config.instances,
        pool: config.pool,
        open_tenants: config.open_tenants,
        accept_divergence: args.accept_divergence,
        unread_bytes: config.limits.unread_bytes_total,
        ..defaults
    })
    .context("the engine")?;
    let admission = Admission::new(host.clone(), config.trusted_keys.clone());
    let leases = Leases::of(&config);
    let tenants = opening::open(&host, &wanted(&admission, &config, &leases)?, leases.0.is_empty())?;
    let opened = Opened { host: host.clone(), tenants, leases, cluster };
    let served = runtime.block_on(serve(opened, config, admission, clock, demo, traffic, signals));
    // What may still wait (a lookup, a hash) is not worth waiting for.
    runtime.shutdown_background();
    drop(host);
    if let Some(database) = database {
        database.finish().context("the journal's last sync")?;
    }
    served
}

/// Where inputs are kept.
struct Journals {
    journal: Arc<dyn Journal>,
    /// It too, if it is a file that must be closed.
    database: Option<Arc<DatabaseJournal>>,
    /// It too, if other nodes have it.
    cluster: Option<Arc<JetStreamJournal>>,
}

/// What the tenants are opened with that other nodes could have, by their names.
struct Leases(BTreeMap<String, Arc<Lease>>);

impl Leases {
    fn of(config: &Config) -> Leases {
        let shared = config.tenants.iter().filter(|_| config.cluster.is_some());
        Leases(shared.map(|tenant| (tenant.name.clone(), Arc::default())).collect())
    }
}

/// What was opened before anything is served.
struct Opened {
    host: Host,
    tenants: Vec<Tenant>,
    leases: Leases,
    cluster: Option<Arc<JetStreamJournal>>,
}

/// None: a signal came first.
fn journal(
    config: &Config,
    data: Option<&DataDirectory>,
    runtime: &Runtime,
    signals: &mut Signals,
) -> Result<Option<Journals>, Failure> {
    if let Some(cluster) = &config.cluster {
        let joined = cluster::join(cluster, runtime, signals.stop())?.map(Arc::new);
        return Ok(joined.map(|joined| Journals { journal: joined.clone(), database: None, cluster: Some(joined) }));
    }
    let Some(data) = data else {
        return Ok(Some(Journals { journal: Arc::new(MemoryJournal::default()), database: None, cluster: None }));
    };
    let database = Arc::new(data.open_journal(config.journal.sync)?);
    Ok(Some(Journals { journal: database.clone(), database: Some(database), cluster: None }))
}

/// What calls clients.
fn caller(config: &PushConfig, runtime: &Runtime) -> Result<Caller, Failure> {
    let wrong = |path: &Path, error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    let authorities = match &config.authorities {
        Some(path) => std::fs::read(path).map_err(|error| wrong(path, &error))?,
        None => Vec::new(),
    };
    let caller = Caller::new(runtime.handle().clone(), config.limits.clone(), &authorities);
    caller.map_err(|error| wrong(config.authorities.as_deref().unwrap_or(Path::new("push")), &error))
}

/// Every parked client is a connection, and shells commonly allow 1024 open files, where the system allows more. How many
/// there may be now.
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = &raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

/// Clients get no more connections than leave files for everything else: operators' connections, calls, the journal. At
/// least half of the files are theirs.
fn fit(config: &mut Config, files: usize) {
    let others = admin::CONNECTIONS + config.push.limits.calls + OTHER_FILES;
    let (wanted, possible) = (config.limits.connection.connections, files - others.min(files / 2));
    if possible < wanted {
        tracing::warn!(files, possible, wanted, "the limit of open files allows fewer connections of clients");
        config.limits.connection.connections = possible;
    }
}

/// The plugins, each loaded once, with what their tenants are opened with.
fn wanted<'a>(admission: &Admission, config: &'a Config, leases: &Leases) -> Result<Vec<Wanted<'a>>, Failure> {
    let mut plugins: BTreeMap<Option<&Path>, Plugin> = BTreeMap::new();
    let mut wanted = Vec::new();
    for tenant in &config.tenants {
        let mut seats = Vec::new();
        for (file, settings) in self::seats(tenant, config.push.setting()) {
            let plugin = match plugins.entry(file) {
                Entry::Occupied(loaded) => loaded.get().clone(),
                Entry::Vacant(new) => new.insert(load(admission, &tenant.name, file, &config.trusted_keys)?).clone(),
            };
            let lease = leases.0.get(&tenant.name).cloned();
            seats.push((plugin, TenantOptions { settings, limits: tenant.limits.clone(), lease }));
        }
        wanted.push(Wanted { config: tenant, seats });
    }
    Ok(wanted)
}

/// The settings of one plugin of a tenant's.
pub(super) type Settings = Vec<(String, String)>;

/// The component of each of a tenant's seats (none: the one that is built in), and what its plugin is told: its own
/// settings, and what the host adds.
pub(super) fn seats(tenant: &TenantConfig, push: Option<(String, String)>) -> Vec<(Option<&Path>, Settings)> {
    let own = |settings: &[Setting]| {
        let settings = settings.iter().map(|setting| (setting.key.clone(), setting.value.clone()));
        settings.chain([("domains".to_owned(), tenant.domains.join(" "))]).collect::<Settings>()
    };
    let first = (tenant.plugin.as_deref(), own(&tenant.settings).into_iter().chain(push).collect());
    let others = tenant.seats.iter().map(|seat| (Some(&*seat.plugin), own(&seat.settings)));
    std::iter::once(first).chain(others).collect()
}

pub(super) fn load(
    admission: &Admission,
    tenant: &str,
    file: Option<&Path>,
    trusted: &TrustedKeys,
) -> Result<Plugin, Failure> {
    let (origin, component) = component(tenant, file, trusted)?;
    let loaded = match file {
        Some(file) => admission.file(file, &component),
        None => admission.built_in(&component),
    };
    let plugin = loaded.map_err(|source| Failure::Plugin { origin: origin.clone(), source })?;
    let facts = plugin.facts();
    let ms = facts.compile_time.as_millis();
    tracing::info!(plugin = origin, cached = facts.cached, ms, "plugin loaded");
    Ok(plugin)
}

fn component(tenant: &str, file: Option<&Path>, trusted: &TrustedKeys) -> Result<(String, Vec<u8>), Failure> {
    match file {
        Some(path) => {
            let unreadable = |error| Failure::Usage(format!("tenant {tenant}: {}: {error}", path.display()));
            let component = std::fs::read(path).map_err(unreadable)?;
            let untrusted = |source| Failure::Signature { file: path.to_owned(), source };
            trusted.verify(path, &component).map_err(untrusted)?;
            Ok((path.display().to_string(), component))
        }
        #[cfg(feature = "bundled-plugin")]
        None => Ok(("the built-in plugin".to_owned(), crate::plugin::bundled().to_vec())),
        #[cfg(not(feature = "bundled-plugin"))]
        None => Err(Failure::Usage(format!("tenant {tenant}: no plugin is built into this program"))),
    }
}

async fn serve(
    opened: Opened,
    config: Config,
    admission: Admission,
    clock: Arc<dyn Clock>,
    demo: bool,
    traffic: bool,
    mut signals: Signals,
) -> Result<(), Failure> {
    let Opened { host, tenants, leases, cluster } = opened;
    let clients = bind("clients", config.listen)?;
    let admins = bind("administration", config.admin_listen)?;
    let addresses = clients.local_addr().and_then(|clients| Ok((clients, admins.local_addr()?)));
    let (client_address, admin_address) = addresses.context("the listeners' addresses")?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let (clients_url, admin_url) = (format!("{scheme}://{client_address}"), format!("http://{admin_address}"));
    let place = match (&config.cluster, cluster) {
        (Some(cluster), Some(journal)) => {
            let taken = cluster::take_place(cluster, &journal, &host, clients_url.clone(), admin_url.clone());
            tokio::select! {
                place = taken => Some(place?),
                () = signals.stop() => return Ok(()),
            }
        }
        _ => None,
    };
    let keeper = place.as_ref().map(|place| place.keeper.clone());
    if let Some(keeper) = &keeper {
        for tenant in &tenants {
            keeper.keep(Kept { tenant: tenant.clone(), lease: leases.0[tenant.name()].clone() });
        }
        tokio::select! {
            () = keeper.settled() => {}
            () = signals.stop() => return Ok(()),
        }
    }
    if demo {
        let once = SourceSpan { source: demo::SOURCE.into(), offset: 0, length: 1 };
        match tenants[0].ingest(demo::baseline(tenants[0].now()), Some(once)).await {
            // Another node of the demo's has the tenant, and has them.
            Ok(_) | Err(IngestError::Moved) => {}
            Err(error) => return Err(anyhow!(error).context("the demo's folders and address book").into()),
        }
    }
    let names: Vec<_> = config.tenants.iter().map(|tenant| tenant.name.clone()).collect();
    let (limits, metrics_tenants) = (config.limits, config.metrics_tenants);
    let admin_key = config.admin_key.as_ref().map(|key| key.to_string());
    let tls = config.tls.clone();
    let counters = Arc::new(Counters::default());
    let gate = Gate::new(config.limits.logins, counters.clone(), clock.clone()).context("the logins")?;
    let gate = Arc::new(gate);
    let front = front(&config, &tenants, &gate, counters, &clock)?;
    let admin_tenants = config.tenants.iter().zip(&tenants).filter_map(|(config, tenant)| {
        Some(admin_tenant(config, tenant, front.exchange.named(&config.name)?.logins.clone()))
    });
    let admin_tenants = admin_tenants.collect();
    let parts = TenantsParts {
        host: host.clone(),
        keeper: keeper.clone(),
        admission: admission.clone(),
        front: front.clone(),
        gate,
        clock: clock.clone(),
        config: &config,
        tenants: tenants.clone(),
    };
    let managed = Tenants::new(parts);
    let state = admin::State::new(AdminParts {
        tenants: admin_tenants,
        admin_key,
        metrics_tenants,
        clients: front.counters.clone(),
        host,
        admission,
        clock,
    });
    state.manage(managed.clone());
    let mut background = JoinSet::new();
    if let Some(cluster::Place { keeper, peers, changes }) = place {
        front.exchange.join(peers.clone());
        state.join(keeper.clone(), peers);
        if let Some(changes) = changes {
            background.spawn(admin::intake::run(state.clone(), keeper, changes));
        }
    }

    let mut listeners = Listeners { clients: Listening::default(), admins: Listening::default() };
    listeners.clients.spawn(|stopping| front::listen(clients, front, stopping));
    listeners.admins.spawn(|stopping| admin::listen(admins, state.clone(), stopping));
    announce(&format!("clients={clients_url} admin={admin_url} tenant={}", names.join(",")));
    service::tell(Progress::Ready);
    if let Some(tls) = tls {
        background.spawn(tls.watch());
    }
    if traffic {
        background.spawn(demo::play(tenants[0].clone()));
        background.spawn(demo::listen(clients_url));
    }
    while signals.next().await == Asked::ToReload {
        background.spawn(reload(managed.clone(), state.clone(), config.fixed.clone()));
    }
    background.abort_all();
    tracing::info!("stopping");
    service::tell(Progress::Stopping);
    state.stop();
    let tenants: Vec<Tenant> = managed.known().await.values().map(|(_, tenant)| tenant.clone()).collect();
    finish(&tenants, keeper, listeners, &limits, &mut signals).await;
    Ok(())
}

/// Reads the configuration again. What is wrong with it is said, and nothing changes.
async fn reload(managed: Tenants, state: admin::State, begun_with: Fixed) {
    service::tell(Progress::Reloading);
    match managed.reload(&begun_with).await {
        Ok(changed) => {
            state.publish(changed);
            state.reloaded(true);
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was read again, and nothing was changed");
            state.reloaded(false);
        }
    }
    service::tell(Progress::Ready);
}

/// Both listeners. The operators' ends last: it tells that the server stops.
struct Listeners {
    clients: Listening,
    admins: Listening,
}

/// One of them.
struct Listening {
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

impl Default for Listening {
    fn default() -> Listening {
        Listening { stop: watch::Sender::new(false), task: JoinSet::new() }
    }
}

impl Listening {
    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, listen: impl FnOnce(watch::Receiver<bool>) -> F) {
        self.task.spawn(listen(self.stop.subscribe()));
    }

    /// Takes no connection any more.
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all that it had have ended.
    async fn end(&mut self) {
        while self.task.join_next().await.is_some() {}
    }
}

/// Streams are ended in their dialects' ways, and clients get their last answers; a second signal cuts this short.
async fn finish(
    tenants: &[Tenant],
    keeper: Option<Keeper>,
    mut listeners: Listeners,
    limits: &Limits,
    signals: &mut Signals,
) {
    listeners.clients.stop();
    let orderly = async {
        let mut closing = JoinSet::new();
        for tenant in tenants {
            let tenant = tenant.clone();
            closing.spawn(async move { tenant.close().await });
        }
        while closing.join_next().await.is_some() {}
        if let Some(keeper) = keeper {
            keeper.leave().await;
        }
        listeners.clients.end().await;
        listeners.admins.stop();
        listeners.admins.end().await;
    };
    tokio::select! {
        ended = tokio::time::timeout(limits.drain, orderly) => {
            if ended.is_err() {
                tracing::warn!("some clients were not done in time and are cut off");
            }
        }
        () = signals.stop() => tracing::warn!("stopped at once"),
    }
}

fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart need not wait for the old connections' ends to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().with_context(|| format!("cannot listen for {what} on {address}"))
}

pub(super) fn admin_tenant(config: &TenantConfig, tenant: &Tenant, logins: Arc<Logins>) -> AdminTenant {
    AdminTenant {
        tenant: tenant.clone(),
        logins,
        ingest_key: config.ingest_key.as_ref().map(|key| key.to_string()),
        admin_key: config.admin_key.as_ref().map(|key| key.to_string()),
        domains: config.domains.clone(),
    }
}

/// Who may log in to a tenant, and who says so.
pub(super) fn logins(config: &TenantConfig, gate: &Arc<Gate>, clock: &Arc<dyn Clock>) -> anyhow::Result<Logins> {
    let (users, key) = (config.users.clone(), config.preauth_key.clone());
    let logins = Logins::new(&config.name, users, key, gate.clone(), clock.clone())?;
    Ok(match &config.authentication {
        Some(authentication) => logins.verified_by(authentication.authenticator()?, config.domains.clone()),
        None => logins,
    })
}

fn front(
    config: &Config,
    tenants: &[Tenant],
    gate: &Arc<Gate>,
    counters: Arc<Counters>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<Front>> {
    let mut served = Vec::new();
    for (config, tenant) in config.tenants.iter().zip(tenants) {
        if config.users.users().is_empty() && config.authentication.is_none() {
            tracing::warn!(tenant = config.name, "it has no users, so nobody can log in");
        }
        served.push(client_tenant(config, tenant, Arc::new(logins(config, gate, clock)?)));
    }
    let proxies = config.proxies.clone();
    let exchange = Exchange::new(served, proxies, config.limits.body, counters.clone(), clock.clone());
    Ok(Arc::new(Front { exchange, tls: config.tls.clone(), limits: config.limits.connection, counters }))
}

/// The one line on stdout. That nobody may read it is no reason to stop.
fn announce(what: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "postbell ready {what}").and_then(|()| out.flush());
    tracing::info!("ready {what}");
}

/// SIGTERM, SIGINT and SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(PartialEq, Eq)]
enum Asked {
    ToStop,
    ToReload,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let of = |kind| signal(kind).context("signals");
        let (terminate, interrupt) = (of(SignalKind::terminate())?, of(SignalKind::interrupt())?);
        Ok(Signals { terminate, interrupt, hang_up: of(SignalKind::hangup())? })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToStop,
            _ = self.interrupt.recv() => Asked::ToStop,
            _ = self.hang_up.recv() => Asked::ToReload,
        }
    }

    async fn stop(&mut self) {
        while self.next().await == Asked::ToReload {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        let setting = setting("a=b=c").expect("good");
        assert_eq!((setting.key.as_str(), setting.value.as_str()), ("a", "b=c"));
        assert!(super::setting("a").is_err());
    }
}
