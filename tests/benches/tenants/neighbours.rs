//! How long a neighbour's requests take beside a plugin that misbehaves, on its thread and on another, once the host has had
//! the time to see that it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postbell::tenant::{Limits, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::hostile::{ask, component, request};
use postbell_tests::scale::scaled;

use crate::number;
use crate::scene::{now, quantile};

/// What misbehaves, and what it is asked; the first does not.
const PROGRAMS: [(&str, &str); 8] = [
    ("plain", "/"),
    ("endless_loop answer", "/"),
    ("endless_recursion answer", "/"),
    ("memory_bomb", "/"),
    ("huge_reaction body", "/"),
    ("flood_of_logs", "/"),
    ("flood_of_calls", "/"),
    ("wake_ups_without_end soon", "/wake"),
];

pub fn run() {
    let columns = [
        ("alone, p99", Unit::Time),
        ("same thread, p99", Unit::Time),
        ("to alone", Unit::Ratio),
        ("other thread, p99", Unit::Time),
        ("of other to alone", Unit::Ratio),
    ];
    let title = "A neighbour's requests beside a plugin that is asked without end; the first does no harm";
    let table = Table::begin(title, "", &columns);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (program, path) in PROGRAMS {
        let alone = runtime.block_on(measure(None, path));
        let [same, other] = [true, false].map(|same| runtime.block_on(measure(Some((program, same)), path)));
        let p99 = |times: &[Duration]| quantile(times, 0.99);
        let ratio = |times: &[Duration]| (p99(times).as_secs_f64() / p99(&alone).as_secs_f64()).into();
        let values = [p99(&alone).into(), p99(&same).into(), ratio(&same), p99(&other).into(), ratio(&other)];
        table.row(program, &values.map(Some));
    }
}

/// Until the host has seen what a tenant does: it judges by the second.
fn seen_after() -> Duration {
    scaled(Duration::from_secs(2), Duration::ZERO)
}

/// The times of a neighbour's requests, sorted. Tenants go to the two threads by turns.
async fn measure(hostile: Option<(&str, bool)>, path: &'static str) -> Vec<Duration> {
    let host = Host::new(HostOptions { instances: 50, shards: 2, ..HostOptions::default() });
    let host = host.expect("this machine runs the engine");
    let open = |program: &str, name: &str| -> Tenant {
        let plugin = host.load(&component(program)).expect("it loads");
        let options = TenantOptions { limits: Limits::default(), ..TenantOptions::default() };
        host.open(name, &plugin, options).expect("it opens")
    };
    let neighbour = open("plain", "neighbour");
    let stop = Arc::<AtomicBool>::default();
    let asking = hostile.map(|(program, same)| {
        let _between = same.then(|| open("plain", "between"));
        let (tenant, stop) = (open(program, "hostile"), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Whatever comes of it.
                drop(tenant.request(request(path)).await);
                tokio::task::yield_now().await;
            }
        })
    });
    let (begun, wanted, mut times, mut asked) =
        (now(), number("POSTBELL_REQUESTS", scaled(20_000, 100)), Vec::new(), 0);
    while times.len() < wanted {
        let start = now();
        let answer = ask(&neighbour, "/").await.expect("in time").expect("an answer");
        times.extend((begun.elapsed() > seen_after()).then(|| start.elapsed()));
        asked += 1;
        assert_eq!(answer, asked.to_string());
    }
    stop.store(true, Ordering::Relaxed);
    if let Some(asking) = asking {
        asking.await.expect("it does not panic");
    }
    times.sort();
    times
}
