//! The configuration of `postbell serve`: a TOML file, checked as a whole before anything starts.

mod authentication;
mod edge;
mod limits;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use super::cluster::ClusterConfig;
use super::signatures::TrustedKeys;
use super::tenants::stored::Stored;
use super::toml_file::{Mistake, Position, TomlFile};
use super::users;
use crate::journal::{JetStreamOptions, SyncMode};
use crate::outbound::caller::CallerLimits;
use crate::plugin::PluginLimits;
use crate::serve::connection::Patience;
use crate::serve::directory::Directory;
use crate::serve::front::ConnectionLimits;
use crate::serve::gate::LoginLimits;
use crate::serve::proxies::Proxies;
use crate::serve::receive::BodyLimits;
use crate::serve::throttle::FailureLimits;
use crate::serve::tls::Tls;
use crate::tenant::{self, Retention};
use authentication::{Authentication, AuthenticationTable};
use limits::{LimitsTable, PluginsTable};
use values::{Address, AllowedNetwork, Count, Domain, HostName, Key, SettingValue, TenantName};

/// Everything that `postbell serve` is told.
#[derive(Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The clients' certificate; none: without TLS.
    pub tls: Option<Arc<Tls>>,
    /// The proxies that clients may come through.
    pub proxies: Proxies,
    /// Where sources, operators and metrics collectors connect.
    pub admin_listen: SocketAddr,
    /// The data directory; none: nothing is kept on disk.
    pub data: Option<PathBuf>,
    /// The key to what concerns every tenant; none: closed.
    pub admin_key: Option<Zeroizing<String>>,
    /// What clients may take.
    pub limits: Limits,
    /// How inputs are kept.
    pub journal: JournalConfig,
    /// The NATS servers that keep them; none: this machine does.
    pub cluster: Option<ClusterConfig>,
    /// How clients are called.
    pub push: PushConfig,
    /// Who must have signed components that are not built in.
    pub trusted_keys: TrustedKeys,
    /// What a component may be and take until it is loaded.
    pub plugin_limits: PluginLimits,
    /// How many tenants have figures of their own.
    pub metrics_tenants: usize,
    /// See [`crate::HostOptions::instances`].
    pub instances: u32,
    /// See [`crate::HostOptions::pool`].
    pub pool: bool,
    /// See [`crate::HostOptions::open_tenants`].
    pub open_tenants: usize,
    /// The tenants, at least one.
    pub tenants: Vec<TenantConfig>,
    /// What further tenants may use if they do not say otherwise.
    pub tenant_defaults: TenantDefaults,
    /// The file; none: there is none.
    pub file: Option<PathBuf>,
    /// What takes a restart to change.
    pub fixed: Fixed,
}

/// What clients may take, and what the server gives itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of connections.
    pub connection: ConnectionLimits,
    /// Of requests' bodies.
    pub body: BodyLimits,
    /// Of logins.
    pub logins: LoginLimits,
    /// Bytes of one answer that its client has not taken yet.
    pub unread_bytes: usize,
    /// Parts, likewise.
    pub unread_parts: usize,
    /// Bytes of all answers that their clients have not taken yet.
    pub unread_bytes_total: usize,
    /// How long clients have for their last answers when the server stops.
    pub drain: Duration,
    /// What compiling a plugin may allocate, in bytes.
    pub compiler_memory_bytes: u64,
    /// What compiling a plugin may compute, in seconds.
    pub compiler_cpu_seconds: u64,
}

/// How inputs are kept.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// When they are synced.
    pub sync: SyncMode,
    /// When snapshots are taken, and how much history is kept.
    pub retention: Retention,
    /// How many inputs of one tenant may wait to be committed.
    pub uncommitted_inputs: usize,
    /// About how many bytes these may have.
    pub uncommitted_bytes: usize,
    /// See [`tenant::Limits::swap_behind_bytes`].
    pub swap_behind_bytes: usize,
}

/// How clients are called.
#[derive(Clone, Debug, Default)]
pub struct PushConfig {
    /// What may be called, and how much of it.
    pub limits: CallerLimits,
    /// A file of certificates in PEM form that are trusted beside the public ones.
    pub authorities: Option<PathBuf>,
}

impl Default for JournalConfig {
    fn default() -> JournalConfig {
        ServerTable::default().journal()
    }
}

/// What a tenant may use if it does not say otherwise, and the bytes of a client's request.
pub type TenantDefaults = (tenant::Limits, usize);

/// What is the same as long as a server runs: all but tenants and their limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed(toml::Table);

