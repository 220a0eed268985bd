//! A real mail client of Exchange, exchangelib, from its own Python environment (`make setup` makes it).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::ews::{PATH, source_id};
use postbell_tests::program::{Process, Server};
use serde_json::{Value, json};

use crate::demo;

/// exchangelib, doing one thing and telling what it hears.
struct Client {
    process: Process,
}

impl Client {
    fn start(server: &Server, password: &str, task: &str) -> Result<Client> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
        let python = root.join(".venv/bin/python");
        ensure!(python.exists(), "{} is not there: run `make setup`", python.display());
        let url = format!("http://{}{PATH}", server.clients);
        let mut command = Command::new(python);
        command.arg(root.join("tests/python/client.py")).args([&url, "alice@example.org", password, task]);
        Ok(Client { process: Process::spawn(command.stdin(Stdio::piped()))? })
    }

    /// The next thing that it tells.
    fn hear(&mut self) -> Result<Value> {
        let line = self.process.line()?.context("the client ended; see its traceback above")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The next thing that it tells, which must be of this kind.
    fn expect(&mut self, kind: &str) -> Result<Value> {
        let heard = self.hear()?;
        ensure!(heard["kind"] == kind, "expected {kind}: {heard}");
        Ok(heard)
    }

    /// The events of one delivery of a message.
    fn expect_delivery(&mut self, id: &str, unread: u32) -> Result<()> {
        let events = [self.expect("event")?, self.expect("event")?, self.expect("event")?];
        let item = |event: &Value| event["item"].as_str().map(source_id).transpose();
        let named =
            events.iter().map(|event| Ok((event["event"].as_str(), item(event)?))).collect::<Result<Vec<_>>>()?;
        let id = || Some(id.to_owned());
        ensure!(named == [(Some("CreatedEvent"), id()), (Some("NewMailEvent"), id()), (Some("ModifiedEvent"), None)]);
        ensure!(events[0]["parent"] == events[1]["parent"] && events[0]["parent"] == events[2]["folder"], "{events:?}");
        ensure!(events[2]["unread"] == unread, "{events:?}");
        Ok(())
    }

    /// Waits for its end, which must be in peace.
    fn end(mut self) -> Result<()> {
        drop(self.process.stdin());
        if let Some(line) = self.process.line()? {
            bail!("it says more: {line}");
        }
        let (status, stderr) = self.process.end()?;
        ensure!(status.success(), "{status}: {stderr}");
        Ok(())
    }
}

/// The first message may come before the stream is open; once it was heard, the second surely comes while it is. The
/// minute is the shortest that the client can ask for.
#[test]
fn streaming() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::start(&server, "postbell", "stream")?;
    client.expect("subscribed")?;
    source.deliver("m1", 1)?;
    client.expect_delivery("m1", 1)?;
    source.deliver("m2", 2)?;
    client.expect_delivery("m2", 2)?;
    assert_eq!(client.expect("ended")?["status"], "Closed");
    client.end()
}

#[test]
fn pull() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::start(&server, "postbell", "pull")?;
    client.expect("subscribed")?;
    let mut ask = client.process.stdin().context("its input is piped")?;
    writeln!(ask, "ask")?;
    assert_eq!(client.expect("event")?["event"], "StatusEvent");
    client.expect("asked")?;
    source.deliver("m1", 1)?;
    writeln!(ask, "ask")?;
    client.expect_delivery("m1", 1)?;
    client.expect("asked")?;
    // More than one answer holds: the client goes on asking, with the watermarks of the answers.
    let many: Vec<_> = (0..60)
        .map(|n| {
            json!({"account": "alice@example.org", "what": {"item-created":
        {"kind": "message", "id": format!("i{n}"), "folder": "drafts"}}})
        })
        .collect();
    source.change(&many)?;
    writeln!(ask, "ask")?;
    let mut items = Vec::new();
    loop {
        let heard = client.hear()?;
        if heard["kind"] == "asked" {
            break;
        }
        items.extend(heard["item"].as_str().map(source_id).transpose()?);
    }
    assert_eq!(items, (0..60).map(|n| format!("i{n}")).collect::<Vec<_>>());
    drop(ask);
    assert_eq!(client.expect("unsubscribed")?["result"], true);
    assert_eq!(client.expect("error")?["error"], "ErrorSubscriptionNotFound", "unsubscribed twice");
    client.end()
}

/// The inbox alone, by the methods that its users know: they ask for folders first, and for version and authentication.
#[test]
fn inbox_of_a_server_that_it_does_not_know() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::start(&server, "postbell", "inbox")?;
    let found = client.expect("discovered")?;
    assert_eq!(found["auth"], "basic");
    assert!(found["version"].as_str().is_some_and(|version| version.starts_with("15.2.")), "{found}");
    client.expect("subscribed")?;
    source.change(&[json!({"account": "alice@example.org",
        "what": {"item-created": {"kind": "message", "id": "elsewhere", "folder": "drafts"}}})])?;
    source.deliver("m1", 1)?;
    let mut ask = client.process.stdin().context("its input is piped")?;
    writeln!(ask, "ask")?;
    client.expect_delivery("m1", 1)?;
    client.expect("asked")?;
    drop(ask);
    client.end()
}

#[test]
fn a_wrong_password() -> Result<()> {
    let server = demo()?;
    let mut client = Client::start(&server, "guessed", "pull")?;
    assert_eq!(client.expect("error")?["error"], "UnauthorizedError");
    client.end()
}
