//! GroupWise's events by gwsoap, and by the bytes of the client of 2026: configured, recorded, told over TCP, read,
//! removed, and there after a crash.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::groupwise::{PATH, login, soap, text};
use postbell_tests::http::{Connection, request};
use postbell_tests::program::Server;
use postbell_tests::schemas;
use serde_json::{Value, json};

use super::{Client, code};
use crate::demo;

/// Far more than any machine needs; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Another bound of the same kind, in requests.
const ATTEMPTS: usize = 100_000;

/// An application that listens, and the lines that it hears.
struct Listener {
    port: u16,
    lines: Receiver<String>,
}

impl Listener {
    fn start() -> Result<Listener> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (heard, lines) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if heard.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Listener { port, lines })
    }

    /// One notification: a line in either namespace.
    fn hear(&self) -> Result<()> {
        for space in ["urn:novell:schemas:ns:events", "http://schemas.novell.com/2005/01/GroupWise/events"] {
            let line = self.lines.recv_timeout(PATIENCE).context("nobody was told")?;
            let expected = format!("<notify xmlns='{space}'><userid>alice</userid><key>app</key></notify>\r");
            assert_eq!(line, expected);
        }
        Ok(())
    }

    fn configuration(&self) -> Value {
        json!({"events": {"Events": {"key": "app", "enabled": true, "ip_address": "127.0.0.1", "port": self.port,
            "persistence": {"timedelta": {"days": 2}},
            "definition": {"EventDefinition": {
                "events": {"EventTypeList": {"event": ["FolderItemAdd", "ItemMarkRead"]}},
                "type": {"ItemTypeList": {"value": ["Mail"]}},
                "containers": {"ContainerList": {"container": ["inbox@16"], "not_value": false}},
            }},
        }}})
    }
}

impl Client {
    /// What an operation answers that must succeed.
    fn must(&mut self, name: &str, arguments: Value) -> Result<Value> {
        let answer = self.ask(name, &arguments)?;
        ensure!(code(&answer) == 0, "{name}: {answer}");
        Ok(answer)
    }

    /// The records of the key as `event id`.
    fn events(&mut self, mut arguments: Value) -> Result<Vec<String>> {
        arguments["key"] = "app".into();
        let answer = self.must("getEvents", arguments)?;
        let events = answer["events"]["event"].as_array().with_context(|| format!("events: {answer}"))?;
        events.iter().for_each(|event| assert!(event["key"] == "app" && event["container"] == "inbox@16", "{event}"));
        let word = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Ok(events.iter().map(|event| word(event, "event") + " " + &word(event, "id")).collect())
    }
}

fn read(id: &str) -> Value {
    json!({"account": "alice@example.org", "what": {"item-modified": {
        "item": {"kind": "message", "id": id, "folder": "inbox", "flags": 1}, "flags-before": 0, "fields": ["flags"],
    }}})
}

/// Until no answer with records is on its way: then what they removed is.
fn wait_for_deliveries(server: &Server) -> Result<()> {
    let admin = Admin::new(server.admin, "example.org", "demo");
    for _ in 0..ATTEMPTS {
        let metrics = admin.ask("GET", "/metrics", b"")?.body;
        if metrics.lines().any(|line| line.contains("\"groupwise_event_reads\"") && line.ends_with(" 0.0")) {
            return Ok(());
        }
    }
    bail!("an answer stays on its way");
}

