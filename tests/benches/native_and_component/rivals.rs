//! Other ways to run such logic beside a mail server, each given what native code and component are given, in turn with them.
//!
//! All but the scripts run the very crate of the component, and must react as it does; the scripts know subscriptions and
//! WaitSets alone, and render what they must. An instance for each call is what serverless hosts have: the state is given
//! to it before, and is not asked of it afterwards.

use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use postbell::contract::types::{Moment, Reaction};
use postbell::journal::Input;
use postbell::plugin::Plugin;
use postbell_contest as contest;
use postbell_notify::contract as guest;
use postbell_tests::figures::{Figure, Table, Unit};
use postbell_tests::groupwise::{login, on_book};
use postbell_tests::histories::{get_events, subscribe_pull, subscribe_streaming};
use postbell_tests::native::Convert;
use postbell_tests::scale::scaled;
use postbell_tests::zimbra::{self, attribute};

use crate::pair::Pair;
use crate::text_after;

/// How often each row is measured; each is dear.
fn rounds() -> usize {
    scaled(61, 3)
}

/// How often an instance is made for a call, once the others are measured: it takes the caches from them.
fn fresh_rounds() -> usize {
    scaled(21, 3)
}

/// How many inputs one round has: so many that most find everything where the one before left it.
const INPUTS: usize = 20;

/// Who there is: a name, the program in the folder, its argument, and whether it does less than the others.
const RIVALS: [(&str, &str, &str, bool); 5] = [
    ("extism", "rival-extism", "", false),
    ("http", "rival-hook", "tcp", false),
    ("http, unix", "rival-hook", "unix", false),
    ("luajit", "rival-lua-luajit", "", true),
    ("lua 5.4", "rival-lua-lua54", "", true),
];

