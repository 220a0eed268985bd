//! A real mail client of Exchange, exchangelib, from its own Python environment (`make setup` makes it).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdin, Stdio};

use anyhow::{Context, Result, bail, ensure};
use postbell::contract::outbound::{Outcome, Response};
use postbell::contract::types::{Call, CallTarget, Moment, Reaction};
use postbell::journal::Input;
use postbell_notify::Notify;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{self, PATH, item_id, source_id};
use postbell_tests::histories::{self, delivery};
use postbell_tests::http::request;
use postbell_tests::native::{self, Convert};
use postbell_tests::program::{Process, Server, Start};
use postbell_tests::{schemas, strict_reader};
use serde_json::{Value, json};

use crate::{PROGRAM, cheap_hash, demo, python};

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";
const SERVICE: &str = "service@example.org";

/// exchangelib, doing what it is told and telling what it hears.
pub(crate) struct Client {
    process: Process,
    input: ChildStdin,
}

impl Client {
    /// Alice's, who knows the server.
    pub(crate) fn alice(server: &Server) -> Result<Client> {
        Client::start(server, &[], ALICE, "postbell")
    }

    fn start(server: &Server, options: &[&str], login: &str, password: &str) -> Result<Client> {
        let url = format!("http://{}{PATH}", server.clients);
        let mut command = python("client.py")?;
        command.args(options).args([&url, login, password]);
        let mut process = Process::spawn(command.stdin(Stdio::piped()))?;
        let input = process.stdin().context("its input is piped")?;
        Ok(Client { process, input })
    }

    /// Gives it a command.
    pub(crate) fn tell(&mut self, command: &str) -> Result<()> {
        Ok(writeln!(self.input, "{command}")?)
    }

    /// The next thing that it tells.
    pub(crate) fn hear(&mut self) -> Result<Value> {
        let line = self.process.line()?.context("the client ended; see its traceback above")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The next thing that it tells, which must be of this kind.
    pub(crate) fn expect(&mut self, kind: &str) -> Result<Value> {
        let heard = self.hear()?;
        ensure!(heard["kind"] == kind, "expected {kind}: {heard}");
        Ok(heard)
    }

    /// The next thing that it tells, which must be that this was refused so.
    fn expect_error(&mut self, error: &str) -> Result<String> {
        let heard = self.expect("error")?;
        ensure!(heard["error"] == error, "expected {error}: {heard}");
        Ok(heard["text"].as_str().unwrap_or_default().to_owned())
    }

    /// Subscribes by a command; gives the id, and the watermark of a subscription that has one.
    pub(crate) fn subscribe(&mut self, command: &str) -> Result<(String, String)> {
        self.tell(command)?;
        let heard = self.expect("subscribed")?;
        let text = |name: &str| heard[name].as_str().unwrap_or_default().to_owned();
        ensure!(!text("id").is_empty(), "{heard}");
        Ok((text("id"), text("watermark")))
    }

    /// The events of one delivery of a message; gives the watermark of the last.
    fn expect_delivery(&mut self, id: &str, unread: u32) -> Result<String> {
        let events = [self.expect("event")?, self.expect("event")?, self.expect("event")?];
        let named =
            events.iter().map(|event| Ok((event["event"].as_str(), item(event)?))).collect::<Result<Vec<_>>>()?;
        let id = || Some(id.to_owned());
        let expected = [(Some("CreatedEvent"), id()), (Some("NewMailEvent"), id()), (Some("ModifiedEvent"), None)];
        ensure!(named == expected, "{events:?}");
        ensure!(events[0]["parent"] == events[1]["parent"] && events[0]["parent"] == events[2]["folder"], "{events:?}");
        ensure!(events[2]["unread"] == unread, "{events:?}");
        Ok(events[2]["watermark"].as_str().unwrap_or_default().to_owned())
    }

    /// The items of all events up to the answer's end.
    fn items(&mut self) -> Result<Vec<String>> {
        let mut items = Vec::new();
        loop {
            let heard = self.hear()?;
            match heard["kind"].as_str() {
                Some("event") => items.extend(item(&heard)?),
                Some("asked" | "ended") => return Ok(items),
                _ => bail!("expected events: {heard}"),
            }
        }
    }

    /// Waits for its end, which must be in peace.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.input);
        if let Some(line) = self.process.line()? {
            bail!("it says more: {line}");
        }
        let (status, stderr) = self.process.end()?;
        ensure!(status.success(), "{status}: {stderr}");
        Ok(())
    }
}

/// The item that an event is about.
fn item(event: &Value) -> Result<Option<String>> {
    event["item"].as_str().map(source_id).transpose()
}

