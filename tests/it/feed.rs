//! Changes as mail servers write them: which line gives which events, once and only once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use expect_test::expect_file;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{Client, Event};
use postbell_tests::groupwise;
use postbell_tests::http::{Connection, request};
use postbell_tests::program::{Finished, Server, run};
use serde_json::{Value, json};

use crate::{PROGRAM, demo};

const CYRUS: &str = include_str!("../samples/cyrus-mboxevent.jsonl");
const DOVECOT: &str = include_str!("../../host/src/ingest/dovecot/traffic.jsonl");

/// Runs `postbell feed` on a file, for the demo's tenant.
fn feed(server: &Server, file: &Path, format: &str, more: &[&str]) -> Result<Finished> {
    let (file, url) = (file.to_str().context("a path in UTF-8")?, format!("http://{}", server.admin));
    let arguments = ["feed", file, "--format", format, "--url", &url, "--tenant", "example.org", "--key", "demo"];
    run(PROGRAM, arguments.iter().chain(more).copied())
}

/// A file that grows is fed again and again: each time only what is new is sent.
#[test]
fn each_line_of_cyrus_causes_its_events() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let file = server.folder().join("cyrus.jsonl");
    let (mut fed, mut heard) = (String::new(), String::new());
    for (number, line) in (1..).zip(CYRUS.lines()) {
        writeln!(fed, "{line}")?;
        std::fs::write(&file, &fed)?;
        let finished = feed(&server, &file, "cyrus", &["--map", "alice=alice@example.org"])?;
        ensure!(finished.code == 0, "line {number}: {finished:?}");
        let event: Value = serde_json::from_str(line)?;
        writeln!(heard, "{number} {}", event["event"].as_str().context("a name")?)?;
        for event in alice.all_events(&subscription, &mut watermark)? {
            writeln!(heard, "    {event}")?;
        }
    }
    expect_file!["../golden/cyrus-events.txt"].assert_eq(&heard);

    let finished = feed(&server, &file, "cyrus", &["--map", "alice=alice@example.org"])?;
    ensure!(finished.code == 0, "{finished:?}");
    assert_eq!(alice.all_events(&subscription, &mut watermark)?, [], "nothing is new");
    Ok(())
}

#[test]
fn a_file_of_dovecot_is_fed_once() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let file = server.folder().join("dovecot.jsonl");
    std::fs::write(&file, DOVECOT)?;
    let map = ["--map", "alice@example.com=alice@example.org"];
    let finished = feed(&server, &file, "dovecot", &map)?;
    ensure!(finished.code == 0, "{finished:?}");
    let mut heard = String::new();
    for event in alice.all_events(&subscription, &mut watermark)? {
        let event = event.to_string();
        // Dovecot tells no times.
        writeln!(heard, "{}", event.split_once(" at=").map_or(event.as_str(), |(event, _)| event))?;
    }
    expect_file!["../golden/dovecot-events.txt"].assert_eq(&heard);

    let finished = feed(&server, &file, "dovecot", &map)?;
    ensure!(finished.code == 0, "{finished:?}");
    assert_eq!(alice.all_events(&subscription, &mut watermark)?, [], "nothing is new");
    Ok(())
}

