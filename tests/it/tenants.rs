//! Tenants that come, change and go while the server runs: by requests, from the command line, and by SIGHUP.

use anyhow::{Context, Result, ensure};
use postbell_tests::PATIENCE;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::Client;
use postbell_tests::http::{Answer, Connection, request};
use postbell_tests::program::{Server, Start, run};
use serde_json::{Value, json};

use crate::{PROGRAM, cheap_hash};

const KEY: &str = "server-key";

/// The configuration with these further tenants and lines.
fn configuration(more: &str) -> String {
    format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{{folder}}/data'\n\
         admin-key = '{KEY}'\n[[tenant]]\nname = 'a.example'\ndomains = ['a.example']\nhosts = ['127.0.0.1']\n\
         users = 'users.toml'\ningest-key = 'ingest'\n{more}"
    )
}

fn tenant(name: &str) -> String {
    format!("[[tenant]]\nname = '{name}'\ndomains = ['{name}']\ningest-key = 'ingest'\n")
}

fn started(more: &str) -> Result<Start> {
    let user = format!("[[user]]\nname = 'alice@a.example'\npassword = '{}'\n", cheap_hash("postbell")?);
    Start::configured(PROGRAM, &configuration(more))?.file("users.toml", &user)
}

/// Asks with the server's key.
fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Result<Answer> {
    Admin::new(server.admin, "none", KEY).ask(method, path, body.to_string().as_bytes())
}

fn status(server: &Server, method: &str, path: &str, body: &Value) -> Result<u16> {
    Ok(ask(server, method, path, body)?.head.status)
}

/// Whether changes of this tenant are taken.
fn takes_changes(server: &Server, name: &str) -> Result<bool> {
    let change = json!({"changes": [delivered(&format!("alice@{name}"), "m1", 1)]});
    Ok(Admin::new(server.admin, name, "ingest").post(&change)?.head.status == 200)
}

/// The journal position of a tenant; 0: nothing is kept of it.
fn kept(server: &Server, name: &str) -> Result<u64> {
    let listing: Value = serde_json::from_str(&ask(server, "GET", "/v1/journal", &Value::Null)?.body)?;
    let seats = listing["seats"].as_array().context("seats")?;
    Ok(seats.iter().find(|seat| seat["tenant"] == name).and_then(|seat| seat["last"].as_u64()).unwrap_or(0))
}

#[test]
fn a_tenant_is_made_changed_and_removed_by_requests() -> Result<()> {
    let server = started("")?.start()?;
    let client = Client::new(&server, "alice@a.example", "postbell");
    let subscription = client.subscribe_streaming()?;
    let mut stream = client.stream(&[&subscription])?;
    let path = "/v1/tenants/b.example";
    ensure!(status(&server, "GET", path, &Value::Null)? == 404 && !takes_changes(&server, "b.example")?);
    let table = json!({"domains": ["b.example"], "ingest-key": "ingest", "settings": {"ews-heartbeat-seconds": 7}});
    ensure!(status(&server, "PUT", path, &table)? == 200);
    ensure!(takes_changes(&server, "b.example")?);
    let shown: Value = serde_json::from_str(&ask(&server, "GET", path, &Value::Null)?.body)?;
    ensure!(shown["settings"]["ews-heartbeat-seconds"] == "7" && shown["from"] == "request", "{shown}");
    ensure!(!shown.to_string().contains("ingest"), "keys are not shown: {shown}");
    for (wrong, body, expected) in [
        (path, json!({"domains": ["a.example"]}), 409),
        (path, json!({"domains": ["b.example"], "settings": {"ews-heartbeat-seconds": 0}}), 400),
        (path, json!({"domains": ["b.example"], "colour": 1}), 400),
        (path, json!({"domains": ["b.example"], "name": "c"}), 400),
        (path, json!(7), 400),
        ("/v1/tenants/a%20b", json!({"domains": ["c.example"]}), 400),
        ("/v1/tenants/a.example", json!({"domains": ["a.example"]}), 409),
    ] {
        ensure!(status(&server, "PUT", wrong, &body)? == expected, "{wrong} {body}");
    }
    ensure!(status(&server, "DELETE", "/v1/tenants/a.example", &Value::Null)? == 409);
    ensure!(status(&server, "DELETE", "/v1/tenants/c.example", &Value::Null)? == 404);
    let unauthorized = Admin::new(server.admin, "b.example", "ingest").ask("DELETE", path, b"")?;
    ensure!(unauthorized.head.status == 401);

    let again = server.again();
    server.stop()?;
    let server = again.start()?;
    let shown: Value = serde_json::from_str(&ask(&server, "GET", path, &Value::Null)?.body)?;
    ensure!(shown["settings"]["ews-heartbeat-seconds"] == "7", "it is there after a restart: {shown}");
    drop(stream.next());
    let changed = json!({"domains": ["b.example"], "ingest-key": "other"});
    ensure!(status(&server, "PUT", path, &changed)? == 200 && !takes_changes(&server, "b.example")?);
    ensure!(status(&server, "DELETE", path, &Value::Null)? == 200);
    ensure!(status(&server, "GET", path, &Value::Null)? == 404 && kept(&server, "b.example")? > 0);
    ensure!(status(&server, "DELETE", &format!("{path}?purge=true"), &Value::Null)? == 200);
    ensure!(kept(&server, "b.example")? == 0 && kept(&server, "a.example")? > 0);
    server.stop()?;
    Ok(())
}

