//! Real mail servers to real clients: what is delivered by LMTP and done by IMAP is heard over EWS by exchangelib, and wakes
//! python-zimbra's WaitSet.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use expect_test::expect_file;
use postbell_tests::admin::Admin;
use postbell_tests::ews::{self, item_id, source_id};
use postbell_tests::http::{self, Connection};
use postbell_tests::mail_servers::{Kind, MailServer, Mailbox};
use postbell_tests::program::{Process, Server};
use serde_json::{Value, json};

use crate::python_zimbra::named;
use crate::{PROGRAM, demo, exchangelib, python_zimbra};

const ALICE: &str = "alice@example.org";
const MAIL: &str = "urn:zimbraMail";

/// Waits until the server has heard of the first delivery, which makes the mailbox.
fn first_delivery(mailbox: &mut Mailbox, server: &Server) -> Result<u64> {
    let mut alice = exchangelib::Client::alice(server)?;
    let (subscription, _) = alice.subscribe("streaming all")?;
    mailbox.tell("deliver first")?;
    let validity = mailbox.validity("INBOX")?;
    alice.tell(&format!("listen {} {subscription}", item_id(ALICE, &format!("inbox/{validity}/1"))))?;
    heard(&mut alice)?;
    alice.end()?;
    Ok(validity)
}

/// What is heard until the stream ends, a line each, without the numbers that differ from run to run; then how many unread
/// ones each folder has at last: that may be told more or less often, as changes come in one batch or in two.
fn heard(client: &mut exchangelib::Client) -> Result<String> {
    let (mut lines, mut unread) = (String::new(), BTreeMap::new());
    loop {
        let said = client.hear()?;
        match said["kind"].as_str() {
            Some("event") if said["event"] == "ModifiedEvent" && !said["folder"].is_null() => {
                let folder = source_id(said["folder"].as_str().context("a folder")?)?;
                said["unread"].as_u64().map(|count| unread.insert(folder, count));
            }
            Some("event") => lines += &line(&said)?,
            Some("ended") => break,
            _ => anyhow::bail!("expected events: {said}"),
        }
    }
    let counts = unread.iter().map(|(folder, count)| format!("{folder}: {count} unread\n"));
    Ok(lines + &counts.collect::<String>())
}

fn line(event: &Value) -> Result<String> {
    let id = |name: &str| event[name].as_str().map(source_id).transpose();
    let what = match (id("item")?, id("folder")?) {
        (Some(item), _) => {
            let mut parts: Vec<&str> = item.rsplitn(3, '/').collect();
            // The UIDVALIDITY.
            parts.remove(1);
            format!("item {} in {}", parts[0], parts[1])
        }
        (None, folder) => format!("folder {}", folder.context("an item or a folder")?),
    };
    Ok(format!("{}: {what}\n", event["event"].as_str().unwrap_or_default()))
}

/// Waits until the WaitSet has told of alice; gives its new sequence.
fn woken(client: &mut python_zimbra::Client) -> Result<Value> {
    let mut news = client.answer("WaitSet")?;
    ensure!(named(&news, "a") == [ALICE], "{news}");
    Ok(news["seq"].take())
}

fn everything_is_heard(kind: Kind, golden: expect_test::ExpectFile) -> Result<()> {
    let server = demo()?;
    let mail = MailServer::prepare(kind)?;
    let source = mail.source(PROGRAM, &server)?;
    let mail = mail.start()?;
    let mut mailbox = mail.mailbox()?;
    let validity = first_delivery(&mut mailbox, &server)?;

    let mut exchange = exchangelib::Client::alice(&server)?;
    let (subscription, _) = exchange.subscribe("streaming all")?;
    exchange.tell(&format!("listen {} {subscription}", item_id(ALICE, &format!("inbox/{validity}/3"))))?;
    let mut zimbra = python_zimbra::Client::alice(&server, "xml")?;
    let set = zimbra.create(MAIL, "CreateWaitSet", &json!({"defTypes": "m,f", "add": {"a": {"name": ALICE}}}))?;
    let mut sequence = json!("0");
    for command in [
        "deliver second",
        "set INBOX 2 \\Seen",
        "set INBOX 2 \\Flagged",
        "clear INBOX 2 \\Seen",
        "create Projects",
        "move 2 INBOX Projects",
        "rename Projects Archive",
        "delete Archive",
        "deliver third",
    ] {
        zimbra.tell(MAIL, "WaitSet", &json!({"waitSet": set, "seq": sequence, "block": "1"}))?;
        mailbox.tell(command)?;
        sequence = woken(&mut zimbra).with_context(|| command.to_owned())?;
    }
    golden.assert_eq(&heard(&mut exchange)?);
    exchange.end()?;
    zimbra.end()?;
    source.stop().map(drop)
}

