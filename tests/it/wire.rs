//! What goes over the wire, byte for byte: the rules of HTTP, and those that real EWS clients hold a server to.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postbell::HostOptions;
use postbell::clock::ManualClock;
use postbell::tenant::Limits;
use postbell_tests::admin::Admin;
use postbell_tests::ews::{
    self, Client, MESSAGES, Message, PATH, TYPES, envelope, get_events, get_streaming_events, subscribe_pull,
    unsubscribe,
};
use postbell_tests::http::{Connection, request};
use postbell_tests::inside::Inside;
use postbell_tests::strict_reader;
use roxmltree::Document;

use crate::{demo, demo_with};

/// A stream as strict clients want it: each rule has a client that breaks without it.
#[test]
fn a_stream_keeps_the_rules() -> Result<()> {
    let server = demo_with()?.set("ews-heartbeat-seconds", 1).start()?;
    let alice = Client::demo(&server, "alice");
    let subscription = alice.subscribe_streaming()?;
    let mut stream = alice.stream_with(&[("Accept-Encoding", "gzip, deflate")], &[&subscription])?;

    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(stream.head.header("content-encoding"), None);
    assert_eq!(stream.head.header("content-length"), None);
    assert_eq!(stream.head.header("cache-control"), Some("private"));
    assert_eq!(stream.head.header("x-nobuffering"), Some("1"));
    assert_eq!(stream.head.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.head.header("content-type"), Some("text/xml; charset=utf-8"));

    for heartbeat in ["at once", "while idle", "and again"] {
        let message = stream.next()?.context("a stream that ended")?;
        assert_eq!((message.code.as_str(), message.status.as_deref()), ("NoError", Some("OK")), "{heartbeat}");
        assert_eq!(message.notifications, []);
    }

    Admin::source(&server).deliver("m1", 1)?;
    let events = stream.events()?;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["CreatedEvent", "NewMailEvent", "ModifiedEvent"]);
    assert_eq!(events[0].item, events[1].item);
    assert_eq!((events[2].item.as_ref(), events[2].unread), (None, Some(1)));
    check_envelope_with_events(&stream.last, &subscription)
}

fn check_envelope_with_events(text: &str, subscription: &str) -> Result<()> {
    assert!(!text.contains("<?xml"), "{text}");
    let document = Document::parse(text)?;
    let named = |name| document.descendants().filter(move |node| node.tag_name().name() == name);
    assert_eq!(named("ConnectionStatus").count(), 0, "either Notifications or ConnectionStatus: {text}");
    assert_eq!(named("Watermark").count(), 0, "{text}");
    let notifications: Vec<_> = named("Notification").collect();
    assert_eq!(notifications.len(), 1);
    assert_eq!(notifications[0].tag_name().namespace(), Some(MESSAGES));
    let id = named("SubscriptionId").next().context("a subscription id")?;
    assert_eq!((id.tag_name().namespace(), id.text()), (Some(TYPES), Some(subscription)));
    Ok(())
}

#[test]
fn events_wait_for_a_stream() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let subscription = alice.subscribe_streaming()?;
    Admin::source(&server).deliver("before", 1)?;
    let events = alice.stream_with(&[], &[&subscription])?.events()?;
    assert_eq!(events.iter().filter(|event| event.kind == "NewMailEvent").count(), 1);
    Ok(())
}

/// A subscription hears only of the folders that it names, and one account only of its own mail.
#[test]
fn a_stream_hears_what_it_asked_for() -> Result<()> {
    let server = demo()?;
    let (alice, bob) = (Client::demo(&server, "alice"), Client::demo(&server, "bob"));
    let drafts = r#"<t:FolderIds><t:DistinguishedFolderId Id="drafts"/></t:FolderIds>"#;
    let subscribed = alice.message(&ews::subscribe_streaming(drafts))?.subscription.context("a subscription")?;
    let mut of_drafts = alice.stream(&[&subscribed])?;
    let mut of_bob = bob.stream(&[&bob.subscribe_streaming()?])?;

    let source = Admin::source(&server);
    source.deliver("unheard", 1)?;
    source.change(&[
        serde_json::json!({"account": "alice@example.org",
            "what": {"item-created": {"kind": "message", "id": "draft", "folder": "drafts"}}}),
        postbell_tests::admin::delivered("bob@example.org", "for-bob", 1),
    ])?;
    let events = of_drafts.events()?;
    assert_eq!(events.iter().filter(|event| event.kind == "CreatedEvent").count(), 1, "{events:?}");
    assert_eq!(events.iter().filter(|event| event.kind == "NewMailEvent").count(), 0, "{events:?}");
    let events = of_bob.events()?;
    assert_eq!(events.iter().filter(|event| event.kind == "NewMailEvent").count(), 1, "{events:?}");
    Ok(())
}