#[test]
fn the_command_line_makes_lists_and_purges() -> Result<()> {
    let server = started("")?.file("b.toml", "domains = ['b.example']\ningest-key = 'ingest'\n")?.start()?;
    let url = format!("http://{}", server.admin);
    let file = server.folder().join("b.toml").to_string_lossy().into_owned();
    let tool = |arguments: &[&str]| run(PROGRAM, [&["tenant"], arguments, &["--url", &url, "--key", KEY]].concat());
    ensure!(tool(&["put", "b.example", &file])?.code == 0 && takes_changes(&server, "b.example")?);
    let listed = tool(&["list"])?;
    ensure!(listed.stdout.lines().count() == 2 && listed.stdout.contains("b.example"), "{}", listed.stdout);
    ensure!(tool(&["delete", "b.example", "--purge"])?.code == 0);
    ensure!(kept(&server, "b.example")? == 0);
    let refused = tool(&["delete", "a.example", "--purge"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("stands in the configuration"), "{}", refused.stderr);
    server.stop()?;
    Ok(())
}

/// Writes the configuration anew and has it read; whether it was taken.
fn reload(server: &Server, configuration: &str) -> Result<bool> {
    let counts = || -> Result<[u64; 2]> {
        let metrics = Connection::open(server.admin)?.ask(&request("GET", "/metrics", &[], b""))?.body;
        let count = |outcome: &str| {
            let line = format!("postbell_reloads_total{{outcome=\"{outcome}\"}} ");
            let found = metrics.lines().find_map(|shown| shown.strip_prefix(&line)).context(line.clone())?;
            Ok::<u64, anyhow::Error>(found.parse()?)
        };
        Ok([count("refused")?, count("taken")?])
    };
    let folder = server.folder().to_string_lossy().into_owned();
    std::fs::write(server.folder().join("postbell.toml"), configuration.replace("{folder}", &folder))?;
    let [refused, taken] = counts()?;
    server.hang_up()?;
    let tries = PATIENCE.as_millis();
    for _ in 0..tries {
        let now = counts()?;
        if now != [refused, taken] {
            return Ok(now[1] > taken);
        }
    }
    anyhow::bail!("it does not read its configuration again")
}

#[test]
fn a_changed_configuration_counts_as_a_whole_or_not_at_all() -> Result<()> {
    let server = started(&tenant("b.example"))?.start()?;
    let client = Client::new(&server, "alice@a.example", "postbell");
    let subscription = client.subscribe_streaming()?;
    let mut stream = client.stream(&[&subscription])?;
    let admin = Admin::new(server.admin, "a.example", "ingest");

    let wrong = tenant("d.example") + "settings = { ews-heartbeat-seconds = 0 }\n";
    for mistake in [&*wrong, "colour = 1\n", "[plugins]\ncomponent-bytes = 1024\n"] {
        ensure!(!reload(&server, &configuration(&format!("{}{mistake}", tenant("c.example"))))?, "{mistake}");
        ensure!(!takes_changes(&server, "c.example")? && takes_changes(&server, "b.example")?, "{mistake}");
    }
    let other = "settings = { ews-heartbeat-seconds = 9 }\nlimits = { open-requests = 1 }\n";
    ensure!(reload(&server, &configuration(&format!("{other}{}", tenant("c.example"))))?);
    ensure!(takes_changes(&server, "c.example")? && !takes_changes(&server, "b.example")?);
    ensure!(kept(&server, "b.example")? > 0, "what is kept of it stays");

    admin.change(&[delivered("alice@a.example", "m1", 1)])?;
    while stream.next()?.context("the stream goes on")?.notifications.is_empty() {}
    let refused = client.ask("<m:Unsubscribe><m:SubscriptionId>x</m:SubscriptionId></m:Unsubscribe>")?;
    ensure!(refused.head.status >= 500, "the stream is the one open request that may be: {refused:?}");

    let log = server.stop_whatever_it_logged()?;
    for line in
        ["tenant b.example: it is gone", "tenant c.example: it is new", "ews-heartbeat-seconds from its default to 9"]
    {
        ensure!(log.contains(line), "{line} in {log}");
    }
    ensure!(log.matches("nothing was changed").count() == 3, "{log}");
    Ok(())
}
