//! Every kind of answer, so that Microsoft's schemas may judge it: the client of the tests has each new shape of an
//! answer judged, in these tests and in all others, where the variable POSTBELL_SCHEMAS names their folder.

use anyhow::{Context, Result, ensure};
use postbell_notify::contract::{Refusal, RequestHead};
use postbell_tests::admin::Admin;
use postbell_tests::ews::{
    self, ALL_FOLDERS, Client, Message, Stream, envelope, get_events, item_id, subscribe_pull, subscribe_pull_after,
    subscribe_streaming, unsubscribe,
};
use postbell_tests::http::{Answer, Head};
use postbell_tests::{schemas, strict_reader};
use serde_json::{Value, json};

use crate::{demo, demo_with};

const ALICE: &str = "alice@example.org";
const INBOX: &str = r#"<t:FolderIds><t:DistinguishedFolderId Id="inbox"/></t:FolderIds>"#;
const KINDS: [&str; 7] = [
    "CreatedEvent",
    "DeletedEvent",
    "ModifiedEvent",
    "MovedEvent",
    "CopiedEvent",
    "NewMailEvent",
    "FreeBusyChangedEvent",
];

/// Without this, no other test here would show anything.
#[test]
fn what_breaks_the_schema_is_found() -> Result<()> {
    if schemas::folder().is_none() {
        eprintln!("not run: POSTBELL_SCHEMAS does not name a folder with Microsoft's schemas");
        return Ok(());
    }
    let server = demo()?;
    let answer = Client::demo(&server, "alice").ask(&subscribe_pull(ALL_FOLDERS))?;
    for (from, to) in [("NoError", "NoErrorAtAll"), ("m:Watermark", "m:Wattermark"), ("Version=", "Fashion=")] {
        let broken = answer.body.replace(from, to);
        ensure!(broken != answer.body && schemas::judge(&broken).is_err(), "{broken}");
    }
    schemas::judge(&answer.body)
}

#[test]
fn events_of_each_kind() -> Result<()> {
    let server = demo_with()?.set("ews-heartbeat-seconds", 1).start()?;
    let alice = Client::demo(&server, "alice");
    let (pull, watermark) = alice.subscribe_pull()?;
    assert_eq!(alice.get_events(&pull, &watermark)?.events[0].kind, "StatusEvent");
    let streaming = alice.subscribe_streaming()?;
    let mut stream = alice.stream(&[&streaming])?;
    ensure!(next(&mut stream)?.status.is_some(), "a heartbeat");
    Admin::source(&server).change(&one_of_each())?;

    let mut pulled = alice.get_events(&pull, &watermark)?.events;
    pulled.iter_mut().for_each(|event| event.watermark = None);
    let mut streamed = Vec::new();
    while streamed.len() < pulled.len() {
        streamed.extend(stream.events()?);
    }
    assert_eq!(streamed, pulled, "the same happened");
    for kind in KINDS {
        ensure!(pulled.iter().any(|event| event.kind == kind), "{kind}: {pulled:?}");
    }
    ensure!(pulled.iter().any(|event| event.kind == "MovedEvent" && event.folder.is_some()), "of folders too");
    assert_eq!(alice.message(&unsubscribe(&pull))?.code, "NoError");
    server.terminate()?;
    stream.closed()
}

/// More than one answer holds.
#[test]
fn many_events() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (pull, watermark) = alice.subscribe_pull()?;
    let streaming = alice.subscribe_streaming()?;
    (0..10).try_for_each(|_| Admin::source(&server).change(&one_of_each()))?;
    for more in [true, false] {
        assert_eq!(alice.get_events(&pull, &watermark)?.more, Some(more));
    }
    let mut stream = alice.stream_with(&[], &[&streaming])?;
    let (mut events, mut messages) = (0, 0);
    while events < 100 {
        events += stream.events()?.len();
        messages += 1;
    }
    ensure!(messages > 1, "{messages}");
    Ok(())
}

