//! What WaitSets cost by how many accounts they wait for: a change until its answer is there, and making a set.
//!
//! POSTBELL_ACCOUNTS says how many accounts the largest have, instead of a million.

use postbell::contract::requests::{Rank, Request};
use postbell::journal::Input;
use postbell::plugin::Plugin;
use postbell_tests::figures::Table;
use postbell_tests::scale::scaled;
use postbell_tests::zimbra::{attribute, create, destroy, list, request, soap, wait};

use crate::pair::{Pair, account};
use crate::timing::{curve_of, point, row, table};

/// As many accounts as one request may name.
const NAMED: u64 = 10_000;

/// Whoever asks here.
const ADMINISTRATOR: &str = "admin@example.org";

/// Room for the largest sets.
const ROOMY: [(&str, &str); 3] =
    [("accounts", "10000000"), ("folders", "100000000"), ("zimbra-waitset-members", "100000000")];

/// Every row.
pub fn run(plugin: &Plugin) {
    let most = std::env::var("POSTBELL_ACCOUNTS")
        .map_or(scaled(1_000_000, 2_000), |text| text.parse().expect("a number of accounts"));
    let sizes = [1, 1_000, 10_000, 100_000].into_iter().filter(|accounts| *accounts < most).chain([most]);
    let curve = curve_of("One change into a WaitSet of so many accounts, until the answer is there", "accounts");
    sizes.clone().for_each(|accounts| wake(&curve, plugin, accounts));
    let curve = curve_of("One change into a WaitSet of all accounts, so many of which have changed before", "accounts");
    sizes.skip(1).for_each(|accounts| wake_from_all(&curve, plugin, accounts));
    make(plugin);
}

/// A set, and how far its client is.
struct Set {
    id: String,
    seq: String,
}

impl Set {
    fn made(answer: &str) -> Set {
        let value = |name| attribute(answer, name).unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned();
        Set { id: value("waitSet"), seq: value("seq") }
    }
}

/// One change into a set of so many accounts.
fn wake(curve: &Table, plugin: &Plugin, accounts: u64) {
    let mut pair = Pair::with(plugin, &ROOMY);
    let mut set = Set::made(&ask(&mut pair, &create("all", "", &[]), &[]));
    for first in (0..accounts).step_by(NAMED as usize) {
        let names: Vec<String> = (first..accounts.min(first + NAMED)).map(account).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let answer = ask(&mut pair, &wait(&set.id, &set.seq, "", &list("add", &names)), &names);
        assert!(!answer.contains("<error"), "{answer}");
    }
    pair.take_over();
    time_wakes(curve, pair, &mut set, accounts);
}

/// One change into a set of all accounts, each of which has changed before.
fn wake_from_all(curve: &Table, plugin: &Plugin, accounts: u64) {
    let mut pair = Pair::with(plugin, &ROOMY);
    let all = || create("all", "allAccounts=\"1\"", &[]);
    // Where accounts changed is kept from the first such set on.
    ask(&mut pair, &all(), &[]);
    pair.know_natively(0..accounts);
    let mut set = Set::made(&ask(&mut pair, &all(), &[]));
    pair.take_over();
    time_wakes(curve, pair, &mut set, accounts);
}

/// In each round the client waits with the number that it had last, which is not measured, then an account changes.
fn time_wakes(curve: &Table, mut pair: Pair, set: &mut Set, accounts: u64) {
    let mut turn = 0;
    point(curve, accounts, || {
        let request = ask_as_administrator(&mut pair, &wait(&set.id, &set.seq, "block=\"1\"", ""), &[]);
        let parked = pair.feed(Input::Answer(Box::new(request)));
        assert!(parked.replies.is_empty(), "{parked:?}");
        turn += 1;
        let batch = pair.delivery_to(turn * 7_919 % accounts);
        let (times, answer) = pair.time_change(batch);
        assert!(answer.contains("<a id="), "{answer}");
        *set = Set::made(&answer);
        times
    });
    pair.check();
}

/// Making a set with as many accounts as one request may name. It ends between the rounds.
fn make(plugin: &Plugin) {
    let mut pair = Pair::with(plugin, &ROOMY);
    let names: Vec<String> = (0..NAMED).map(account).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    row(&table("Zimbra's WaitSets"), &format!("made with {NAMED} accounts"), || {
        let request = ask_as_administrator(&mut pair, &create("all", "", &names), &names);
        let (times, answer) = pair.time_answer(request);
        let id = Set::made(&answer).id;
        let request = ask_as_administrator(&mut pair, &destroy(&id), &[]);
        pair.feed(Input::Answer(Box::new(request)));
        times
    });
    pair.check();
}

fn ask_as_administrator(pair: &mut Pair, operation: &str, named: &[&str]) -> Request {
    request(pair.number_request(), ADMINISTRATOR, Rank::Administrator, soap("*", operation), named)
}

/// Asks natively only.
fn ask(pair: &mut Pair, operation: &str, named: &[&str]) -> String {
    let request = ask_as_administrator(pair, operation, named);
    pair.ask_natively(request)
}
