//! What the notification logic makes of any bytes that a client, a listener, an operator or an old version gives it.

use postbell_notify::contract::*;
use postbell_notify::{Notify, describe, identify, refuse};

use super::Target;

/// Every target, under the name of its binary and of its corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("ews", ews),
    ("zimbra", zimbra),
    ("groupwise", groupwise),
    ("listener", listener),
    ("settings", settings),
    ("snapshot", snapshot),
];

const ALICE: &str = "alice@example.org";
const SEED: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
const START: u64 = 1_787_392_800_000;
const MINUTE: u64 = 60_000;

/// The body of a request to Exchange Web Services.
pub fn ews(body: &[u8]) {
    let mut tenant = Tenant::with_clients();
    tenant.ask("/EWS/Exchange.asmx", Rank::User, body);
    tenant.goes_on();
    tenant.ask("/EWS/Exchange.asmx", Rank::User, body);
    tenant.ends();
}

/// The body of a request to Zimbra, XML or JSON, at both of its services.
pub fn zimbra(body: &[u8]) {
    let mut tenant = Tenant::with_clients();
    tenant.ask("/service/soap", Rank::User, body);
    tenant.goes_on();
    tenant.ask("/service/admin/soap", Rank::Administrator, body);
    tenant.ask("/service/admin/soap", Rank::User, body);
    tenant.ends();
}

/// The body of a request to GroupWise.
pub fn groupwise(body: &[u8]) {
    let mut tenant = Tenant::with_clients();
    tenant.ask("/soap", Rank::User, body);
    tenant.goes_on();
    tenant.ask("/soap", Rank::User, body);
    tenant.ends();
}

/// What a listener answers to a notification.
pub fn listener(body: &[u8]) {
    let mut tenant = Tenant::with_clients();
    for status in [200, 500] {
        for call in tenant.notify.outstanding().calls {
            let outcome = Outcome::Answered(Response { status, body: body.to_vec() });
            tenant.input(|notify, at| notify.finished(at, call, outcome));
        }
        tenant.goes_on();
    }
    tenant.ends();
}

/// Settings, `name=value` on each line.
pub fn settings(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let pairs: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut tenant = Tenant::with_clients();
    let (saved, at) = (tenant.saved(), tenant.at());
    let configured = tenant.notify.configure(at, &pairs);
    let opened = Notify::default().open(at, &SEED, &pairs);
    assert_eq!(opened.as_ref().err(), configured.as_ref().err(), "new and old tenants read the same settings");
    match configured {
        Ok(reaction) => tenant.judge(&reaction),
        Err(why) => {
            assert!(!why.is_empty());
            assert_eq!(tenant.saved(), saved, "what is refused changes nothing");
        }
    }
    tenant.goes_on();
    tenant.ends();
}

/// A saved state: it begins with the name of its format.
pub fn snapshot(bytes: &[u8]) {
    let formats = describe().state_formats;
    let format = formats.iter().find(|format| bytes.starts_with(format.as_bytes())).unwrap_or(&formats[0]);
    let (start, end) = bytes.split_at(bytes.len() / 2);
    let mut halves = Notify::default();
    let in_halves = halves.load(format, start, true).and_then(|()| halves.load(format, end, false));
    let mut tenant = Tenant::default();
    let loaded = tenant.notify.load(format, bytes, false);
    assert_eq!(loaded.is_ok(), in_halves.is_ok(), "where parts are cut makes no difference");
    if loaded.is_ok() {
        tenant.open = tenant.notify.outstanding().requests;
        tenant.requests = tenant.open.last().copied().unwrap_or(0).min(u64::MAX / 2);
        tenant.goes_on();
        tenant.input(|notify, at| notify.restarted(at, Restart { down_ms: MINUTE, regressed: true }));
        tenant.open.clear();
        tenant.goes_on();
        tenant.ends();
    }
}

/// A tenant, and what its host knows of it.
struct Tenant {
    notify: Notify,
    now: u64,
    sequence: u64,
    requests: u64,
    /// Requests without a final part, ascending.
    open: Vec<RequestId>,
}

impl Default for Tenant {
    fn default() -> Self {
        Self { notify: Notify::default(), now: START, sequence: 0, requests: 0, open: Vec::new() }
    }
}

