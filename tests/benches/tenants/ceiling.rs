//! The ceiling of one tenant: what it takes with as much of everything as its settings let it have.

use postbell::contract::changes::{Batch, BookChange, Entry, Field};
use postbell::contract::requests::{Rank, Request as Asked};
use postbell::tenant::{Body, Limits, Request, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::gauge;
use postbell_tests::figures::{Table, Unit};
use postbell_tests::groupwise::{self, login};
use postbell_tests::histories::{self, delivery, subscribe_pull};
use postbell_tests::zimbra;

use crate::scene;

/// What the settings let one tenant have, if nobody sets them.
const ACCOUNTS: usize = 100_000;
const SUBSCRIPTIONS: usize = 200_000;
const WAIT_SETS: usize = 100_000;
const MEMBERS: usize = 2_000_000;

/// How many accounts a batch names.
const BATCH: usize = 1_000;

pub fn run() {
    let host = Host::new(HostOptions::default()).expect("this machine runs the engine");
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    let mut limits = Limits { busy_milliseconds: u64::MAX, ..Limits::default() };
    let allowed = std::mem::replace(&mut limits.instance.memory_bytes, 4 << 30);
    let tenant = host.open("one.example", &plugin, TenantOptions { limits, ..scene::options() }).expect("it opens");
    let title = format!("One tenant with all that it may have; its memory may be {} MiB", allowed >> 20);
    let table = Table::begin(title, "with all its", &[("memory", Unit::Memory)]);
    let said = |what: &str| table.row(what, &[Some((tenant.statistics().memory as f64).into())]);
    scene::runtime().block_on(async {
        deliver(&tenant, 0, "m").await;
        said("accounts");
        for number in 0..SUBSCRIPTIONS {
            assert!(subscribe(&tenant, number % ACCOUNTS).await.contains("NoError"));
        }
        assert!(subscribe(&tenant, 0).await.contains("ErrorExceededSubscriptionCount"));
        said("subscriptions");
        for number in 0..WAIT_SETS {
            assert!(wait_set(&tenant, number).await.contains("CreateWaitSetResponse"));
        }
        assert!(wait_set(&tenant, 0).await.contains("TEMPORARILY_UNAVAILABLE"));
        said("WaitSets");
        fill_book(&tenant).await;
        said("address book");
        let mut recorded = 0;
        for number in 0..ACCOUNTS {
            let visit = format!("visit{number}");
            log_in(&tenant, number, &visit).await;
            recorded += usize::from(record(&tenant, number, &visit).await);
        }
        said(&format!("sessions, {recorded} keys"));
        // Until the oldest events go because there are too many, and keys are lost because their records are.
        let (id, mut round, mut before) = ("x".repeat(200), 1, 0.0);
        while before < held(&tenant).await {
            before = held(&tenant).await;
            deliver(&tenant, round, &id).await;
            round += 1;
        }
        said("events and records");
        assert!(tenant.statistics().faults.is_empty(), "{:?}", tenant.statistics().faults);
        assert!(tenant.statistics().memory < allowed, "its limits let it have more than its memory may be");
        tenant.close().await;
    });
}

/// Bytes of events and records.
async fn held(tenant: &Tenant) -> f64 {
    gauge(tenant, "history_bytes").await + gauge(tenant, "groupwise_event_bytes").await
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

/// Small entries, until one has no room.
async fn fill_book(tenant: &Tenant) {
    for first in (0..).step_by(BATCH) {
        let entry = |number: usize| {
            let field = |name: &str, value| Field { name: name.into(), label: String::new(), value };
            let fields = vec![field("name", format!("Name {number}")), field("emailList/email", account(number))];
            let id = format!("entry{number}");
            BookChange::Added(Entry { id, uuid: None, kind: "contact".into(), fields, members: vec![] })
        };
        let batch = Batch { accounts: vec![], book: (first..first + BATCH).map(entry).collect() };
        let done = tenant.ingest(batch, None).await.expect("it is taken");
        if let Some(rejection) = done.rejections.first() {
            assert_eq!(rejection.reason, "the address book is larger than book-bytes");
            return;
        }
    }
}

async fn subscribe(tenant: &Tenant, number: usize) -> String {
    ask(tenant, histories::request(0, &account(number), subscribe_pull("inbox"))).await
}

/// A set of as many members as there are for each.
async fn wait_set(tenant: &Tenant, number: usize) -> String {
    let share = MEMBERS / WAIT_SETS;
    let names: Vec<_> = (0..share).map(|member| account((number * share + member) % ACCOUNTS)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let body = zimbra::soap("*", &zimbra::create("all", "", &names));
    ask(tenant, zimbra::request(0, "admin@example.org", Rank::Administrator, body, &names)).await
}

async fn log_in(tenant: &Tenant, number: usize, visit: &str) {
    let body = login(&account(number), "*");
    let said = ask(tenant, groupwise::request(0, &account(number), Rank::User, visit, body)).await;
    assert!(said.contains("<code>0</code>"), "{said}");
}

/// A key for everything; whether there was room for it.
async fn record(tenant: &Tenant, number: usize, visit: &str) -> bool {
    let body = "<configureEventsRequest><events enabled=\"1\"><key>notify</key><definition><events><event>FolderItemAdd\
                </event></events></definition></events></configureEventsRequest>";
    let body = groupwise::soap("*", body);
    let said = ask(tenant, groupwise::request(0, &account(number), Rank::User, visit, body)).await;
    said.contains("<code>0</code>")
}

async fn ask(tenant: &Tenant, asked: Asked) -> String {
    let Asked { head, body, access, accounts, .. } = asked;
    let answer = tenant.request(Request { head, body: body.into(), access, act_as: None, accounts }).await;
    match answer.expect("an answer").body {
        Body::Whole(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Body::Parts(_) => panic!("this answer comes at once"),
    }
}

fn account(number: usize) -> String {
    format!("u{number}@example.org")
}