#[test]
fn an_orderly_stop_closes_streams_in_their_dialect() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let mut stream = alice.stream(&[&alice.subscribe_streaming()?])?;
    server.terminate()?;
    stream.closed()
}

/// A client that is in the middle of its request is waited for; until then operators are told that the server stops.
#[test]
fn a_server_that_stops_says_so_and_waits_for_its_clients() -> Result<()> {
    let server = demo()?;
    let probe = |path: &str| -> Result<(u16, String)> {
        let answer = Connection::open(server.admin)?.ask(&request("GET", path, &[], b""))?;
        Ok((answer.head.status, answer.body))
    };
    ensure!(probe("/readyz")? == (200, "ready".into()) && probe("/healthz")? == (200, "ok".into()));
    let alice = Client::demo(&server, "alice");
    let post = alice.post_with(&[("Expect", "100-continue")], &envelope(&subscribe_pull(ews::ALL_FOLDERS)));
    let (first, last) = post.split_at(post.len() - 10);
    let mut slow = alice.connect()?;
    slow.send(first)?;
    ensure!(slow.head()?.status == 100, "its head was read");
    server.terminate()?;
    while probe("/readyz")?.0 == 200 {}
    ensure!(probe("/readyz")? == (503, "stopping".into()) && probe("/healthz")?.0 == 200);
    slow.send(last)?;
    let answer = slow.answer()?;
    // Its tenant may be closed already, which is said in the dialect.
    ensure!([200, 503].contains(&answer.head.status), "{answer:?}");
    ensure!(answer.head.header("connection") == Some("close"), "{answer:?}");
    server.stop().map(drop)
}

/// Time is the test's own: a heartbeat when it is due and not before, the end when the client's time is over. The
/// socket's bytes are looked at as they are.
#[test]
fn a_stream_beats_and_ends_on_time() -> Result<()> {
    const MINUTE: u64 = 60_000;
    let clock = Arc::new(ManualClock::at(1_795_296_510_624));
    let inside =
        Inside::new(Limits::default(), HostOptions { clock: clock.clone(), ..postbell_tests::host_options() })?;
    let alice = Client::at(inside.listen()?, "alice@example.org", "postbell");
    let subscription = alice.subscribe_streaming()?;
    let mut connection = alice.connect()?;
    connection.send(&alice.post(&envelope(&get_streaming_events(&[&subscription], 1))))?;
    assert_eq!(connection.head()?.status, 200);
    let is_alive = |message: &Message| message.status.as_deref() == Some("OK");
    ensure!(is_alive(&part(&mut connection)?), "at once");

    // Not before it is due: the event comes first.
    clock.advance(24_000);
    inside.ingest("m1")?;
    assert_eq!(part(&mut connection)?.notifications[0].events.len(), 3);
    // Due after the last part, whatever that was.
    clock.advance(24_000);
    inside.ingest("m2")?;
    assert_eq!(part(&mut connection)?.notifications[0].events.len(), 3);
    clock.advance(MINUTE - 48_000 - 1);
    inside.ingest("m3")?;
    assert_eq!(part(&mut connection)?.notifications[0].events.len(), 3, "a millisecond before the end");
    clock.advance(1);
    assert_eq!(part(&mut connection)?.status.as_deref(), Some("Closed"));
    ensure!(connection.chunk()?.is_none(), "the zero chunk follows at once");

    // The connection is as good as before, and so is the subscription.
    connection.send(&alice.post(&envelope(&get_streaming_events(&[&subscription], 2))))?;
    assert_eq!(connection.head()?.status, 200);
    ensure!(is_alive(&part(&mut connection)?), "at once");
    for _ in 0..4 {
        clock.advance(25_000);
        ensure!(is_alive(&part(&mut connection)?), "while idle");
    }
    clock.advance(20_000);
    assert_eq!(part(&mut connection)?.status.as_deref(), Some("Closed"));
    ensure!(connection.chunk()?.is_none(), "the zero chunk follows at once");
    Ok(())
}