/// A command to listen until this item of alice's comes.
fn listen_until(item: &str, subscriptions: &[&str]) -> String {
    format!("listen {} {}", item_id(ALICE, item), subscriptions.join(" "))
}

/// The first message may come before the stream is open; once it was heard, the second surely comes while it is. The
/// minute is the shortest that the client can ask for.
#[test]
fn a_stream_ends_after_its_time_and_the_next_has_what_came_since() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::alice(&server)?;
    let (subscription, _) = client.subscribe("streaming all")?;
    client.tell(&format!("listen - {subscription}"))?;
    source.deliver("m1", 1)?;
    client.expect_delivery("m1", 1)?;
    source.deliver("m2", 2)?;
    client.expect_delivery("m2", 2)?;
    assert_eq!(client.expect("ended")?["status"], "Closed");

    source.deliver("m3", 3)?;
    client.tell(&listen_until("m3", &[&subscription]))?;
    client.expect_delivery("m3", 3)?;
    assert_eq!(client.expect("ended")?["status"], Value::Null, "it left by itself");
    client.end()
}

/// What was heard of just before the second stream came may come again on that.
#[test]
fn a_second_stream_takes_over() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut first = Client::alice(&server)?;
    let (subscription, _) = first.subscribe("streaming inbox")?;
    first.tell(&format!("listen - {subscription}"))?;
    source.deliver("m1", 1)?;
    first.expect_delivery("m1", 1)?;

    let mut second = Client::alice(&server)?;
    second.tell(&listen_until("m2", &[&subscription]))?;
    let text = first.expect_error("ErrorNewEventStreamConnectionOpened")?;
    ensure!(text.contains(&subscription), "{text}");
    source.deliver("m2", 2)?;
    let items = second.items()?;
    ensure!(items.ends_with(&["m2".into(), "m2".into()]), "{items:?}");
    first.end()?;
    second.end()
}

/// exchangelib gives up when it hears of the bad one; without it, the good ones go on where they were.
#[test]
fn a_bad_id_among_good_ones_is_named() -> Result<()> {
    let server = demo()?;
    let mut client = Client::alice(&server)?;
    let (one, _) = client.subscribe("streaming all")?;
    let (other, _) = client.subscribe("streaming inbox")?;
    Admin::source(&server).deliver("m1", 1)?;
    client.tell(&listen_until("m1", &[&one, "bm9uZQ==", &other]))?;
    let text = client.expect_error("ErrorInvalidSubscription")?;
    ensure!(text.contains("['bm9uZQ==']"), "exactly the bad one: {text}");

    client.tell(&listen_until("m1", &[&one, &other]))?;
    for subscription in [&one, &other] {
        for _ in 0..3 {
            assert_eq!(client.expect("event")?["subscription"], subscription.as_str());
        }
    }
    client.expect("ended")?;
    client.end()
}

#[test]
fn pull_from_all_folders() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::alice(&server)?;
    let (subscription, mut watermark) = client.subscribe("pull all")?;
    client.tell(&format!("step {subscription} {watermark}"))?;
    assert_eq!(client.expect("event")?["event"], "StatusEvent");
    client.expect("asked")?;
    for (id, unread) in [("m1", 1), ("m2", 2)] {
        source.deliver(id, unread)?;
        client.tell(&format!("step {subscription} {watermark}"))?;
        watermark = client.expect_delivery(id, unread)?;
        assert_eq!(client.expect("asked")?["more"], false);
    }
    client.tell(&format!("unsubscribe {subscription}"))?;
    assert_eq!(client.expect("unsubscribed")?["result"], true);
    client.tell(&format!("unsubscribe {subscription}"))?;
    client.expect_error("ErrorSubscriptionNotFound")?;
    client.end()
}

/// The client's own loop asks with the first watermark again and again: it ends, and has heard of everything.
#[test]
fn pull_more_than_a_reply_holds() -> Result<()> {
    let server = demo()?;
    let mut client = Client::alice(&server)?;
    let (subscription, watermark) = client.subscribe("pull all")?;
    let named: Vec<_> = (0..120).map(|number| format!("i{number}")).collect();
    let many: Vec<_> = named.iter().map(|id| draft(id)).collect();
    Admin::source(&server).change(&many)?;
    client.tell(&format!("events {subscription} {watermark}"))?;
    let heard = client.items()?;
    ensure!(heard.len() > named.len(), "there was a reply that did not hold everything: {}", heard.len());
    ensure!(heard.ends_with(&named) && named.starts_with(&heard[..heard.len() - named.len()]), "{heard:?}");
    client.end()
}

