//! Native code and component side by side: what the sandbox costs; and other ways to run such logic beside both.
//!
//! All are given the same inputs, made before the clock runs: the native code values of its own types, to keep; the
//! component the host's, by reference, so that its time has the way in and out. Epochs are on, limits as a host has
//! them. An argument names the part to run. POSTBELL_RIVALS names the folder with the programs that `make bench` makes of
//! `tests/rivals`; without it they are passed over.

mod address_book;
mod events;
mod formatted;
mod interests;
mod limit;
mod pair;
mod rivals;
mod timing;
mod wait_sets;

use postbell::contract::types::Moment;
use postbell::journal::Input;
use postbell::plugin::Plugin;
use postbell::tenant::Tenant;
use postbell::{Host, HostOptions, TenantOptions};
use postbell_notify::Notify;
use postbell_tests::component;
use postbell_tests::figures::{Figure, Table, Unit};
use postbell_tests::histories::{get_events, subscribe_pull, subscribe_streaming};
use postbell_tests::native::Convert;
use postbell_tests::scale::scaled;

use pair::{Pair, SHORT, settings};
use timing::{curve_of, nanoseconds, point, rounds, row, table};

/// How many requests one round of `answer` has.
const REQUESTS: u64 = 20;
/// How many instances or tenants one round opens.
const TENANTS: usize = 20;

/// Room for more accounts than a tenant may have if nobody says so.
const ROOMY: &[(&str, &str)] = &[("accounts", "10000000"), ("folders", "100000000")];

/// A part of the bench.
type Part = fn(&Plugin);

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parts: [(&str, Part); 9] = [
        ("ingest", ingest),
        ("answer", answer),
        ("rivals", rivals::run),
        ("limit", limit::run),
        ("open", open),
        ("interests", interests::run),
        ("address-book", address_book::run),
        ("events", events::run),
        ("wait_sets", wait_sets::run),
    ];
    let plugin = component::plugin();
    for (name, run) in parts {
        if named.as_ref().is_none_or(|named| named == name) {
            run(&plugin);
        }
    }
}

/// Deliveries to accounts with three subscriptions each.
fn ingest(plugin: &Plugin) {
    let by_size = table("Changes, each; 100 accounts with three subscriptions each");
    let mut pair = with_subscriptions(plugin, 100);
    for size in [1, 10, 100] {
        row(&by_size, &format!("batches of {size}"), || pair.time_deliveries(100, size));
    }
    pair.check();
    let by_accounts =
        curve_of("Changes, each, in batches of 100; so many accounts with three subscriptions each", "accounts");
    for accounts in scaled(vec![100, 1_000, 10_000, 50_000], vec![100, 300]) {
        let mut pair = with_subscriptions(plugin, accounts);
        point(&by_accounts, accounts, || pair.time_deliveries(accounts, 100));
        pair.check();
    }
    among_others(plugin);
}

/// Deliveries to a hundred such accounts, among others that exist and of which nothing comes.
fn among_others(plugin: &Plugin) {
    const BUSY: u64 = 100;
    let curve = curve_of("Changes, each, in batches of 100, to 100 of so many accounts", "accounts");
    for accounts in scaled(vec![1_000, 10_000, 100_000, 1_000_000], vec![300]) {
        let mut pair = Pair::with(plugin, &[SHORT, ROOMY].concat());
        pair.know_natively(BUSY..accounts);
        pair.take_over();
        subscribe_all(&mut pair, BUSY);
        point(&curve, accounts, || pair.time_deliveries(BUSY, 100));
        pair.check();
    }
}

fn with_subscriptions(plugin: &Plugin, accounts: u64) -> Pair {
    let mut pair = Pair::open(plugin);
    subscribe_all(&mut pair, accounts);
    pair
}

/// Three subscriptions for each of the first so many accounts, and deliveries until their histories are full.
fn subscribe_all(pair: &mut Pair, accounts: u64) {
    for user in (0..accounts).flat_map(|user| [user; 3]) {
        pair.ask(user, subscribe_streaming());
    }
    for _ in 0..accounts / 3 {
        let batch = pair.deliveries(accounts, 100);
        pair.feed(Input::Ingest { batch, span: None, skipped: None });
    }
}

fn answer(plugin: &Plugin) {
    let table = table("Requests");
    get_events_of(&table, plugin, 1);
    get_events_of(&table, plugin, 50);
    subscribe(&table, plugin);
}