/// One chunk, which is one envelope.
fn part(connection: &mut Connection) -> Result<Message> {
    let chunk = connection.chunk()?.context("the stream ended")?;
    strict_reader::part(std::str::from_utf8(&chunk)?)
}

#[test]
fn a_stream_of_an_unknown_subscription_names_it_and_ends() -> Result<()> {
    let server = demo()?;
    let mut stream = Client::demo(&server, "alice").stream_with(&[], &["bm9uZQ=="])?;
    let message = loop {
        let message = stream.next()?.context("an error")?;
        if message.class == "Error" {
            break message;
        }
    };
    assert_eq!((message.code.as_str(), message.bad.as_slice()), ("ErrorInvalidSubscription", &["bm9uZQ==".into()][..]));
    let text = stream.last.clone();
    let document = Document::parse(&text)?;
    let bad = document.descendants().find(|node| node.tag_name().name() == "SubscriptionId").context("an id")?;
    assert_eq!(bad.tag_name().namespace(), Some(MESSAGES));
    assert!(text.contains("DescriptiveLinkKey>0<"), "{text}");
    while stream.next()?.is_some() {}
    Ok(())
}

/// A normal answer: declaration, header with the version, watermarks where clients read them without looking.
#[test]
fn pulled_events_carry_watermarks() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, first) = alice.subscribe_pull()?;

    let idle = alice.get_events(&subscription, &first)?;
    assert_eq!(idle.events.len(), 1);
    assert_eq!((idle.events[0].kind.as_str(), idle.events[0].watermark.as_ref()), ("StatusEvent", Some(&first)));
    assert_eq!((idle.previous.as_ref(), idle.more), (Some(&first), Some(false)));

    Admin::source(&server).deliver("m1", 1)?;
    let some = alice.get_events(&subscription, &first)?;
    let kinds: Vec<_> = some.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["CreatedEvent", "NewMailEvent", "ModifiedEvent"]);
    assert!(some.events.iter().all(|event| event.watermark.is_some()), "{some:?}");
    assert_eq!(alice.get_events(&subscription, &first)?, some, "an answer that was lost is given again");

    let last = some.events[2].watermark.clone().context("a watermark")?;
    let after = alice.get_events(&subscription, &last)?;
    assert_eq!(after.events.len(), 1);
    assert_eq!((after.events[0].kind.as_str(), after.events[0].watermark.as_ref()), ("StatusEvent", Some(&last)));
    Ok(())
}