#[test]
fn what_happens_in_dovecot_is_heard() -> Result<()> {
    everything_is_heard(Kind::Dovecot, expect_file!["../golden/dovecot-live.txt"])
}

#[test]
fn what_happens_in_cyrus_is_heard() -> Result<()> {
    everything_is_heard(Kind::Cyrus, expect_file!["../golden/cyrus-live.txt"])
}

/// Postbell is away for ten deliveries; the source's process is restarted meanwhile, too.
fn nothing_is_missed(kind: Kind) -> Result<()> {
    let server = demo()?;
    let mail = MailServer::prepare(kind)?;
    let source = mail.source(PROGRAM, &server)?;
    let mail = mail.start()?;
    let mut mailbox = mail.mailbox()?;
    let validity = first_delivery(&mut mailbox, &server)?;
    let name = source.name.clone();

    let mut exchange = exchangelib::Client::alice(&server)?;
    let (subscription, watermark) = exchange.subscribe("pull inbox")?;
    let mut zimbra = python_zimbra::Client::alice(&server, "json")?;
    let set = zimbra.create(MAIL, "CreateWaitSet", &json!({"defTypes": "m", "add": {"a": {"name": ALICE}}}))?;
    exchange.end()?;
    zimbra.end()?;
    let again = server.again();
    server.stop()?;
    mailbox.tell("deliver a b c d e")?;
    source.stop()?;
    // Its address is another one now.
    let server = again.start()?;
    let source = mail.source(PROGRAM, &server)?;
    ensure!(source.name == name, "it goes on with the same spool");
    mailbox.tell("deliver f g h i j")?;

    let mut zimbra = python_zimbra::Client::alice(&server, "json")?;
    zimbra.tell(MAIL, "WaitSet", &json!({"waitSet": set, "seq": "0", "block": "1"}))?;
    woken(&mut zimbra)?;
    zimbra.end()?;
    let mut exchange = exchangelib::Client::alice(&server)?;
    let mut watermark = watermark;
    let mut new = Vec::new();
    while new.len() < 10 {
        exchange.tell(&format!("step {subscription} {watermark}"))?;
        loop {
            let said = exchange.hear()?;
            if said["kind"] != "event" {
                ensure!(said["kind"] == "asked", "{said}");
                break;
            }
            watermark = said["watermark"].as_str().context("a watermark")?.to_owned();
            if said["event"] == "NewMailEvent" {
                new.push(source_id(said["item"].as_str().context("an item")?)?);
            }
        }
    }
    let expected: Vec<String> = (2..=11).map(|uid| format!("inbox/{validity}/{uid}")).collect();
    ensure!(new == expected, "{new:?}");
    ensure!(Admin::source(&server).offset(&name)? > 10);
    exchange.end()?;
    source.stop().map(drop)
}

#[test]
fn ten_deliveries_while_postbell_is_away_are_heard_from_dovecot() -> Result<()> {
    nothing_is_missed(Kind::Dovecot)
}

#[test]
fn ten_deliveries_while_postbell_is_away_are_heard_from_cyrus() -> Result<()> {
    nothing_is_missed(Kind::Cyrus)
}