#[test]
fn an_application_configures_hears_reads_and_removes() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::alice(&server)?;
    let application = Listener::start()?;
    client.must("configureEvents", application.configuration())?;

    source.deliver("m1", 1)?;
    application.hear()?;
    let again = json!({"count": -1, "remove": true, "notify": true});
    assert_eq!(client.events(again.clone())?, ["FolderItemAdd m1"]);
    assert_eq!(client.events(again.clone())?, [""; 0], "what was removed is gone");

    // Another round, with a crash between the notification and the read.
    wait_for_deliveries(&server)?;
    source.change(&[read("m1")])?;
    application.hear()?;
    let restart = server.again();
    server.kill()?;
    let server = restart.start()?;
    client.end()?;
    let (source, mut client) = (Admin::source(&server), Client::alice(&server)?);
    assert_eq!(client.events(json!({"remove": false}))?, ["ItemMarkRead m1"]);
    assert_eq!(client.events(again.clone())?, ["ItemMarkRead m1"]);
    source.deliver("m2", 1)?;
    application.hear()?;
    assert_eq!(client.events(json!({"count": 1}))?, ["FolderItemAdd m2"]);

    let configured = client.must("getEventConfiguration", json!({"key": "app"}))?;
    let found = &configured["events"]["event"][0];
    ensure!(found["key"] == "app" && found["enabled"] == true && found["port"] == application.port, "{found}");
    ensure!(found["persistence"] == 172_800.0 && found["ip_address"] == "127.0.0.1", "{found}");
    let definition = &found["definition"];
    ensure!(definition["events"]["event"] == json!(["FolderItemAdd", "ItemMarkRead"]), "{found}");
    ensure!(definition["type"]["value"] == json!(["Mail"]), "{found}");
    ensure!(definition["containers"]["container"] == json!(["inbox@16"]), "{found}");

    client.must("removeEvents", json!({"key": "app"}))?;
    assert_eq!(client.events(json!({}))?, [""; 0]);
    client.must("removeEventConfiguration", json!({"key": "app"}))?;
    assert_eq!(code(&client.ask("getEvents", &json!({"key": "app"}))?), 53761);
    client.must("configureEvents", application.configuration())?;
    client.must("cleanEventConfiguration", json!({"all": false}))?;
    client.must("getEventConfiguration", json!({"key": "app"}))?;
    client.must("cleanEventConfiguration", json!({"all": true}))?;
    ensure!(client.must("getEventConfiguration", json!({}))?["events"]["event"] == json!([]));
    client.end()
}

/// Names without namespaces, a number of days, no count, one of the namespaces of old.
#[test]
fn the_client_of_2026_is_understood() -> Result<()> {
    let server = demo()?;
    let mut connection = Connection::open(server.clients)?;
    let mut ask = |body: String| -> Result<String> {
        let answer = connection.ask(&request("POST", PATH, &[("Content-Type", "text/xml")], body.as_bytes()))?;
        schemas::judge(&answer.body)?;
        Ok(answer.body)
    };
    let session = text(&ask(login("alice", "postbell"))?, "session");
    let application = Listener::start()?;
    let configure = format!(
        "<configureEventsRequest xmlns:types=\"http://schemas.novell.com/2003/10/NCSP/types.xsd\"><events enabled=\"1\">\
         <key>app</key><persistence>1</persistence><ipAddress>127.0.0.1</ipAddress><port>{}</port><definition><events>\
         <event>FolderItemAdd</event><event>ItemDelete</event><event>ItemPurge</event></events></definition></events>\
         </configureEventsRequest>",
        application.port
    );
    ensure!(text(&ask(soap(&session, &configure))?, "code") == "0");
    Admin::source(&server).deliver("m1", 1)?;
    application.hear()?;
    let get = "<getEventsRequest><key>app</key><remove>1</remove><notify>1</notify></getEventsRequest>";
    let events = ask(soap(&session, get))?;
    ensure!(text(&events, "id") == "m1" && text(&events, "uid") == "1" && text(&events, "code") == "0", "{events}");
    let configured = ask(soap(&session, "<getEventConfigurationRequest/>"))?;
    ensure!(text(&configured, "persistence") == "P1D", "{configured}");
    for refused in [configure.replace("127.0.0.1", "10.0.0.1"), configure.replace("<port>", "<http>1</http><port>")] {
        ensure!(text(&ask(soap(&session, &refused))?, "code") == "59905");
    }
    let unknown = ask(soap(&session, "<getEventsRequest><key>other</key></getEventsRequest>"))?;
    ensure!(text(&unknown, "code") == "53761", "{unknown}");
    Ok(())
}