#[test]
fn pull_goes_on_from_a_watermark() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::alice(&server)?;
    for folders in ["all", "inbox"] {
        let (subscription, watermark) = client.subscribe(&format!("pull {folders}"))?;
        let [before, after] = ["before", "after"].map(|when| format!("{when}-{folders}"));
        source.deliver(&before, 1)?;
        client.tell(&format!("step {subscription} {watermark}"))?;
        let watermark = client.expect_delivery(&before, 1)?;
        client.expect("asked")?;
        client.tell(&format!("unsubscribe {subscription}"))?;
        client.expect("unsubscribed")?;
        source.deliver(&after, 2)?;

        let (subscription, start) = client.subscribe(&format!("pull {folders} {watermark}"))?;
        assert_eq!(start, watermark);
        client.tell(&format!("events {subscription} {start}"))?;
        client.expect_delivery(&after, 2)?;
        client.expect("asked")?;
    }
    client.tell("pull all bm9uZQ==")?;
    client.expect_error("ErrorInvalidWatermark")?;
    client.end()
}

/// The inbox alone, by the methods that its users know: they ask for folders first, and for version and authentication.
#[test]
fn inbox_of_a_server_that_it_does_not_know() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::start(&server, &["--discover"], ALICE, "postbell")?;
    let found = client.expect("discovered")?;
    assert_eq!(found["auth"], "basic");
    assert!(found["version"].as_str().is_some_and(|version| version.starts_with("15.2.")), "{found}");
    let (pull, watermark) = client.subscribe("pull inbox")?;
    let (streaming, _) = client.subscribe("streaming inbox")?;
    source.change(&[draft("elsewhere")])?;
    source.deliver("m1", 1)?;
    client.tell(&format!("events {pull} {watermark}"))?;
    client.expect_delivery("m1", 1)?;
    client.expect("asked")?;
    client.tell(&listen_until("m1", &[&streaming]))?;
    client.expect_delivery("m1", 1)?;
    client.expect("ended")?;
    client.end()
}

#[test]
fn a_wrong_password() -> Result<()> {
    let server = demo()?;
    let mut client = Client::start(&server, &[], ALICE, "guessed")?;
    client.tell("pull all")?;
    client.expect_error("UnauthorizedError")?;
    client.end()
}

/// The service may act for alice: it hears of her mail, by subscriptions that are its own.
#[test]
fn impersonation_of_whom_one_may_act_for() -> Result<()> {
    let server = with_a_service()?;
    let source = Admin::source(&server);
    let mut client = Client::start(&server, &["--as", ALICE], SERVICE, "postbell")?;
    let (pull, watermark) = client.subscribe("pull all")?;
    let (streaming, _) = client.subscribe("streaming all")?;
    source.change(&[delivered(SERVICE, "its-own", 1), delivered(ALICE, "m1", 1)])?;
    client.tell(&format!("step {pull} {watermark}"))?;
    client.expect_delivery("m1", 1)?;
    client.expect("asked")?;
    client.tell(&listen_until("m1", &[&streaming]))?;
    client.expect_delivery("m1", 1)?;
    client.expect("ended")?;

    let alice = ews::Client::new(&server, ALICE, "postbell");
    let message = alice.message(&ews::get_events(&pull, &watermark))?;
    assert_eq!(message.code, "ErrorSubscriptionAccessDenied", "it is the service's, though about her mail");
    client.end()
}

#[test]
fn impersonation_refused() -> Result<()> {
    let server = with_a_service()?;
    for (login, whom, error) in [
        (SERVICE, BOB, "ErrorImpersonateUserDenied"),
        (BOB, ALICE, "ErrorImpersonateUserDenied"),
        (SERVICE, "nobody@example.org", "ErrorNonExistentMailbox"),
    ] {
        let mut client = Client::start(&server, &["--as", whom], login, "postbell")?;
        for command in ["pull all", "streaming all"] {
            client.tell(command)?;
            client.expect_error(error).with_context(|| format!("{login} as {whom}"))?;
        }
        client.end()?;
    }
    Ok(())
}