/// The file of events is lost with all that happened while no source stood beside Dovecot: IMAP tells of it, once.
#[test]
fn what_was_lost_is_found_by_imap() -> Result<()> {
    let server = demo()?;
    let mail = MailServer::prepare(Kind::Dovecot)?;
    let source = mail.source(PROGRAM, &server)?;
    let mail = mail.start()?;
    let mut mailbox = mail.mailbox()?;
    let validity = first_delivery(&mut mailbox, &server)?;
    let alice = ews::Client::demo(&server, "alice");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let mut until = |kind: &str, id: &str| -> Result<Vec<(String, String)>> {
        let mut heard: Vec<(String, String)> = Vec::new();
        while !heard.iter().any(|(this, that)| this == kind && that == id) {
            for event in alice.all_events(&subscription, &mut watermark)? {
                heard.extend(event.item.or(event.folder).map(|id| (event.kind, id)));
            }
        }
        Ok(heard)
    };
    for command in ["deliver second", "create Old"] {
        mailbox.tell(command)?;
    }
    until("CreatedEvent", "Old")?;
    source.stop()?;
    for command in [
        "deliver third",
        "set INBOX 1 \\Flagged",
        "expunge INBOX 2",
        "delete Old",
        "create New",
        "deliver fourth",
        "move 4 INBOX New",
    ] {
        mailbox.tell(command)?;
    }
    let new = mailbox.validity("New")?;
    mail.lose_events()?;
    let source = mail.source(PROGRAM, &server)?;
    mailbox.tell("deliver fifth")?;
    let mut heard = until("NewMailEvent", &format!("inbox/{validity}/5"))?;
    // How full folders are is told as often as it changes in a batch.
    heard.retain(|(kind, id)| kind != "ModifiedEvent" || id.contains('/'));
    heard.sort();
    let expected = [
        ("CreatedEvent", "New".to_owned()),
        ("CreatedEvent", format!("New/{new}/1")),
        ("CreatedEvent", format!("inbox/{validity}/3")),
        ("CreatedEvent", format!("inbox/{validity}/5")),
        ("DeletedEvent", "Old".to_owned()),
        ("DeletedEvent", format!("inbox/{validity}/2")),
        ("ModifiedEvent", format!("inbox/{validity}/1")),
        ("NewMailEvent", format!("inbox/{validity}/3")),
        ("NewMailEvent", format!("inbox/{validity}/5")),
    ];
    ensure!(heard == expected.map(|(kind, id)| (kind.to_owned(), id)), "{heard:?}");
    let log = source.stop()?;
    ensure!(log.contains("it is another file than the one that was read before"), "{log}");
    Ok(())
}

#[test]
fn what_a_webhook_is_posted_is_heard() -> Result<()> {
    let server = demo()?;
    let alice = ews::Client::demo(&server, "alice");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
    let mut command = Command::new(PROGRAM);
    command.args(["source", "webhook", "--listen", "127.0.0.1:0", "--webhook-key", "a-secret", "--mapping"]);
    command.arg(root.join("sources/webhook/james.toml")).arg("--spool").arg(server.folder().join("spool"));
    command.args(["--tenant", "example.org", "--key", "demo", "--log-format", "json"]);
    command.args(["--url", &format!("http://{}", server.admin)]);
    let mut source = Process::spawn(command.stdin(Stdio::null()))?;
    let listening = source.line()?.context("it ended")?;
    let address = listening.strip_prefix("postbell webhook listening on http://").context("an address")?.parse()?;

    let event = json!({"type": "Added", "isDelivery": true, "user": ALICE, "mailboxId": "inbox", "messageId": "m7"});
    let post = |key: &str, body: &str| -> Result<u16> {
        let login = format!("Bearer {key}");
        let headers = [("Authorization", &*login), ("Content-Type", "application/json")];
        let answer = Connection::open(address)?.ask(&http::request("POST", "/", &headers, body.as_bytes()))?;
        Ok(answer.head.status)
    };
    ensure!(post("another", &event.to_string())? == 401);
    ensure!(post("a-secret", "no JSON")? == 400);
    ensure!(post("a-secret", &"x".repeat((1 << 20) + 1))? == 413);
    ensure!(post("a-secret", &event.to_string())? == 200);
    let mut heard = Vec::new();
    while heard.is_empty() {
        heard = alice.all_events(&subscription, &mut watermark)?;
    }
    ensure!(heard.iter().any(|event| event.to_string().starts_with("NewMailEvent item=m7 in=inbox ")), "{heard:?}");
    source.terminate().map(drop)
}
