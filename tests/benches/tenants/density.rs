//! Memory of a tenant that is open and of one that sleeps, the time to wake one, and the start with all of them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use postbell::journal::{DatabaseJournal, DatabaseOptions, Journal, SyncMode};
use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::{ALICE, get_events, subscribe};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::histories::{Random, delivery};
use postbell_tests::scale::scaled;

use crate::number;
use crate::scene::{self, database, folder, now, quantile, runtime, timed};

/// The journal's file.
const JOURNAL: &str = "known.redb";

/// The memory, in KiB, that the machine must have for each known tenant: the process takes half of it, and the kernel keeps
/// what it can of the journal's file.
const KNOWN_KIB: u64 = 16;

/// How many tenants are awake where most sleep.
fn awake() -> usize {
    scaled(2_000, 50)
}

/// How many are woken, one after the other.
fn wakes() -> usize {
    scaled(5_000, 100)
}

/// How many are open; each number in a process of its own.
pub fn open_sizes() -> Vec<usize> {
    scaled(vec![100, 1_000, 10_000], vec![20, 200])
}

/// How many are known; each number in a process of its own. What memory does not suffice for is left out, and said.
pub fn known_sizes() -> Vec<usize> {
    let available = kib("/proc/meminfo", "MemAvailable:");
    let mut sizes = scaled(vec![10_000, 100_000, 1_000_000], vec![100, 1_000]);
    sizes.retain(|&known| {
        let fits = known as u64 * KNOWN_KIB <= available;
        if !fits {
            println!(
                "\n{known} known tenants: not measured, {available} KiB of memory are less than {KNOWN_KIB} for each"
            );
        }
        fits
    });
    sizes
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
    let (known, folder) = (number_known(), folder());
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
    let known = number_known();
    let journal = DatabaseJournal::open(&PathBuf::from(folder).join(JOURNAL), DatabaseOptions::default());
    let journal = Arc::new(journal.expect("it was closed in order"));
    let (_tenants, took) = timed(|| start(journal, known, awake()));
    let columns = [("all", Unit::Time), ("each", Unit::Time)];
    let table = Table::curve("The start with all of them", "known tenants", &columns);
    table.point(known, &[Some(took.into()), Some((took / known as u32).into())]);
}

fn number_known() -> usize {
    number("POSTBELL_KNOWN", scaled(100_000, 1_000))
}

fn most_asleep(journal: Arc<dyn Journal>, known: usize) {
    let (before, mut subscriptions) = (resident_kib(), Vec::new());
    let ((host, tenants), took) = timed(|| start(journal, known, awake()));
    subscribe_each(&tenants, &mut subscriptions);
    let asleep = tenants.iter().filter(|tenant| tenant.statistics().asleep == 1).count();
    assert_eq!((asleep, host.instances() as usize), (known - awake(), awake()), "the rest is awake");
    let each = (resident_kib() - before) as f64 * 1024.0 / known as f64;
    let mut values = vec![Some(each.into()), Some((took / known as u32).into())];
    values.extend(wake(&tenants, &subscriptions).map(|time| Some(time.into())));
    let columns = [
        ("memory of each", Unit::Memory),
        ("to open each anew", Unit::Time),
        ("GetEvents, asleep, p50", Unit::Time),
        ("GetEvents, asleep, p99", Unit::Time),
        ("GetEvents, awake, p50", Unit::Time),
        ("GetEvents, awake, p99", Unit::Time),
        ("a change, awake, p50", Unit::Time),
        ("a change, awake, p99", Unit::Time),
    ];
    let title = format!("Tenants of which most sleep: {} are awake, each has a subscription", awake());
    Table::curve(title, "known", &columns).point(known, &values);
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

/// How long GetEvents takes of a tenant that sleeps and of one that is awake, and a change to the latter, of tenants by
/// chance: the median and the 99th percentile of each.
fn wake(tenants: &[Tenant], subscriptions: &[(String, String)]) -> [Duration; 6] {
    let mut random = Random(1);
    let (mut slept, mut awake, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    runtime().block_on(async {
        for number in 0..wakes() {
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
            let third = now();
            let message = delivery(ALICE, &format!("m{number}"), number as u64);
            tenants[chosen].ingest(message, None).await.expect("it is applied");
            changed.push(third.elapsed());
        }
    });
    for times in [&mut slept, &mut awake, &mut changed] {
        times.sort();
    }
    let [slept, awake, changed] = [slept, awake, changed].map(|times| [0.5, 0.99].map(|share| quantile(&times, share)));
    [slept[0], slept[1], awake[0], awake[1], changed[0], changed[1]]
}

/// What this process has in memory of its own: what instances share of their image does not count for each.
fn resident_kib() -> u64 {
    kib("/proc/self/status", "RssAnon:")
}

/// A number of KiB that the kernel tells behind this name.
fn kib(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("Linux says so");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it has that line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