impl Fixed {
    /// The first thing that is other there, as `table.key`.
    pub fn difference(&self, other: &Fixed) -> Option<String> {
        let keys = |fixed: &Fixed| -> Vec<(String, String)> {
            let tables = fixed.0.iter().filter_map(|(name, table)| Some((name, table.as_table()?)));
            tables.flat_map(|(name, table)| table.keys().map(|key| (name.clone(), key.clone()))).collect()
        };
        let value = |fixed: &Fixed, name: &str, key: &str| fixed.0.get(name)?.get(key).cloned();
        let mut all = keys(self).into_iter().chain(keys(other));
        let changed = all.find(|(name, key)| value(self, name, key) != value(other, name, key));
        changed.map(|(name, key)| format!("`{key}` under [{name}]"))
    }
}

/// One tenant.
#[derive(Clone, Debug)]
pub struct TenantConfig {
    /// Its name, in URLs and logs.
    pub name: String,
    /// Where the file names it; none: it is the demo's.
    pub at: Option<Position>,
    /// The names in `Host` that lead to it, in lower case.
    pub hosts: Vec<String>,
    /// Its mail domains, in lower case.
    pub domains: Vec<String>,
    /// The component; none: the one that is built in.
    pub plugin: Option<PathBuf>,
    /// What it may use.
    pub limits: tenant::Limits,
    /// The bytes of a client's request.
    pub body_bytes: usize,
    /// The plugin's settings.
    pub settings: Vec<Setting>,
    /// The plugins beside it.
    pub seats: Vec<SeatConfig>,
    /// Who may log in.
    pub users: Directory,
    /// Who verifies their passwords; none: the hashes of `users` do.
    pub authentication: Option<Authentication>,
    /// The key to send changes; none: closed.
    pub ingest_key: Option<Zeroizing<String>>,
    /// The key to what concerns this tenant; none: closed.
    pub admin_key: Option<Zeroizing<String>>,
    /// The key of Zimbra's preauth; none: closed.
    pub preauth_key: Option<Zeroizing<String>>,
    /// It was made while the server ran, and is kept in the data directory.
    pub stored: bool,
}

/// A further plugin of a tenant's.
#[derive(Clone, Debug)]
pub struct SeatConfig {
    /// The component.
    pub plugin: PathBuf,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// Where the file names it.
    pub at: Position,
}

