//! What clients hear, natively: the state machine needs no WebAssembly.

use jmap_push::Push;
use jmap_push::changes::{Account, AccountChanges, Batch, Change, Folder, Happening, Item};
use jmap_push::lifecycle::Restart;
use jmap_push::requests::{Access, Denial, End, Grant, Rank, Request, RequestHead, Settlement};
use jmap_push::types::{Moment, Reaction, Reply};

const START: u64 = 1_800_000_000_000;

/// A tenant, with its time and the position of its journal.
struct World {
    push: Push,
    now: u64,
    sequence: u64,
    requests: u64,
}

impl World {
    fn new() -> World {
        World::set(&[])
    }

    fn set(settings: &[(&str, &str)]) -> World {
        let mut push = Push::default();
        let own = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = [("domains".to_owned(), "example.org".to_owned())].into_iter().chain(own).collect();
        push.configure(&settings).expect("good settings");
        World { push, now: START, sequence: 2, requests: 0 }
    }

    fn at(&self) -> Moment {
        Moment { now: self.now, sequence: self.sequence }
    }

    fn noted(&mut self, reaction: Reaction) -> Vec<Reply> {
        self.sequence += u64::from(reaction.changed);
        reaction.replies
    }

    fn happens(&mut self, account: &str, what: Happening) -> Vec<Reply> {
        let change = Change { number: None, at: self.now, origin: None, counts: vec![], what };
        let accounts = vec![AccountChanges { account: account.into(), changes: vec![change] }];
        let reaction = self.push.ingest(self.at(), &Batch { accounts, book: vec![] });
        assert_eq!(reaction.rejections.len(), 0);
        self.noted(reaction)
    }

    /// Alice asks; the number of her request, and what comes at once.
    fn asks(&mut self, query: &str, seen: Option<&str>) -> (u64, Vec<Reply>) {
        self.requests += 1;
        let request = request(self.requests, query, seen);
        let reaction = self.push.answer(self.at(), &request);
        (self.requests, self.noted(reaction))
    }

    fn ticks(&mut self) -> Vec<Reply> {
        let due = self.push.outstanding().wake_at.expect("there is a timer");
        self.now = self.now.max(due);
        let reaction = self.push.turn(self.at());
        self.noted(reaction)
    }
}

fn request(id: u64, query: &str, seen: Option<&str>) -> Request {
    let headers = seen.map(|seen| ("last-event-id".to_owned(), seen.to_owned()));
    let head = RequestHead {
        method: "GET".into(),
        path: "/jmap/eventsource".into(),
        query: query.into(),
        content_type: String::new(),
        headers: headers.into_iter().collect(),
        secure: true,
    };
    let account = Account { id: "a1".into(), name: "alice@example.org".into(), aliases: vec![] };
    let (token_placeholder, token_lifetime_ms) = (None, 0);
    let grant = Grant { account, rank: Rank::User, visit: "v".into(), token_placeholder, token_lifetime_ms };
    Request { id, head, body: vec![], access: Access::Granted(grant), act_as: None, accounts: vec![] }
}

fn item(kind: &str) -> Item {
    Item {
        kind: kind.into(),
        id: "m1".into(),
        folder: "inbox".into(),
        number: None,
        imap_uid: None,
        revision: None,
        flags: 0,
        tags: vec![],
    }
}

fn texts(replies: &[Reply]) -> Vec<String> {
    replies.iter().map(|reply| String::from_utf8(reply.body.clone()).expect("text")).collect()
}

const DELIVERED: &str = "event: state\nid: 0-3\ndata: {\"@type\":\"StateChange\",\"changed\":{\"a1\":\
     {\"Email\":\"3\",\"EmailDelivery\":\"3\",\"Mailbox\":\"3\",\"Thread\":\"3\"}}}\n\n";

#[test]
fn a_stream_hears_what_it_asked_for() {
    let mut world = World::new();
    let (all, begun) = world.asks("types=*&closeafter=no&ping=0", None);
    assert_eq!((begun[0].status, begun[0].more, begun.len()), (200, true, 1));
    assert!(begun[0].headers.contains(&("content-type".into(), "text/event-stream".into())));
    let heard = world.happens("alice@example.org", Happening::MessageDelivered(item("message")));
    assert_eq!((heard[0].to, heard[0].more, texts(&heard)), (all, true, vec![DELIVERED.to_owned()]));

    world.asks("types=Mailbox,Calendar&closeafter=no&ping=0", None);
    assert_eq!(world.happens("alice@example.org", Happening::ItemCreated(item("contact"))).len(), 1);
    assert_eq!(world.happens("Alice@Example.org", Happening::ItemDeleted(item("message"))).len(), 2);
    assert_eq!(world.happens("bob@example.org", Happening::Gap).len(), 0, "that is another's");
    assert_eq!(world.happens("a1", Happening::Gap).len(), 2);
}

#[test]
fn a_stream_ends_after_the_first_change_where_that_is_asked_for() {
    let mut world = World::new();
    world.asks("types=Email&closeafter=state&ping=0", None);
    let heard = world.happens("alice@example.org", Happening::ItemCreated(item("message")));
    assert_eq!((heard.len(), heard[0].more), (1, false));
    assert_eq!(world.push.outstanding().requests, [] as [u64; 0]);
}

