//! The tools: what they read of a server that runs, of a data directory, of a backup, and what they make of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use postbell::journal::{
    Append, Chain, Digest, Input, Journal, MemoryJournal, Offsets, Record, Seat, Snapshot, archive,
};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{Client, get_events};
use postbell_tests::http::{Connection, request};
use postbell_tests::program::{Finished, Server, Start, run};
use serde_json::{Value, json};

use crate::PROGRAM;

const PASSWORD: &str = "postbell";
const TENANT: &str = "example.org";
const ALICE: &str = "alice@example.org";

/// Two tenants, whose data outlives the server; the first has a user, alice.
fn served(data: &Path) -> Result<Server> {
    served_with(&format!("data = '{}'\n", data.display()))
}

fn served_with(more: &str) -> Result<Server> {
    let listen = "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'";
    let mut configuration = format!("[server]\n{listen}\nadmin-key = 'server-key'\n{more}");
    for (name, users) in [(TENANT, "users = 'users.toml'\n"), ("example.net", "")] {
        let tenant = format!("[[tenant]]\nname = '{name}'\ndomains = ['{name}']\n{users}");
        configuration += &format!("{tenant}ingest-key = 'ingest-{name}'\nadmin-key = 'admin-{name}'\n");
    }
    // The lowest cost: it is not what is tested.
    let params = Params::new(8, 1, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let hash: PasswordHash =
        Argon2::from(params).hash_password(PASSWORD.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let users = format!("[[user]]\nname = '{ALICE}'\npassword = '{hash}'\n");
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)?.start()
}

/// A message for somebody of the tenant.
fn deliver(server: &Server, tenant: &str, id: &str) -> Result<()> {
    source(server, tenant).change(&[delivered(&format!("alice@{tenant}"), id, 1)])
}

fn source(server: &Server, tenant: &str) -> Admin {
    Admin::new(server.admin, tenant, &format!("ingest-{tenant}"))
}

/// Runs a tool on a running server, with the server's key.
fn ask(server: &Server, arguments: &[&str]) -> Result<Finished> {
    let url = format!("http://{}", server.admin);
    run(PROGRAM, [arguments, &["--url", &url, "--key", "server-key"]].concat())
}

/// As [`ask`], where it must do what it is told.
fn ask_well(server: &Server, arguments: &[&str]) -> Result<String> {
    well(ask(server, arguments)?)
}

fn well(finished: Finished) -> Result<String> {
    ensure!(finished.code == 0, "{finished:?}");
    Ok(finished.stdout)
}

fn objects(lines: &str) -> Result<Vec<Value>> {
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

fn names(folder: &Path) -> Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn a_key_opens_what_it_is_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = served(&folder.path().join("data"))?;
    let all = ["/v1/journal", "/v1/backup", "/v1/tenants/example.org/backup", "/v1/tenants/nobody.org/backup"];
    let keys = [
        ("server-key", [200, 200, 200, 404]),
        ("admin-example.org", [401, 401, 200, 404]),
        ("ingest-example.org", [401, 401, 401, 404]),
        ("admin-example.net", [401, 401, 401, 404]),
        ("nonsense", [401, 401, 401, 401]),
    ];
    for (key, statuses) in keys {
        for (path, status) in all.iter().zip(statuses) {
            let head = get(&server, path, key)?;
            assert_eq!(head, status, "{path} with {key}");
        }
    }
    let refused = ask(&server, &["backup", path(&folder.path().join("b"))?, "--tenant", "nobody.org"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("nobody.org"), "{refused:?}");
    ensure!(names(folder.path())? == ["data".to_owned()].into(), "no file is left");
    Ok(())
}

fn get(server: &Server, path: &str, key: &str) -> Result<u16> {
    let mut connection = Connection::open(server.admin)?;
    connection.send(&request("GET", path, &[("Authorization", &format!("Bearer {key}"))], b""))?;
    Ok(connection.head()?.status)
}

#[test]
fn a_server_is_backed_up_while_it_serves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = served(&folder.path().join("data"))?;
    let alice = Client::new(&server, ALICE, PASSWORD);
    deliver(&server, TENANT, "first")?;
    alice.subscribe_pull()?;
    let (file, done) = (folder.path().join("all"), AtomicBool::new(false));
    let source = source(&server, "example.net");
    thread::scope(|scope| {
        let source = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                source.change(&[delivered("alice@example.net", &format!("m{sent}"), 1)])?;
                sent += 1;
            }
            anyhow::Ok(sent)
        });
        let backed_up = ask_well(&server, &["backup", path(&file)?]);
        done.store(true, Ordering::Relaxed);
        ensure!(source.join().expect("it does not panic")? > 0, "nothing was sent meanwhile");
        let backed_up = backed_up?;
        ensure!(backed_up.lines().count() == 2, "a line for each tenant: {backed_up}");
        Ok(())
    })?;

    let checked = well(run(PROGRAM, ["journal", "check", "--archive", path(&file)?])?)?;
    ensure!(checked.contains("example.org/") && checked.contains("example.net/"), "{checked}");
    let whole = fs::read(&file)?;
    let again = ask(&server, &["backup", path(&file)?])?;
    ensure!(again.code == 2 && again.stderr.contains("exists"), "{again:?}");
    ensure!(fs::read(&file)? == whole, "what is there is left alone");

    let one = folder.path().join("one");
    let extracted = run(PROGRAM, ["backup", path(&one)?, "--archive", path(&file)?, "--tenant", TENANT])?;
    let expected = checked.lines().find(|line| line.starts_with("example.org/")).context("its line")?;
    assert_eq!(well(extracted)?.trim_end(), expected);
    Ok(())
}

