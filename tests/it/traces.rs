//! What is said of a request while it is on its way: in the log, and to a collector of OpenTelemetry.

use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use postbell_tests::admin::Admin;
use postbell_tests::ews::Client;
use serde_json::Value;

use crate::{configured, operator};

/// A password that is wrong, and must be nowhere.
const SECRET: &str = "a-word-that-must-be-nowhere";

#[test]
fn a_request_is_logged_with_its_tenant_number_and_sequence() -> Result<()> {
    let server =
        configured("")?.environment("POSTBELL_LOG", "info,postbell::request=debug,postbell::serve=debug").start()?;
    let alice = Client::at(server.clients, "alice@example.org", "postbell");
    alice.subscribe_pull()?;
    let refused = Client::at(server.clients, "alice@example.org", SECRET).subscribe_pull();
    ensure!(refused.is_err());
    let log = server.stop()?;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let answered: Vec<_> = lines.iter().filter(|line| line["message"] == "answered").collect();
    let [granted, refused] = answered[..] else { panic!("{answered:?}") };
    let span = &granted["span"];
    ensure!(span["tenant"] == "example.org" && span["path"] == "/EWS/Exchange.asmx", "{granted}");
    ensure!(span["request"].is_u64() && span["sequence"].as_u64().is_some_and(|sequence| sequence > 0), "{granted}");
    ensure!(refused["status"] == 401 && refused["span"]["sequence"].is_null(), "{refused}");
    ensure!(!log.contains(SECRET) && !log.contains("PullSubscriptionRequest"), "{log}");
    Ok(())
}

/// A collector that keeps what it is sent.
async fn collect(listener: tokio::net::TcpListener, kept: Sender<Bytes>) {
    let keep = async move |body: Bytes| kept.send(body).map_or(String::new(), |()| String::new());
    let router = Router::new().route("/v1/traces", post(keep));
    axum::serve(listener, router).await.expect("it serves as long as the test runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_reach_a_collector_without_a_secret() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let (kept, keeps) = channel();
    let collector = tokio::spawn(collect(listener, kept));
    tokio::task::spawn_blocking(move || {
        let server = configured("")?.environment("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).start()?;
        Client::at(server.clients, "alice@example.org", "postbell").subscribe_pull()?;
        ensure!(Client::at(server.clients, "alice@example.org", SECRET).subscribe_pull().is_err());
        let source: &Admin = &operator(&server);
        source.deliver("m1", 1)?;
        server.stop().map(drop)
    })
    .await??;
    collector.abort();
    let sent: Vec<u8> = keeps.try_iter().flatten().collect();
    let text = String::from_utf8_lossy(&sent);
    for word in ["postbell", "request", "ingest", "example.org", "/EWS/Exchange.asmx", "sequence"] {
        ensure!(text.contains(word), "no {word} in {text}");
    }
    for word in [SECRET, "PullSubscriptionRequest", "Authorization", "alice"] {
        ensure!(!text.contains(word), "{word} is in {text}");
    }
    Ok(())
}

/// A collector that is not there holds nobody up.
#[test]
fn without_a_collector_everything_else_goes_on() -> Result<()> {
    let server = configured("")?.environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").start()?;
    Client::at(server.clients, "alice@example.org", "postbell").subscribe_pull()?;
    server.stop_whatever_it_logged().context("it stops").map(drop)
}