#[test]
fn nothing_is_sent_for_as_long_as_the_ping_allows() {
    let mut world = World::new();
    world.asks("types=*&closeafter=no&ping=30", None);
    assert_eq!(world.push.outstanding().wake_at, Some(START + 30_000));
    assert_eq!(texts(&world.ticks()), ["event: ping\ndata: {\"interval\":30}\n\n"]);
    world.now += 10_000;
    world.happens("alice@example.org", Happening::Gap);
    assert_eq!(world.push.outstanding().wake_at, Some(START + 70_000), "an event counts");
}

#[test]
fn a_stream_ends_in_time() {
    let mut world = World::set(&[("jmap-stream-minutes", "1")]);
    world.asks("types=*&closeafter=no&ping=0", None);
    let heard = world.ticks();
    assert_eq!((world.now, heard.len(), heard[0].more), (START + 60_000, 1, false));
}

#[test]
fn who_comes_back_hears_what_was_missed() {
    let mut world = World::new();
    world.asks("types=*&closeafter=state&ping=0", None);
    world.happens("alice@example.org", Happening::MessageDelivered(item("message")));
    let calendar = Folder {
        id: "c".into(),
        parent: String::new(),
        name: "c".into(),
        role: String::new(),
        holds: "appointment".into(),
        number: None,
        revision: None,
        unread: None,
        total: None,
    };
    world.happens("alice@example.org", Happening::FolderCreated(calendar));
    let mut missed = |seen: &str| {
        let (id, replies) = world.asks("types=*&closeafter=no&ping=0", Some(seen));
        world.push.settled(&[Settlement { request: id, parts: 0, end: Some(End::Gone) }]);
        texts(&replies[1..]).concat()
    };
    assert!(missed("0-3").contains("\"changed\":{\"a1\":{\"Calendar\":\"4\"}}"));
    assert_eq!(missed("0-4"), "", "it has seen everything");
    for everything in ["0-2", "1-4", "nonsense", ""] {
        assert!(missed(everything).contains("\"Email\":\"3\""), "{everything}");
    }
}

#[test]
fn positions_of_a_state_that_has_regressed_are_void() {
    let mut world = World::new();
    world.asks("types=*&closeafter=no&ping=0", None);
    world.happens("alice@example.org", Happening::Gap);
    assert!(world.push.restarted(Restart { down_ms: 0, regressed: true }).changed);
    assert_eq!(world.push.outstanding().requests, [] as [u64; 0]);
    let (_, replies) = world.asks("types=Email&closeafter=no&ping=0", Some("0-3"));
    assert!(texts(&replies)[1].starts_with("event: state\nid: 1-3\n"));
}

#[test]
fn what_is_wrong_is_refused() {
    let mut world = World::set(&[("jmap-streams-per-account", "1")]);
    let (_, refused) = world.asks("types=*", None);
    assert_eq!((refused[0].status, refused[0].more), (400, false));
    assert!(texts(&refused)[0].contains("`closeafter` is missing"));
    world.asks("types=*&closeafter=no&ping=0", None);
    let (_, refused) = world.asks("types=*&closeafter=no&ping=0", None);
    assert_eq!(refused[0].status, 429);
    let denied = Request { access: Access::Denied(Denial::Missing), ..request(9, "", None) };
    assert_eq!(world.push.answer(world.at(), &denied).replies[0].status, 401);
    let change = Change { number: None, at: 0, origin: None, counts: vec![], what: Happening::Gap };
    let accounts = vec![AccountChanges { account: "zoe@elsewhere".into(), changes: vec![change] }];
    let rejected = world.push.ingest(world.at(), &Batch { accounts, book: vec![] });
    assert_eq!((rejected.rejections.len(), rejected.changed), (1, false));
    assert!(world.push.configure(&[("jmap-minutes".into(), "1".into())]).is_err());
}

#[test]
fn a_crowd_is_told_in_turns_and_the_farewell_too() {
    let mut world = World::set(&[("jmap-streams-per-account", "1000")]);
    for _ in 0..600 {
        world.asks("types=*&closeafter=no&ping=0", None);
    }
    let mut heard = world.happens("alice@example.org", Happening::Gap).len();
    assert!((1..=256).contains(&heard));
    while heard < 600 {
        let turn = world.ticks().len();
        assert!((1..=256).contains(&turn));
        heard += turn;
    }
    assert_eq!(world.now, START, "all of it at once");
    let mut ended = world.push.drain(world.at()).replies;
    while world.push.outstanding().wake_at == Some(world.now) {
        ended.extend(world.ticks());
    }
    assert_eq!((ended.len(), ended.iter().filter(|reply| reply.more).count()), (600, 0));
}

#[test]
fn what_is_saved_goes_on() {
    let mut world = World::new();
    world.asks("types=*&closeafter=no&ping=30", None);
    world.happens("alice@example.org", Happening::Gap);
    let bytes = world.push.to_bytes();
    let mut loaded = Push::from_bytes(&bytes).expect("it loads");
    assert_eq!(loaded.to_bytes(), bytes);
    assert_eq!(loaded.outstanding().requests, world.push.outstanding().requests);
    let at = Moment { now: world.now + 30_000, sequence: world.sequence };
    assert_eq!(texts(&loaded.turn(at).replies), texts(&world.push.turn(at).replies));
    assert!(Push::from_bytes(&bytes[1..]).is_err() && Push::from_bytes(b"").is_err());
}
