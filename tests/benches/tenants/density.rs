//! Memory of a tenant that is open and of one that sleeps, the time to wake one, and the start with all of them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;

use postbell::journal::{DatabaseJournal, DatabaseOptions, Journal, SyncMode};
use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::{get_events, subscribe};
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

/// All of them awake.
pub fn open() {
    let (open, folder) = (number("POSTBELL_OPEN", scaled(10_000, 200)), folder());
    let journal = database(&folder, "open.redb", SyncMode::Every(50));
    println!("\nTenants, each with no state first, then with one subscription.\n");
    let before = resident_kib();
    let (host, tenants) = start(journal, open, open);
    let each = || (resident_kib() - before) as f64 / open as f64;
    let empty = each();
    subscribe_each(&tenants, &mut Vec::new());
    println!("{open} open tenants: {empty:.1}, {:.1} KiB each, {} instances", each(), host.instances());
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
    println!("{known} known tenants are open again after {took:.1?}");
}

fn most_asleep(journal: Arc<dyn Journal>, known: usize) {
    let (before, mut subscriptions) = (resident_kib(), Vec::new());
    let (host, tenants) = start(journal, known, awake());
    subscribe_each(&tenants, &mut subscriptions);
    let asleep = tenants.iter().filter(|tenant| tenant.statistics().asleep == 1).count();
    let each = (resident_kib() - before) as f64 / known as f64;
    println!("{known} known tenants, {asleep} asleep: {each:.1} KiB each, {} instances", host.instances());
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
    for (what, mut times) in [("asleep", slept), ("awake", awake)] {
        times.sort();
        let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
        println!("GetEvents of a tenant that is {what}: p50 {p50:.1?}, p99 {p99:.1?}");
    }
}

/// What this process has in memory of its own: what instances share of their image does not count for each.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it has that line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
