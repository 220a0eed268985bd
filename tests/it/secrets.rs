//! Passwords and keys stay where they are put.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::{ALL_FOLDERS, Client, PATH, envelope, subscribe_pull, subscribe_streaming};
use postbell_tests::groupwise;
use postbell_tests::http::{Connection, basic, request};
use postbell_tests::program::{Server, Start};

use crate::{PROGRAM, cheap_hash};

const PASSWORD: &str = "Tr0ub4dor:correct-horse";
const WRONG: &str = "Tr0ub4dor:battery-staple";
const INGEST_KEY: &str = "ingest-2f4e6a8c";
const ADMIN_KEY: &str = "admin-9b7d5f3e";
const PREAUTH_KEY: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

#[test]
fn a_password_is_nowhere_after_every_way_to_log_in() -> Result<()> {
    let server = start()?;
    log_in_every_way(&server)?;
    let session = log_in_to_groupwise(&server)?;
    let metrics = Admin::new(server.admin, "a", ADMIN_KEY).ask("GET", "/metrics", b"")?;
    ensure!(metrics.head.status == 200, "{metrics:?}");
    let data = server.folder().join("data");
    let kept = contents(&data)?;
    let folder = tempfile::tempdir()?;
    // The data outlives the server, so that what it writes at its end is searched too.
    std::fs::rename(&data, folder.path().join("data")).context("keeping the data")?;
    let log = server.stop()?;
    let kept_at_the_end = contents(folder.path())?;
    ensure!(log.contains("plugin loaded"), "the log is not there to be searched:\n{log}");

    for secret in secrets().into_iter().chain([session]) {
        for (place, text) in
            [("metrics", &metrics.body), ("log", &log), ("data", &kept), ("data at the end", &kept_at_the_end)]
        {
            assert!(!text.contains(&secret), "{secret} is in the {place}:\n{text}");
        }
    }
    Ok(())
}

fn start() -> Result<Server> {
    let hash = cheap_hash(PASSWORD)?;
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{{folder}}/data'\nadmin-key = '{ADMIN_KEY}'\n\
         [[tenant]]\nname = 'a'\ndomains = ['example.net']\nusers = 'users.toml'\ningest-key = '{INGEST_KEY}'\n\
         preauth-key = '{PREAUTH_KEY}'\n"
    );
    let users = format!("[[user]]\nname = 'eve@example.net'\nlogin = 'eve'\npassword = '{hash}'\n");
    // The most that the program can be made to say.
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)?.environment("POSTBELL_LOG", "trace").start()
}

fn log_in_every_way(server: &Server) -> Result<()> {
    let subscribe = envelope(&subscribe_pull(ALL_FOLDERS));
    let eve = Client::new(server, "eve", PASSWORD);
    let mut connection = eve.connect()?;
    for _ in 0..2 {
        // The second is remembered.
        ensure!(connection.ask(&eve.post(&subscribe))?.head.status == 200);
    }
    for (login, password) in
        [("eve", WRONG), ("nobody", PASSWORD), ("eve@example.net", WRONG), (PASSWORD, "eve"), ("", PASSWORD)]
    {
        let client = Client::new(server, login, password);
        ensure!(client.connect()?.ask(&client.post(&subscribe))?.head.status == 401, "{login}");
    }
    let stream =
        eve.stream(&[&eve.message(&subscribe_streaming(ALL_FOLDERS))?.subscription.context("subscribed")?])?;
    malformed(server, &eve)?;
    let source = Admin::new(server.admin, "a", INGEST_KEY);
    source.change(&[delivered("eve@example.net", "m1", 1)])?;
    for key in [PASSWORD, WRONG] {
        ensure!(Admin::new(server.admin, "a", key).post(&serde_json::json!({"changes": []}))?.head.status == 401);
    }
    drop(stream);
    Ok(())
}