/// The same poll again and again: nothing is acknowledged.
fn get_events_of(table: &Table, plugin: &Plugin, events: usize) {
    let mut pair = Pair::open(plugin);
    // The folder must be known before somebody subscribes to it.
    pair.make_inboxes(1);
    let subscribed = pair.ask(0, subscribe_pull("inbox"));
    let [subscription, watermark] = ["SubscriptionId>", "Watermark>"].map(|tag| text_after(&subscribed, tag));
    let batch = pair.alterations(events);
    pair.feed(Input::Ingest { batch, span: None, skipped: None });
    let answer = pair.ask(0, get_events(subscription, watermark));
    assert_eq!(answer.matches("<t:ModifiedEvent>").count(), events, "{answer}");
    let requests = |pair: &mut Pair, subscription: &str, watermark: &str| {
        (0..REQUESTS).map(|_| pair.request(0, get_events(subscription, watermark))).collect()
    };
    row(table, &format!("GetEvents, {events} out ({} bytes)", answer.len()), || {
        let requests = requests(&mut pair, subscription, watermark);
        pair.time_answers(requests, 0)
    });
    if events > 1 {
        let written = formatted::Events::of(&answer);
        let subscribed = pair.ask(0, subscribe_pull("inbox"));
        let [idle, its_watermark] = ["SubscriptionId>", "Watermark>"].map(|tag| text_after(&subscribed, tag));
        row(table, "the same, natively with core::fmt", || {
            let without = requests(&mut pair, idle, its_watermark);
            let (answered, _) = pair.time_answers(without, 0);
            let written = nanoseconds(REQUESTS as usize, 0..REQUESTS, |_| written.to_string());
            let requests = requests(&mut pair, subscription, watermark);
            (answered + written, pair.time_answers(requests, 0).1)
        });
    }
    pair.check();
}

/// Subscriptions that live ten minutes, one a second: as many run out as come.
fn subscribe(table: &Table, plugin: &Plugin) {
    let mut pair = Pair::open(plugin);
    pair.make_inboxes(REQUESTS);
    let mut round = || {
        let requests = (0..REQUESTS).map(|user| pair.request(user, subscribe_pull("inbox"))).collect();
        pair.time_answers(requests, 1_000)
    };
    // Until the first ones run out.
    (0..700).step_by(REQUESTS as usize).for_each(|_| {
        round();
    });
    row(table, "Subscribe, while another runs out", &mut round);
    pair.check();
}

fn open(plugin: &Plugin) {
    open_instance(plugin);
    open_tenant();
}

/// An instance by itself: made, opened, dropped.
fn open_instance(plugin: &Plugin) {
    let (at, seed, settings) = (Moment { now: 1, sequence: 1 }, [7; 32], settings());
    row(&table("Instances"), "made, opened and dropped", || {
        let native = nanoseconds(TENANTS, 0..TENANTS, |_| {
            let mut notify = Notify::default();
            notify.open(at.convert(), &seed, &settings).expect("the settings are good");
            notify
        });
        let component = nanoseconds(TENANTS, 0..TENANTS, |_| {
            let mut instance = component::instance(plugin);
            instance.open(at, &seed, &settings).expect("no fault").expect("the settings are good");
            instance
        });
        (native, component)
    });
}

/// A tenant of a host: an instance, its place on a shard, its first entry in a journal in memory.
fn open_tenant() {
    let host = Host::new(HostOptions::default()).expect("this machine runs the engine");
    let plugin = host.load(postbell::plugin::bundled()).expect("the built-in plugin loads");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut names = (0..).map(|number| format!("tenant-{number}"));
    let mut round = || {
        let names: Vec<String> = names.by_ref().take(TENANTS).collect();
        let mut tenants: Vec<Tenant> = Vec::with_capacity(TENANTS);
        let time = nanoseconds(TENANTS, &names, |name| {
            let options = TenantOptions { settings: settings(), ..TenantOptions::default() };
            tenants.push(host.open(name, &plugin, options).expect("it opens"));
        });
        tenants.iter().for_each(|tenant| runtime.block_on(tenant.close()));
        time
    };
    let opened = Figure::of((0..rounds()).map(|_| round()));
    Table::begin("Tenants", "", &[("time", Unit::Time)]).row("Host::open, a new one", &[Some(opened)]);
}

/// What stands between a tag and the next.
fn text_after<'t>(text: &'t str, tag: &str) -> &'t str {
    let (_, after) = text.split_once(tag).expect("the answer has it");
    after.split('<').next().unwrap_or_default()
}
