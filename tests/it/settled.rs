//! What a client has is not sent to it again, and what it does not have is: over real sockets, whose ends say what
//! arrived.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use postbell::HostOptions;
use postbell::contract::requests::End;
use postbell::serve::passwords;
use postbell::tenant::Limits;
use postbell_tests::PATIENCE;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{Client, Event, Stream, envelope, get_events, get_streaming_events, message, unsubscribe};
use postbell_tests::inside::Inside;
use postbell_tests::program::{Server, Start};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use crate::{PROGRAM, demo, demo_with};

const ALICE: &str = "alice@example.org";

#[test]
fn what_something_later_followed_does_not_come_again() -> Result<()> {
    let server = demo_with()?.set("ews-heartbeat-seconds", 1).start()?;
    let alice = Client::demo(&server, "alice");
    let subscription = alice.subscribe_streaming()?;
    let mut stream = alice.stream(&[&subscription])?;
    Admin::source(&server).deliver("m1", 1)?;
    assert_eq!(mail(&stream.events()?), ["m1"]);
    stream.next()?.context("a heartbeat")?;
    drop(stream);
    until_nobody_is_parked(&server)?;
    Admin::source(&server).deliver("m2", 2)?;
    assert_eq!(mail(&alice.stream_with(&[], &[&subscription])?.events()?), ["m2"]);
    Ok(())
}

/// The client may have died with it in its buffer.
#[test]
fn what_nothing_followed_comes_again() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let subscription = alice.subscribe_streaming()?;
    let mut stream = alice.stream(&[&subscription])?;
    Admin::source(&server).deliver("m1", 1)?;
    assert_eq!(mail(&stream.events()?), ["m1"]);
    drop(stream);
    until_nobody_is_parked(&server)?;
    assert_eq!(mail(&alice.stream_with(&[], &[&subscription])?.events()?), ["m1"]);
    Ok(())
}

#[test]
fn what_was_on_its_way_comes_again() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let subscription = alice.subscribe_streaming()?;
    let stalled = stall(&server, &alice, &subscription)?;
    let names: Vec<_> = (0..400).map(|number| format!("m{number}")).collect();
    deliver(&server, &names)?;
    let mut received = [0; 65_536];
    postbell_tests::until(|| {
        let length = stalled.peek(&mut received)?;
        Ok(String::from_utf8_lossy(&received[..length]).contains("CreatedEvent"))
    })?;
    drop(stalled);
    until_nobody_is_parked(&server)?;
    check_all_come(alice.stream_with(&[], &[&subscription])?, &names)
}

#[test]
fn who_takes_nothing_is_closed_and_loses_nothing() -> Result<()> {
    let server = impatient()?;
    let alice = Client::new(&server, ALICE, "postbell");
    let subscription = alice.subscribe_streaming()?;
    let mut stalled = stall(&server, &alice, &subscription)?;
    // More than the operating system buffers for one connection.
    let names: Vec<_> = (0..1_200).map(|number| format!("{}{number}", "x".repeat(1_000))).collect();
    names.chunks(400).try_for_each(|names| deliver(&server, names))?;
    until(&server, "postbell_client_refusals_total{limit=\"send-seconds\"}", 1.0)?;
    until_nobody_is_parked(&server)?;
    let mut buffer = [0; 65_536];
    loop {
        match stalled.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Ok(_) => {}
            Err(error) => bail!("the connection is still there: {error}"),
        }
    }
    check_all_come(alice.stream_with(&[], &[&subscription])?, &names)
}

/// A server that waits for a client to take what is sent to it for no more than a second, and keeps more for it than
/// the operating system buffers.
fn impatient() -> Result<Server> {
    let configuration = "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'demo-admin'\n\
        send-seconds = 1\n[[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\n\
        ingest-key = 'demo'\n[tenant.settings]\news-queue-bytes = 8_388_608\n";
    let hash = passwords::hash("postbell").map_err(|error| anyhow::anyhow!("{error}"))?;
    let users = format!("[[user]]\nname = '{ALICE}'\npassword = '{hash}'\n");
    Start::configured(PROGRAM, configuration)?.file("users.toml", &users)?.start()
}

/// A stream that has begun, of a client that has hardly room for it and does not read; dropped, it resets the
/// connection.
fn stall(server: &Server, client: &Client, subscription: &str) -> Result<TcpStream> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        socket.set_zero_linger()?;
        socket.connect(server.clients).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    (&stream).write_all(&client.post(&envelope(&get_streaming_events(&[subscription], 30))))?;
    stream.peek(&mut [0])?;
    Ok(stream)
}

fn deliver(server: &Server, names: &[String]) -> Result<()> {
    let changes: Vec<_> = names.iter().map(|name| delivered(ALICE, name, 1)).collect();
    Admin::source(server).change(&changes)
}

/// The stream begins with these messages, in this order.
fn check_all_come(mut stream: Stream, names: &[String]) -> Result<()> {
    let mut left = names;
    while !left.is_empty() {
        let message = stream.next()?.context("the stream ended")?;
        ensure!(message.status.is_none(), "nothing more comes, and {} are missing: {message:?}", left.len());
        let come = mail(&message.notifications.into_iter().flat_map(|it| it.events).collect::<Vec<_>>());
        left = left.strip_prefix(come.as_slice()).with_context(|| format!("expected {:?}: {come:?}", left[0]))?;
    }
    Ok(())
}