#[test]
fn the_journal_is_listed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = served(&folder.path().join("data"))?;
    let alice = Client::new(&server, ALICE, PASSWORD);
    deliver(&server, TENANT, "secret-id")?;
    let (subscription, _) = alice.subscribe_pull()?;

    let seats = ask_well(&server, &["journal", "list"])?;
    ensure!(seats.lines().count() == 2 && seats.contains("example.net/postbell-notify/0: inputs 1 to "), "{seats}");
    let seats = objects(&ask_well(&server, &["journal", "list", "--json"])?)?;
    let seat = seats.iter().find(|seat| seat["tenant"] == TENANT).context("the tenant")?;
    assert_eq!((&seat["first"], &seat["last"]), (&json!(1), &json!(3)), "{seat}");

    let inputs = ask_well(&server, &["journal", "list", "--tenant", TENANT])?;
    let kinds: Vec<_> = inputs.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(kinds, ["open", "ingest", "answer"], "{inputs}");
    ensure!(inputs.contains("POST /EWS/Exchange.asmx by alice@example.org"), "{inputs}");
    ensure!(!inputs.contains("secret-id") && !inputs.contains("Subscribe"), "contents are not shown: {inputs}");

    let listed = ask_well(&server, &["journal", "list", "--tenant", TENANT, "--from", "2", "--to", "3", "--json"])?;
    let listed = objects(&listed)?;
    assert_eq!(listed.iter().map(|it| &it["sequence"]).collect::<Vec<_>>(), [&json!(2), &json!(3)]);
    ensure!(listed[0].to_string().contains("secret-id"), "{}", listed[0]);
    let body = listed[1]["input"]["body"].as_str().context("a body as text")?;
    ensure!(body.contains("PullSubscriptionRequest") && !subscription.is_empty(), "{body}");
    Ok(())
}

#[test]
fn a_journal_in_memory_is_given_too() -> Result<()> {
    let server = served_with("")?;
    deliver(&server, TENANT, "m1")?;
    let file = server.folder().join("backup");
    let backed_up = ask_well(&server, &["backup", path(&file)?])?;
    assert_eq!(backed_up, ask_well(&server, &["journal", "list"])?);
    ensure!(backed_up.contains("example.org/postbell-notify/0: inputs 1 to 2"), "{backed_up}");
    Ok(())
}

