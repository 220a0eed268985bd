//! Requests as real client libraries send them, captured; what is answered is read as strictly as those libraries read.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::ews::{Client, Message, Stream};
use postbell_tests::http::Answer;
use postbell_tests::program::{Server, Start};
use postbell_tests::strict_reader;
use serde_json::{Value, json};

use crate::{PROGRAM, cheap_hash};

const ALICE: &str = "alice@example.org";
/// Whoever sends these requests may act for alice: some of them impersonate.
const SERVICE: &str = "service@example.org";

const CLIENTS: [&str; 4] = ["exchangelib", "java", "js", "net"];

/// What libraries send besides the body, where it could mislead.
const HEADERS: [(&str, &str); 2] = [("Content-Type", "text/xml; charset=utf-8"), ("Accept-Encoding", "gzip,deflate")];

/// A captured request, of alice or about her where it names users.
fn sample(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../guest/tests/samples/{name}.xml"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.replace("u2@example.com", ALICE).replace("u@example.com", ALICE))
}

fn server() -> Result<Server> {
    let configuration = "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'demo-admin'\n\
        [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\ningest-key = 'demo'\n";
    let hash = cheap_hash("postbell")?;
    let users = format!(
        "[[user]]\nname = '{ALICE}'\n[[user]]\nname = '{SERVICE}'\npassword = '{hash}'\nmay-act-for = ['{ALICE}']\n"
    );
    let server = Start::configured(PROGRAM, configuration)?.file("users.toml", &users)?.start()?;
    let folders = ["inbox", "drafts", "calendar"].map(|id| json!({"id": id, "name": id, "role": id}));
    let baseline = |account: &str| json!({"account": account, "what": {"baseline": folders}});
    Admin::source(&server).change(&[baseline(ALICE), baseline(SERVICE)])?;
    Ok(server)
}

fn ask(client: &Client, body: &str) -> Result<Answer> {
    let answer = client.connect()?.ask(&client.post_with(&HEADERS, body))?;
    ensure!(answer.head.header("content-encoding").is_none(), "{answer:?}");
    Ok(answer)
}

/// The answer with one message, or with one for each thing that was asked for.
fn message(client: &Client, name: &str, body: &str) -> Result<Message> {
    let operation = name.split('-').nth(1).context("an operation")?;
    let mut messages = strict_reader::messages(&ask(client, body)?, operation).with_context(|| name.to_owned())?;
    ensure!(messages.len() == 1, "{name}: {messages:?}");
    Ok(messages.remove(0))
}

/// Something for each subscription of the samples, in the mailboxes of both.
fn changes() -> Vec<Value> {
    let item = |id: &str, folder: &str| json!({"kind": "message", "id": id, "folder": folder});
    let happenings = [
        json!({"message-delivered": item("new", "inbox")}),
        json!({"item-moved": {"before": item("old", "drafts"), "after": item("old", "inbox")}}),
        json!({"free-busy-changed": {"kind": "appointment", "id": "busy", "folder": "calendar"}}),
    ];
    let of = |account| happenings.iter().map(move |what| json!({"account": account, "what": what}));
    of(ALICE).chain(of(SERVICE)).collect()
}

/// The kinds of events that follow from these changes, of those that each library's sample asks for.
fn expected(client: &str, way: &str) -> &'static [&'static str] {
    match (client, way) {
        ("exchangelib", _) => {
            &["CreatedEvent", "NewMailEvent", "MovedEvent", "ModifiedEvent", "ModifiedEvent", "FreeBusyChangedEvent"]
        }
        ("net", "pull") => &["NewMailEvent", "MovedEvent"],
        ("net", _) => &["FreeBusyChangedEvent"],
        (_, "pull") => &["NewMailEvent"],
        _ => &["CreatedEvent"],
    }
}

