//! Clients that want to do harm before they are let in: each limit refuses its share, and others are served.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, ensure};
use postbell_tests::ews::{ALL_FOLDERS, Client, PATH, envelope, get_streaming_events, message, subscribe_pull};
use postbell_tests::http::{Connection, basic, request, socket, socket_from};
use postbell_tests::program::Server;
use postbell_tests::zimbra;

use crate::{configured, operator};

/// Where the others come from; whoever does harm comes from 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What must never be answered: it stands in the body of another request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

fn connect_from(local: Ipv4Addr, server: &Server) -> Result<Connection> {
    Ok(Connection::over(socket_from(local, server.clients)?))
}

/// Somebody else subscribes and is answered.
fn others_are_served(server: &Server) -> Result<()> {
    let alice = Client::new(server, "alice", "postbell");
    let answer = connect_from(ELSEWHERE, server)?.ask(&alice.post(&envelope(&subscribe_pull(ALL_FOLDERS))))?;
    ensure!(answer.head.status == 200, "{answer:?}");
    Ok(())
}

/// The head of a request of alice's without its last line, and with these.
fn head(lines: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n{lines}", basic("alice", "postbell"))
}

/// All answers that come until the server closes the connection.
fn statuses(mut connection: Connection) -> Vec<u16> {
    std::iter::from_fn(|| connection.answer().ok()).map(|answer| answer.head.status).collect()
}

/// Each is refused, or answered once, and then the connection is closed: what follows is never taken for a request.
#[test]
fn nothing_is_smuggled_in_a_body() -> Result<()> {
    let server = configured("")?.start()?;
    let mut malformed = 0;
    for (lines, status) in unclear_lengths() {
        let bytes = format!("{}\r\n0\r\n\r\n{SMUGGLED}", head(&lines));
        check_unsmuggled(&server, &lines, &bytes, status)?;
        malformed += u64::from(status == 400);
    }
    for body in unclear_chunks() {
        let bytes = format!("{}\r\n{body}{SMUGGLED}", head("Transfer-Encoding: chunked\r\n"));
        check_unsmuggled(&server, &body, &bytes, 400)?;
        malformed += 1;
    }
    for bytes in unclear_heads() {
        check_unsmuggled(&server, &bytes, &format!("{bytes}{SMUGGLED}"), 400)?;
        malformed += 1;
    }
    ensure!(operator(&server).figure("postbell_client_malformed_requests_total")? == malformed);
    others_are_served(&server)
}

fn check_unsmuggled(server: &Server, name: &str, bytes: &str, status: u16) -> Result<()> {
    let mut connection = Connection::open(server.clients)?;
    connection.send(bytes.as_bytes())?;
    let statuses = statuses(connection);
    ensure!(statuses == [status], "{name:.200}: {statuses:?}");
    Ok(())
}

/// With both kinds of length, chunks count, and it is the connection's last request (RFC 9112, section 6.3); an empty
/// body is a fault. Any other doubt is an error.
fn unclear_lengths() -> Vec<(String, u16)> {
    let both = [
        "Content-Length: 45\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 45\r\n",
    ];
    let wrong = [
        "Content-Length: 5\r\nContent-Length: 45\r\n",
        "Content-Length: 5, 45\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 4 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "X: a\0b\r\n",
        "X\0: a\r\n",
    ];
    let both = both.map(|lines| (lines.to_owned(), 500));
    both.into_iter().chain(wrong.map(|lines| (lines.to_owned(), 400))).collect()
}

fn unclear_chunks() -> Vec<String> {
    let wrong = [
        "5;\nx\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
    ];
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "x".repeat(1_000)).repeat(20));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    wrong.map(str::to_owned).into_iter().chain([extension, many, trailers]).collect()
}

