//! What GroupWise's address book costs when it is large.

use postbell::contract::changes::{Batch, BookChange, Entry, Field};
use postbell::plugin::Plugin;
use postbell_tests::figures::Table;
use postbell_tests::groupwise::{login, on_book};
use postbell_tests::scale::scaled;

use crate::pair::Pair;
use crate::timing::{row, table};
use crate::{REQUESTS, text_after};

/// How many entries the book has.
fn entries() -> u64 {
    scaled(1_000_000, 8_000)
}
/// How many of them one batch brings.
const BATCH: u64 = 4_000;
/// How many entries are changed in one round: in all rounds 100,000.
const CHANGES: u64 = 250;
/// How many deltas a client asks for.
const PAGE: u64 = 100;

/// The whole book fits, and the deltas that led to it.
const ROOMY: [(&str, &str); 2] = [("book-bytes", "4294967296"), ("book-deltas", "10000000")];

/// Every row.
pub fn run(plugin: &Plugin) {
    let table = table(&format!("GroupWise's address book of {} entries", entries()));
    let mut pair = Pair::with(plugin, &ROOMY);
    pair.fill_book((0..entries() / BATCH).map(|batch| added(batch * BATCH..(batch + 1) * BATCH)));
    let request = pair.groupwise_request(login("user00000", "*"));
    let session = text_after(&pair.answer(request), "m:session>").to_owned();
    let head = get_delta_info(&table, &mut pair, &session);
    get_deltas(&table, &mut pair, &session, head);
    changes(&table, &mut pair);
    pair.check();
}

/// Gives the last sequence.
fn get_delta_info(table: &Table, pair: &mut Pair, session: &str) -> u64 {
    let operation = on_book(session, "getDeltaInfo", "");
    let request = pair.groupwise_request(operation.clone());
    let answer = pair.answer(request);
    row(table, "getDeltaInfo", || {
        let requests = (0..REQUESTS).map(|_| pair.groupwise_request(operation.clone())).collect();
        pair.time_answers(requests, 0)
    });
    text_after(&answer, "lastSequence>").parse().expect("a number")
}

/// Pages from all over the book.
fn get_deltas(table: &Table, pair: &mut Pair, session: &str, head: u64) {
    let page = |number: u64| {
        let first = 1 + number * 7919 * PAGE % (head - PAGE);
        let info = format!("<deltaInfo><count>{PAGE}</count><firstSequence>{first}</firstSequence></deltaInfo>");
        on_book(session, "getDeltas", &format!("<view>name email sync</view>{info}"))
    };
    // It ends at the head, so that the client has skipped nothing.
    let last =
        format!("<deltaInfo><count>{PAGE}</count><firstSequence>{}</firstSequence></deltaInfo>", head - PAGE + 1);
    let request = pair.groupwise_request(on_book(session, "getDeltas", &last));
    let answer = pair.answer(request);
    assert_eq!(answer.matches("<sync>add</sync>").count() as u64, PAGE, "{answer}");
    let mut pages = 0..;
    row(table, &format!("getDeltas, {PAGE}"), || {
        let requests = pages.by_ref().take(REQUESTS as usize).map(|number| pair.groupwise_request(page(number)));
        let requests = requests.collect();
        pair.time_answers(requests, 0)
    });
}

fn changes(table: &Table, pair: &mut Pair) {
    let mut rounds = 0..;
    row(table, "changes, each", || {
        let round: u64 = rounds.next().expect("there is always another");
        // They are spread over the book.
        let ids = (0..CHANGES).map(|number| (round * CHANGES + number) * 7919 % entries());
        let book = ids.map(|id| BookChange::Modified(entry(id, round + 1))).collect();
        pair.time_ingest(vec![Batch { accounts: vec![], book }])
    });
}

fn added(ids: std::ops::Range<u64>) -> Batch {
    Batch { accounts: vec![], book: ids.map(|id| BookChange::Added(entry(id, 0))).collect() }
}

fn entry(id: u64, edition: u64) -> Entry {
    let field = |name: &str, value: String| Field { name: name.into(), label: String::new(), value };
    let fields = vec![
        field("fullName/displayName", format!("User Number {id}")),
        field("emailList/email", format!("user{id}@example.org")),
        field("userid", format!("user{id}")),
        field("officeInfo/department", format!("Department {edition}")),
    ];
    Entry { id: format!("user{id}"), uuid: None, kind: "contact".into(), fields, members: vec![] }
}
