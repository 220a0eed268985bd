//! What GroupWise's events cost: to record a change, and to read records.

use postbell::contract::requests::{End, Rank, Request, Settlement};
use postbell::journal::Input;
use postbell::plugin::Plugin;
use postbell_tests::figures::Table;
use postbell_tests::groupwise::{login, request, soap};

use crate::pair::{Pair, account};
use crate::timing::{row, table};

/// How many changes, and requests, one round has.
const CHANGES: usize = 20;

/// No key is lost, and no request refused, during the whole bench.
const ROOMY: [(&str, &str); 4] = [
    ("groupwise-keys-per-account", "1000"),
    ("groupwise-events-account-bytes", "1073741824"),
    ("groupwise-events-total-bytes", "2147483648"),
    ("groupwise-event-reads-per-account", "10000"),
];

/// Every row.
pub fn run(plugin: &Plugin) {
    let table = table("GroupWise's events");
    [1, 1_000].into_iter().for_each(|keys| record(&table, plugin, keys));
    read(&table, plugin, 256);
}

/// One change into so many keys.
fn record(table: &Table, plugin: &Plugin, keys: usize) {
    let mut pair = configured(plugin, keys);
    row(table, &format!("one change into the records of {keys} keys"), || {
        let batches = (0..CHANGES).map(|_| pair.alterations(1)).collect();
        pair.time_ingest(batches)
    });
    pair.check();
}

/// The same records again and again: none is removed. The answers arrive between the rounds.
fn read(table: &Table, plugin: &Plugin, records: usize) {
    let mut pair = configured(plugin, 1);
    let batch = pair.alterations(records);
    pair.feed(Input::Ingest { batch, span: None, skipped: None });
    let get = soap("*", "<getEventsRequest><key>key0</key></getEventsRequest>");
    let answer = ask(&mut pair, get.clone());
    assert_eq!(answer.matches("<e:uid>").count(), records, "{answer}");
    row(table, &format!("getEvents, {records} out ({} bytes)", answer.len()), || {
        let requests: Vec<Request> = (0..CHANGES).map(|_| next(&mut pair, get.clone())).collect();
        let settled = requests.iter().map(|it| Settlement { request: it.id, parts: 1, end: Some(End::Complete) });
        let settled = settled.collect();
        let times = pair.time_answers(requests, 0);
        pair.feed(Input::Settled(settled));
        times
    });
    pair.check();
}

/// A mailbox with so many keys that cover every alteration.
fn configured(plugin: &Plugin, keys: usize) -> Pair {
    let mut pair = Pair::with(plugin, &ROOMY);
    pair.make_inboxes(1);
    ask(&mut pair, login(&account(0), "*"));
    for number in 0..keys {
        let configuration = format!(
            "<configureEventsRequest><events enabled=\"1\"><key>key{number}</key><definition><events>\
             <event>ItemModify</event></events></definition></events></configureEventsRequest>"
        );
        ask(&mut pair, soap("*", &configuration));
    }
    pair
}

/// Asks; gives the body of the answer, which must be a success.
fn ask(pair: &mut Pair, body: String) -> String {
    let request = next(pair, body);
    let mut reaction = pair.feed(Input::Answer(Box::new(request)));
    let text = String::from_utf8(reaction.replies.pop().expect("an answer").body).expect("UTF-8");
    assert!(text.contains("<code>0</code>"), "{text}");
    text
}

fn next(pair: &mut Pair, body: String) -> Request {
    request(pair.number_request(), &account(0), Rank::User, "visit", body)
}