/// A rival in a process of its own.
pub struct Rival {
    name: &'static str,
    less: bool,
    process: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

/// What came of a turn.
pub struct Played {
    /// How long it took.
    pub nanoseconds: u64,
    /// The reactions, in the host's types.
    pub reactions: Vec<Reaction>,
}

impl Rival {
    /// All of them, if they are there.
    fn all() -> Option<Vec<Rival>> {
        let folder = PathBuf::from(std::env::var_os("POSTBELL_RIVALS")?);
        let start = |(name, program, argument, less): (&'static str, &str, &str, bool)| {
            let mut command = Command::new(folder.join(program));
            let arguments = Some(argument).filter(|argument| !argument.is_empty());
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            let to = Some(BufWriter::new(process.stdin.take().expect("it is piped")));
            let from = BufReader::new(process.stdout.take().expect("it is piped"));
            Rival { name, less, process, to, from }
        };
        Some(RIVALS.map(start).into())
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it does less than the others, and need not react as they do.
    pub fn is_less(&self) -> bool {
        self.less
    }

    /// Has it take these inputs.
    pub fn play(&mut self, inputs: &[(Moment, Input)]) -> Played {
        let outcome = self.take(inputs.iter().map(|(at, input)| (at.convert(), told(input.clone()))).collect());
        Played { nanoseconds: outcome.nanoseconds, reactions: outcome.reactions.convert() }
    }

    /// The time in which a new instance takes over the state.
    pub fn time_swap(&mut self, at: Moment) -> f64 {
        self.take(vec![(at.convert(), contest::Input::Swap)]).nanoseconds as f64
    }

    fn take(&mut self, turn: contest::Turn) -> contest::Outcome {
        contest::send(self.to.as_mut().expect("it is open"), &turn).expect("the rival reads");
        contest::receive(&mut self.from).expect("it answers").expect("it goes on to the end")
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It ends with its input.
        self.to = None;
        let _ = self.process.wait();
    }
}

/// An input in the types of the native code.
pub fn told(input: Input) -> contest::Input {
    match input {
        Input::Open { seed, settings } => contest::Input::Open { seed, settings },
        Input::Ingest { batch, .. } => contest::Input::Ingest(batch.convert()),
        Input::Answer(request) => contest::Input::Answer((*request).convert()),
        Input::Settled(settlements) => contest::Input::Settled(Convert::<Vec<guest::Settlement>>::convert(settlements)),
        other => panic!("no row has such an input: {other:?}"),
    }
}

/// Every row.
pub fn run(plugin: &Plugin) {
    if std::env::var_os("POSTBELL_RIVALS").is_none() {
        println!("\nRivals: POSTBELL_RIVALS names no folder of them.");
        return;
    }
    let mut columns = vec![("component", Unit::Time), ("native", Unit::Ratio)];
    columns.extend(RIVALS.iter().map(|(name, ..)| (*name, Unit::Ratio)));
    columns.push(("fresh instance", Unit::Ratio));
    let table = Table::begin("How many times as long as the component", "for each input", &columns);
    nothing(&table, plugin);
    changes(&table, plugin);
    subscribe(&table, plugin);
    poll(&table, plugin);
    wake(&table, plugin);
    deltas(&table, plugin);
    swap(plugin);
}

fn among(plugin: &Plugin, settings: &[(&str, &str)]) -> Pair {
    Pair::among(Rival::all().expect("they are there"), plugin, settings)
}

/// A call that does nothing.
fn nothing(table: &Table, plugin: &Plugin) {
    let mut pair = among(plugin, &[]);
    measure(table, "nothing", &mut pair, 0, false, |_| Input::Settled(vec![]));
}

/// Deliveries to accounts with three subscriptions each.
fn changes(table: &Table, plugin: &Plugin) {
    const ACCOUNTS: u64 = 100;
    let mut pair = among(plugin, &[("ews-history-events", "60")]);
    for user in (0..ACCOUNTS).flat_map(|user| [user; 3]) {
        pair.ask(user, subscribe_streaming());
    }
    for _ in 0..ACCOUNTS / 3 {
        let batch = pair.deliveries(ACCOUNTS, 100);
        pair.feed(Input::Ingest { batch, span: None, skipped: None });
    }
    for (name, size) in [("one change", 1), ("100 changes in a batch", 100)] {
        let input = |pair: &mut Pair| ingest(pair.deliveries(ACCOUNTS, size));
        measure(table, name, &mut pair, 0, true, input);
    }
}

/// Subscriptions that live ten minutes, one a second: as many run out as come.
fn subscribe(table: &Table, plugin: &Plugin) {
    let mut pair = among(plugin, &[]);
    pair.make_inboxes(INPUTS as u64);
    let mut users = (0..INPUTS as u64).cycle();
    let mut input = |pair: &mut Pair| {
        let user = users.next().expect("they go round");
        Input::Answer(Box::new(pair.request(user, subscribe_pull("inbox"))))
    };
    measure(table, "Subscribe", &mut pair, 1_000, false, &mut input);
}

/// The same poll again and again: nothing is acknowledged.
fn poll(table: &Table, plugin: &Plugin) {
    let mut pair = among(plugin, &[]);
    pair.make_inboxes(1);
    let subscribed = pair.ask(0, subscribe_pull("inbox"));
    let [subscription, watermark] = ["SubscriptionId>", "Watermark>"].map(|tag| text_after(&subscribed, tag));
    let batch = pair.alterations(50);
    pair.feed(ingest(batch));
    let input = |pair: &mut Pair| Input::Answer(Box::new(pair.request(0, get_events(subscription, watermark))));
    measure(table, "GetEvents, 50 out", &mut pair, 0, false, input);
}

/// A change into a WaitSet of a thousand accounts, and the answer to its client, who asks again between the rounds.
fn wake(table: &Table, plugin: &Plugin) {
    const ACCOUNTS: u64 = 1_000;
    let mut pair = among(plugin, &[]);
    let names: Vec<String> = (0..ACCOUNTS).map(crate::pair::account).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let request = |pair: &mut Pair, operation: &str, named: &[&str]| {
        let rank = postbell::contract::requests::Rank::Administrator;
        zimbra::request(pair.number_request(), "admin@example.org", rank, zimbra::soap("*", operation), named)
    };
    let made = request(&mut pair, &zimbra::create("all", "", &names), &names);
    let answer = pair.answer(made);
    let value =
        |answer: &str, name| attribute(answer, name).unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned();
    let (set, mut seq) = (value(&answer, "waitSet"), value(&answer, "seq"));
    let (mut times, mut turn) = (Times::default(), 0);
    for _ in 0..rounds() {
        let asked = request(&mut pair, &zimbra::wait(&set, &seq, "block=\"1\"", ""), &[]);
        pair.feed(Input::Answer(Box::new(asked)));
        turn += 1;
        let (batch, before) = (pair.delivery_to(turn * 79 % ACCOUNTS), pair.moment());
        let input = ingest(batch.clone());
        let (pairs, answer) = pair.time_change(batch);
        seq = value(&answer, "seq");
        times.note(pairs, pair.time_rivals(before, vec![input], 0), 1);
    }
    let asked = request(&mut pair, &zimbra::wait(&set, &seq, "block=\"1\"", ""), &[]);
    pair.feed(Input::Answer(Box::new(asked)));
    let last = ingest(pair.delivery_to(turn));
    times.show(table, "one change into a WaitSet of 1,000", &mut pair, last, true);
}

/// Pages of the address book.
fn deltas(table: &Table, plugin: &Plugin) {
    use postbell::contract::changes::{Batch, BookChange, Entry, Field};
    let mut pair = among(plugin, &[]);
    let field = |name: &str, value: String| Field { name: name.into(), label: String::new(), value };
    let entry = |id: u64| {
        let fields = vec![field("fullName/displayName", format!("User {id}")), field("userid", format!("user{id}"))];
        BookChange::Added(Entry {
            id: format!("user{id}"),
            uuid: None,
            kind: "contact".into(),
            fields,
            members: vec![],
        })
    };
    for first in (0..1_000).step_by(100) {
        pair.feed(ingest(Batch { accounts: vec![], book: (first..first + 100).map(entry).collect() }));
    }
    let request = pair.groupwise_request(login("user00000", "*"));
    let session = text_after(&pair.answer(request), "m:session>").to_owned();
    let page =
        "<view>name email sync</view><deltaInfo><count>100</count><firstSequence>901</firstSequence></deltaInfo>";
    let page = on_book(&session, "getDeltas", page);
    let input = |pair: &mut Pair| Input::Answer(Box::new(pair.groupwise_request(page.clone())));
    measure(table, "getDeltas, 100", &mut pair, 0, false, input);
}

/// A new instance takes over the state while all wait: what a swap is without a follower. The pause that is left with one is
/// measured by the bench `journal`.
fn swap(plugin: &Plugin) {
    let subscriptions = scaled(10_000, 50);
    let mut pair = among(plugin, &[]);
    for user in 0..subscriptions as u64 {
        pair.ask(user % 100, subscribe_streaming());
    }
    let columns = [("native", Unit::Time), ("component", Unit::Time), ("extism", Unit::Time)];
    let times: Vec<(f64, f64, f64)> = (0..scaled(21, 3))
        .map(|_| {
            let (native, component) = pair.time_swap();
            (native, component, pair.time_swap_of_rival("extism"))
        })
        .collect();
    let of = |one: fn(&(f64, f64, f64)) -> f64| Some(Figure::of(times.iter().map(one)));
    let table = Table::begin("Save, make a new instance, load", "of", &columns);
    table.row(&format!("{subscriptions} subscriptions"), &[of(|it| it.0), of(|it| it.1), of(|it| it.2)]);
    let poll = Input::Answer(Box::new(pair.request(0, get_events("unknown", "unknown"))));
    pair.feed(poll);
}

fn ingest(batch: postbell::contract::changes::Batch) -> Input {
    Input::Ingest { batch, span: None, skipped: None }
}

/// What all rounds of a row took.
#[derive(Default)]
struct Times {
    component: Vec<f64>,
    /// By rival, native code first.
    ratios: Vec<Vec<f64>>,
}

impl Times {
    /// A round: times of native code and component for each input; of the rivals for all.
    fn note(&mut self, (native, component): (f64, f64), rivals: Vec<f64>, inputs: usize) {
        self.component.push(component);
        let each = rivals.into_iter().map(|time| time / inputs as f64);
        self.ratios.push([native].into_iter().chain(each).map(|time| time / component).collect());
    }

