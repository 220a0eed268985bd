//! One tenant twice: natively and as a component, fed the same, so that both have the same state throughout.

use std::ops::Range;

use postbell::contract::changes::{AccountChanges, Batch, Change, FolderCounts, Happening, Item, ItemAlteration};
use postbell::contract::requests::{Rank, Request};
use postbell::contract::types::{Moment, Reaction};
use postbell::journal::Input;
use postbell::plugin::{Fault, Instance, InstanceLimits, Plugin};
use postbell_contest as contest;
use postbell_notify::{Notify, contract as guest};
use postbell_tests::groupwise;
use postbell_tests::histories::{self, Random};
use postbell_tests::native::{self, Convert};

use crate::rivals::{Rival, told};
use crate::timing::nanoseconds;

/// How many deliveries one round has.
const CHANGES: usize = 200;

/// As many changes as one batch may have.
const BATCH: usize = 4_096;

/// The first moment, in milliseconds since the Unix epoch.
const START: u64 = 1_795_296_510_624;

/// One tenant twice.
pub struct Pair {
    plugin: Plugin,
    notify: Notify,
    instance: Instance,
    moment: Moment,
    random: Random,
    requests: u64,
    messages: u32,
    rivals: Vec<Rival>,
}

/// Histories that are so short that they are full soon, and every round finds the same state.
pub const SHORT: &[(&str, &str)] = &[("ews-history-events", "60")];

/// The settings of most tenants here.
pub fn settings() -> Vec<(String, String)> {
    all_settings(SHORT)
}

