//! What authors of plugins begin with: a crate that is written for them, and a component of what they compile.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::conformance::{jmap_push, jmap_push_module};
use postbell_tests::ews::Client;
use postbell_tests::hostile::component;
use postbell_tests::http::{self, Connection, Head, basic};
use postbell_tests::program::{Server, Start, run};
use postbell_tests::swaps::edition;
use serde_json::Value;

use crate::PROGRAM;

/// The crate of this repository that is written, and what of it differs.
const ORIGINAL: &str = "../plugins/jmap-push";
const CONTRACT: (&str, &str) = ("../../wit", "wit");

/// Every file below a folder, with its path from there.
fn files(folder: &Path, below: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() { files(folder, &format!("{path}/"), found)? } else { found.push(path) }
    }
    found.sort();
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// What is tested here under one name is what others get under theirs.
#[test]
fn a_new_plugin_is_the_one_that_is_tested() -> Result<()> {
    let (folder, root) = (tempfile::tempdir()?, Path::new(env!("CARGO_MANIFEST_DIR")));
    let path = folder.path().join("deep/my-protocol");
    let arguments = ["plugin", "new", "my-protocol", "--path", text(&path)?];
    let finished = run(PROGRAM, arguments)?;
    ensure!(finished.code == 0 && finished.stdout.contains("README.md says how"), "{finished:?}");

    let (mut written, mut original) = (Vec::new(), Vec::new());
    files(&path, "", &mut written)?;
    files(&root.join(ORIGINAL), "", &mut original)?;
    let added = [".gitignore", "wit/README.md", "wit/notify.wit"].map(str::to_owned);
    let mut expected: Vec<String> = original.iter().cloned().chain(added).collect();
    expected.sort();
    assert_eq!(written, expected);
    for file in &original {
        let from = std::fs::read_to_string(root.join(ORIGINAL).join(file))?;
        let from = from.replace("jmap-push", "my-protocol").replace("jmap_push", "my_protocol");
        let from = from.replace(CONTRACT.0, CONTRACT.1);
        let new = std::fs::read_to_string(path.join(file))?;
        let rest = new.strip_prefix(&from).with_context(|| format!("{file} differs"))?;
        ensure!(rest.is_empty() || (file == "Cargo.toml" && rest.starts_with("\n[workspace]\n")), "{file}: {rest}");
    }
    assert_eq!(std::fs::read(path.join("wit/notify.wit"))?, std::fs::read(root.join("../wit/notify.wit"))?);

    let again = run(PROGRAM, arguments)?;
    ensure!(again.code == 2 && again.stderr.contains("is there already"), "{again:?}");
    for name in ["", "My", "a--b", "-a", "a_b", "1a", "a/../b"] {
        let refused = run(PROGRAM, ["plugin", "new", "--path", text(&folder.path().join("other"))?, "--", name])?;
        ensure!(refused.code == 2 && !folder.path().join("other").exists(), "{name:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_module_becomes_a_component() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [module, packed, broken] = ["module.wasm", "packed.wasm", "broken.wasm"].map(|name| folder.path().join(name));
    std::fs::write(&module, jmap_push_module())?;
    let finished = run(PROGRAM, ["plugin", "pack", text(&module)?, text(&packed)?])?;
    ensure!(finished.code == 0, "{finished:?}");
    ensure!(std::fs::read(&packed)? == jmap_push(), "it is another one");
    for (bytes, words) in [(&b"text"[..], "bad magic number"), (&component("plain"), "a component is not supported")] {
        std::fs::write(&module, bytes)?;
        let refused = run(PROGRAM, ["plugin", "pack", text(&module)?, text(&broken)?])?;
        ensure!(refused.code == 3 && refused.stderr.contains(words) && !broken.exists(), "{refused:?}");
    }
    let finished = run(PROGRAM, ["plugin", "pack", "nowhere.wasm", text(&broken)?])?;
    ensure!(finished.code == 2, "{finished:?}");
    Ok(())
}

/// The same plugin, served: a client of JMAP holds a stream, comes back with the event that it has seen last, and hears
/// what came meanwhile; after a restart too.
#[test]
fn it_is_served_like_any_other() -> Result<()> {
    let password = crate::cheap_hash("postbell")?;
    let start = Start::configured(
        PROGRAM,
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{folder}/data'\n[[tenant]]\n\
         name = 'example.org'\ndomains = ['example.org']\nplugin = 'jmap.wasm'\nusers = 'users.toml'\ningest-key = 'demo'\n\
         settings = { jmap-streams-per-account = 2 }\n",
    )?;
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{password}'\n");
    let start = start.file("users.toml", &users)?;
    std::fs::write(start.folder().join("jmap.wasm"), jmap_push())?;

    let server = start.clone().start()?;
    let (mut stream, head) = listen(&server, &[])?;
    ensure!(head.status == 200 && head.header("content-type") == Some("text/event-stream"), "{head:?}");
    Admin::source(&server).deliver("m1", 1)?;
    let (id, first) = event(&mut stream)?;
    ensure!(first.contains("\"@type\":\"StateChange\"") && first.contains("\"EmailDelivery\":"), "{first}");
    drop(stream);
    server.stop()?;

    let server = start.start()?;
    Admin::source(&server).deliver("m2", 2)?;
    let (mut stream, _) = listen(&server, &[("Last-Event-ID", &id)])?;
    let (second, missed) = event(&mut stream)?;
    ensure!(second != id && missed.contains("\"Email\":"), "{missed}");
    let refused = http::request("GET", "/jmap/eventsource?types=*", &[("Authorization", &alice())], b"");
    let refused = Connection::open(server.clients)?.ask(&refused)?;
    ensure!(refused.head.status == 400 && refused.body.contains("`closeafter` is missing"), "{refused:?}");
    let unknown = Connection::open(server.clients)?.ask(&http::request("GET", "/jmap/eventsource", &[], b""))?;
    ensure!(unknown.head.status == 401, "{unknown:?}");
    Ok(())
}

/// One tenant with two plugins, the second of which comes later: each has its requests, both have the changes, and a source
/// goes on where it was.
#[test]
fn two_plugins_serve_one_tenant() -> Result<()> {
    let password = crate::cheap_hash("postbell")?;
    let configuration = "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{folder}/data'\n\
         admin-key = 'all'\n[[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\n\
         ingest-key = 'demo'\n";
    let beside = "[[tenant.seat]]\nplugin = 'jmap.wasm'\nsettings = { jmap-streams-per-account = 2 }\n";
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{password}'\n");
    let start = Start::configured(PROGRAM, configuration)?.file("users.toml", &users)?;

    let server = start.clone().start()?;
    let client = Client::new(&server, "alice@example.org", "postbell");
    let (subscription, mut watermark) = client.subscribe_pull()?;
    let login = "{\"event\":\"Login\"}\n";
    let sent = Admin::source(&server).cyrus("imap", 0, "", login)?;
    ensure!(sent.head.status == 200, "{sent:?}");
    server.stop()?;

    let folder = start.folder().to_owned();
    let two = format!("{configuration}{beside}").replace("{folder}", text(&folder)?);
    let start = start.file("postbell.toml", &two)?;
    std::fs::write(start.folder().join("jmap.wasm"), jmap_push())?;
    let server = start.clone().start()?;
    let (mut stream, head) = listen(&server, &[])?;
    ensure!(head.status == 200, "{head:?}");
    let source = Admin::source(&server);
    ensure!(source.offset("imap")? == 1, "the new plugin never heard of it, and does not hold it up");
    let skipped = source.cyrus("imap", 2, "", login)?;
    ensure!(skipped.head.status == 409 && skipped.body.contains("\"expected\":1"), "{skipped:?}");
    for repeat in 0..2 {
        let sent = source.cyrus("imap", 1, "", login)?;
        ensure!(sent.head.status == 200 && source.offset("imap")? == 2, "{repeat}: {sent:?}");
    }
    source.deliver("m1", 1)?;
    let client = Client::new(&server, "alice@example.org", "postbell");
    let events = client.all_events(&subscription, &mut watermark)?;
    ensure!(events.iter().any(|event| event.item.as_deref() == Some("m1")), "{events:?}");
    let (_, first) = event(&mut stream)?;
    ensure!(first.contains("\"@type\":\"StateChange\""), "{first}");

    let all = Admin::new(server.admin, "example.org", "all");
    let listed: Value = serde_json::from_str(&all.ask("GET", "/v1/plugins", b"")?.body)?;
    let plugins = |listed: &Value| {
        let listed = listed["tenants"].as_array().into_iter().flatten();
        listed.map(|it| (it["plugin"].clone(), it["sha256"].clone(), it["previous"].clone())).collect::<Vec<_>>()
    };
    let before = plugins(&listed);
    ensure!(before.len() == 2 && before[0].0 == "postbell-notify" && before[1].0 == "jmap-push", "{listed}");
    let done = all.ask("PUT", "/v1/tenants/example.org/plugin", &edition(jmap_push(), 1))?;
    ensure!(done.body.contains("{\"done\":{\"plugin\":\"jmap-push\""), "{done:?}");
    let done = all.ask("POST", "/v1/tenants/example.org/rollback?plugin=jmap-push", b"")?;
    ensure!(done.body.contains("{\"done\":{\"plugin\":\"jmap-push\""), "{done:?}");
    let after = plugins(&serde_json::from_str(&all.ask("GET", "/v1/plugins", b"")?.body)?);
    ensure!(after[0] == before[0] && after[1].1 == before[1].1 && after[1].2 != before[1].2, "{after:?}");
    let unknown = all.ask("POST", "/v1/tenants/example.org/rollback?plugin=other", b"")?;
    ensure!(unknown.head.status == 404, "{unknown:?}");
    source.deliver("m2", 2)?;
    let (_, second) = event(&mut stream)?;
    ensure!(second.contains("\"@type\":\"StateChange\""), "the stream outlived both: {second}");
    let inputs =
        |labels| all.figure(&format!("postbell_inputs_total{{tenant=\"example.org\",{labels}kind=\"ingest\"}}"));
    ensure!(inputs("")? == 3 && inputs("plugin=\"jmap-push\",")? == 4, "and what it missed before");
    server.stop()?;

    let twice = "[[tenant.seat]]\nplugin = 'jmap.wasm'\n";
    let twice = format!("{configuration}{beside}{twice}").replace("{folder}", text(&folder)?);
    let start = start.file("postbell.toml", &twice)?;
    let refused = run(PROGRAM, ["serve", "--config", text(&start.folder().join("postbell.toml"))?])?;
    ensure!(refused.code == 2 && refused.stderr.contains("the tenant has the plugin jmap-push already"), "{refused:?}");
    Ok(())
}

fn alice() -> String {
    basic("alice@example.org", "postbell")
}

fn listen(server: &Server, headers: &[(&str, &str)]) -> Result<(Connection, Head)> {
    let login = alice();
    let headers: Vec<_> = [("Authorization", &*login)].into_iter().chain(headers.iter().copied()).collect();
    let mut stream = Connection::open(server.clients)?;
    stream.send(&http::request("GET", "/jmap/eventsource?types=*&closeafter=no&ping=0", &headers, b""))?;
    let head = stream.head()?;
    Ok((stream, head))
}

/// The id of the next event, and all of it.
fn event(stream: &mut Connection) -> Result<(String, String)> {
    let event = String::from_utf8(stream.chunk()?.context("the stream has ended")?)?;
    ensure!(event.starts_with("event: state\n") && event.ends_with("\n\n"), "{event:?}");
    let id = event.lines().find_map(|line| line.strip_prefix("id: ")).context("an id")?.to_owned();
    Ok((id, event))
}