impl Tenant {
    /// With a mailbox, an address book and clients of all kinds; everything in it is the same each time, so that a corpus
    /// can name its ids.
    fn with_clients() -> Self {
        let mut tenant = Self::default();
        let domains = [("domains".to_owned(), "example.org".to_owned())];
        let at = tenant.at();
        tenant.notify.open(at, &SEED, &domains).expect("the settings are valid");
        tenant.change(Happening::Baseline(["inbox", "drafts", "calendar"].map(folder).to_vec()));
        tenant.extend_book();
        for body in [PULL, STREAMING, PUSH] {
            tenant.ask("/EWS/Exchange.asmx", Rank::User, body.as_bytes());
        }
        tenant.ask("/service/soap", Rank::User, WAIT_SET.as_bytes());
        tenant.ask("/soap", Rank::User, LOGIN.as_bytes());
        assert!(tenant.open.is_empty(), "every client has its answer");
        assert_eq!(tenant.notify.outstanding().calls.len(), 1, "the listener is called");
        tenant
    }

    fn at(&mut self) -> Moment {
        self.sequence += 1;
        Moment { now: self.now, sequence: self.sequence }
    }

    fn change(&mut self, what: Happening) {
        let change = Change { number: None, at: self.now, origin: None, counts: Vec::new(), what };
        let accounts = vec![AccountChanges { account: ALICE.into(), changes: vec![change] }];
        self.input(|notify, at| notify.ingest(at, Batch { accounts, book: Vec::new() }));
    }

    fn extend_book(&mut self) {
        let fields = vec![Field { name: "name".into(), label: String::new(), value: "Bob".into() }];
        let entry = Entry { id: "bob".into(), uuid: None, kind: "contact".into(), fields, members: Vec::new() };
        let book = vec![BookChange::Added(entry)];
        self.input(|notify, at| notify.ingest(at, Batch { accounts: Vec::new(), book }));
    }

    /// A request as the host hands it over.
    fn ask(&mut self, path: &str, rank: Rank, body: &[u8]) {
        let head = RequestHead { method: "POST".into(), path: path.into(), ..RequestHead::default() };
        let claims = identify(&head, body);
        for why in [Refusal::TooLarge, Refusal::Busy, Refusal::Fault, Refusal::Stopping, Refusal::Moved] {
            judge_body(&refuse(&head, body, why));
        }
        self.requests += 1;
        let request = Request {
            id: self.requests,
            head,
            body: hidden(body, &claims.secrets),
            access: access(&claims, rank, self.requests),
            act_as: claims.act_as.as_ref().map(resolve),
            accounts: claims.accounts.iter().map(resolve).collect(),
        };
        self.open.push(request.id);
        self.input(|notify, at| notify.answer(at, &request));
    }

    /// Mail arrives, and time passes.
    fn goes_on(&mut self) {
        let item = Item { kind: "message".into(), id: "m1".into(), folder: "inbox".into(), ..Item::default() };
        self.change(Happening::MessageDelivered(item));
        self.now += MINUTE;
        self.input(|notify, at| notify.tick(at));
    }

    /// The server stops; what was saved is the whole state.
    fn ends(&mut self) {
        self.input(|notify, at| notify.drain(at));
        let saved = self.saved();
        let mut again = Notify::default();
        for (number, part) in saved.iter().enumerate() {
            let format = &describe().state_formats[0];
            again.load(format, part, number + 1 < saved.len()).expect("what was saved can be loaded");
        }
        assert_eq!(save(&mut again), saved, "what was loaded is what was saved");
        assert_eq!(again.outstanding(), self.notify.outstanding());
        assert!(!self.notify.inspect().is_empty());
    }

    fn saved(&mut self) -> Vec<Vec<u8>> {
        save(&mut self.notify)
    }

    /// One input; its reaction keeps the contract.
    fn input(&mut self, input: impl FnOnce(&mut Notify, Moment) -> Reaction) {
        let (saved, at) = (self.saved(), self.at());
        let reaction = input(&mut self.notify, at);
        assert!(reaction.changed || self.saved() == saved, "it says that nothing changed");
        self.judge(&reaction);
    }