fn kinds(message: &Message) -> Vec<&str> {
    let events = message.notifications.iter().flat_map(|notification| &notification.events);
    events.map(|event| event.kind.as_str()).collect()
}

/// The id and a watermark that stand in for those of the samples, in alice's mailbox.
struct Real {
    folder: String,
    watermark: String,
}

impl Real {
    fn of(client: &Client) -> Result<Real> {
        let name = "exchangelib-GetFolder-inbox";
        let answer = ask(client, &sample(name)?)?;
        let read = strict_reader::messages(&answer, "GetFolder")?;
        ensure!(read.len() == 1 && read[0].code == "NoError", "{read:?}");
        let folder = answer.body.split(r#"<t:FolderId Id=""#).nth(1).and_then(|rest| rest.split('"').next());
        let subscribed = message(client, "exchangelib-Subscribe-pull", &sample("exchangelib-Subscribe-pull")?)?;
        let watermark = subscribed.watermark.context("a watermark")?;
        Ok(Real { folder: folder.context("an id")?.to_owned(), watermark })
    }

    fn put_into(&self, sample: &str) -> String {
        let watermark = |old: &str| format!("Watermark>{old}<");
        let real = watermark(&self.watermark);
        sample.replace("AAABBB", &self.folder).replace(&watermark("W9"), &real).replace(&watermark("WX"), &real)
    }
}

#[test]
fn pull_subscriptions_are_made_polled_and_ended() -> Result<()> {
    for client in CLIENTS {
        pull(client, "pull").with_context(|| client.to_owned())?;
    }
    // The same with a watermark, which this library puts where the schema does not have it.
    pull("exchangelib", "pull-2")
}

fn pull(client: &str, way: &str) -> Result<()> {
    let server = server()?;
    let service = Client::new(&server, SERVICE, "postbell");
    let name = format!("{client}-Subscribe-{way}");
    let body = Real::of(&service)?.put_into(&sample(&name)?);
    let subscribed = message(&service, &name, &body)?;
    let id = subscribed.subscription.context("an id")?;
    let first = subscribed.watermark.context("without a watermark three of these libraries break")?;

    let name = format!("{client}-GetEvents");
    let ask = |watermark: &str| {
        let body = sample(&name)?.replace("SUB1", &id).replace(">W0<", &format!(">{watermark}<"));
        message(&service, &name, &body)
    };
    assert_eq!(kinds(&ask(&first)?), ["StatusEvent"]);
    Admin::source(&server).change(&changes())?;
    let some = ask(&first)?;
    let expected = if way == "pull-2" { &expected(client, "pull")[..4] } else { expected(client, "pull") };
    assert_eq!(kinds(&some), expected);
    let last = some.notifications[0].events.last().and_then(|event| event.watermark.clone()).context("a watermark")?;
    assert_eq!(kinds(&ask(&last)?), ["StatusEvent"]);
    assert_eq!(ask("W0")?.code, "ErrorInvalidWatermark");

    let name = format!("{client}-Unsubscribe");
    let body = sample(&name)?.replace("SUB1", &id);
    assert_eq!(message(&service, &name, &body)?.code, "NoError");
    assert_eq!(message(&service, &name, &body)?.code, "ErrorSubscriptionNotFound");
    assert_eq!(ask(&last)?.code, "ErrorSubscriptionNotFound");
    Ok(())
}

#[test]
fn streams_are_opened_and_closed() -> Result<()> {
    for client in CLIENTS {
        stream(client).with_context(|| client.to_owned())?;
    }
    Ok(())
}

fn stream(client: &str) -> Result<()> {
    let server = server()?;
    let service = Client::new(&server, SERVICE, "postbell");
    let name = format!("{client}-Subscribe-streaming");
    let body = Real::of(&service)?.put_into(&sample(&name)?);
    let subscribed = message(&service, &name, &body)?;
    assert_eq!(subscribed.watermark, None);
    let id = subscribed.subscription.context("an id")?;

    let body = sample(&format!("{client}-GetStreamingEvents"))?.replace("SUB1", &id);
    let mut stream = service.open(&HEADERS, &body)?;
    assert_eq!(stream.head.header("content-encoding"), None);
    assert_eq!(next(&mut stream)?.status.as_deref(), Some("OK"), "first of all it hears that it is connected");
    Admin::source(&server).change(&changes())?;
    let events = next(&mut stream)?;
    assert_eq!(kinds(&events), expected(client, "streaming"));
    assert_eq!(events.notifications[0].subscription, id);
    server.terminate()?;
    stream.closed()
}

fn next(stream: &mut Stream) -> Result<Message> {
    stream.next()?.context("the stream ended")
}

/// What exchangelib asks before it subscribes: an id that is none is converted to learn the version.
#[test]
fn folders_are_looked_up_and_an_id_converted() -> Result<()> {
    let server = server()?;
    let service = Client::new(&server, SERVICE, "postbell");
    for (name, code) in [
        ("exchangelib-GetFolder-root", "NoError"),
        ("exchangelib-GetFolder-root-2", "NoError"),
        ("exchangelib-GetFolder-inbox", "NoError"),
        ("exchangelib-ConvertId", "ErrorInvalidIdMalformed"),
    ] {
        assert_eq!(message(&service, name, &sample(name)?)?.code, code, "{name}");
    }
    Ok(())
}

/// The listener of the samples is where no listener may be, unless the operator allows it.
#[test]
fn push_subscriptions_are_made() -> Result<()> {
    let server = server()?;
    let service = Client::new(&server, SERVICE, "postbell");
    let real = Real::of(&service)?;
    for client in CLIENTS {
        let name = format!("{client}-Subscribe-push");
        let body = real.put_into(&sample(&name)?);
        assert_eq!(message(&service, &name, &body)?.code, "ErrorInvalidPushSubscriptionUrl", "{name}");
        let subscribed = message(&service, &name, &body.replace("127.0.0.1:9", "listener.example"))?;
        ensure!(subscribed.subscription.is_some() && subscribed.watermark.is_some(), "{name}: {subscribed:?}");
    }
    Ok(())
}

/// Ids, watermarks and users that exist nowhere: a refusal is read as strictly.
#[test]
fn refusals_are_read_too() -> Result<()> {
    let server = server()?;
    let service = Client::new(&server, SERVICE, "postbell");
    for client in CLIENTS {
        for (operation, code) in
            [("GetEvents", "ErrorSubscriptionNotFound"), ("Unsubscribe", "ErrorSubscriptionNotFound")]
        {
            let name = format!("{client}-{operation}");
            assert_eq!(message(&service, &name, &sample(&name)?)?.code, code, "{name}");
        }
        let mut stream = service.open(&HEADERS, &sample(&format!("{client}-GetStreamingEvents"))?)?;
        let refused = next(&mut stream)?;
        assert_eq!(
            (refused.code.as_str(), refused.bad),
            ("ErrorInvalidSubscription", vec!["SUB1".to_owned()]),
            "{client}"
        );
        stream.closed()?;
    }
    for (name, code) in [
        ("net-Subscribe-pull", "ErrorInvalidIdMalformed"),
        ("net-Subscribe-streaming", "ErrorInvalidIdMalformed"),
        ("exchangelib-Subscribe-pull-2", "ErrorInvalidWatermark"),
    ] {
        assert_eq!(message(&service, name, &sample(name)?)?.code, code, "{name}");
    }
    for name in ["net-GetEvents", "net-Subscribe-streaming", "exchangelib-Subscribe-pull-2", "net-GetStreamingEvents"] {
        let answer = ask(&service, &sample(name)?.replace(ALICE, "nobody@example.org"))?;
        assert_eq!(strict_reader::fault(&answer)?, "ErrorNonExistentMailbox", "{name}");
    }
    Ok(())
}
