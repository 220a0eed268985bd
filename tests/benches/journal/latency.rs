//! From a change's arrival to the bytes for the client that waits for it.

use std::sync::Arc;
use std::time::Duration;

use postbell::journal::{Journal, MemoryJournal, SyncMode};
use postbell::tenant::{Body, Parts, Tenant};
use postbell_tests::embedded::{between, request, whole};
use postbell_tests::figures::{Table, Unit};
use postbell_tests::histories::{self, delivery};
use postbell_tests::scale::scaled;

use crate::scene::{self, folder, now, quantile, runtime, span};

fn changes() -> u64 {
    scaled(2_000, 50)
}

pub fn run() {
    let columns = [("p50", Unit::Time), ("p99", Unit::Time)];
    let title = format!("From a change to the parked client's bytes, {} changes one by one", changes());
    let table = Table::begin(title, "sync", &columns);
    for (name, sync) in
        [("always", Some(SyncMode::Always)), ("50 ms", Some(SyncMode::Every(50))), ("journal in memory", None)]
    {
        let folder = folder();
        let journal: Arc<dyn Journal> = match sync {
            Some(sync) => scene::database(&folder, "journal", sync),
            None => Arc::new(MemoryJournal::default()),
        };
        let times = runtime().block_on(times(journal));
        table.row(name, &[0.5, 0.99].map(|share| Some(quantile(&times, share).into())));
    }
}

async fn times(journal: Arc<dyn Journal>) -> Vec<Duration> {
    let (host, plugin) = scene::host(journal);
    let tenant = scene::tenant(&host, &plugin, "example.org");
    tenant.ingest(delivery("alice@example.org", "first", 0), span(0, 0, 1)).await.expect("it is applied");
    let mut parts = park(&tenant).await;
    let mut times = Vec::new();
    for number in 1..=changes() {
        let start = now();
        let change = tenant.ingest(delivery("alice@example.org", &format!("m{number}"), number), span(0, number, 1));
        let (acknowledged, heard) = tokio::join!(change, hears(&mut parts));
        acknowledged.expect("it is applied");
        times.push(heard.duration_since(start));
    }
    times.sort();
    times
}

async fn park(tenant: &Tenant) -> Parts {
    let subscribed = whole(tenant.request(request(histories::subscribe_streaming())).await);
    let id = between(&subscribed, "<m:SubscriptionId>", "<");
    let answer = tenant.request(request(histories::get_streaming_events(id, id, 30))).await.expect("it is parked");
    match answer.body {
        Body::Parts(parts) => parts,
        Body::Whole(bytes) => panic!("no stream: {}", String::from_utf8_lossy(&bytes)),
    }
}

async fn hears(parts: &mut Parts) -> std::time::Instant {
    loop {
        let part = parts.next().await.expect("the stream goes on").expect("nobody closes it");
        if String::from_utf8_lossy(&part).contains("<t:NewMailEvent>") {
            return now();
        }
    }
}
