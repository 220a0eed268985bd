//! The ceiling of one tenant: what it takes with as many accounts, subscriptions and events as its settings let it have.

use postbell::contract::changes::Batch;
use postbell::contract::requests::Access;
use postbell::tenant::{Body, Limits, Request, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::gauge;
use postbell_tests::histories::{self, delivery, subscribe_pull};

use crate::scene;

/// What the settings let one tenant have, if nobody sets them.
const ACCOUNTS: usize = 100_000;
const SUBSCRIPTIONS: usize = 200_000;

/// How many accounts a batch names.
const BATCH: usize = 1_000;

pub fn run() {
    let host = Host::new(HostOptions::default()).expect("this machine runs the engine");
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    let limits = Limits { busy_milliseconds: u64::MAX, ..Limits::default() };
    let allowed = limits.instance.memory_bytes;
    let tenant = host.open("one.example", &plugin, TenantOptions { limits, ..scene::options() }).expect("it opens");
    println!("\nOne tenant with all that it may have; its memory may be {} MiB.\n", allowed >> 20);
    scene::runtime().block_on(async {
        deliver(&tenant, 0, "m").await;
        said(&tenant, "accounts");
        for number in 0..SUBSCRIPTIONS {
            assert!(subscribe(&tenant, number % ACCOUNTS).await.contains("NoError"));
        }
        said(&tenant, "subscriptions");
        assert!(subscribe(&tenant, 0).await.contains("ErrorExceededSubscriptionCount"));
        // Until the oldest events go because there are too many.
        let (id, mut round, mut before) = ("x".repeat(200), 1, 0.0);
        while before < gauge(&tenant, "history_bytes").await {
            before = gauge(&tenant, "history_bytes").await;
            deliver(&tenant, round, &id).await;
            round += 1;
        }
        said(&tenant, "events");
        assert!(tenant.statistics().faults.is_empty(), "{:?}", tenant.statistics().faults);
        tenant.close().await;
    });
}

/// One message for each account.
async fn deliver(tenant: &Tenant, round: u64, id: &str) {
    for first in (0..ACCOUNTS).step_by(BATCH) {
        let one = |number| delivery(&account(number), &format!("{id}{round}"), round).accounts;
        let batch = Batch { accounts: (first..first + BATCH).flat_map(one).collect(), book: vec![] };
        let done = tenant.ingest(batch, None).await.expect("it is taken");
        assert!(done.rejections.is_empty(), "{:?}", done.rejections.first());
    }
}

async fn subscribe(tenant: &Tenant, number: usize) -> String {
    let request = histories::request(0, &account(number), subscribe_pull("inbox"));
    let (head, body) = (request.head, request.body.into());
    let access: Access = request.access;
    let answer = tenant.request(Request { head, body, access, act_as: None, accounts: vec![] }).await;
    match answer.expect("an answer").body {
        Body::Whole(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Body::Parts(_) => panic!("this answer comes at once"),
    }
}

fn account(number: usize) -> String {
    format!("u{number}@example.org")
}

fn said(tenant: &Tenant, with: &str) {
    println!("with all its {with:<14} {:>6} MiB", tenant.statistics().memory >> 20);
}
