//! Clients that come over TLS, and through proxies.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use postbell_tests::ews::{ALL_FOLDERS, Client, envelope, get_streaming_events, message, subscribe_streaming};
use postbell_tests::http::{Answer, Connection, request};
use postbell_tests::program::Server;
use postbell_tests::tls::Pair;
use postbell_tests::zimbra;

use crate::{configured, operator};

const CERTIFICATE: &str = "tls-certificate = 'certificate.pem'\ntls-key = 'key.pem'\n";

fn secured(pair: &Pair) -> Result<Server> {
    let start = configured(CERTIFICATE)?;
    pair.write(start.folder())?;
    start.start()
}

/// As [`secured`], with little patience, and a log that tells of each connection.
fn quick_secured(pair: &Pair) -> Result<Server> {
    let start = configured(&format!("{CERTIFICATE}tls-handshake-seconds = 1\n"))?;
    pair.write(start.folder())?;
    start.environment("POSTBELL_LOG", "debug").start()
}

/// A stream of alice's on this connection, which has said that it is open.
fn stream(mut connection: Connection, alice: &Client) -> Result<Connection> {
    let subscribed = connection.ask(&alice.post(&envelope(&subscribe_streaming(ALL_FOLDERS))))?;
    let subscription = message(&subscribed.body)?.subscription.context("a subscription")?;
    connection.send(&alice.post(&envelope(&get_streaming_events(&[&subscription], 30))))?;
    ensure!(connection.head()?.status == 200);
    ensure!(heard(&mut connection)?.contains("ConnectionStatus>OK<"));
    Ok(connection)
}

/// The next chunk, which is one envelope.
fn heard(connection: &mut Connection) -> Result<String> {
    let chunk = String::from_utf8(connection.chunk()?.context("the end")?)?;
    ensure!(chunk.matches("<Envelope").count() == 1 && chunk.trim_end().ends_with("</Envelope>"), "{chunk}");
    Ok(chunk)
}

#[test]
fn a_certificate_is_swapped_under_open_connections() -> Result<()> {
    let (old, new) = (Pair::new()?, Pair::new()?);
    let server = secured(&old)?;
    let alice = Client::new(&server, "alice", "postbell");
    let mut stream = stream(old.connect(server.clients)?, &alice)?;
    let mut idle = old.connect(server.clients)?;
    let subscribe = alice.post(&envelope(&subscribe_streaming(ALL_FOLDERS)));
    ensure!(idle.ask(&subscribe)?.head.status == 200);

    new.write(server.folder())?;
    server.until_logged("the certificate was read again")?;
    ensure!(new.connect(server.clients)?.ask(&subscribe)?.head.status == 200);
    ensure!(old.connect(server.clients).is_err(), "the old one is still shown");
    ensure!(idle.ask(&subscribe)?.head.status == 200, "on a connection from before");
    operator(&server).deliver("m1", 1)?;
    ensure!(heard(&mut stream)?.contains("NewMailEvent"));
    Ok(())
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing() -> Result<()> {
    let pair = Pair::new()?;
    let server = secured(&pair)?;
    std::fs::write(server.folder().join("key.pem"), "no key")?;
    let said = server.until_logged("the certificate stays as it was")?;
    ensure!(said.contains("key.pem: expected a private key in PEM form"), "{said}");
    pair.connect(server.clients)?;
    Ok(())
}

/// One envelope is one chunk, and HTTP/2 has no chunks.
#[test]
fn only_http_1_1_is_spoken() -> Result<()> {
    let pair = Pair::new()?;
    let server = secured(&pair)?;
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let stream = pair.handshake(server.clients, offered)?;
        ensure!(stream.conn.alpn_protocol() == chosen, "{offered:?}");
        let alice = Client::new(&server, "alice", "postbell");
        let answer = Connection::over(stream).ask(&alice.post(&envelope(&subscribe_streaming(ALL_FOLDERS))))?;
        ensure!(answer.head.status == 200, "{offered:?}: {answer:?}");
    }
    let refused = pair.handshake(server.clients, &["h2"]).err().context("only HTTP/2 was offered")?;
    ensure!(format!("{refused:?}").contains("NoApplicationProtocol"), "{refused:?}");
    Ok(())
}

#[test]
fn who_speaks_no_tls_is_closed_and_counted() -> Result<()> {
    let server = quick_secured(&Pair::new()?)?;
    let mut plain = postbell_tests::http::socket(server.clients)?;
    std::io::Write::write_all(&mut plain, &request("GET", "/", &[], b""))?;
    let mut said = Vec::new();
    // At most an alert, never an answer.
    let _ = plain.read_to_end(&mut said);
    ensure!(!said.starts_with(b"HTTP"), "{said:?}");
    server.until_logged("there is no TLS on the connection")?;
    ensure!(operator(&server).figure("postbell_client_failed_handshakes_total")? == 1);
    Ok(())
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() -> Result<()> {
    let pair = Pair::new()?;
    let server = quick_secured(&pair)?;
    let mut silent = Connection::open(server.clients)?;
    silent.send(&[22, 3, 1])?;
    pair.connect(server.clients)?;
    silent.closed()?;
    server.until_logged("there is no TLS on the connection")?;
    ensure!(operator(&server).refusals("tls-handshake-seconds")? == 1);
    Ok(())
}

/// A login's cookie is one for TLS only, if the client came over TLS as far as the server can know.
#[test]
fn only_trusted_proxies_say_how_a_client_came() -> Result<()> {
    let proxied = configured("trusted-proxies = ['127.0.0.0/8']\n")?.start()?;
    let direct = configured("trusted-proxies = ['192.0.2.0/24']\n")?.start()?;
    for (server, said, secure) in [
        (&proxied, Some("https"), true),
        (&proxied, Some("http"), false),
        (&proxied, None, false),
        (&direct, Some("https"), false),
    ] {
        let headers: Vec<_> = said.iter().map(|said| ("X-Forwarded-Proto", *said)).collect();
        ensure!(for_tls_only(&log_in(Connection::open(server.clients)?, &headers)?)? == secure, "{said:?}");
    }

    let pair = Pair::new()?;
    let server = secured(&pair)?;
    ensure!(for_tls_only(&log_in(pair.connect(server.clients)?, &[("X-Forwarded-Proto", "http")])?)?);
    Ok(())
}

fn log_in(mut connection: Connection, headers: &[(&str, &str)]) -> Result<Answer> {
    let headers = [headers, &[("Content-Type", "application/soap+xml")]].concat();
    let answer =
        connection.ask(&request("POST", zimbra::PATH, &headers, zimbra::auth("alice", "postbell").as_bytes()))?;
    ensure!(answer.head.status == 200, "{answer:?}");
    Ok(answer)
}

fn for_tls_only(answer: &Answer) -> Result<bool> {
    Ok(answer.head.header("set-cookie").context("a cookie")?.contains("; Secure"))
}

/// What the log names is the client, not the proxy; and a client that calls itself another stays itself.
#[test]
fn only_trusted_proxies_say_who_a_client_is() -> Result<()> {
    for (trusted, client) in [("127.0.0.0/8", "192.0.2.7"), ("192.0.2.0/24", "127.0.0.1")] {
        let start = configured(&format!("trusted-proxies = ['{trusted}']\n"))?.environment("POSTBELL_LOG", "debug");
        let server = start.start()?;
        log_in(Connection::open(server.clients)?, &[("X-Forwarded-For", "198.51.100.1, 192.0.2.7")])?;
        let said = server.until_logged("\"answered\"")?;
        ensure!(said.contains(&format!("\"client\":\"{client}\"")), "{said}");
    }
    Ok(())
}