/// The messages that arrived.
fn mail(events: &[Event]) -> Vec<String> {
    let arrived = events.iter().filter(|event| event.kind == "NewMailEvent");
    arrived.filter_map(|event| event.item.clone()).collect()
}

fn until_nobody_is_parked(server: &Server) -> Result<()> {
    until(server, "postbell_parked_requests{tenant=\"example.org\"}", 0.0)
}

/// Asks for the metrics until this one has this value.
fn until(server: &Server, metric: &str, value: f64) -> Result<()> {
    let operator = Admin::new(server.admin, "example.org", "demo-admin");
    for _ in 0..100_000 {
        let metrics = operator.ask("GET", "/metrics", b"")?;
        ensure!(metrics.head.status == 200, "{metrics:?}");
        let found = metrics.body.lines().find_map(|line| line.strip_prefix(metric)).context("the metric")?;
        if found.trim().parse::<f64>()? == value {
            return Ok(());
        }
    }
    bail!("{metric} never becomes {value}")
}

#[test]
fn the_next_request_ends_the_former_in_order() -> Result<()> {
    let inside = Inside::new(Limits::default(), postbell_tests::host_options())?;
    let alice = Client::at(inside.listen()?, ALICE, "postbell");
    let subscription = alice.subscribe_streaming()?;
    let mut connection = alice.connect()?;
    connection.send(&alice.post(&envelope(&get_streaming_events(&[&subscription], 30))))?;
    assert_eq!(connection.head()?.status, 200);
    connection.chunk()?.context("that it is open")?;
    inside.ingest("m1")?;
    let events = String::from_utf8(connection.chunk()?.context("an event")?)?;
    assert_eq!(mail(&message(&events)?.notifications[0].events), ["m1"]);
    ensure!(alice.message(&unsubscribe(&subscription))?.code == "NoError");
    while connection.chunk()?.is_some() {}

    let answer = connection.ask(&alice.post(&envelope(&get_events(&subscription, "none"))))?;
    assert_eq!(answer.head.status, 200);
    let last = inside.settlements()?.pop().context("a settlement")?;
    assert_eq!((last.parts, last.end), (1, Some(End::Complete)));
    Ok(())
}

#[test]
fn who_asks_for_more_has_what_came_before() -> Result<()> {
    let inside = Inside::new(Limits::default(), postbell_tests::host_options())?;
    let mut parts = inside.stream()?;
    for name in ["m1", "m2", "m3"] {
        inside.ingest(name)?;
        ensure!(inside.next(&mut parts)?.contains("NewMailEvent"));
    }
    drop(parts);
    let told: Vec<_> = inside.settlements()?.iter().map(|told| (told.parts, told.end)).collect();
    assert_eq!(told, [(1, None), (1, Some(End::Gone))], "m2 was the last when m3 was asked for");
    Ok(())
}

#[test]
fn who_takes_the_receipt_says_what_arrived() -> Result<()> {
    let inside = Inside::new(Limits::default(), postbell_tests::host_options())?;
    let mut parts = inside.stream()?;
    let mut receipt = parts.receipt().context("a receipt")?;
    assert!(parts.receipt().is_none());
    for (name, confirmed) in [("m1", 1), ("m2", 2), ("m3", 3)] {
        inside.ingest(name)?;
        ensure!(inside.next(&mut parts)?.contains("NewMailEvent"));
        assert_eq!(parts.confirmed(), confirmed);
    }
    assert_eq!(inside.settlements()?.len(), 0);
    receipt.acknowledge(2);
    receipt.acknowledge(1);
    drop(parts);
    receipt.complete();
    let told: Vec<_> = inside.settlements()?.iter().map(|told| (told.parts, told.end)).collect();
    assert_eq!(told, [(2, None), (2, Some(End::Gone))], "it was not complete");
    Ok(())
}

#[test]
fn who_lets_too_much_pile_up_is_cut_off() -> Result<()> {
    for (limit, unread_parts, unread_bytes, of_all) in [
        ("unread-parts", 3, 1 << 20, 1 << 20),
        ("unread-bytes", 100, 3_000, 1 << 20),
        ("unread-bytes-total", 100, 1 << 20, 3_000),
    ] {
        let limits = Limits { unread_parts, unread_bytes, ..Limits::default() };
        let inside = Inside::new(limits, HostOptions { unread_bytes: of_all, ..postbell_tests::host_options() })?;
        let mut parts = inside.stream()?;
        for number in 0..5 {
            inside.ingest(&format!("m{number}"))?;
        }
        assert_eq!(inside.tenant.statistics().refusals.get(limit), Some(&1), "{limit}");
        let closed = loop {
            match inside.runtime.block_on(parts.next()).context("a reason")? {
                Ok(_) => {}
                Err(closed) => break closed,
            }
        };
        assert!(closed.to_string().contains(limit), "{closed}");
        let last = inside.settlements()?.pop().context("a settlement")?;
        assert_eq!(last.end, Some(End::ClosedByHost));
    }
    Ok(())
}
