//! Memory of a tenant that is open and of one that sleeps, the time to wake one, and the start with all of them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use postbell::journal::{DatabaseJournal, DatabaseOptions, Journal, SyncMode};
use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::{get_events, subscribe};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::histories::Random;
use postbell_tests::scale::scaled;

use crate::number;
use crate::scene::{self, database, folder, now, quantile, runtime, timed};

/// The journal's file.
const JOURNAL: &str = "known.redb";

/// How many tenants are awake where most sleep.
fn awake() -> usize {
    scaled(2_000, 50)
}

/// How many are woken, one after the other.
fn wakes() -> usize {
    scaled(5_000, 100)
}

/// How many are open; each number in a process of its own.
pub fn sizes() -> Vec<usize> {
    scaled(vec![100, 1_000, 10_000], vec![20, 200])
}

/// All of them awake.
pub fn open() {
    let (open, folder) = (number("POSTBELL_OPEN", scaled(10_000, 200)), folder());
    let journal = database(&folder, "open.redb", SyncMode::Every(50));
    let before = resident_kib();
    let ((_host, tenants), took) = timed(|| start(journal, open, open));
    let each = || Some(((resident_kib() - before) as f64 * 1024.0 / open as f64).into());
    let columns = [
        ("memory of each, without state", Unit::Memory),
        ("with one subscription", Unit::Memory),
        ("to open each, the plugin's loading shared", Unit::Time),
        ("a poll of one, p50", Unit::Time),
    ];
    let stateless = each();
    let mut subscriptions = Vec::new();
    subscribe_each(&tenants, &mut subscriptions);
    let subscribed = each();
    let polled = poll(&tenants, &subscriptions);
    let table = Table::curve("Open tenants, each with its share of what the host itself takes", "tenants", &columns);
    table.point(open, &[stateless, subscribed, Some((took / open as u32).into()), Some(polled.into())]);
}

/// The median time of GetEvents of one tenant after the other, by chance.
fn poll(tenants: &[Tenant], subscriptions: &[(String, String)]) -> Duration {
    let mut random = Random(1);
    let mut times: Vec<Duration> = Vec::new();
    runtime().block_on(async {
        for _ in 0..wakes() {
            let chosen = random.below(tenants.len() as u64) as usize;
            let (id, watermark) = &subscriptions[chosen];
            let start = now();
            get_events(&tenants[chosen], id, watermark).await;
            times.push(start.elapsed());
        }
    });
    times.sort();
    quantile(&times, 0.5)
}

/// Most of them asleep; then the same again, in another process.
pub fn known() {
    let (known, folder) = (number("POSTBELL_KNOWN", scaled(100_000, 1_000)), folder());
    let journal = database(&folder, JOURNAL, SyncMode::Every(50));
    most_asleep(journal.clone(), known);
    journal.finish().expect("the journal is well");
    let program = std::env::current_exe().expect("it runs");
    let again = Command::new(program).arg("again").env("POSTBELL_JOURNAL", folder.path()).status();
    assert!(again.expect("it starts").success());
}

/// What `known` left is opened again.
pub fn again() {
    let Some(folder) = std::env::var_os("POSTBELL_JOURNAL") else { return };
    let known = number("POSTBELL_KNOWN", scaled(100_000, 1_000));
    let journal = DatabaseJournal::open(&PathBuf::from(folder).join(JOURNAL), DatabaseOptions::default());
    let journal = Arc::new(journal.expect("it was closed in order"));
    let (_tenants, took) = timed(|| start(journal, known, awake()));
    let table = Table::begin("The start with all of them", "", &[("time", Unit::Time)]);
    table.row(&format!("{known} known tenants"), &[Some(took.into())]);
}

fn most_asleep(journal: Arc<dyn Journal>, known: usize) {
    let (before, mut subscriptions) = (resident_kib(), Vec::new());
    let (host, tenants) = start(journal, known, awake());
    subscribe_each(&tenants, &mut subscriptions);
    let asleep = tenants.iter().filter(|tenant| tenant.statistics().asleep == 1).count();
    let each = (resident_kib() - before) as f64 * 1024.0 / known as f64;
    let columns = [("asleep", Unit::Count), ("instances", Unit::Count), ("memory of each", Unit::Memory)];
    let values = [asleep as f64, host.instances() as f64, each].map(|value| Some(value.into()));
    Table::begin("Tenants of which most sleep", "", &columns).row(&format!("{known} known"), &values);
    wake(&tenants, &subscriptions);
    runtime().block_on(async {
        for tenant in &tenants {
            tenant.close().await;
        }
    });
}

fn start(journal: Arc<dyn Journal>, count: usize, open_tenants: usize) -> (Host, Vec<Tenant>) {
    let host = Host::new(HostOptions { journal, instances: 12_000, open_tenants, ..HostOptions::default() });
    let host = host.expect("this machine runs the engine");
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    let (opened, outcomes) = channel();
    let limits = Limits { sleep_milliseconds: u64::MAX, ..Limits::default() };
    let each = (0..count).map(|number| {
        let (opened, options) = (opened.clone(), TenantOptions { limits: limits.clone(), ..scene::options() });
        let told = move |outcome: Result<(), _>| drop(opened.send(outcome));
        host.open_later(&format!("t{number}.example"), &plugin, options, told).expect("it begins to open")
    });
    let tenants = each.collect();
    for outcome in outcomes.iter().take(count) {
        outcome.expect("it opens");
    }
    (host, tenants)
}

fn subscribe_each(tenants: &[Tenant], subscriptions: &mut Vec<(String, String)>) {
    runtime().block_on(async {
        for tenant in tenants {
            subscriptions.push(subscribe(tenant).await);
        }
    });
}

/// How long an answer takes of tenants that sleep, and of one that is awake.
fn wake(tenants: &[Tenant], subscriptions: &[(String, String)]) {
    let mut random = Random(1);
    let (mut slept, mut awake) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        for _ in 0..wakes() {
            let chosen = random.below(tenants.len() as u64) as usize;
            let (id, watermark) = &subscriptions[chosen];
            // The first may wake it, the second finds it awake.
            let was_asleep = tenants[chosen].statistics().asleep == 1;
            let first = now();
            get_events(&tenants[chosen], id, watermark).await;
            if was_asleep {
                slept.push(first.elapsed());
            }
            let second = now();
            get_events(&tenants[chosen], id, watermark).await;
            awake.push(second.elapsed());
        }
    });
    let table = Table::begin("GetEvents of a tenant", "that is", &[("p50", Unit::Time), ("p99", Unit::Time)]);
    for (what, mut times) in [("asleep", slept), ("awake", awake)] {
        times.sort();
        table.row(what, &[0.5, 0.99].map(|share| Some(quantile(&times, share).into())));
    }
}

/// What this process has in memory of its own: what instances share of their image does not count for each.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it has that line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