#[test]
fn a_history_is_replayed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = served(&folder.path().join("data"))?;
    let alice = Client::new(&server, ALICE, PASSWORD);
    deliver(&server, TENANT, "m1")?;
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    deliver(&server, TENANT, "m2")?;
    alice.all_events(&subscription, &mut watermark)?;

    let replay = |more: &[&str]| ask(&server, &[&["replay", "--tenant", TENANT], more].concat());
    let all = objects(&well(replay(&[])?)?)?;
    let kinds: Vec<_> = all.iter().filter_map(|it| it["input"].as_str()).collect();
    ensure!(kinds.starts_with(&["open", "ingest", "answer", "ingest"]), "{kinds:?}");
    let told = all[2]["reaction"]["replies"][0]["body"].as_str().context("a body as text")?;
    ensure!(told.contains(&subscription), "the subscription that the client was given: {told}");
    assert_eq!(objects(&well(replay(&["--from", "3", "--to", "4"])?)?)?, all[2..4]);

    let compared = replay(&["--compare"])?;
    assert_eq!((compared.code, &*compared.stdout), (0, ""), "{compared:?}");
    ensure!(compared.stderr.contains(&format!("{} compared: 0 differ", all.len())), "{compared:?}");
    for wrong in [["--from", "99"], ["--to", "99"], ["--from", "0"]] {
        let refused = replay(&wrong)?;
        ensure!(refused.code == 2 && refused.stderr.contains("1 to"), "{refused:?}");
    }
    Ok(())
}

#[test]
fn another_plugin_is_compared_with_the_built_in_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = served(&folder.path().join("data"))?;
    deliver(&server, TENANT, "m1")?;
    Client::new(&server, ALICE, PASSWORD).subscribe_pull()?;
    let (same, other) = (folder.path().join("same.wasm"), folder.path().join("other.wasm"));
    fs::write(&same, postbell::plugin::bundled())?;
    fs::write(&other, altered_plugin())?;

    let replay = |file: &Path, more: &[&str]| {
        ask(&server, &[&["replay", "--tenant", TENANT, "--plugin", path(file)?], more].concat())
    };
    let compared = replay(&same, &["--compare"])?;
    assert_eq!((compared.code, &*compared.stdout), (0, ""), "{compared:?}");
    let compared = replay(&other, &["--compare"])?;
    ensure!(compared.code == 1, "{compared:?}");
    let [difference] = &objects(&compared.stdout)?[..] else { panic!("one input with differences: {compared:?}") };
    assert_eq!((&difference["sequence"], &difference["input"]), (&json!(3), &json!("answer")));
    let field = &difference["differences"][0];
    assert_eq!(field["field"], "replies.0.body");
    ensure!(field["plugin"].as_str().is_some_and(|body| body.contains("NoErrox")), "{field}");
    ensure!(field["built-in"].as_str().is_some_and(|body| body.contains("NoError")), "{field}");

    let text = folder.path().join("text.wasm");
    fs::write(&text, "not WebAssembly")?;
    let refused = replay(&text, &[])?;
    ensure!(refused.code == 3 && refused.stderr.contains("text.wasm"), "{refused:?}");
    Ok(())
}

/// The built-in plugin with another word in its answers.
fn altered_plugin() -> Vec<u8> {
    let mut component = postbell::plugin::bundled().to_vec();
    let (word, another) = (b"NoError", b"NoErrox");
    for at in 0..component.len() - word.len() {
        if component[at..].starts_with(word) {
            component[at..at + word.len()].copy_from_slice(another);
        }
    }
    component
}