/// In every way that the dialect has, most of them refused; gives the session, which is a secret too.
fn log_in_to_groupwise(server: &Server) -> Result<String> {
    let send =
        |body: &str| Connection::open(server.clients)?.ask(&request("POST", groupwise::PATH, &[], body.as_bytes()));
    let session = groupwise::text(&send(&groupwise::login("eve", PASSWORD))?.body, "session");
    ensure!(session.len() > 40, "{session}");
    let auth = format!("<username>eve</username><password>{PASSWORD}</password><key>{ADMIN_KEY}</key>");
    let proxy = format!("<loginRequest><auth type='Proxy'>{auth}<proxy>bob</proxy></auth></loginRequest>");
    for (body, code) in [
        (groupwise::login("eve", WRONG), "53273"),
        (groupwise::login("nobody", PASSWORD), "53273"),
        (groupwise::soap("", &proxy), "59905"),
        (groupwise::soap("", &proxy.replace("Proxy", "TrustedApplication")), "59905"),
        (groupwise::on_book(PASSWORD, "getDeltaInfo", ""), "59910"),
        (groupwise::on_book(&session, "getDeltaInfo", &format!("<password>{PASSWORD}</password>")), "0"),
        (groupwise::soap("", &format!("<logoutRequest><session>{session}</session></logoutRequest>")), "0"),
    ] {
        let answer = send(&body)?;
        ensure!(groupwise::text(&answer.body, "code") == code, "{body}: {answer:?}");
    }
    let login = groupwise::login("eve", PASSWORD);
    ensure!(send(&login[..login.len() - 20])?.head.status == 500, "cut off");
    Ok(session)
}

/// Where a login does not belong, and where a parser stumbles over it.
fn malformed(server: &Server, eve: &Client) -> Result<()> {
    let login = format!("<AuthRequest><account>eve</account><password>{PASSWORD}</password>");
    for body in [
        login.clone(),
        envelope(&login),
        envelope(&format!("{login}</AuthRequest>")),
        format!("user=eve&password={PASSWORD}"),
    ] {
        ensure!(eve.connect()?.ask(&eve.post(&body))?.head.status == 500, "{body}");
        ensure!(eve.connect()?.ask(&request("POST", PATH, &[], body.as_bytes()))?.head.status == 401, "{body}");
    }
    let right = basic("eve", PASSWORD);
    for header in
        [right.trim_start_matches("Basic ").to_owned(), format!("Bearer {PASSWORD}"), format!("Digest {right}")]
    {
        let bytes = request("POST", PATH, &[("Authorization", &header)], b"");
        ensure!(Connection::open(server.clients)?.ask(&bytes)?.head.status == 401, "{header}");
    }
    let elsewhere = request("POST", "/elsewhere", &[("Authorization", &right)], login.as_bytes());
    ensure!(Connection::open(server.clients)?.ask(&elsewhere)?.head.status == 404);
    // Cut off in the middle of its login.
    let mut connection = eve.connect()?;
    connection.send(
        format!("POST {PATH} HTTP/1.1\r\nAuthorization: {right}\r\nContent-Length: 10\r\n\r\n{login:.5}").as_bytes(),
    )?;
    Ok(())
}

/// What must not be found: passwords and keys, as they are and as they travel.
fn secrets() -> Vec<String> {
    let encoded = |login: &str, password: &str| BASE64_STANDARD.encode(format!("{login}:{password}"));
    let plain = [PASSWORD, WRONG, INGEST_KEY, ADMIN_KEY, PREAUTH_KEY];
    let mut secrets: Vec<_> = plain.iter().map(|secret| (*secret).to_owned()).collect();
    secrets.extend([PASSWORD, WRONG].map(|secret| BASE64_STANDARD.encode(secret).trim_end_matches('=').to_owned()));
    secrets.extend([
        encoded("eve", PASSWORD),
        encoded("eve", WRONG),
        encoded("nobody", PASSWORD),
        encoded("", PASSWORD),
    ]);
    secrets
}

/// All files below a folder, as text that keeps every ASCII byte.
fn contents(folder: &Path) -> Result<String> {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.push_str(&contents(&entry.path())?);
        } else {
            all.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path())?));
        }
    }
    Ok(all)
}