#[test]
fn refusals_of_subscriptions() -> Result<()> {
    let server = demo_with()?.set("ews-subscriptions-per-account", 3).start()?;
    let alice = Client::demo(&server, "alice");
    let of = |mailbox: &str| {
        let mailbox = format!("<t:Mailbox><t:EmailAddress>{mailbox}</t:EmailAddress></t:Mailbox>");
        INBOX.replace("/></t:FolderIds>", &format!(">{mailbox}</t:DistinguishedFolderId></t:FolderIds>"))
    };
    let id = |id: &str| format!(r#"<t:FolderIds><t:FolderId Id="{id}"/></t:FolderIds>"#);
    for (folders, code) in [
        (INBOX.replace("inbox", "voicemail"), "ErrorFolderNotFound"),
        (of("bob@example.org"), "ErrorAccessDenied"),
        (of("nobody@example.org"), "ErrorNonExistentMailbox"),
        (id("AAABBB"), "ErrorInvalidIdMalformed"),
        (id(&item_id(ALICE, "m1")), "ErrorCannotUseItemIdForFolderId"),
    ] {
        for operation in [subscribe_pull(&folders), subscribe_streaming(&folders), get_folder(&folders)] {
            assert_eq!(alice.message(&operation)?.code, code, "{operation}");
        }
    }
    let both = subscribe_pull(INBOX).replacen("Request>", r#"Request SubscribeToAllFolders="true">"#, 1);
    assert_eq!(alice.message(&both)?.code, "ErrorInvalidSubscriptionRequest");
    assert_eq!(alice.message(&subscribe_pull_after("bm9uZQ=="))?.code, "ErrorInvalidWatermark");

    for url in ["http://10.0.0.1/", "ftp://listener.example/", "nonsense"] {
        let operation = ews::subscribe_push(INBOX, 1, url);
        assert_eq!(alice.message(&operation)?.code, "ErrorInvalidPushSubscriptionUrl", "{url}");
    }
    let unavailable = |what: Value| Admin::source(&server).change(&[json!({"account": ALICE, "what": what})]);
    unavailable(json!({"account-unavailable": "maintenance"}))?;
    for operation in [subscribe_pull(INBOX), get_folder(INBOX)] {
        assert_eq!(alice.message(&operation)?.code, "ErrorMailboxStoreUnavailable");
    }
    unavailable(json!("account-available"))?;
    for _ in 0..3 {
        alice.subscribe_streaming()?;
    }
    assert_eq!(alice.message(&subscribe_streaming(ALL_FOLDERS))?.code, "ErrorExceededSubscriptionCount");
    Ok(())
}

#[test]
fn refusals_of_polls() -> Result<()> {
    let server = demo()?;
    let (alice, bob) = (Client::demo(&server, "alice"), Client::demo(&server, "bob"));
    let (pull, watermark) = alice.subscribe_pull()?;
    let streaming = alice.subscribe_streaming()?;
    for (client, operation, code) in [
        (&alice, get_events("bm9uZQ==", &watermark), "ErrorSubscriptionNotFound"),
        (&alice, get_events(&pull, "bm9uZQ=="), "ErrorInvalidWatermark"),
        (&alice, get_events(&streaming, &watermark), "ErrorInvalidPullSubscriptionId"),
        (&bob, get_events(&pull, &watermark), "ErrorSubscriptionAccessDenied"),
        (&alice, unsubscribe("bm9uZQ=="), "ErrorSubscriptionNotFound"),
        (&bob, unsubscribe(&pull), "ErrorSubscriptionAccessDenied"),
    ] {
        assert_eq!(client.message(&operation)?.code, code, "{operation}");
    }
    Admin::source(&server).change(&[json!({"account": ALICE, "what": "gap"})])?;
    for operation in [get_events(&pull, &watermark), subscribe_pull_after(&watermark)] {
        assert_eq!(alice.message(&operation)?.code, "ErrorInvalidWatermark", "it missed something");
    }
    Ok(())
}

#[test]
fn refusals_on_streams() -> Result<()> {
    let server = demo_with()?.set("ews-ids-per-stream", 3).set("ews-streams-per-account", 1).start()?;
    let (alice, bob) = (Client::demo(&server, "alice"), Client::demo(&server, "bob"));
    let [one, other] = [alice.subscribe_streaming()?, alice.subscribe_streaming()?];
    let mut first = alice.stream(&[&one])?;
    let mut second = alice.stream_with(&[], &["bm9uZQ==", &one, "bm8="])?;
    let taken = next(&mut first)?;
    assert_eq!((taken.code.as_str(), taken.bad), ("ErrorNewEventStreamConnectionOpened", vec![one.clone()]));
    first.closed()?;
    let bad = next(&mut second)?;
    let named = ["bm9uZQ==", "bm8="].map(str::to_owned);
    assert_eq!((bad.code.as_str(), bad.bad.as_slice()), ("ErrorInvalidSubscription", &named[..]));

    let source = Admin::source(&server);
    source.change(&[json!({"account": ALICE, "what": "gap"})])?;
    let missed = loop {
        let message = next(&mut second)?;
        if message.class == "Error" {
            break message;
        }
    };
    assert_eq!((missed.code.as_str(), missed.bad), ("ErrorMissedNotificationEvents", vec![one.clone()]));
    source.deliver("m1", 1)?;
    assert_eq!(second.events()?.len(), 3, "the good one goes on, after both errors");

    for (client, ids, code) in [
        (&alice, vec![other.as_str()], "ErrorExceededConnectionCount"),
        (&alice, vec!["a", "b", "c", "d"], "ErrorExceededSubscriptionCount"),
        (&bob, vec![one.as_str(), "bm9uZQ=="], "ErrorInvalidSubscription"),
    ] {
        let mut refused = client.stream_with(&[], &ids)?;
        assert_eq!(next(&mut refused)?.code, code);
        refused.closed()?;
    }
    Ok(())
}

#[test]
fn faults() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let header =
        |header: &str| envelope(&subscribe_pull(INBOX)).replace("</s:Header>", &format!("{header}</s:Header>"));
    let act_as = |who: &str| header(&format!("<t:ExchangeImpersonation>{who}</t:ExchangeImpersonation>"));
    let sid =
        |name: &str, value: &str| act_as(&format!("<t:ConnectingSID><t:{name}>{value}</t:{name}></t:ConnectingSID>"));
    for (body, code) in [
        (envelope("<m:GetEvents/>"), "ErrorSchemaValidation"),
        (envelope(&subscribe_pull(INBOX).replace("NewMailEvent", "New<b/>Mail&quot;&amp;")), "ErrorSchemaValidation"),
        (envelope("<m:Conquer/>"), "ErrorInvalidRequest"),
        ("<a".to_owned(), "ErrorInvalidRequest"),
        (envelope("<m:GetEvents/>").replace("Exchange2016", "Exchange1066"), "ErrorInvalidServerVersion"),
        (sid("PrimarySmtpAddress", "bob@example.org"), "ErrorImpersonateUserDenied"),
        (sid("PrincipalName", "nobody@example.org"), "ErrorNonExistentMailbox"),
        (sid("SID", "S-1-5-21-1-2-3-4"), "ErrorNonExistentMailbox"),
        (act_as(""), "ErrorInvalidExchangeImpersonationHeaderData"),
        (sid("SmtpAddress", ""), "ErrorInvalidExchangeImpersonationHeaderData"),
    ] {
        let answer = alice.connect()?.ask(&alice.post(&body))?;
        assert_eq!(strict_reader::fault(&answer).with_context(|| body.clone())?, code, "{body}");
    }
    let too_large = alice.ask(&"x".repeat(2_000_000))?;
    assert_eq!(too_large.head.status, 413);
    Ok(())
}

/// What the host has the plugin say when something is wrong with the host.
#[test]
fn refusals_of_the_hosts() -> Result<()> {
    for (why, code) in [
        (Refusal::Busy, "ErrorServerBusy"),
        (Refusal::Throttled, "ErrorServerBusy"),
        (Refusal::Stopping, "ErrorServerBusy"),
        (Refusal::Fault, "ErrorInternalServerError"),
        (Refusal::Moved, "ErrorMailboxStoreUnavailable"),
    ] {
        let reply = postbell_notify::refuse(&RequestHead::default(), b"", why);
        let headers = reply.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let head = Head { status: reply.status, headers };
        let answer = Answer { head, body: String::from_utf8(reply.body)? };
        assert_eq!(strict_reader::fault(&answer)?, code);
        schemas::judge(&answer.body)?;
    }
    Ok(())
}

/// Found and not found in one answer; in each shape that can be asked for.
#[test]
fn folders() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    Admin::source(&server).change(&one_of_each())?;
    let named = ["root", "msgfolderroot", "inbox", "calendar", "voicemail"];
    let ids: String = named.iter().map(|name| format!(r#"<t:DistinguishedFolderId Id="{name}"/>"#)).collect();
    for shape in ["IdOnly", "Default", "AllProperties"] {
        let operation = get_folder(&format!("<t:FolderIds>{ids}</t:FolderIds>")).replace("Default", shape);
        let messages = strict_reader::messages(&alice.ask(&operation)?, "GetFolder")?;
        let codes: Vec<_> = messages.iter().map(|message| message.code.as_str()).collect();
        assert_eq!(codes, ["NoError", "NoError", "NoError", "NoError", "ErrorFolderNotFound"]);
    }
    Ok(())
}

/// GetFolder of the folders of a `t:FolderIds` element.
fn get_folder(folders: &str) -> String {
    let folders = folders.replace("t:FolderIds>", "m:FolderIds>");
    format!("<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>{folders}</m:GetFolder>")
}

fn next(stream: &mut Stream) -> Result<Message> {
    stream.next()?.context("the stream ended")
}

/// A change of each kind that EWS tells of; the one of free/busy times comes last.
fn one_of_each() -> Vec<Value> {
    let item = |id: &str, folder: &str| json!({"kind": "message", "id": id, "folder": folder});
    let folder = |id: &str, parent: &str| json!({"id": id, "parent": parent, "name": id, "holds": "message"});
    let happenings = [
        json!({"message-delivered": item("m<1>&\"", "inbox")}),
        json!({"item-created": item("m2", "drafts")}),
        json!({"item-modified": {"item": item("m2", "drafts"), "fields": ["subject"]}}),
        json!({"item-moved": {"before": item("m2", "drafts"), "after": item("m2", "inbox")}}),
        json!({"item-copied": {"before": item("m2", "inbox"), "after": item("m3", "drafts")}}),
        json!({"item-deleted": item("m3", "drafts")}),
        json!({"folder-created": folder("Projects", "")}),
        json!({"folder-created": folder("Sub", "Projects")}),
        json!({"folder-modified": {"folder": folder("Sub", "Projects"), "fields": ["name"]}}),
        json!({"folder-copied": {"before": folder("Sub", "Projects"), "after": folder("Sub2", "")}}),
        json!({"folder-moved": {"before": folder("Sub", "Projects"), "after": folder("Sub", "")}}),
        json!({"folder-deleted": folder("Sub2", "")}),
        json!({"free-busy-changed": {"kind": "appointment", "id": "a1", "folder": "calendar"}}),
    ];
    let counts = json!([{"folder": "inbox", "unread": 1, "total": 1}]);
    let change = |what| json!({"account": "alice@example.org", "what": what, "counts": counts});
    happenings.into_iter().map(change).collect()
}