/// With snapshots, and without the inputs before them.
#[test]
fn a_history_that_was_cut_is_kept_as_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [data, file, restored] = ["data", "backup", "restored"].map(|name| folder.path().join(name));
    let server = served_with(&format!("data = '{}'\nsnapshot-inputs = 5\n", data.display()))?;
    let mut sent = 0;
    let seat = loop {
        deliver(&server, TENANT, &format!("m{sent}"))?;
        sent += 1;
        let seats = objects(&ask_well(&server, &["journal", "list", "--json"])?)?;
        let seat = seats.into_iter().find(|seat| seat["tenant"] == TENANT).context("the tenant")?;
        if seat["first"].as_u64() > Some(1) && seat["snapshots"].as_array().is_some_and(|all| all.len() > 1) {
            break seat;
        }
    };
    ask_well(&server, &["backup", path(&file)?])?;
    server.stop()?;
    well(run(PROGRAM, ["restore", path(&file)?, "--data", path(&restored)?])?)?;
    let from = |place: &str, path: &Path, tool: &[&str]| {
        run(PROGRAM, tool.iter().map(OsStr::new).chain([place.as_ref(), path.as_os_str()]))
    };
    let list = ["journal", "list", "--tenant", TENANT, "--json"];
    let listed = well(from("--archive", &file, &list)?)?;
    assert_eq!(well(from("--data", &restored, &list)?)?, listed);
    ensure!(objects(&listed)?.iter().filter(|item| item["snapshot"].is_object()).count() > 1, "{listed}");

    let replay = ["replay", "--tenant", TENANT, "--compare"];
    let compared = from("--data", &restored, &replay)?;
    ensure!(compared.code == 0 && compared.stderr.contains("compared: 0 differ"), "{compared:?}");
    let early = from("--data", &restored, &[&replay[..], &["--from", "1"]].concat())?;
    ensure!(early.code == 2 && early.stderr.contains(&format!("{} to ", seat["first"])), "{early:?}");
    Ok(())
}

/// A journal with these inputs of the tenant.
fn journal(inputs: impl IntoIterator<Item = Input>) -> Result<(MemoryJournal, Seat)> {
    let (journal, seat) = (MemoryJournal::default(), Seat { tenant: TENANT.into(), plugin: "p".into(), partition: 0 });
    let record =
        |(sequence, input): (u64, Input)| Record { sequence, now: 0, digest: Digest::default(), input: input.into() };
    let records = (1..).zip(inputs).map(record).collect();
    journal.append(&[Append { seat: seat.clone(), expected: 0, records, chain: Chain::default() }]).remove(0)?;
    Ok((journal, seat))
}

#[test]
fn what_a_plugin_does_not_take_again_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("backup");
    let settings = vec![("no-such-setting".to_owned(), "5".to_owned())];
    let open = Input::Open { seed: vec![0; 32], settings: vec![] };
    let (journal, seat) = journal([open, Input::Tick, Input::Configure { settings }])?;
    archive::write(&journal, &[seat], fs::File::create(&file)?)?;
    let failed = run(PROGRAM, ["replay", "--tenant", TENANT, "--archive", path(&file)?])?;
    ensure!(failed.code == 1 && failed.stdout.lines().count() == 2, "{failed:?}");
    for word in ["the built-in plugin", "at 3 (configure)", "no-such-setting"] {
        ensure!(failed.stderr.contains(word), "{word}: {failed:?}");
    }
    Ok(())
}

