//! Memory of a tenant that is open and of one that sleeps, the time to wake one, and the start with all of them.

use std::sync::Arc;
use std::sync::mpsc::channel;

use postbell::journal::{Journal, SyncMode};
use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::{get_events, subscribe};
use postbell_tests::histories::Random;

use crate::number;
use crate::scene::{self, database, folder, now, quantile, runtime, timed};

/// How many tenants are awake where most sleep.
const AWAKE: usize = 2_000;

/// How many are woken, one after the other.
const WAKES: usize = 5_000;

pub fn run() {
    let (open, known) = (number("POSTBELL_OPEN", 10_000), number("POSTBELL_KNOWN", 100_000));
    let folder = folder();
    println!("\nTenants with one subscription each.\n");
    all_open(database(&folder, "open.redb", SyncMode::Every(50)), open);
    let journal = database(&folder, "known.redb", SyncMode::Every(50));
    let mut subscriptions = Vec::new();
    most_asleep(journal.clone(), known, &mut subscriptions);
    let (tenants, took) = timed(|| start(journal, known, AWAKE));
    println!("{known} known tenants are open again after {took:.1?}");
    drop(tenants);
}

fn all_open(journal: Arc<dyn Journal>, open: usize) {
    let before = resident_kib();
    let (host, tenants) = start(journal, open, open);
    subscribe_each(&tenants, &mut Vec::new());
    let each = (resident_kib() - before) as f64 / open as f64;
    println!("{open} open tenants: {each:.1} KiB each, {} instances", host.instances());
}

fn most_asleep(journal: Arc<dyn Journal>, known: usize, subscriptions: &mut Vec<(String, String)>) {
    let before = resident_kib();
    let (host, tenants) = start(journal, known, AWAKE);
    subscribe_each(&tenants, subscriptions);
    let asleep = tenants.iter().filter(|tenant| tenant.statistics().asleep == 1).count();
    let each = (resident_kib() - before) as f64 / known as f64;
    println!("{known} known tenants, {asleep} asleep: {each:.1} KiB each, {} instances", host.instances());
    wake(&tenants, subscriptions);
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
        for _ in 0..WAKES {
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

/// What this process has in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has that line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
