//! What a change costs by how many wait for it, and by how many there are.

use postbell::contract::requests::Settlement;
use postbell::journal::Input;
use postbell::plugin::Plugin;
use postbell_tests::figures::Table;
use postbell_tests::histories::{envelope, get_streaming_events, subscribe_streaming};
use postbell_tests::scale::scaled;

use crate::pair::Pair;
use crate::text_after;
use crate::timing::{curve_of, point, row, table};

/// How many changes one round has, unless each is very dear.
const CHANGES: usize = 20;
/// How many of all subscriptions wait for a change, when the others are many.
const INTERESTED: u64 = 100;
/// How many there are in all.
fn sizes() -> Vec<u64> {
    scaled(vec![1_000, 10_000, 100_000, 1_000_000], vec![1_000, 3_000])
}

/// Nobody misses anything during the whole bench: then a change would cost less.
const ROOMY: [(&str, &str); 6] = [
    ("ews-subscriptions", "2000000"),
    ("ews-subscriptions-per-account", "1000000"),
    ("ews-queue-events", "1000000"),
    ("ews-history-events", "10000000"),
    ("ews-history-bytes", "1073741824"),
    ("ews-history-total-bytes", "2147483648"),
];

/// Every row.
pub fn run(plugin: &Plugin) {
    let curve = curve_of("One change into so many subscriptions", "subscriptions");
    [1, 100, 10_000].into_iter().for_each(|interested| fan_out(&curve, plugin, interested));
    wake(&table("Streams"), plugin);
    in_all(plugin);
}

/// One change into so many subscriptions.
fn fan_out(curve: &Table, plugin: &Plugin, interested: u64) {
    let mut pair = Pair::with(plugin, &ROOMY);
    pair.make_inboxes(1);
    pair.ask_many((0..interested).map(|_| (0, subscribe("inbox", "ModifiedEvent"))));
    let changes = if interested > 1_000 { 1 } else { CHANGES };
    point(curve, interested, || {
        let batches = (0..changes).map(|_| pair.alterations(1)).collect();
        pair.time_ingest(batches)
    });
    pair.check();
}

/// A change, until the stream's part is in the reaction. What went out is acknowledged between the rounds.
fn wake(table: &Table, plugin: &Plugin) {
    let mut pair = Pair::with(plugin, &[]);
    pair.make_inboxes(1);
    let subscribed = pair.ask(0, subscribe_streaming());
    let id = text_after(&subscribed, "SubscriptionId>");
    let opened = pair.ask(0, get_streaming_events(id, id, 30));
    assert!(opened.contains("<m:ConnectionStatus>OK<"), "{opened}");
    let (request, mut parts) = (pair.last_request(), 0);
    let mut settle = |pair: &mut Pair, more: usize| {
        parts += more as u32;
        pair.feed(Input::Settled(vec![Settlement { request, parts, end: None }]));
    };
    let batch = pair.alterations(1);
    let reaction = pair.feed(Input::Ingest { batch, span: None, skipped: None });
    assert!(reaction.replies.len() == 1 && reaction.replies[0].to == request, "{reaction:?}");
    settle(&mut pair, 1);
    row(table, "a change, until it is written for one stream", || {
        let batches = (0..CHANGES).map(|_| pair.alterations(1)).collect();
        let times = pair.time_ingest(batches);
        settle(&mut pair, CHANGES);
        times
    });
    pair.check();
}

/// One change into as many subscriptions, of few and of many. The others are of other accounts, of other folders of the
/// same, and of other kinds of events of the same folder.
fn in_all(plugin: &Plugin) {
    let title = format!("One change into {INTERESTED} subscriptions of so many");
    let curve = curve_of(&title, "subscriptions");
    for all in sizes() {
        let mut pair = Pair::with(plugin, &ROOMY);
        pair.make_inboxes(1_000);
        pair.make_folder(0, "drafts");
        pair.ask_many((0..all).map(|number| match number {
            0..INTERESTED => (0, subscribe("inbox", "ModifiedEvent")),
            _ if number % 3 == 0 => (1 + number % 999, subscribe("inbox", "ModifiedEvent")),
            _ if number % 3 == 1 => (0, subscribe("drafts", "ModifiedEvent")),
            _ => (0, subscribe("inbox", "NewMailEvent")),
        }));
        point(&curve, all, || {
            let batches = (0..CHANGES).map(|_| pair.alterations(1)).collect();
            pair.time_ingest(batches)
        });
        pair.check();
    }
}

/// Subscribe, pull, for a day, to one kind of event of one folder.
fn subscribe(folder: &str, kind: &str) -> String {
    envelope(&format!(
        "<m:Subscribe><m:PullSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id=\"{folder}\"/></t:FolderIds>\
         <t:EventTypes><t:EventType>{kind}</t:EventType></t:EventTypes><t:Timeout>1440</t:Timeout>\
         </m:PullSubscriptionRequest></m:Subscribe>"
    ))
}