#[test]
fn a_plugin_that_takes_no_snapshot_is_told_where_the_history_begins() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("backup");
    let (journal, seat) = journal((1..=5).map(|_| Input::Tick))?;
    journal.put_snapshot(
        &seat,
        &Snapshot {
            sequence: 3,
            now: 0,
            format: "somebody-elses/7".into(),
            parts: vec![b"state".into()],
            offsets: Offsets::new(),
            settings: vec![],
            history_bytes: 0,
            tenure: None,
        },
    )?;
    journal.cut(&seat, 3)?;
    archive::write(&journal, &[seat], fs::File::create(&file)?)?;

    let refused = run(PROGRAM, ["replay", "--tenant", TENANT, "--archive", path(&file)?])?;
    ensure!(refused.code == 2, "{refused:?}");
    for word in ["does not reach back far enough", "its first input is 4", "at 3: ", "somebody-elses/7"] {
        ensure!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_torn_stream_leaves_no_backup() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = served(&folder.path().join("data"))?;
    deliver(&server, TENANT, "m1")?;
    let (whole, file) = (folder.path().join("whole"), folder.path().join("torn"));
    ask_well(&server, &["backup", path(&whole)?])?;
    let whole = fs::read(whole)?;
    // The stream ends early; the connection does; there is something else.
    for (bytes, length) in [(&whole[..whole.len() - 1], whole.len() - 1), (&whole[..100], whole.len()), (b"no", 2)] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let finished = thread::scope(|scope| {
            let answering = scope.spawn(|| answer(&listener, bytes, length));
            let finished = run(PROGRAM, ["backup", path(&file)?, "--url", &url, "--key", "k"]);
            answering.join().expect("it does not panic")?;
            finished
        })?;
        ensure!(finished.code == 1 && !finished.stderr.is_empty(), "{} of {length} bytes: {finished:?}", bytes.len());
        ensure!(names(folder.path())? == ["data", "whole"].map(String::from).into(), "{:?}", names(folder.path())?);
    }
    Ok(())
}

/// Answers one request with these bytes, as if there were so many.
fn answer(listener: &TcpListener, bytes: &[u8], length: usize) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..read]);
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
    Ok(stream.write_all(bytes)?)
}

#[test]
fn what_was_backed_up_is_served_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [data, file, restored] = ["data", "backup", "restored"].map(|name| folder.path().join(name));
    let server = served(&data)?;
    let alice = Client::new(&server, ALICE, PASSWORD);
    deliver(&server, TENANT, "m1")?;
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    deliver(&server, TENANT, "m2")?;
    ask_well(&server, &["backup", path(&file)?])?;
    // What the backup does not have, though a client was told of it.
    deliver(&server, TENANT, "m3")?;
    ensure!(alice.all_events(&subscription, &mut watermark)?.len() > 2, "she hears of both");
    server.kill()?;

    let listed = well(run(PROGRAM, ["restore", path(&file)?, "--data", path(&restored)?])?)?;
    ensure!(listed.contains("example.org/postbell-notify/0: inputs 1 to 4"), "{listed}");
    let server = served(&restored)?;
    let alice = Client::new(&server, ALICE, PASSWORD);
    let told = alice.message(&get_events(&subscription, &watermark))?;
    assert_eq!(told.code, "ErrorInvalidWatermark", "she is told that what she knows may be void: {told:?}");
    let (subscription, mut watermark) = alice.subscribe_pull()?;
    deliver(&server, TENANT, "m4")?;
    let events = alice.all_events(&subscription, &mut watermark)?;
    assert_eq!(events.iter().filter(|event| event.kind == "NewMailEvent").count(), 1, "{events:?}");
    let compared = ask(&server, &["replay", "--tenant", TENANT, "--compare"])?;
    ensure!(compared.code == 0 && compared.stderr.contains("compared: 0 differ"), "{compared:?}");
    server.stop()?;

    // The same of a stopped server.
    let of = |arguments: &[&str]| well(run(PROGRAM, [arguments, &["--data", path(&restored)?]].concat())?);
    ensure!(of(&["journal", "check"])?.lines().count() == 2, "a line for each tenant");
    ensure!(of(&["journal", "list", "--tenant", TENANT])?.contains("regressed"), "it was told to the plugin");
    assert_eq!(of(&["replay", "--tenant", TENANT, "--compare"])?, "");
    let again = folder.path().join("again");
    assert_eq!(of(&["backup", path(&again)?])?, of(&["journal", "list"])?);
    Ok(())
}

