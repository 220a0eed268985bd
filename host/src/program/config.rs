//! The configuration of `postbell serve`: a TOML file, checked as a whole before anything starts.

mod authentication;
mod edge;
mod limits;
mod server;
mod tenants;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::cluster::ClusterConfig;
use super::signatures::TrustedKeys;
use super::tenants::stored::Stored;
use super::toml_file::{Mistake, TomlFile};
use crate::plugin::PluginLimits;
use crate::serve::proxies::Proxies;
use crate::serve::tls::Tls;
use limits::{LimitsTable, PluginsTable};
use server::{ClusterTable, PushTable, ServerTable};
pub use server::{JournalConfig, Limits, PushConfig};
pub use tenants::{SeatConfig, Setting, TenantConfig, TenantDefaults, tenant};
use tenants::{TenantTable, tenant_limits};

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

/// How many instances there may be unless told otherwise: as many as a process may have by Linux's own default.
pub const INSTANCES: u32 = 12_000;

/// How many idle tenants may have an instance unless told otherwise.
pub const OPEN_TENANTS: usize = 10_000;

/// How many tenants have figures of their own unless told otherwise.
pub const METRICS_TENANTS: usize = 1_000;

/// Where clients connect unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:8080";
/// Where sources and operators connect unless told otherwise.
pub const ADMIN_LISTEN: &str = "127.0.0.1:8081";

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
        let common = tenant_limits(&server, &limits);
        let fixed = fixed(file)?;
        let tenants = tenants::tenants(file, tenants, &common)?;
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
            tenants,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::SyncMode;
    use crate::tenant::Retention;
    use authentication::Authentication;

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