/// The same lines in one batch give the same events, but of several counts of a folder only the last need be told.
#[test]
fn a_whole_file_causes_what_its_lines_cause() -> Result<()> {
    let [mut by_line, mut at_once] = [Vec::new(), Vec::new()];
    for (events, batches) in [(&mut by_line, CYRUS.lines().collect::<Vec<_>>()), (&mut at_once, vec![CYRUS.trim_end()])]
    {
        let server = demo()?;
        let (source, alice) = (Admin::source(&server), Client::demo(&server, "alice"));
        let (subscription, mut watermark) = alice.subscribe_pull()?;
        let mut offset = 0;
        for batch in batches {
            let answer = source.cyrus("imap-1", offset, "&map=alice%3Dalice@example.org", batch)?;
            ensure!(answer.head.status == 200, "{answer:?}");
            offset += batch.lines().count() as u64;
        }
        events.extend(alice.all_events(&subscription, &mut watermark)?);
    }
    let is_count = |event: &&Event| event.kind == "ModifiedEvent" && event.folder.is_some();
    let others =
        |events: &[Event]| events.iter().filter(|event| !is_count(event)).map(Event::to_string).collect::<Vec<_>>();
    let counts = |events: &[Event]| {
        let told = events.iter().filter(is_count).filter_map(|event| Some((event.folder.clone()?, event.unread?)));
        told.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(others(&at_once), others(&by_line));
    assert_eq!(counts(&at_once), counts(&by_line));
    Ok(())
}

#[test]
fn lines_that_are_posted_again_are_known() -> Result<()> {
    let server = demo()?;
    let (source, alice) = (Admin::source(&server), Client::demo(&server, "alice"));
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let lines = CYRUS.lines().count() as u64;
    for repeat in 0..3 {
        let answer = source.cyrus("imap-1", 0, "", CYRUS)?;
        assert_eq!(answer.head.status, 200, "{answer:?}");
        let result: Value = serde_json::from_str(&answer.body)?;
        assert_eq!((&result["accepted"], &result["rejected"]), (&json!(lines), &json!([])), "repeat {repeat}");
        assert_eq!(source.offset("imap-1")?, lines);
        assert_eq!(alice.all_events(&subscription, &mut watermark)?.is_empty(), repeat > 0, "repeat {repeat}");
    }
    assert_eq!(source.offset("imap-2")?, 0, "another source");
    Ok(())
}

#[test]
fn changes_that_are_posted_again_are_known() -> Result<()> {
    let server = demo()?;
    let (source, alice) = (Admin::source(&server), Client::demo(&server, "alice"));
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let messages: Vec<_> = (0..4).map(|n| delivered("alice@example.org", &format!("m{n}"), n + 1)).collect();
    // What was sent, and what of it is new: nothing of a repeat, and only the end of what overlaps.
    for (offset, sent, new) in [(0, 0..2, 0..2), (0, 0..2, 2..2), (0, 0..3, 2..3), (1, 1..4, 3..4), (4, 4..4, 4..4)] {
        let answer = source.post(&json!({"source": "imap-1", "offset": offset, "changes": messages[sent.clone()]}))?;
        assert_eq!(answer.head.status, 200, "{answer:?}");
        let result: Value = serde_json::from_str(&answer.body)?;
        assert_eq!(result["accepted"], sent.len(), "what is known counts as accepted: {result}");
        let events = alice.all_events(&subscription, &mut watermark)?;
        let mail: Vec<_> =
            events.iter().filter(|event| event.kind == "NewMailEvent").filter_map(|event| event.item.clone()).collect();
        assert_eq!(mail, new.map(|n| format!("m{n}")).collect::<Vec<_>>(), "{sent:?} at {offset}");
    }
    Ok(())
}

#[test]
fn feed_says_what_was_rejected() -> Result<()> {
    let server = demo()?;
    let alice = Client::demo(&server, "alice");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    let file = server.folder().join("changes.jsonl");
    let good = delivered("alice@example.org", "m1", 1);
    let foreign = delivered("someone@example.com", "m2", 1);
    let entry = json!({"book": {"added": {"id": "e1", "kind": "contact", "fields": [{"name": "fullName/displayName", "value": "Ann"}]}}});
    std::fs::write(&file, format!("{good}\n{foreign}\n{entry}\n{}\n", delivered("alice@example.org", "m3", 2)))?;
    let finished = feed(&server, &file, "postbell", &[])?;
    assert_eq!(finished.code, 5, "{finished:?}");
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("someone@example.com") || said.contains("line 2"), "{finished:?}");
    let events = alice.all_events(&subscription, &mut watermark)?;
    assert_eq!(
        events.iter().filter(|event| event.kind == "NewMailEvent").count(),
        2,
        "the rest is applied: {events:?}"
    );
    let again = feed(&server, &file, "postbell", &[])?;
    assert_eq!(again.code, 0, "what was rejected is not sent again: {again:?}");
    let ask = |body: &str| -> Result<String> {
        Ok(Connection::open(server.clients)?.ask(&request("POST", groupwise::PATH, &[], body.as_bytes()))?.body)
    };
    let session = groupwise::text(&ask(&groupwise::login("alice", "postbell"))?, "session");
    let deltas = ask(&groupwise::on_book(&session, "getDeltas", "<view>name</view>"))?;
    assert_eq!(deltas.matches("<name>Ann</name>").count(), 1, "the address book has the entry, once: {deltas}");
    Ok(())
}

#[test]
fn feed_fails_where_nobody_listens_or_the_key_is_wrong() -> Result<()> {
    let server = demo()?;
    let file = server.folder().join("cyrus.jsonl");
    std::fs::write(&file, CYRUS)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let url = format!("http://{}", server.admin);
    for (url, tenant, key) in
        [("http://127.0.0.1:1", "example.org", "demo"), (&url, "example.org", "wrong"), (&url, "nobody", "demo")]
    {
        let arguments = ["feed", file, "--format", "cyrus", "--url", url, "--tenant", tenant, "--key", key];
        let finished = run(PROGRAM, arguments)?;
        assert_eq!(finished.code, 1, "{url} {tenant} {key}: {finished:?}");
        assert_ne!(finished.stderr, "");
    }
    Ok(())
}