#[test]
fn only_what_is_whole_is_restored_and_only_where_nothing_is_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [data, file, torn, restored] = ["data", "backup", "torn", "restored"].map(|name| folder.path().join(name));
    let server = served(&data)?;
    deliver(&server, TENANT, "m1")?;
    ask_well(&server, &["backup", path(&file)?])?;
    let whole = fs::read(&file)?;

    let restore = |file: &Path, data: &Path| run(PROGRAM, ["restore", path(file)?, "--data", path(data)?]);
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &altered, b"no archive", b""] {
        fs::write(&torn, bytes)?;
        let refused = restore(&torn, &restored)?;
        ensure!(refused.code == 4 && refused.stderr.contains("torn"), "{} bytes: {refused:?}", bytes.len());
        ensure!(!restored.exists() || names(&restored)?.is_empty(), "{} bytes: something is there", bytes.len());
    }
    let held = restore(&file, &data)?;
    ensure!(held.code == 4 && held.stderr.contains("not empty"), "{held:?}");
    let other = folder.path().join("letters");
    fs::create_dir(&other)?;
    fs::write(other.join("letter.txt"), "dear")?;
    let other_held = restore(&file, &other)?;
    ensure!(other_held.code == 4 && names(&other)? == ["letter.txt".to_owned()].into(), "{other_held:?}");
    let missing = restore(&folder.path().join("nothing"), &restored)?;
    ensure!(missing.code == 2, "{missing:?}");
    well(restore(&file, &restored)?)?;
    let twice = restore(&file, &restored)?;
    ensure!(twice.code == 4, "{twice:?}");
    Ok(())
}

#[test]
fn a_data_directory_in_use_is_left_to_its_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = served(&data)?;
    let tools: [&[&str]; 4] =
        [&["journal", "check"], &["journal", "list"], &["replay", "--tenant", TENANT], &["backup", "no-such-file"]];
    for (data, word) in [(&data, "--url"), (&folder.path().join("nothing"), "nothing")] {
        for tool in tools {
            let refused = run(PROGRAM, [tool, &["--data", path(data)?]].concat())?;
            ensure!(refused.code == 4 && refused.stderr.contains(word), "{tool:?}: {refused:?}");
        }
    }
    drop(server);
    Ok(())
}

#[test]
fn damage_is_named_with_seat_and_sequence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [data, file] = ["data", "backup"].map(|name| folder.path().join(name));
    let server = served(&data)?;
    for id in ["message-1", "message-2", "message-3"] {
        deliver(&server, TENANT, id)?;
    }
    server.stop()?;
    let of = |arguments: &[&str]| run(PROGRAM, [arguments, &["--data", path(&data)?]].concat());
    well(of(&["journal", "check"])?)?;
    crate::damage::damage(&data, "message-2")?;

    let checked = of(&["journal", "check"])?;
    ensure!(checked.code == 4, "{checked:?}");
    let named = |line: &str| line.starts_with("damaged: example.org/postbell-notify/0") && line.contains('3');
    ensure!(checked.stdout.lines().filter(|line| named(line)).count() == 1, "{checked:?}");

    let saved = of(&["backup", path(&file)?])?;
    ensure!(saved.code == 1 && saved.stderr.contains("example.org/postbell-notify/0 at 3"), "{saved:?}");
    let damaged = folder.path().join("backup.damaged");
    ensure!(!file.exists() && damaged.exists(), "{:?}", names(folder.path())?);
    let listed = run(PROGRAM, ["journal", "list", "--tenant", TENANT, "--archive", path(&damaged)?])?;
    let kinds: Vec<_> = listed.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    ensure!(listed.code == 4 && kinds.len() == 4 && listed.stdout.contains("       3  "), "{listed:?}");
    let refused = run(PROGRAM, ["restore", path(&damaged)?, "--data", path(&folder.path().join("restored"))?])?;
    ensure!(refused.code == 4 && refused.stderr.contains("at 3"), "{refused:?}");

    let replayed = of(&["replay", "--tenant", TENANT])?;
    ensure!(replayed.code == 4 && replayed.stdout.lines().count() == 2, "up to there it is shown: {replayed:?}");
    Ok(())
}