    fn judge(&mut self, reaction: &Reaction) {
        for reply in &reaction.replies {
            let open = self.open.binary_search(&reply.to).expect("only open requests are answered");
            if !reply.more {
                self.open.remove(open);
            }
            judge_body(reply);
        }
    }
}

fn save(notify: &mut Notify) -> Vec<Vec<u8>> {
    (0..).map_while(|part| notify.save(part)).collect()
}

fn folder(id: &str) -> Folder {
    Folder { id: id.into(), name: id.into(), ..Folder::default() }
}

/// The body as the state may see it: secrets are overwritten.
fn hidden(body: &[u8], secrets: &[Span]) -> Vec<u8> {
    let (mut hidden, mut end) = (body.to_vec(), 0);
    for span in secrets {
        assert!(span.start >= end, "secrets ascend and do not overlap: {secrets:?}");
        end = span.start + span.length;
        hidden.get_mut(span.start as usize..end as usize).expect("secrets stand in the body").fill(b'*');
    }
    hidden
}

fn access(claims: &Claims, rank: Rank, request: RequestId) -> Access {
    let visit = match &claims.credential {
        Some(Credential::Token(token)) if token.starts_with("visit") => token.clone(),
        _ => format!("visit{request}"),
    };
    Access::Granted(Grant {
        account: account(ALICE),
        rank,
        token_placeholder: claims.wants_token.then(|| visit.clone()),
        visit,
        token_lifetime_ms: 2_880 * MINUTE,
    })
}

fn resolve(named: &AccountName) -> Resolution {
    let (AccountName::Name(name)
    | AccountName::Id(name)
    | AccountName::Address(name)
    | AccountName::PrincipalName(name)
    | AccountName::Sid(name)) = named;
    let standing = match name.as_str() {
        ALICE => Standing::Itself,
        _ if name.starts_with('b') => Standing::Permitted,
        _ if name.starts_with('c') => Standing::Forbidden,
        _ => return Resolution { account: None, standing: Standing::Unknown },
    };
    Resolution { account: Some(account(name)), standing }
}

fn account(name: &str) -> Account {
    Account { id: name.into(), name: name.into(), aliases: Vec::new() }
}

/// Other parsers than the guest's own can read what it writes.
fn judge_body(reply: &Reply) {
    assert!((200..600).contains(&reply.status), "{}", reply.status);
    let body = std::str::from_utf8(&reply.body).expect("answers are UTF-8");
    if body.starts_with('{') {
        serde_json::from_str::<serde_json::Value>(body).expect("answers are JSON");
    } else if !body.is_empty() {
        roxmltree::Document::parse(body).unwrap_or_else(|why| panic!("{why}: {body}"));
    }
}

const PULL: &str = r#"<Envelope><Body><Subscribe><PullSubscriptionRequest SubscribeToAllFolders="true"><EventTypes><EventType>NewMailEvent</EventType></EventTypes><Timeout>10</Timeout></PullSubscriptionRequest></Subscribe></Body></Envelope>"#;
const STREAMING: &str = r#"<Envelope><Body><Subscribe><StreamingSubscriptionRequest SubscribeToAllFolders="true"><EventTypes><EventType>NewMailEvent</EventType></EventTypes></StreamingSubscriptionRequest></Subscribe></Body></Envelope>"#;
const PUSH: &str = r#"<Envelope><Body><Subscribe><PushSubscriptionRequest SubscribeToAllFolders="true"><EventTypes><EventType>NewMailEvent</EventType></EventTypes><StatusFrequency>1</StatusFrequency><URL>http://listener.example/</URL></PushSubscriptionRequest></Subscribe></Body></Envelope>"#;
const WAIT_SET: &str = r#"<Envelope xmlns="http://www.w3.org/2003/05/soap-envelope"><Header><context xmlns="urn:zimbra"><authToken>t</authToken></context></Header><Body><CreateWaitSetRequest xmlns="urn:zimbraMail" defTypes="m"><add><a id="alice@example.org"/></add></CreateWaitSetRequest></Body></Envelope>"#;
const LOGIN: &str = r#"<Envelope><Body><loginRequest><auth type="PlainText"><username>alice</username><password>postbell</password></auth><application>fuzz</application></loginRequest></Body></Envelope>"#;
