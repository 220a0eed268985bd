//! Every kind of answer, judged by Microsoft's schemas. They may not be in the tree: the variable POSTBELL_SCHEMAS names the
//! folder that holds them (`ews/ews-all.xsd`; `ews/wire/ews-all.xsd`, with what real streams have in another namespace).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::ews::{self, ALL_FOLDERS, Client, envelope, get_events, subscribe_pull, unsubscribe};
use serde_json::{Value, json};

use crate::{demo, demo_with};

#[test]
fn answers_keep_the_schema() -> Result<()> {
    let Some(schemas) = schemas() else { return Ok(()) };
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, watermark) = alice.subscribe_pull()?;
    let idle = alice.ask(&get_events(&subscription, &watermark))?;
    Admin::source(&server).change(&one_of_each())?;
    let answers = [
        ("subscribe-pull", alice.ask(&subscribe_pull(ALL_FOLDERS))?),
        ("subscribe-streaming", alice.ask(&ews::subscribe_streaming(ALL_FOLDERS))?),
        (
            "subscribe-both",
            alice.ask(&subscribe_pull(INBOX).replace("Request>", r#"Request SubscribeToAllFolders="true">"#))?,
        ),
        ("subscribe-unknown-folder", alice.ask(&subscribe_pull(&INBOX.replace("inbox", "voicemail")))?),
        ("idle", idle),
        ("events", alice.ask(&get_events(&subscription, &watermark))?),
        ("bad-watermark", alice.ask(&get_events(&subscription, "bm9uZQ=="))?),
        ("bad-subscription", alice.ask(&get_events("bm9uZQ==", &watermark))?),
        ("unsubscribed", alice.ask(&unsubscribe(&subscription))?),
        ("not-found", alice.ask(&unsubscribe(&subscription))?),
        ("fault-schema", alice.ask("<m:GetEvents/>")?),
        ("fault-unknown", alice.ask("<m:Conquer/>")?),
        ("fault-malformed", alice.connect()?.ask(&alice.post("<a"))?),
        ("fault-version", alice.connect()?.ask(&alice.post(&envelope("").replace("Exchange2016", "Exchange1066")))?),
        ("too-large", alice.ask(&"x".repeat(2_000_000))?),
    ];
    let texts: Vec<_> = answers.into_iter().map(|(name, answer)| (name.to_owned(), answer.body)).collect();
    let shown = texts.iter().find(|(name, _)| name == "events").map_or("", |(_, text)| text);
    for kind in ["Created", "Deleted", "Modified", "Moved", "Copied", "NewMail", "FreeBusyChanged"] {
        assert!(shown.contains(&format!("{kind}Event>")), "{kind}: {shown}");
    }
    validate("answers", &schemas.join("ews/ews-all.xsd"), &texts)
}

#[test]
fn streams_keep_the_schema() -> Result<()> {
    let Some(schemas) = schemas() else { return Ok(()) };
    let server = demo_with()?.set("ews-heartbeat-seconds", 1).start()?;
    let (alice, bob) = (Client::demo(&server, "alice"), Client::demo(&server, "bob"));
    let subscription = alice.subscribe_streaming()?;
    let mut texts = Vec::new();
    let mut stream = alice.stream_with(&[], &[&subscription])?;
    for name in ["opened", "heartbeat"] {
        stream.next()?;
        texts.push((name.to_owned(), stream.last.clone()));
    }
    Admin::source(&server).change(&one_of_each())?;
    let mut kinds = Vec::new();
    while !kinds.iter().any(|kind| kind == "FreeBusyChangedEvent") {
        kinds.extend(stream.events()?.into_iter().map(|event| event.kind));
        texts.push((format!("events-{}", texts.len()), stream.last.clone()));
    }
    let mut foreign = bob.stream_with(&[], &[&subscription, "bm9uZQ=="])?;
    while foreign.next()?.is_some() {
        texts.push((format!("foreign-{}", texts.len()), foreign.last.clone()));
    }
    server.terminate()?;
    stream.closed()?;
    texts.push(("closed".to_owned(), stream.last.clone()));
    validate("streams", &schemas.join("ews/wire/ews-all.xsd"), &texts)
}

const INBOX: &str = r#"<t:FolderIds><t:DistinguishedFolderId Id="inbox"/></t:FolderIds>"#;

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

fn schemas() -> Option<PathBuf> {
    let folder = std::env::var_os("POSTBELL_SCHEMAS").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        eprintln!("not run: POSTBELL_SCHEMAS does not name a folder with Microsoft's schemas");
    }
    folder.map(PathBuf::from)
}

/// Writes the answers where they can be looked at, and has xmllint judge them all.
fn validate(set: &str, schema: &Path, texts: &[(String, String)]) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemas").join(set);
    std::fs::create_dir_all(&folder)?;
    let mut arguments: Vec<OsString> = vec!["--noout".into(), "--nonet".into(), "--schema".into(), schema.into()];
    for (name, text) in texts {
        let file = folder.join(format!("{name}.xml"));
        std::fs::write(&file, text)?;
        arguments.push(file.into());
    }
    let output = Command::new("xmllint").args(arguments).output().context("running xmllint (see `make setup`)")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
