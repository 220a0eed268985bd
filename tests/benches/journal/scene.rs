//! What all measurements share: a host on a journal, tenants with an inbox, time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postbell::journal::{DatabaseJournal, DatabaseOptions, Journal, SyncMode};
use postbell::plugin::Plugin;
use postbell::tenant::{SourceSpan, Tenant};
use postbell::{Host, HostOptions, TenantOptions};

/// A folder on a disk, not in memory: the one that the build writes to.
pub fn folder() -> tempfile::TempDir {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("../target"), PathBuf::from);
    tempfile::tempdir_in(target).expect("the target folder takes a folder")
}

pub fn database(folder: &tempfile::TempDir, name: &str, sync: SyncMode) -> Arc<DatabaseJournal> {
    let options = DatabaseOptions { sync, repairing: None };
    Arc::new(DatabaseJournal::open(&folder.path().join(name), options).expect("a new database"))
}

pub fn host(journal: Arc<dyn Journal>) -> (Host, Plugin) {
    let host = Host::new(HostOptions { journal, instances: 2_200, ..HostOptions::default() });
    let host = host.expect("this machine runs the engine");
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    (host, plugin)
}

pub fn options() -> TenantOptions {
    let settings =
        [("domains", "example.org"), ("ews-subscriptions-per-account", "10000"), ("ews-streams-per-account", "1000")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    TenantOptions { settings, ..TenantOptions::default() }
}

pub fn tenant(host: &Host, plugin: &Plugin, name: &str) -> Tenant {
    host.open(name, plugin, options()).expect("the tenant opens")
}

pub fn span(source: usize, offset: u64, length: usize) -> Option<SourceSpan> {
    Some(SourceSpan { source: format!("source-{source}"), offset, length: length as u64 })
}

/// How long some work takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time; this is where")]
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// A stop watch that runs.
pub fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time; this is where")]
    Instant::now()
}

/// The value below which this share of the sorted values lies.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
