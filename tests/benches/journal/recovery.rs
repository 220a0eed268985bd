//! How long a restart takes: inputs replayed per second, and a thousand tenants.

use std::sync::mpsc::channel;
use std::time::Duration;

use postbell::TenantOptions;
use postbell::journal::{Journal, SyncMode};
use postbell::tenant::{Limits, Retention};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::histories::delivery;
use postbell_tests::scale::scaled;

use crate::scene::{self, folder, runtime, span, timed};

fn inputs() -> Vec<u64> {
    scaled(vec![1_000, 10_000, 100_000, 1_000_000], vec![500])
}

fn tenants() -> usize {
    scaled(1_000, 20)
}

const INPUTS_OF_EACH: u64 = 20;

pub fn run() {
    replay();
    many_tenants();
}

fn never() -> TenantOptions {
    let retention = Retention { snapshot_inputs: u64::MAX, snapshot_bytes: u64::MAX, ..Retention::default() };
    TenantOptions { limits: Limits { retention, ..Limits::default() }, ..scene::options() }
}

fn replay() {
    let columns = [("time", Unit::Time), ("inputs a second", Unit::Rate)];
    let curve = Table::curve("A tenant opens again, without a snapshot", "inputs", &columns);
    for inputs in inputs() {
        let time = time_of_replay(inputs);
        let rate = inputs as f64 / time.as_secs_f64();
        curve.point(inputs as usize, &[Some(time.into()), Some(rate.into())]);
    }
}

fn time_of_replay(inputs: u64) -> Duration {
    let folder = folder();
    let database = scene::database(&folder, "journal", SyncMode::Every(1_000));
    let (host, plugin) = scene::host(database.clone());
    let tenant = host.open("example.org", &plugin, never()).expect("the tenant opens");
    runtime().block_on(async {
        for number in 0..inputs {
            let batch = delivery(&format!("user{}@example.org", number % 100), &format!("m{number}"), number);
            tenant.ingest(batch, span(0, number, 1)).await.expect("it is applied");
        }
        tenant.close().await;
    });
    drop(host);
    let (host, plugin) = scene::host(database);
    timed(|| host.open("example.org", &plugin, never()).expect("it opens again")).1
}

fn many_tenants() {
    let folder = folder();
    let database = scene::database(&folder, "journal", SyncMode::Every(1_000));
    let (host, plugin) = scene::host(database.clone());
    let names: Vec<String> = (0..tenants()).map(|number| format!("tenant{number}")).collect();
    let tenants: Vec<_> = names.iter().map(|name| scene::tenant(&host, &plugin, name)).collect();
    runtime().block_on(async {
        for tenant in &tenants {
            for number in 0..INPUTS_OF_EACH {
                let batch = delivery("alice@example.org", &format!("m{number}"), number);
                tenant.ingest(batch, span(0, number, 1)).await.expect("it is applied");
            }
        }
        for tenant in &tenants {
            tenant.close().await;
        }
    });
    drop((tenants, host));
    database.sync().expect("it is synced");
    let (host, plugin) = scene::host(database);
    let (tenants, time) = timed(|| {
        let (opened, all_opened) = channel();
        let open = |name: &String| {
            let opened = opened.clone();
            let report = move |result| opened.send(result).expect("the bench waits");
            host.open_later(name, &plugin, scene::options(), report).expect("the name is free")
        };
        let tenants: Vec<_> = names.iter().map(open).collect();
        drop(opened);
        all_opened.iter().for_each(|result: Result<(), _>| result.expect("it opens"));
        tenants
    });
    let table = Table::begin("Tenants open again, all at once", "", &[("time", Unit::Time)]);
    table.row(&format!("{} of {INPUTS_OF_EACH} inputs", tenants.len()), &[Some(time.into())]);
}