/// A setting of a plugin's.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// Where the file gives it; none: it is from the command line.
    pub at: Option<Position>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileTable {
    #[serde(default)]
    server: ServerTable,
    cluster: Option<ClusterTable>,
    #[serde(default)]
    push: PushTable,
    #[serde(default)]
    plugins: PluginsTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    tenant: Vec<TenantTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ClusterTable {
    servers: Vec<values::ServerUrl>,
    ca_file: Option<PathBuf>,
    name: Option<values::ClusterName>,
    streams: Option<Count<1, 1_000>>,
    replicas: Option<Count<1, 5>>,
    append_seconds: Option<Count<1, 300>>,
    #[serde(default)]
    monitoring: Vec<values::MonitoringUrl>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PushTable {
    #[serde(default)]
    allow: Vec<AllowedNetwork>,
    ca_file: Option<PathBuf>,
    call_seconds: Option<Count<1, 300>>,
    answer_bytes: Option<Count<1024, 1_048_576>>,
    calls: Option<Count<1, 100_000>>,
    calls_per_tenant: Option<Count<1, 100_000>>,
    calls_per_second: Option<Count<1, 100_000>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ServerTable {
    listen: Option<Address>,
    tls_certificate: Option<Spanned<PathBuf>>,
    tls_key: Option<Spanned<PathBuf>>,
    tls_handshake_seconds: Option<Count<1, 300>>,
    #[serde(default)]
    trusted_proxies: Vec<AllowedNetwork>,
    admin_listen: Option<Address>,
    data: Option<PathBuf>,
    admin_key: Option<Key>,
    connections: Option<Count<1, 1_000_000>>,
    connections_per_address: Option<Count<1, 1_000_000>>,
    header_bytes: Option<Count<8192, 1_048_576>>,
    header_seconds: Option<Count<1, 3600>>,
    idle_seconds: Option<Count<1, 86_400>>,
    send_seconds: Option<Count<1, 86_400>>,
    body_bytes: Option<Count<1024, 67_108_864>>,
    body_bytes_total: Option<Count<1_048_576, 68_719_476_736>>,
    body_seconds: Option<Count<1, 3600>>,
    logins_waiting: Option<Count<1, 1_000_000>>,
    failed_logins_per_account: Option<Count<1, 1_000_000>>,
    failed_logins_per_address: Option<Count<1, 1_000_000>>,
    failed_login_minutes: Option<Count<1, 1_440>>,
    unread_bytes: Option<Count<65_536, 1_073_741_824>>,
    unread_parts: Option<Count<16, 1_000_000>>,
    unread_bytes_total: Option<Count<1_048_576, 68_719_476_736>>,
    drain_seconds: Option<Count<1, 3600>>,
    compiler_memory_bytes: Option<Count<67_108_864, 68_719_476_736>>,
    compiler_cpu_seconds: Option<Count<1, 3600>>,
    sync: Option<values::Synced>,
    uncommitted_inputs: Option<Count<1, 1_000_000>>,
    uncommitted_bytes: Option<Count<1_048_576, 17_179_869_184>>,
    swap_behind_bytes: Option<Count<1_048_576, 17_179_869_184>>,
    snapshot_inputs: Option<Count<1, 1_000_000_000>>,
    snapshot_bytes: Option<Count<1_048_576, 1_099_511_627_776>>,
    snapshot_minutes: Option<Count<1, 527_040>>,
    history_hours: Option<Count<0, 876_000>>,
    history_bytes: Option<Count<0, 1_125_899_906_842_624>>,
    metrics_tenants: Option<Count<0, 100_000>>,
    rollback_hours: Option<Count<0, 876_000>>,
    instances: Option<Count<8, 1_000_000>>,
    pool: Option<bool>,
    open_tenants: Option<Count<1, 1_000_000>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TenantTable {
    name: Spanned<TenantName>,
    #[serde(default)]
    hosts: Vec<Spanned<HostName>>,
    domains: Spanned<Vec<Spanned<Domain>>>,
    plugin: Option<Spanned<PathBuf>>,
    #[serde(default)]
    settings: BTreeMap<Spanned<String>, SettingValue>,
    #[serde(default)]
    seat: Vec<SeatTable>,
    users: Option<PathBuf>,
    authentication: Option<Spanned<AuthenticationTable>>,
    ingest_key: Option<Key>,
    admin_key: Option<Key>,
    preauth_key: Option<Key>,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SeatTable {
    plugin: Spanned<PathBuf>,
    #[serde(default)]
    settings: BTreeMap<Spanned<String>, SettingValue>,
}

/// How many instances there may be unless told otherwise: as many as a process may have by Linux's own default.
pub const INSTANCES: u32 = 12_000;

/// How many idle tenants may have an instance unless told otherwise.
pub const OPEN_TENANTS: usize = 10_000;

/// How many tenants have figures of their own unless told otherwise.
pub const METRICS_TENANTS: usize = 1_000;

/// The plugins' setting for what may be called.
const PUSH_ALLOW: &str = "push-allow";

/// Where clients connect unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:8080";
/// Where sources and operators connect unless told otherwise.
pub const ADMIN_LISTEN: &str = "127.0.0.1:8081";

impl Default for Limits {
    fn default() -> Limits {
        ServerTable::default().limits()
    }
}

impl ServerTable {
    fn journal(&self) -> JournalConfig {
        let defaults = tenant::Limits::default();
        let tenant::Limits { retention, uncommitted_inputs, uncommitted_bytes, swap_behind_bytes, .. } = defaults;
        let minutes = values::or(&self.snapshot_minutes, retention.snapshot_milliseconds / 60_000);
        let hours = values::or(&self.history_hours, retention.history_milliseconds / 3_600_000);
        let rollback_hours = values::or(&self.rollback_hours, retention.rollback_milliseconds / 3_600_000);
        JournalConfig {
            sync: self.sync.as_ref().map_or(SyncMode::Always, |sync| sync.0),
            retention: Retention {
                snapshot_inputs: values::or(&self.snapshot_inputs, retention.snapshot_inputs),
                snapshot_bytes: values::or(&self.snapshot_bytes, retention.snapshot_bytes),
                snapshot_milliseconds: minutes * 60_000,
                history_milliseconds: hours * 3_600_000,
                history_bytes: values::or(&self.history_bytes, retention.history_bytes),
                rollback_milliseconds: rollback_hours * 3_600_000,
            },
            uncommitted_inputs: values::or(&self.uncommitted_inputs, uncommitted_inputs as u64) as usize,
            uncommitted_bytes: values::or(&self.uncommitted_bytes, uncommitted_bytes as u64) as usize,
            swap_behind_bytes: values::or(&self.swap_behind_bytes, swap_behind_bytes as u64) as usize,
        }
    }

    fn limits(&self) -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            connection: ConnectionLimits {
                connections: values::or(&self.connections, 10_000) as usize,
                connections_per_address: values::or(&self.connections_per_address, 2_000) as usize,
                header_bytes: values::or(&self.header_bytes, 65_536) as usize,
                patience: Patience {
                    head: seconds(values::or(&self.header_seconds, 10)),
                    idle: seconds(values::or(&self.idle_seconds, 120)),
                },
                send_time: seconds(values::or(&self.send_seconds, 60)),
                handshake_time: seconds(values::or(&self.tls_handshake_seconds, 10)),
            },
            body: BodyLimits {
                bytes: values::or(&self.body_bytes, 1_048_576) as usize,
                bytes_total: values::or(&self.body_bytes_total, 256 << 20) as usize,
                time: seconds(values::or(&self.body_seconds, 30)),
            },
            logins: LoginLimits {
                waiting: values::or(&self.logins_waiting, 4096) as usize,
                failures: FailureLimits {
                    per_account: values::or(&self.failed_logins_per_account, 20) as u32,
                    per_address: values::or(&self.failed_logins_per_address, 200) as u32,
                    window_ms: values::or(&self.failed_login_minutes, 5) * 60_000,
                },
            },
            unread_bytes: values::or(&self.unread_bytes, 4 << 20) as usize,
            unread_parts: values::or(&self.unread_parts, 1_024) as usize,
            unread_bytes_total: values::or(&self.unread_bytes_total, 256 << 20) as usize,
            drain: seconds(values::or(&self.drain_seconds, 10)),
            compiler_memory_bytes: values::or(&self.compiler_memory_bytes, 1 << 30),
            compiler_cpu_seconds: values::or(&self.compiler_cpu_seconds, 60),
        }
    }
}

impl ClusterTable {
    fn config(self, file: &TomlFile) -> ClusterConfig {
        let defaults = JetStreamOptions::default();
        let options = JetStreamOptions {
            servers: self.servers.into_iter().map(|server| server.0).collect(),
            authorities: self.ca_file.map(|path| file.resolve(&path)),
            name: self.name.map_or(defaults.name, |name| name.0),
            streams: values::or(&self.streams, defaults.streams as u64) as usize,
            replicas: values::or(&self.replicas, defaults.replicas as u64) as usize,
            patience: self.append_seconds.map_or(defaults.patience, |seconds| Duration::from_secs(seconds.0)),
        };
        ClusterConfig { options, monitoring: self.monitoring.into_iter().map(|url| url.0).collect() }
    }
}

impl PushTable {
    fn config(self, file: &TomlFile) -> PushConfig {
        let defaults = CallerLimits::default();
        let limits = CallerLimits {
            allow: self.allow.iter().map(|network| network.0).collect(),
            time: self.call_seconds.map_or(defaults.time, |seconds| Duration::from_secs(seconds.0)),
            answer_bytes: values::or(&self.answer_bytes, defaults.answer_bytes as u64) as usize,
            calls: values::or(&self.calls, defaults.calls as u64) as usize,
            calls_per_tenant: values::or(&self.calls_per_tenant, defaults.calls_per_tenant as u64) as usize,
            calls_per_second: values::or(&self.calls_per_second, defaults.calls_per_second.into()) as u32,
        };
        PushConfig { limits, authorities: self.ca_file.map(|path| file.resolve(&path)) }
    }
}

impl PushConfig {
    /// The plugins' setting that says what may be called; none: nothing but the public internet.
    pub fn setting(&self) -> Option<(String, String)> {
        let networks: Vec<String> = self.limits.allow.iter().map(ToString::to_string).collect();
        (!networks.is_empty()).then(|| (PUSH_ALLOW.to_owned(), networks.join(" ")))
    }
}

impl Config {
    /// Reads a configuration and the users files that it names.
    ///
    /// # Errors
    ///
    /// The first mistake in one of them.
    pub fn load(path: &Path) -> Result<Config, Mistake> {
        let mut config = Config::of(&TomlFile::read(path)?)?;
        let stored = Stored::new(config.data.as_deref(), Some(path)).all(&config.tenant_defaults)?;
        for tenant in &stored {
            refuse_taken(&config.tenants, tenant)?;
        }
        config.tenants.extend(stored);
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// What a configuration's text says, with the files that it names, and without what stands in the data directory.
    ///
    /// # Errors
    ///
    /// The first mistake in one of them.
    pub fn of(file: &TomlFile) -> Result<Config, Mistake> {
        let FileTable { server, cluster, push, plugins, limits, tenant: tenants } = file.parse()?;
        refuse_none(file, &tenants)?;
        refuse_repeated(file, "tenant name", tenants.iter().map(|tenant| tenant.name.as_text()))?;
        let hosts = tenants.iter().flat_map(|tenant| &tenant.hosts);
        refuse_repeated(file, "host", hosts.map(Text::as_text))?;
        let domains = tenants.iter().flat_map(|tenant| tenant.domains.get_ref());
        refuse_repeated(file, "domain", domains.map(Text::as_text))?;
        let common = tenant_limits(&server, &limits);
        let fixed = fixed(file)?;
        let tenants = tenants.into_iter().map(|tenant| tenant_config(file, tenant, &common));
        Ok(Config {
            tls: server.tls(file)?,
            proxies: server.proxies(),
            limits: server.limits(),
            journal: server.journal(),
            cluster: cluster.map(|cluster| cluster.config(file)),
            plugin_limits: plugins.limits(),
            metrics_tenants: values::or(&server.metrics_tenants, METRICS_TENANTS as u64) as usize,
            instances: values::or(&server.instances, INSTANCES.into()) as u32,
            pool: server.pool.unwrap_or(true),
            open_tenants: values::or(&server.open_tenants, OPEN_TENANTS as u64) as usize,
            tenants: tenants.collect::<Result<_, _>>()?,
            fixed,
            file: None,
            push: push.config(file),
            trusted_keys: TrustedKeys::new(plugins.trusted_keys.into_iter().map(|key| key.0).collect()),
            listen: server.listen.map_or(LISTEN.parse().expect("an address"), |address| address.0),
            admin_listen: server.admin_listen.map_or(ADMIN_LISTEN.parse().expect("an address"), |address| address.0),
            data: server.data.map(|data| file.resolve(&data)),
            admin_key: server.admin_key.map(|key| key.0),
            tenant_defaults: common,
        })
    }
}

/// One tenant, from a file of its own.
///
/// # Errors
///
/// The first mistake in it.
pub fn tenant(file: &TomlFile, defaults: &TenantDefaults) -> Result<TenantConfig, Mistake> {
    let table: TenantTable = file.parse()?;
    refuse_repeated(file, "host", table.hosts.iter().map(Text::as_text))?;
    refuse_repeated(file, "domain", table.domains.get_ref().iter().map(Text::as_text))?;
    tenant_config(file, table, defaults)
}

fn fixed(file: &TomlFile) -> Result<Fixed, Mistake> {
    let mut tables: toml::Table = file.parse()?;
    tables.retain(|name, _| ["server", "cluster", "push", "plugins"].contains(&name));
    Ok(Fixed(tables))
}

/// A tenant that is kept in the data directory has nothing that one of the configuration's has.
fn refuse_taken(tenants: &[TenantConfig], stored: &TenantConfig) -> Result<(), Mistake> {
    let shares = |tenant: &&TenantConfig| {
        tenant.name == stored.name
            || tenant.hosts.iter().any(|host| stored.hosts.contains(host))
            || tenant.domains.iter().any(|domain| stored.domains.contains(domain))
    };
    let Some(at) = tenants.iter().find(shares).and_then(|tenant| tenant.at.as_ref()) else { return Ok(()) };
    let name = &stored.name;
    Err(at.mistake(format!("its name, a host or a domain is taken by {name}, a tenant in the data directory")))
}

/// What a tenant may use if it does not say otherwise, and the bytes of a client's request.
fn tenant_limits(server: &ServerTable, limits: &LimitsTable) -> (tenant::Limits, usize) {
    let Limits { unread_bytes, unread_parts, body, .. } = server.limits();
    let JournalConfig { retention, uncommitted_inputs, uncommitted_bytes, swap_behind_bytes, .. } = server.journal();
    let mut common = tenant::Limits {
        unread_bytes,
        unread_parts,
        retention,
        uncommitted_inputs,
        uncommitted_bytes,
        swap_behind_bytes,
        ..tenant::Limits::default()
    };
    limits.apply(&mut common);
    (common, limits.body_bytes().unwrap_or(body.bytes))
}

fn tenant_config(
    file: &TomlFile,
    table: TenantTable,
    (limits, body_bytes): &(tenant::Limits, usize),
) -> Result<TenantConfig, Mistake> {
    let mut limits = limits.clone();
    table.limits.apply(&mut limits);
    if table.domains.get_ref().is_empty() {
        return Err(file.mistake(table.domains.span(), "expected at least one domain"));
    }
    let plugin = plugin(file, &table)?;
    let text = |key: Option<Key>| key.map(|key| key.0);
    Ok(TenantConfig {
        at: Some(file.position(table.name.span())),
        name: table.name.into_inner().0,
        hosts: table.hosts.into_iter().map(|host| host.into_inner().0).collect(),
        domains: table.domains.into_inner().into_iter().map(|domain| domain.into_inner().0).collect(),
        plugin,
        limits,
        body_bytes: table.limits.body_bytes().unwrap_or(*body_bytes),
        settings: settings(file, table.settings)?,
        seats: table.seat.into_iter().map(|table| seat(file, table)).collect::<Result<_, _>>()?,
        users: match table.users {
            Some(users) => users::load(&file.resolve(&users))?,
            None => Directory::default(),
        },
        authentication: table.authentication.map(|table| AuthenticationTable::read(file, table)).transpose()?,
        ingest_key: text(table.ingest_key),
        admin_key: text(table.admin_key),
        preauth_key: text(table.preauth_key),
        stored: false,
    })
}

fn plugin(file: &TomlFile, table: &TenantTable) -> Result<Option<PathBuf>, Mistake> {
    match &table.plugin {
        Some(path) => Ok(Some(file.resolve(path.get_ref()))),
        None if cfg!(feature = "bundled-plugin") => Ok(None),
        None => Err(file.mistake(table.name.span(), "expected `plugin`: no plugin is built into this program")),
    }
}

fn seat(file: &TomlFile, table: SeatTable) -> Result<SeatConfig, Mistake> {
    let at = file.position(table.plugin.span());
    Ok(SeatConfig { plugin: file.resolve(table.plugin.get_ref()), settings: settings(file, table.settings)?, at })
}

fn settings(file: &TomlFile, table: BTreeMap<Spanned<String>, SettingValue>) -> Result<Vec<Setting>, Mistake> {
    table.into_iter().map(|(key, value)| setting(file, key, value)).collect()
}

fn setting(file: &TomlFile, key: Spanned<String>, value: SettingValue) -> Result<Setting, Mistake> {
    let at = file.position(key.span());
    let other = match key.get_ref().as_str() {
        "domains" => "the tenant's `domains`",
        PUSH_ALLOW => "`allow` under [push]",
        _ => return Ok(Setting { key: key.into_inner(), value: value.0, at: Some(at) }),
    };
    Err(at.mistake(format!("the plugin gets `{}` from {other}; expected other settings only", key.get_ref())))
}

fn refuse_none(file: &TomlFile, tenants: &[TenantTable]) -> Result<(), Mistake> {
    if tenants.is_empty() { Err(file.mistake(0..0, "expected at least one [[tenant]]")) } else { Ok(()) }
}

/// Refuses a text that stands in the file twice.
fn refuse_repeated<'a>(
    file: &TomlFile,
    what: &str,
    texts: impl Iterator<Item = Spanned<&'a str>>,
) -> Result<(), Mistake> {
    let mut first = HashMap::new();
    for text in texts {
        if let Some(earlier) = first.insert(*text.get_ref(), text.span()) {
            let line = file.position(earlier).line;
            let message = format!("the {what} {:?} is taken in line {line}; expected another", text.get_ref());
            return Err(file.mistake(text.span(), message));
        }
    }
    Ok(())
}

trait Text {
    fn as_text(&self) -> Spanned<&str>;
}

impl<T: AsRef<str>> Text for Spanned<T> {
    fn as_text(&self) -> Spanned<&str> {
        Spanned::new(self.span(), self.get_ref().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, Mistake> {
        Config::of(&TomlFile::new(Path::new("/etc/p.toml"), text.to_owned()))
    }

    /// The configuration is refused at this line and column, with a message that has this in it.
    fn check(text: &str, place: &str, message: &str) {
        let mistake = config(text).expect_err(text).to_string();
        let expected = format!("/etc/p.toml:{place}: ");
        assert!(mistake.starts_with(&expected) && mistake.contains(message), "{text:?}\n gives {mistake:?}");
        assert!(!mistake.contains('\n'), "{mistake:?}");
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let config = config("[[tenant]]\nname = 'a'\ndomains = ['Example.ORG']\n").expect("a configuration");
        assert_eq!(
            (config.listen.to_string().as_str(), config.admin_listen.to_string().as_str()),
            (LISTEN, ADMIN_LISTEN)
        );
        assert_eq!(config.tenants[0].domains, ["example.org"]);
        assert!(config.data.is_none() && config.admin_key.is_none() && config.tenants[0].ingest_key.is_none());
        assert_eq!(config.limits.body.bytes, 1_048_576);
    }

    #[test]
    fn everything_can_be_said() {
        let text = "
            [server]
            listen = '[::1]:80'
            trusted-proxies = ['127.0.0.0/8']
            tls-handshake-seconds = 7
            admin-listen = '127.0.0.1:0'
            data = 'data'
            admin-key = 'k'
            body-bytes = 2048
            unread-bytes = 65536
            unread-parts = 16
            unread-bytes-total = 1048576
            drain-seconds = 3
            sync = 50
            snapshot-minutes = 5
            metrics-tenants = 7
            failed-logins-per-account = 4
            history-hours = 48
            [[tenant]]
            name = 'a'
            hosts = ['Mail.example.org']
            domains = ['example.org', 'example.com']
            plugin = 'p.wasm'
            settings = { ews-heartbeat-seconds = 20, word = 'x', on = true }
            ingest-key = 'i'
            admin-key = 'a'
            preauth-key = 'p'
            authentication = { dovecot = 'auth-client', seconds = 3 }
            limits = { input-milliseconds = 9, body-bytes = 1024 }
            [limits]
            input-milliseconds = 5
            inputs-waiting = 6
            [plugins]
            function-bytes = 2048
            [push]
            allow = ['10.1.0.0/16', 'fd00::/8']
            ca-file = 'own.pem'
            call-seconds = 5
        ";
        let config = config(text).expect("a configuration");
        assert_eq!(config.data.as_deref(), Some(Path::new("/etc/data")));
        assert_eq!((config.limits.body.bytes, config.limits.drain.as_secs()), (2048, 3));
        assert_eq!(config.limits.connection.handshake_time.as_secs(), 7);
        assert!(config.proxies.trusts("127.0.0.1".parse().expect("an address")));
        assert_eq!(config.journal.sync, SyncMode::Every(50));
        let Retention { snapshot_milliseconds, history_milliseconds, .. } = config.journal.retention;
        assert_eq!((snapshot_milliseconds, history_milliseconds), (300_000, 172_800_000));
        let Limits { unread_bytes, unread_parts, unread_bytes_total, .. } = config.limits;
        assert_eq!((unread_bytes, unread_parts, unread_bytes_total), (65_536, 16, 1 << 20));
        assert_eq!(config.push.setting(), Some(("push-allow".into(), "10.1.0.0/16 fd00::/8".into())));
        assert_eq!(config.push.authorities.as_deref(), Some(Path::new("/etc/own.pem")));
        assert_eq!(config.push.limits.time, Duration::from_secs(5));
        let tenant = &config.tenants[0];
        assert_eq!((config.metrics_tenants, config.plugin_limits.function_bytes), (7, 2048));
        assert_eq!((tenant.limits.instance.call_milliseconds, tenant.limits.inputs_waiting), (9, 6));
        assert_eq!((tenant.body_bytes, tenant.limits.unread_parts), (1024, 16));
        assert_eq!(tenant.hosts, ["mail.example.org"]);
        assert_eq!(config.limits.logins.failures.per_account, 4);
        let by = authentication::Verifier::Dovecot("/etc/auth-client".into());
        assert_eq!(tenant.authentication, Some(Authentication { by, time: Duration::from_secs(3) }));
        assert_eq!(tenant.plugin.as_deref(), Some(Path::new("/etc/p.wasm")));
        let settings: Vec<_> =
            tenant.settings.iter().map(|setting| (setting.key.as_str(), setting.value.as_str())).collect();
        assert_eq!(settings, [("ews-heartbeat-seconds", "20"), ("on", "true"), ("word", "x")]);
        assert_eq!(tenant.settings[0].at.as_ref().map(|at| (at.line, at.column)), Some((24, 26)));
    }

    #[test]
    fn a_mistake_is_refused_where_it_stands() {
        let tenant = "[[tenant]]\nname = 'a'\ndomains = ['a.b']\n";
        check("", "1:1", "expected at least one [[tenant]]");
        check("tenant = []", "1:1", "at least one");
        check("[server]\nlisten = 8080\n", "2:10", "ADDRESS:PORT");
        check("[server]\nlisten = '127.0.0.1'\n", "2:10", "ADDRESS:PORT");
        check("[server]\nlisten = 'localhost:80'\n", "2:10", "ADDRESS:PORT");
        check("[server]\nlsiten = '127.0.0.1:80'\n", "2:1", "unknown field `lsiten`, expected one of `listen`");
        check("[plugins]\ntrusted-keys = ['RWQ']\n", "2:17", "expected a public key of minisign");
        check("[server]\ntls-key = 'k.pem'\n[[tenant]]\nname = 'a'\ndomains = ['a.b']\n", "2:11", "`tls-certificate`");
        check(
            "[server]\ntls-certificate = 'no/such.pem'\n[[tenant]]\nname = 'a'\ndomains = ['a.b']\n",
            "2:19",
            "`tls-key`",
        );
        check(
            "[server]\ntls-certificate = 'c.pem'\ntls-key = 'k.pem'\n[[tenant]]\nname = 'a'\ndomains = ['a.b']\n",
            "2:19",
            "/etc/c.pem: ",
        );
        check("[server]\ntrusted-proxies = ['10.0.0.1']\n", "2:20", "expected a network");
        check("[limits]\nmemory-bytes = 5\n", "2:16", "an integer from 1048576");
        check(&format!("{tenant}limits = {{ memory = 5 }}\n"), "4:12", "unknown field `memory`");
        check("[push]\nallow = ['10.0.0.1/8']\n", "2:10", "expected a network");
        check("[push]\nallow = '10.0.0.0/8'\n", "2:9", "expected a sequence");
        check("[server]\nadmin-key = ''\n", "2:13", "expected a key");
        check("[server]\nbody-bytes = 0\n", "2:14", "an integer from 1024 to 67108864");
        check("[server]\nsync = 0\n", "2:8", "\"always\", or an interval from 1 to 60000");
        check("[server]\nsync = 'never'\n", "2:8", "\"always\", or an interval from 1 to 60000");
        check("[server]\nbody-bytes = '9'\n", "2:14", "an integer from 1024 to 67108864");
        check("[[tenant]]\ndomains = ['a.b']\n", "1:1", "missing field `name`");
        check("[[tenant]]\nname = 'a b'\ndomains = ['a.b']\n", "2:8", "expected a name");
        check("[[tenant]]\nname = 'a'\ndomains = []\n", "3:11", "at least one domain");
        check("[[tenant]]\nname = 'a'\ndomains = ['a@b']\n", "3:12", "expected a domain");
        check(&format!("{tenant}hosts = ['a:80']\n"), "4:10", "without port");
        check(&format!("{tenant}colour = 1\n"), "4:1", "unknown field `colour`");
        check(&format!("{tenant}settings = {{ a = 1.5 }}\n"), "4:18", "expected text, an integer, or true or false");
        check(&format!("{tenant}settings = {{ domains = 'x' }}\n"), "4:14", "domains");
        check(&format!("{tenant}settings = {{ push-allow = 'x' }}\n"), "4:14", "`allow` under [push]");
        check(&format!("{tenant}{tenant}"), "5:8", "the tenant name \"a\" is taken in line 2");
        check(&format!("{tenant}{}", tenant.replace("'a'", "'b'").replace("a.b", "A.b")), "6:12", "the domain \"a.b\"");
    }

    #[test]
    fn hosts_belong_to_one_tenant() {
        let tenant =
            |name: &str| format!("[[tenant]]\nname = '{name}'\ndomains = ['{name}.x']\nhosts = ['h', 'i.{name}']\n");
        check(&format!("{}{}", tenant("a"), tenant("b")), "8:10", "the host \"h\" is taken in line 4");
    }

    #[test]
    fn a_users_file_is_found_beside_the_configuration() {
        let mistake = config("[[tenant]]\nname = 'a'\ndomains = ['a.b']\nusers = 'none.toml'\n").expect_err("no file");
        assert!(mistake.to_string().starts_with("/etc/none.toml: "), "{mistake}");
    }

    #[test]
    fn keys_are_not_printed() {
        let config =
            config("[server]\nadmin-key = 'sesame'\n[[tenant]]\nname = 'a'\ndomains = ['a.b']\n").expect("good");
        assert!(!format!("{:?}", values::Key(Zeroizing::new("sesame".to_owned()))).contains("sesame"));
        assert_eq!(config.admin_key.as_ref().map(|key| key.as_str()), Some("sesame"));
    }
}