fn unclear_heads() -> Vec<String> {
    let old = head("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0") + "\r\n0\r\n\r\n";
    let hosts = ["", "Host: x\r\nHost: y\r\n", "Host: x, y\r\n", "Host: x y\r\n", "Host: a@x\r\n", "Host: x/y\r\n"];
    let hosts = hosts.map(|hosts| head("Content-Length: 0\r\n\r\n").replace("Host: x\r\n", hosts));
    let lines = [
        "GET / HTTP/1.1 x\r\nHost: x\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    hosts.into_iter().chain([old]).chain(lines.map(str::to_owned)).collect()
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() -> Result<()> {
    let server = configured("")?.start()?;
    let alice = Client::new(&server, "alice", "postbell");
    let subscribe = alice.post(&envelope(&subscribe_pull(ALL_FOLDERS)));
    let [wrong_method, nothing] = [request("GET", PATH, &[], b""), request("GET", "/elsewhere", &[], b"")];
    let mut connection = Connection::open(server.clients)?;
    connection.send(&[&subscribe[..], &wrong_method, &nothing].concat().repeat(20))?;
    for round in 0..20 {
        for status in [200, 405, 404] {
            let answer = connection.answer()?;
            ensure!(answer.head.status == status, "round {round}: {answer:?}");
        }
    }
    Ok(())
}

/// What is sent ahead of a stream's end waits, unread, and the stream goes on.
#[test]
fn a_stream_goes_on_whatever_is_sent_ahead_of_its_end() -> Result<()> {
    let server = configured("header-bytes = 8192\n")?.start()?;
    let alice = Client::new(&server, "alice", "postbell");
    let subscription = alice.subscribe_streaming()?;
    let open = alice.post(&envelope(&get_streaming_events(&[&subscription], 30)));
    let stream = socket(server.clients)?;
    let mut sending = stream.try_clone()?;
    let mut reading = Connection::over(stream);
    sending.write_all(&open)?;
    ensure!(reading.head()?.status == 200);
    let heard = |reading: &mut Connection| anyhow::Ok(String::from_utf8(reading.chunk()?.context("the end")?)?);
    ensure!(message(&heard(&mut reading)?)?.status.is_some());
    sending.set_nonblocking(true)?;
    // Until the system takes no more, because the server takes nothing.
    while sending.write(&open).is_ok() {}
    sending.set_nonblocking(false)?;
    operator(&server).deliver("m1", 1)?;
    ensure!(heard(&mut reading)?.contains("NewMailEvent"));
    Ok(())
}

#[test]
fn a_flood_of_headers_is_refused() -> Result<()> {
    let server = configured("")?.start()?;
    let long = format!("X: {}\r\n", "x".repeat(70_000));
    let many = "X: y\r\n".repeat(5_000);
    for (name, lines) in [("long", &long), ("many", &many)] {
        let mut connection = Connection::open(server.clients)?;
        // The server may close before it has read all of it.
        let _ = connection.send(format!("{}\r\n", head(lines)).as_bytes());
        ensure!(statuses(connection) == [431], "{name}");
    }
    let mut connection = Connection::open(server.clients)?;
    let _ = connection.send(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)).as_bytes());
    ensure!(statuses(connection) == [431], "the target");
    ensure!(operator(&server).refusals("header-bytes")? == 3);
    others_are_served(&server)
}

#[test]
fn an_address_has_its_share_of_the_connections() -> Result<()> {
    let server = configured("connections-per-address = 2\ntrusted-proxies = ['127.0.0.3/32']\n")?.start()?;
    let mut places = [Connection::open(server.clients)?, Connection::open(server.clients)?];
    for connection in &mut places {
        // An answer tells that it has its place.
        ensure!(connection.ask(&request("GET", "/elsewhere", &[], b""))?.head.status == 404);
    }
    let answer = Connection::open(server.clients)?.answer()?;
    ensure!((answer.head.status, answer.head.header("retry-after")) == (429, Some("5")), "{answer:?}");
    ensure!(operator(&server).refusals("connections-per-address")? == 1);
    others_are_served(&server)?;

    let proxy = Ipv4Addr::new(127, 0, 0, 3);
    let mut clients = (0..5).map(|_| connect_from(proxy, &server)).collect::<Result<Vec<_>>>()?;
    for connection in &mut clients {
        ensure!(connection.ask(&request("GET", "/elsewhere", &[], b""))?.head.status == 404, "a proxy comes for many");
    }
    Ok(())
}

#[test]
fn bodies_share_a_room() -> Result<()> {
    let server = configured("body-bytes-total = 1048576\n")?.start()?;
    let first = request("POST", zimbra::PATH, &[], &vec![b' '; 1 << 20]);
    let half = request("POST", zimbra::PATH, &[], &vec![b' '; 600_000]);
    let mut slow = Connection::open(server.clients)?;
    slow.send(&first[..first.len() - 1])?;
    operator(&server).until_figure("postbell_client_body_bytes", (1 << 20) - 1)?;
    let refused = Connection::open(server.clients)?.ask(&half)?;
    ensure!(refused.head.status == 503, "{refused:?}");
    ensure!(refused.head.header("retry-after") == Some("1"), "{refused:?}");
    ensure!(operator(&server).refusals("body-bytes-total")? == 1);
    slow.send(&first[first.len() - 1..])?;
    ensure!(slow.answer()?.head.status != 503);
    ensure!(Connection::open(server.clients)?.ask(&half)?.head.status != 503, "there is room again");
    others_are_served(&server)
}