#[test]
fn a_normal_answer_has_what_clients_insist_on() -> Result<()> {
    let server = demo()?;
    let answer = Client::demo(&server, "alice").ask(&subscribe_pull(ews::ALL_FOLDERS))?;
    assert_eq!(answer.head.status, 200);
    assert!(answer.head.header("content-type").is_some_and(|value| value.starts_with("text/xml")), "{answer:?}");
    assert!(answer.body.starts_with("<?xml "), "{answer:?}");
    let document = Document::parse(&answer.body)?;
    let names: Vec<_> = document.root_element().children().map(|node| node.tag_name().name()).collect();
    assert_eq!(names, ["Header", "Body"]);
    let version =
        document.descendants().find(|node| node.tag_name().name() == "ServerVersionInfo").context("a version")?;
    for attribute in ["MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber"] {
        version
            .attribute(attribute)
            .and_then(|value| value.parse::<u32>().ok())
            .with_context(|| attribute.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_subscription_ends_once() -> Result<()> {
    let server = demo()?;
    let (alice, bob) = (Client::demo(&server, "alice"), Client::demo(&server, "bob"));
    let (subscription, watermark) = alice.subscribe_pull()?;
    assert_eq!(bob.message(&get_events(&subscription, &watermark))?.class, "Error", "another's subscription");
    assert_eq!(bob.message(&unsubscribe(&subscription))?.class, "Error", "another's subscription");
    assert_eq!(alice.message(&unsubscribe(&subscription))?.code, "NoError");
    assert_eq!(alice.message(&unsubscribe(&subscription))?.code, "ErrorSubscriptionNotFound");
    assert_eq!(alice.message(&get_events(&subscription, &watermark))?.code, "ErrorSubscriptionNotFound");
    Ok(())
}

#[test]
fn http_is_read_leniently() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let body = envelope(&subscribe_pull(ews::ALL_FOLDERS));
    let authorization = postbell_tests::http::basic("alice@example.org", "postbell");
    let login = [("Authorization", authorization.as_str())];
    for path in ["/ews/exchange.asmx", "/EWS/EXCHANGE.ASMX"] {
        let answer = alice.connect()?.ask(&request("POST", path, &login, body.as_bytes()))?;
        assert_eq!(answer.head.status, 200, "{path}");
    }
    for content_type in ["text/plain", "application/soap+xml", "nonsense", ""] {
        let answer = alice.connect()?.ask(&alice.post_with(&[("Content-Type", content_type)], &body))?;
        assert_eq!(answer.head.status, 200, "{content_type:?}");
    }
    let answer = alice.connect()?.ask(&alice.post_with(&[], &body))?;
    assert_eq!(answer.head.status, 200, "without Content-Type");
    Ok(())
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let bytes = alice.post_with(&[("Expect", "100-continue")], &envelope(&subscribe_pull(ews::ALL_FOLDERS)));
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("an end of the head")? + 4;
    let mut connection = alice.connect()?;
    connection.send(&bytes[..body])?;
    assert_eq!(connection.head()?.status, 100);
    connection.send(&bytes[body..])?;
    assert_eq!(connection.answer()?.head.status, 200);
    Ok(())
}

#[test]
fn a_chunked_request_is_read() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let body = envelope(&subscribe_pull(ews::ALL_FOLDERS));
    let (one, two) = body.split_at(100);
    let authorization = postbell_tests::http::basic("alice", "postbell");
    let mut connection = alice.connect()?;
    connection.send(
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
            one.len(),
            two.len()
        )
        .as_bytes(),
    )?;
    assert_eq!(connection.answer()?.head.status, 200);
    Ok(())
}

#[test]
fn requests_in_one_go_are_answered_in_order() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, watermark) = alice.subscribe_pull()?;
    let first = alice.post(&envelope(&get_events(&subscription, &watermark)));
    let second = alice.post(&envelope(&unsubscribe(&subscription)));
    let third = alice.post(&envelope(&get_events(&subscription, &watermark)));
    let mut connection = alice.connect()?;
    connection.send(&[first, second, third].concat())?;
    assert!(connection.answer()?.body.contains("StatusEvent"));
    assert!(connection.answer()?.body.contains("UnsubscribeResponseMessage"));
    assert!(connection.answer()?.body.contains("ErrorSubscriptionNotFound"));
    Ok(())
}

#[test]
fn what_is_not_served_is_said_so() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let authorization = postbell_tests::http::basic("alice", "postbell");
    let login = [("Authorization", authorization.as_str())];
    let mut connection = alice.connect()?;

    let answer = connection.ask(&request("GET", PATH, &login, b""))?;
    assert_eq!((answer.head.status, answer.head.header("allow")), (405, Some("POST")));
    let answer = connection.ask(&request("POST", "/elsewhere", &login, b""))?;
    assert_eq!(answer.head.status, 404);

    let mut connection = alice.connect()?;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n");
    connection.send(format!("{head}Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n").as_bytes())?;
    assert_eq!(connection.head()?.status, 413, "a client that asks first is not told to go on");
    Ok(())
}

/// Whoever stops sending in the middle is cut off, and nobody else notices.
#[test]
fn slow_senders_are_cut_off() -> Result<()> {
    let server = demo()?;
    let authorization = postbell_tests::http::basic("alice", "postbell");
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Length: 1000\r\n");
    let mut in_head = Connection::open(server.clients)?;
    in_head.send(head.as_bytes())?;
    let mut in_body = Connection::open(server.clients)?;
    in_body.send(format!("{head}\r\n<half").as_bytes())?;
    Client::demo(&server, "alice").subscribe_pull()?;
    for (place, mut connection) in [("head", in_head), ("body", in_body)] {
        if let Ok(answer) = connection.answer() {
            ensure!(answer.head.status == 408, "in the {place}: {answer:?}");
        }
        connection.closed().context(place)?;
    }
    Ok(())
}