fn all_settings(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let domains = [("domains", "example.org")];
    domains.iter().chain(settings).map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// An instance with room for a million subscriptions, and time to load them.
fn instance(plugin: &Plugin) -> Instance {
    let limits = InstanceLimits { memory_bytes: 4 << 30, call_milliseconds: 60_000, ..InstanceLimits::default() };
    plugin.instantiate(&limits).expect("an instance")
}

/// An instance with a state that was saved.
fn loaded(plugin: &Plugin, state: &[Vec<u8>]) -> Instance {
    let mut instance = instance(plugin);
    let loaded = instance.load(&plugin.manifest().state_formats[0], state);
    loaded.expect("no fault").expect("it loads what was saved");
    instance
}

impl Pair {
    /// A new tenant whose histories are short.
    pub fn open(plugin: &Plugin) -> Pair {
        Pair::with(plugin, SHORT)
    }

    /// A new tenant with these settings.
    pub fn with(plugin: &Plugin, settings: &[(&str, &str)]) -> Pair {
        Pair::among(vec![], plugin, settings)
    }

    /// One beside rivals, who are given all that both are given.
    pub fn among(rivals: Vec<Rival>, plugin: &Plugin, settings: &[(&str, &str)]) -> Pair {
        let mut pair = Pair {
            plugin: plugin.clone(),
            notify: Notify::default(),
            instance: instance(plugin),
            moment: Moment { now: START, sequence: 0 },
            random: Random(1),
            requests: 0,
            messages: 0,
            rivals,
        };
        pair.feed(Input::Open { seed: vec![7; 32], settings: all_settings(settings) });
        pair
    }

    /// Gives all of them one input; they must react alike.
    pub fn feed(&mut self, input: Input) -> Reaction {
        self.moment.sequence += 1;
        let component = self.instance.feed(self.moment, &input).expect("no fault");
        for rival in &mut self.rivals {
            let outcome = rival.play(&[(self.moment, input.clone())]);
            let alike = outcome.reactions.iter().map(Ok).eq([component.as_ref()]);
            assert!(alike || rival.is_less(), "{} and the component disagree", rival.name());
        }
        let native = native::feed(&mut self.notify, self.moment, input);
        assert_eq!(component, native, "native code and component disagree");
        component.expect("the settings are good")
    }

    /// Both hold the same state.
    pub fn check(mut self) {
        assert_eq!(self.instance.save().expect("no fault"), native::save(&mut self.notify), "the states differ");
    }

    /// A request of one of the users.
    pub fn request(&mut self, user: u64, body: String) -> Request {
        histories::request(self.number_request(), &account(user), body)
    }

    /// The number of the next request.
    pub fn number_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// A request of GroupWise, of the first user's only login.
    pub fn groupwise_request(&mut self, body: String) -> Request {
        groupwise::request(self.number_request(), &account(0), Rank::User, "visit", body)
    }

    /// Asks; gives the body of the answer, which must be a success.
    pub fn ask(&mut self, user: u64, body: String) -> String {
        let request = self.request(user, body);
        let text = self.answer(request);
        assert!(text.contains("ResponseClass=\"Success\""), "{text}");
        text
    }

    /// Asks; gives the body of the answer.
    pub fn answer(&mut self, request: Request) -> String {
        let mut reaction = self.feed(Input::Answer(Box::new(request)));
        let reply = reaction.replies.pop().expect("an answer");
        String::from_utf8(reply.body).expect("UTF-8")
    }

    /// Asks natively only; the component then takes over the state, which is faster when there are very many.
    pub fn ask_many(&mut self, asked: impl Iterator<Item = (u64, String)>) {
        for (user, body) in asked {
            let request = self.request(user, body);
            let text = self.ask_natively(request);
            assert!(text.contains("ResponseClass=\"Success\""), "{text}");
        }
        self.take_over();
    }

    /// Fills the address book natively only; the component then takes over the state.
    pub fn fill_book(&mut self, batches: impl Iterator<Item = Batch>) {
        for batch in batches {
            self.moment.sequence += 1;
            let reaction = self.notify.ingest(self.moment.convert(), batch.convert());
            assert!(reaction.rejections.is_empty(), "{:?}", reaction.rejections);
        }
        self.take_over();
    }

    /// Asks natively only; gives the body of the answer. The component must then take over.
    pub fn ask_natively(&mut self, request: Request) -> String {
        let request: guest::Request = request.convert();
        self.moment.sequence += 1;
        let reaction = self.notify.answer(self.moment.convert(), &request);
        String::from_utf8_lossy(&reaction.replies[0].body).into_owned()
    }

    /// A change of a kind that is not told of each of these users' accounts, natively only. The component must then take
    /// over.
    pub fn know_natively(&mut self, users: Range<u64>) {
        let hint = |user| {
            let what = Happening::Hinted(vec!["message".into()]);
            let change = Change { number: None, at: START, origin: None, counts: vec![], what };
            AccountChanges { account: account(user), changes: vec![change] }
        };
        for first in users.clone().step_by(BATCH) {
            let some = first..users.end.min(first + BATCH as u64);
            let batch: guest::Batch = Batch { accounts: some.map(hint).collect(), book: vec![] }.convert();
            self.moment.sequence += 1;
            let reaction = self.notify.ingest(self.moment.convert(), batch);
            assert!(reaction.rejections.is_empty(), "{reaction:?}");
        }
    }

    /// The component takes over the state of the native code.
    pub fn take_over(&mut self) {
        self.instance = loaded(&self.plugin, &native::save(&mut self.notify));
    }

    /// The time that each rival takes for inputs that the others had from this moment on, `pause` milliseconds before each.
    pub fn time_rivals(&mut self, from: Moment, inputs: Vec<Input>, pause: u64) -> Vec<f64> {
        let mut at = from;
        let turn: Vec<(Moment, Input)> = inputs.into_iter().map(|input| (next(&mut at, pause), input)).collect();
        self.rivals.iter_mut().map(|rival| rival.play(&turn).nanoseconds as f64).collect()
    }

    /// The times in which new instances of native code and component take over the state.
    pub fn time_swap(&mut self) -> (f64, f64) {
        let native = nanoseconds(1, [()], |()| {
            let state = native::save(&mut self.notify);
            self.notify = contest::load(&state);
        });
        let component = nanoseconds(1, [()], |()| {
            let state = self.instance.save().expect("no fault");
            self.instance = loaded(&self.plugin, &state);
        });
        (native, component)
    }

    /// The time in which a new instance of a rival takes over the state.
    pub fn time_swap_of_rival(&mut self, name: &str) -> f64 {
        let rival = self.rivals.iter_mut().find(|rival| rival.name() == name).expect("it is there");
        rival.time_swap(self.moment)
    }

    /// The moment of the last input.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// Who else is given all of it.
    pub fn rivals(&self) -> &[Rival] {
        &self.rivals
    }

    /// What both hold, as it is saved.
    pub fn saved(&mut self) -> Vec<Vec<u8>> {
        native::save(&mut self.notify)
    }

    /// The time of one input with an instance of its own, which is made and given the state before.
    pub fn time_fresh(&self, saved: &[Vec<u8>], input: &Input) -> f64 {
        let at = Moment { sequence: self.moment.sequence + 1, ..self.moment };
        nanoseconds(1, [input], |input| {
            let mut fresh = loaded(&self.plugin, saved);
            fresh.feed(at, input).expect("no fault")
        })
    }

    /// The number of the last request.
    pub fn last_request(&self) -> u64 {
        self.requests
    }

    /// A draft, or whatever belongs there, is made in a folder of a user's.
    pub fn make_folder(&mut self, user: u64, folder: &str) {
        let mut change = self.change(Happening::ItemCreated, vec![]);
        if let Happening::ItemCreated(item) = &mut change.what {
            item.folder = folder.into();
        }
        let accounts = vec![AccountChanges { account: account(user), changes: vec![change] }];
        self.feed(Input::Ingest { batch: Batch { accounts, book: vec![] }, span: None, skipped: None });
    }

    /// Delivers a message to each of the first `users`.
    pub fn make_inboxes(&mut self, users: u64) {
        for user in 0..users {
            let changes = vec![self.delivery()];
            let accounts = vec![AccountChanges { account: account(user), changes }];
            self.feed(Input::Ingest { batch: Batch { accounts, book: vec![] }, span: None, skipped: None });
        }
    }

    /// Messages that are delivered to random ones of `accounts`, with the folder's counts, as the host makes a batch of
    /// what a source sends.
    pub fn deliveries(&mut self, accounts: u64, changes: usize) -> Batch {
        let mut batch = Batch { accounts: vec![], book: vec![] };
        for _ in 0..changes {
            let name = account(self.random.below(accounts));
            let change = self.delivery();
            match batch.accounts.iter_mut().find(|group| group.account == name) {
                Some(group) => group.changes.push(change),
                None => batch.accounts.push(AccountChanges { account: name, changes: vec![change] }),
            }
        }
        batch
    }

    /// A message that is delivered to one user.
    pub fn delivery_to(&mut self, user: u64) -> Batch {
        let changes = vec![self.delivery()];
        Batch { accounts: vec![AccountChanges { account: account(user), changes }], book: vec![] }
    }

    /// Items of user 0 that are altered: each is one event.
    pub fn alterations(&mut self, changes: usize) -> Batch {
        let altered =
            |item| ItemAlteration { item, flags_before: Some(0), tags_before: None, fields: vec!["flags".into()] };
        let changes =
            (0..changes).map(|_| self.change(|item| Happening::ItemModified(altered(item)), vec![])).collect();
        Batch { accounts: vec![AccountChanges { account: account(0), changes }], book: vec![] }
    }

    fn delivery(&mut self) -> Change {
        let unread = self.random.below(100) as u32;
        let counts = FolderCounts { folder: "inbox".into(), unread, total: 1_000, revision: None };
        self.change(Happening::MessageDelivered, vec![counts])
    }

    fn change(&mut self, what: impl FnOnce(Item) -> Happening, counts: Vec<FolderCounts>) -> Change {
        self.messages += 1;
        let item = Item {
            kind: "message".into(),
            id: format!("inbox/1795296510/{}", self.messages),
            folder: "inbox".into(),
            number: None,
            imap_uid: Some(self.messages),
            revision: Some(u64::from(self.messages)),
            flags: 0,
            tags: vec![],
        };
        Change { number: None, at: self.moment.now, origin: None, counts, what: what(item) }
    }

    /// The time of deliveries in batches of this size, for each change.
    pub fn time_deliveries(&mut self, accounts: u64, size: usize) -> (f64, f64) {
        let batches = (0..CHANGES / size).map(|_| self.deliveries(accounts, size)).collect();
        self.time_ingest(batches)
    }

    /// The time of `ingest` of one change that somebody waits for; and the body of the answer, in which both must agree.
    pub fn time_change(&mut self, batch: Batch) -> ((f64, f64), String) {
        self.moment.sequence += 1;
        let (at, native_batch) = (self.moment, batch.clone().convert());
        let (mut native, mut component) = (None, None);
        let native_time =
            nanoseconds(1, [native_batch], |batch| native = Some(self.notify.ingest(at.convert(), batch)));
        let component_time = nanoseconds(1, [&batch], |batch| component = Some(self.instance.ingest(at, batch)));
        ((native_time, component_time), answered(native, component))
    }

    /// The time of `answer` to one request, and the body, in which both must agree.
    pub fn time_answer(&mut self, request: Request) -> ((f64, f64), String) {
        self.moment.sequence += 1;
        let at = self.moment;
        let native_request: guest::Request = request.clone().convert();
        let (mut native, mut component) = (None, None);
        let native_time =
            nanoseconds(1, [&native_request], |request| native = Some(self.notify.answer(at.convert(), request)));
        let component_time = nanoseconds(1, [&request], |request| component = Some(self.instance.answer(at, request)));
        ((native_time, component_time), answered(native, component))
    }

    /// The time of `ingest`, for each change.
    pub fn time_ingest(&mut self, batches: Vec<Batch>) -> (f64, f64) {
        let of_accounts = |batch: &Batch| batch.accounts.iter().map(|group| group.changes.len()).sum::<usize>();
        let changes = batches.iter().map(|batch| of_accounts(batch) + batch.book.len()).sum();
        let natives: Vec<guest::Batch> = batches.clone().convert();
        let mut at = self.moment;
        let native = nanoseconds(changes, natives, |batch| self.notify.ingest(next(&mut at, 0).convert(), batch));
        at = self.moment;
        let component =
            nanoseconds(changes, &batches, |batch| self.instance.ingest(next(&mut at, 0), batch).expect("no fault"));
        self.moment = at;
        (native, component)
    }

    /// The time of inputs of any kind, for each; `pause` milliseconds pass before each.
    pub fn time_inputs(&mut self, inputs: Vec<Input>, pause: u64) -> (f64, f64) {
        let mut at = self.moment;
        let natives: Vec<contest::Input> = inputs.iter().cloned().map(told).collect();
        let native = nanoseconds(inputs.len(), natives, |input| {
            contest::feed(&mut self.notify, next(&mut at, pause).convert(), input).expect("it is taken")
        });
        at = self.moment;
        let component = nanoseconds(inputs.len(), &inputs, |input| {
            self.instance.feed(next(&mut at, pause), input).expect("no fault").expect("it is taken")
        });
        self.moment = at;
        (native, component)
    }

    /// The time of `answer`, for each request; `pause` milliseconds pass before each.
    pub fn time_answers(&mut self, requests: Vec<Request>, pause: u64) -> (f64, f64) {
        let natives: Vec<guest::Request> = requests.clone().convert();
        let mut at = self.moment;
        let native = nanoseconds(requests.len(), &natives, |request| {
            self.notify.answer(next(&mut at, pause).convert(), request)
        });
        at = self.moment;
        let component = nanoseconds(requests.len(), &requests, |request| {
            self.instance.answer(next(&mut at, pause), request).expect("no fault")
        });
        self.moment = at;
        (native, component)
    }
}

/// The body of the only answer of both reactions.
fn answered(native: Option<guest::Reaction>, component: Option<Result<Reaction, Fault>>) -> String {
    let native = native.map(|mut reaction| reaction.replies.pop().expect("an answer").body);
    let component = component.map(|reaction| reaction.expect("no fault").replies.pop().expect("an answer").body);
    assert!(native == component, "native code and component disagree");
    String::from_utf8(component.expect("it ran")).expect("UTF-8")
}

/// The moment of the next input, `pause` milliseconds later.
fn next(at: &mut Moment, pause: u64) -> Moment {
    at.sequence += 1;
    at.now += pause;
    *at
}

/// The account of one user.
pub fn account(user: u64) -> String {
    format!("user{user:05}@example.org")
}
