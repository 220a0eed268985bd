//! The tables of what the server itself is told: [server], [cluster], [push].

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::values::{self, Address, AllowedNetwork, Count, Key};
use crate::journal::{JetStreamOptions, SyncMode};
use crate::outbound::caller::CallerLimits;
use crate::program::cluster::ClusterConfig;
use crate::program::toml_file::TomlFile;
use crate::serve::connection::Patience;
use crate::serve::front::ConnectionLimits;
use crate::serve::gate::LoginLimits;
use crate::serve::receive::BodyLimits;
use crate::serve::throttle::FailureLimits;
use crate::tenant::{self, Retention};

/// The plugins' setting for what may be called.
pub(super) const PUSH_ALLOW: &str = "push-allow";

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ClusterTable {
    servers: Vec<values::ServerUrl>,
    ca_file: Option<PathBuf>,
    name: Option<values::ClusterName>,
    streams: Option<Count<1, 1_000>>,
    replicas: Option<Count<1, 5>>,
    append_seconds: Option<Count<1, 300>>,
    #[serde(default)]
    monitoring: Vec<values::BaseUrl>,
    node: Option<values::ClusterName>,
    lease_seconds: Option<Count<1, 300>>,
    moves: Option<Count<1, 1_000>>,
    clients_url: Option<values::BaseUrl>,
    admin_url: Option<values::BaseUrl>,
    #[serde(default)]
    changes: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PushTable {
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
pub(super) struct ServerTable {
    pub(super) listen: Option<Address>,
    pub(super) tls_certificate: Option<Spanned<PathBuf>>,
    pub(super) tls_key: Option<Spanned<PathBuf>>,
    pub(super) tls_handshake_seconds: Option<Count<1, 300>>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<AllowedNetwork>,
    pub(super) admin_listen: Option<Address>,
    pub(super) data: Option<PathBuf>,
    pub(super) admin_key: Option<Key>,
    pub(super) connections: Option<Count<1, 1_000_000>>,
    pub(super) connections_per_address: Option<Count<1, 1_000_000>>,
    pub(super) header_bytes: Option<Count<8192, 1_048_576>>,
    pub(super) header_seconds: Option<Count<1, 3600>>,
    pub(super) idle_seconds: Option<Count<1, 86_400>>,
    pub(super) send_seconds: Option<Count<1, 86_400>>,
    pub(super) body_bytes: Option<Count<1024, 67_108_864>>,
    pub(super) body_bytes_total: Option<Count<1_048_576, 68_719_476_736>>,
    pub(super) body_seconds: Option<Count<1, 3600>>,
    pub(super) logins_waiting: Option<Count<1, 1_000_000>>,
    pub(super) failed_logins_per_account: Option<Count<1, 1_000_000>>,
    pub(super) failed_logins_per_address: Option<Count<1, 1_000_000>>,
    pub(super) failed_login_minutes: Option<Count<1, 1_440>>,
    pub(super) unread_bytes: Option<Count<65_536, 1_073_741_824>>,
    pub(super) unread_parts: Option<Count<16, 1_000_000>>,
    pub(super) unread_bytes_total: Option<Count<1_048_576, 68_719_476_736>>,
    pub(super) drain_seconds: Option<Count<1, 3600>>,
    pub(super) compiler_memory_bytes: Option<Count<67_108_864, 68_719_476_736>>,
    pub(super) compiler_cpu_seconds: Option<Count<1, 3600>>,
    pub(super) sync: Option<values::Synced>,
    pub(super) uncommitted_inputs: Option<Count<1, 1_000_000>>,
    pub(super) uncommitted_bytes: Option<Count<1_048_576, 17_179_869_184>>,
    pub(super) swap_behind_bytes: Option<Count<1_048_576, 17_179_869_184>>,
    pub(super) snapshot_inputs: Option<Count<1, 1_000_000_000>>,
    pub(super) snapshot_bytes: Option<Count<1_048_576, 1_099_511_627_776>>,
    pub(super) snapshot_minutes: Option<Count<1, 527_040>>,
    pub(super) history_hours: Option<Count<0, 876_000>>,
    pub(super) history_bytes: Option<Count<0, 1_125_899_906_842_624>>,
    pub(super) metrics_tenants: Option<Count<0, 100_000>>,
    pub(super) rollback_hours: Option<Count<0, 876_000>>,
    pub(super) instances: Option<Count<8, 1_000_000>>,
    pub(super) pool: Option<bool>,
    pub(super) open_tenants: Option<Count<1, 1_000_000>>,
}

impl Default for Limits {
    fn default() -> Limits {
        ServerTable::default().limits()
    }
}

impl ServerTable {
    pub(super) fn journal(&self) -> JournalConfig {
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

    pub(super) fn limits(&self) -> Limits {
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
    pub(super) fn config(self, file: &TomlFile) -> ClusterConfig {
        let defaults = JetStreamOptions::default();
        let options = JetStreamOptions {
            servers: self.servers.into_iter().map(|server| server.0).collect(),
            authorities: self.ca_file.map(|path| file.resolve(&path)),
            name: self.name.map_or(defaults.name, |name| name.0),
            streams: values::or(&self.streams, defaults.streams as u64) as usize,
            replicas: values::or(&self.replicas, defaults.replicas as u64) as usize,
            patience: self.append_seconds.map_or(defaults.patience, |seconds| Duration::from_secs(seconds.0)),
        };
        ClusterConfig {
            options,
            monitoring: self.monitoring.into_iter().map(|url| url.0).collect(),
            node: self.node.map(|node| node.0),
            lease: self.lease_seconds.map(|seconds| Duration::from_secs(seconds.0)),
            moves: self.moves.map(|moves| moves.0 as usize),
            clients: self.clients_url.map(|url| url.0),
            admin: self.admin_url.map(|url| url.0),
            changes: self.changes,
        }
    }
}

impl PushTable {
    pub(super) fn config(self, file: &TomlFile) -> PushConfig {
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