    /// Shows the row, with what one input more takes an instance of its own; all must react alike to that at last.
    fn show(self, table: &Table, name: &str, pair: &mut Pair, last: Input, scripted: bool) {
        let mut values = vec![Some(Figure::of(self.component.iter().copied()).alone())];
        let of = |number: usize| Figure::of(self.ratios.iter().map(|round| round[number])).alone();
        values.push(Some(of(0)));
        values.extend(
            pair.rivals()
                .iter()
                .enumerate()
                .map(|(number, rival)| (scripted || !rival.is_less()).then(|| of(number + 1))),
        );
        let (saved, component) = (pair.saved(), median(self.component));
        let fresh = (0..fresh_rounds()).map(|_| pair.time_fresh(&saved, &last) / component);
        values.push(Some(Figure::of(fresh).alone()));
        table.row(name, &values);
        pair.feed(last);
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A row.
fn measure(
    table: &Table,
    name: &str,
    pair: &mut Pair,
    pause: u64,
    scripted: bool,
    mut input: impl FnMut(&mut Pair) -> Input,
) {
    let mut times = Times::default();
    for _ in 0..rounds() {
        let inputs: Vec<Input> = (0..INPUTS).map(|_| input(pair)).collect();
        let before = pair.moment();
        let both = pair.time_inputs(inputs.clone(), pause);
        times.note(both, pair.time_rivals(before, inputs, pause), INPUTS);
    }
    let last = input(pair);
    times.show(table, name, pair, last, scripted);
}