/// Its listener reads what is pushed, and is understood. Time and calls are the test's own: the first call goes out
/// with the answer to Subscribe, one that is not answered is made again after half a minute, `Unsubscribe` is the last
/// word.
#[test]
fn a_listener_reads_what_is_pushed() -> Result<()> {
    let server = demo()?;
    let mut client = Client::alice(&server)?;
    client.tell("serve ok down ok unsubscribe")?;
    let url = client.expect("serving")?["url"].as_str().context("a URL")?.to_owned();
    let address = url.trim_start_matches("http://").split('/').next().context("an address")?.parse()?;

    let mut notify = Notify::default();
    let mut at = Moment { now: 1_795_296_510_624, sequence: 1 };
    let settings = [("domains", "example.org"), ("push-allow", "127.0.0.0/8")];
    let settings: Vec<_> = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    notify.open(at.convert(), &[7; 32], &settings).map_err(anyhow::Error::msg)?;
    let mut feed = |at: &mut Moment, input: Input| {
        at.sequence += 1;
        native::feed(&mut notify, *at, input).map_err(anyhow::Error::msg)
    };
    let ingest = |id: &str| Input::Ingest { batch: delivery(ALICE, id, 0), span: None, skipped: None };
    let subscribe = ews::envelope(&ews::subscribe_push(ews::ALL_FOLDERS, 1, &url));
    let mut reaction = feed(&mut at, Input::Answer(Box::new(histories::request(1, ALICE, subscribe))))?;

    reaction = feed(&mut at, answered(address, reaction)?)?;
    assert_eq!(
        client.expect("pushed")?["action"],
        "\"http://schemas.microsoft.com/exchange/services/2006/messages/SendNotification\""
    );
    assert_eq!(client.expect("event")?["event"], "StatusEvent");
    ensure!(reaction.calls.is_empty(), "{reaction:?}");
    reaction = feed(&mut at, ingest("m1"))?;
    reaction = feed(&mut at, answered(address, reaction)?)?;
    client.expect("ignored")?;
    assert_eq!(reaction.wake_at, Some(at.now + 30_000));
    at.now += 30_000;
    reaction = feed(&mut at, Input::Tick)?;
    for _ in 0..2 {
        reaction = feed(&mut at, answered(address, reaction)?)?;
        client.expect("pushed")?;
        let expected = ["CreatedEvent", "NewMailEvent", "ModifiedEvent"];
        for kind in expected {
            assert_eq!(client.expect("event")?["event"], kind);
        }
        ensure!(reaction.calls.is_empty(), "{reaction:?}");
        reaction = feed(&mut at, ingest("m2"))?;
    }
    ensure!(reaction.calls.is_empty(), "it has unsubscribed: {reaction:?}");
    client.expect("served")?;
    client.end()
}

/// The demo may call what listens beside it.
#[test]
fn push_reaches_a_listener_until_it_unsubscribes() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let (mut listener, mut client) = (Client::alice(&server)?, Client::alice(&server)?);
    listener.tell("serve ok ok unsubscribe")?;
    let url = listener.expect("serving")?["url"].as_str().context("a URL")?.to_owned();
    let (subscription, watermark) = client.subscribe(&format!("push inbox {url}"))?;
    listener.expect("pushed")?;
    let first = listener.expect("event")?;
    assert_eq!((&first["event"], &first["watermark"]), (&json!("StatusEvent"), &json!(watermark)));
    for (id, unread) in [("m1", 1), ("m2", 2)] {
        source.deliver(id, unread)?;
        listener.expect("pushed")?;
        listener.expect_delivery(id, unread)?;
    }
    listener.expect("served")?;
    listener.end()?;
    client.tell(&format!("step {subscription} {watermark}"))?;
    client.expect_error("ErrorSubscriptionNotFound")?;
    for refused in ["http://10.1.2.3/", "http://[fe80::1]/", "ftp://listener.example/"] {
        client.tell(&format!("push all {refused}"))?;
        client.expect_error("ErrorInvalidPushSubscriptionUrl")?;
    }
    client.end()
}

/// Makes the only call of a reaction, and gives what comes of it.
fn answered(listener: SocketAddr, reaction: Reaction) -> Result<Input> {
    let [Call { id, target: CallTarget::HttpPost(target), body }] = reaction.calls.as_slice() else {
        bail!("not one call: {reaction:?}")
    };
    strict_reader::pushed(std::str::from_utf8(body)?)?;
    schemas::judge(std::str::from_utf8(body)?)?;
    let headers: Vec<_> = target.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut socket = TcpStream::connect(listener)?;
    socket.write_all(&request("POST", "/notify", &headers, body))?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a head")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Input::Finished { call: *id, outcome: Outcome::Answered(Response { status, body: body.into() }) })
}

/// A server whose users are alice, bob, and a service that may act for alice.
fn with_a_service() -> Result<Server> {
    let configuration = "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'demo-admin'\n\
        [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\ningest-key = 'demo'\n";
    let hash = cheap_hash("postbell")?;
    let user = |name: &str, more: &str| format!("[[user]]\nname = '{name}'\npassword = '{hash}'\n{more}\n");
    let users = [user(ALICE, ""), user(BOB, ""), user(SERVICE, &format!("may-act-for = ['{ALICE}']"))].concat();
    Start::configured(PROGRAM, configuration)?.file("users.toml", &users)?.start()
}

/// A draft that alice begins.
fn draft(id: &str) -> Value {
    json!({"account": ALICE, "what": {"item-created": {"kind": "message", "id": id, "folder": "drafts"}}})
}
