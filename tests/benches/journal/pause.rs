//! The live instance's longest pause while a snapshot of a large state is taken beside it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use postbell::TenantOptions;
use postbell::journal::MemoryJournal;
use postbell::tenant::{Limits, Retention, Tenant};
use postbell_tests::embedded::{request, whole};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::histories::{self, delivery};
use postbell_tests::scale::scaled;

use crate::scene::{self, now, quantile, runtime, span};

fn subscriptions() -> usize {
    scaled(100_000, 500)
}
const ACCOUNTS: usize = 20;

pub fn run() {
    let title = format!("One unknown poll after the other, beside a snapshot of {} subscriptions", subscriptions());
    let table = Table::begin(title, "", &POLLS);
    runtime().block_on(async {
        let (host, plugin) = scene::host(Arc::new(MemoryJournal::default()));
        let retention = Retention {
            snapshot_inputs: subscriptions() as u64 + 100,
            snapshot_bytes: u64::MAX,
            ..Retention::default()
        };
        let limits = Limits { retention, ..Limits::default() };
        let options = TenantOptions { limits, ..scene::options() };
        let tenant = host.open("example.org", &plugin, options).expect("the tenant opens");
        deliver(&tenant, 0..ACCOUNTS).await;
        subscribe(&tenant).await;
        show(&table, "nothing beside", polls(&tenant, |polls| polls < scaled(20_000, 200)).await);
        // The inputs that make a snapshot due.
        deliver(&tenant, ACCOUNTS..ACCOUNTS + 200).await;
        show(&table, "a snapshot", polls(&tenant, |_| !snapshot_ended(&tenant)).await);
        assert_eq!(tenant.statistics().snapshot_failures, 0);
    });
}

fn snapshot_ended(tenant: &Tenant) -> bool {
    let statistics = tenant.statistics();
    statistics.snapshot > 0 || statistics.snapshot_failures > 0
}

/// One message after the other, to each account in turn.
async fn deliver(tenant: &Tenant, numbers: Range<usize>) {
    for number in numbers {
        let batch = delivery(&account(number), &format!("m{number}"), number as u64);
        tenant.ingest(batch, span(0, number as u64, 1)).await.expect("it is applied");
    }
}

fn account(number: usize) -> String {
    format!("user{}@example.org", number % ACCOUNTS)
}

async fn subscribe(tenant: &Tenant) {
    for number in 0..subscriptions() {
        let mut subscribe = request(histories::subscribe_pull("inbox"));
        let postbell::contract::requests::Access::Granted(grant) = &mut subscribe.access else { continue };
        let name = account(number);
        (grant.account.id, grant.account.name) = (name.clone(), name);
        let answer = whole(tenant.request(subscribe).await);
        assert!(answer.contains("<m:SubscriptionId>"), "{answer}");
    }
}

/// How long each of some polls takes that change nothing, and so wait for the instance alone.
async fn polls(tenant: &Tenant, more: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    // One at least, also beside what is over at once.
    while times.is_empty() || more(times.len()) {
        let start = now();
        tenant.request(request(histories::get_events("unknown", "unknown"))).await.expect("it is answered");
        times.push(start.elapsed());
    }
    times
}

/// What is told of polls.
pub const POLLS: [(&str, Unit); 4] =
    [("polls", Unit::Count), ("p50", Unit::Time), ("p99", Unit::Time), ("longest", Unit::Time)];

/// A row about these polls.
pub fn show(table: &Table, name: &str, mut times: Vec<Duration>) {
    times.sort();
    let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|share| Some(quantile(&times, share).into()));
    table.row(name, &[Some((times.len() as f64).into()), p50, p99, longest]);
}