/// Whoever sends a byte now and then, or nothing, is cut off when its time is over; others are served meanwhile.
#[test]
fn slow_senders_are_cut_off_and_counted() -> Result<()> {
    const EACH: usize = 100;
    let server = configured("header-seconds = 2\nbody-seconds = 2\n")?.start()?;
    let opened = |bytes: String| {
        let open = move |_| {
            let mut connection = Connection::open(server.clients)?;
            connection.send(bytes.as_bytes())?;
            Ok(connection)
        };
        (0..EACH).map(open).collect::<Result<Vec<_>>>()
    };
    let silent = opened(String::new())?;
    let in_heads = opened(head("X: "))?;
    let in_bodies = opened(head("Content-Length: 9\r\n\r\n<"))?;
    let in_chunks = opened(head("Transfer-Encoding: chunked\r\n\r\n5\r\n<"))?;
    others_are_served(&server)?;
    for mut connection in silent.into_iter().chain(in_heads) {
        connection.closed()?;
    }
    for connection in in_bodies.into_iter().chain(in_chunks) {
        ensure!(statuses(connection) == [408]);
    }
    let refusals = |limit| operator(&server).refusals(limit);
    ensure!((refusals("header-seconds")?, refusals("body-seconds")?) == (2 * EACH as u64, 2 * EACH as u64));
    Ok(())
}

/// A client that has closed its side gets the answer to what it has asked, and holds nothing afterwards.
#[test]
fn half_closed_sockets_are_answered_and_closed() -> Result<()> {
    let server = configured("")?.start()?;
    let alice = Client::new(&server, "alice", "postbell");
    let asked = alice.post(&envelope(&subscribe_pull(ALL_FOLDERS)));
    let subscription = alice.subscribe_streaming()?;
    let stream = alice.post(&envelope(&get_streaming_events(&[&subscription], 30)));
    for (name, bytes, expected) in [
        ("nothing", &b""[..], &[][..]),
        ("half a head", &asked[..40], &[]),
        ("half a body", &asked[..asked.len() - 9], &[400]),
        ("a request", &asked, &[200]),
        ("two requests", &asked.repeat(2), &[200, 200]),
    ] {
        let statuses = statuses(half_closed(&server, bytes)?);
        ensure!(statuses == expected, "{name}: {statuses:?}");
    }
    // A stream's client is taken as gone, at the latest when it was told that the stream is open.
    let mut connection = half_closed(&server, &stream)?;
    while connection.answer().is_ok() {}
    others_are_served(&server)
}

fn half_closed(server: &Server, bytes: &[u8]) -> Result<Connection> {
    let mut stream: TcpStream = socket(server.clients)?;
    stream.write_all(bytes)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(Connection::over(stream))
}

/// As many connections as the system has files for, none of which ever reads: what they send is bounded, and others are
/// served.
#[test]
fn memory_has_a_ceiling_whatever_clients_do() -> Result<()> {
    const FILES: &str = "--nofile=600:600";
    // Half of the files are for clients, and two thirds of these for one address.
    const PLACES: usize = 200;
    const BODIES: usize = PLACES / 3;
    /// What comes of a body that never comes whole.
    const SENT: usize = 900_000;
    const CEILING: u64 = 300 * 2 * 65_536 + (16 << 20) + (16 << 20);
    let limits = "connections-per-address = 200\nbody-bytes-total = 16777216\nunread-bytes-total = 16777216\n\
         header-seconds = 600\nbody-seconds = 600\n";
    let server = configured(limits)?.under("prlimit", &[FILES]).start()?;
    server.until_logged("the limit of open files allows fewer connections of clients")?;
    others_are_served(&server)?;
    let before = server.peak_memory()?;

    let body = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", zimbra::PATH);
    let body = [body.as_bytes(), &vec![b' '; SENT]].concat();
    let alice = Client::new(&server, "alice", "postbell");
    let asked = alice.post(&envelope(&subscribe_pull(ALL_FOLDERS))).repeat(50);
    let headers = head(&format!("X: {}", "x".repeat(64_000)));
    let flood = |bytes: &[u8], connections: usize| -> Result<Vec<TcpStream>> {
        let opened = (0..connections).map(|_| {
            let mut connection = socket(server.clients)?;
            connection.write_all(bytes)?;
            Ok(connection)
        });
        opened.collect()
    };
    let mut held = flood(&body, BODIES)?;
    // Until then bodies that are about to be refused take the room of small ones, which would be refused in their place.
    let operator = operator(&server);
    let settled = || {
        let kept = operator.figure("postbell_client_body_bytes")?;
        Ok(kept == SENT as u64 * (BODIES as u64 - operator.refusals("body-bytes-total")?))
    };
    ensure!(operator.until(settled)?, "bodies are neither kept nor refused");
    held.extend(flood(&asked, BODIES)?);
    held.extend(flood(headers.as_bytes(), PLACES - 2 * BODIES)?);
    for _ in 0..50 {
        let mut connection = Connection::open(server.clients)?;
        ensure!(statuses_of_refused(&mut connection), "a place too many");
    }
    for _ in 0..20 {
        others_are_served(&server)?;
    }
    let grown = server.peak_memory()? - before;
    ensure!(grown < CEILING, "{grown} bytes more than before, {CEILING} are allowed");
    ensure!(operator.refusals("connections-per-address")? == 50);
    ensure!(operator.refusals("body-bytes-total")? > 0);
    drop(held);
    Ok(())
}

fn statuses_of_refused(connection: &mut Connection) -> bool {
    connection.answer().is_ok_and(|answer| answer.head.status == 429)
}
