//! A real client of GroupWise, gwsoap, from the Python environment of the tests. Every answer that it gets is judged by the
//! schemas, too, where they are.

mod events;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{ChildStdin, Stdio};

use anyhow::{Context, Result, ensure};
use postbell_tests::admin::Admin;
use postbell_tests::groupwise::{BOOK, PATH, contact, contact_id};
use postbell_tests::http::{Connection, request};
use postbell_tests::program::{Process, Server};
use postbell_tests::schemas;
use serde_json::{Value, json};

use crate::{demo, python};

/// gwsoap, doing what it is told and telling what it hears.
struct Client {
    process: Process,
    input: ChildStdin,
}

impl Client {
    fn start(server: &Server) -> Result<Client> {
        let mut command = python("groupwise.py")?;
        command.arg(format!("http://{}{PATH}", server.clients));
        let mut process = Process::spawn(command.stdin(Stdio::piped()))?;
        let input = process.stdin().context("its input is piped")?;
        Ok(Client { process, input })
    }

    /// Logged in as alice.
    fn alice(server: &Server) -> Result<Client> {
        let mut client = Client::start(server)?;
        let answer = client.log_in("alice", "postbell")?;
        ensure!(code(&answer) == 0 && answer["session"].is_string(), "{answer}");
        Ok(client)
    }

    fn log_in(&mut self, username: &str, password: &str) -> Result<Value> {
        let auth = json!({"PlainText": {"username": username, "password": password}});
        self.ask("login", &json!({"auth": auth, "language": "en", "version": "1.05", "userid": true}))
    }

    /// Goes on as if it had another session, or none.
    fn use_session(&mut self, session: &str) -> Result<()> {
        Ok(writeln!(self.input, "session {session}")?)
    }

    fn ask(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        writeln!(self.input, "{name} {arguments}")?;
        let line = self.process.line()?.context("the client ended; see its traceback above")?;
        let mut heard: Value = serde_json::from_str(&line)?;
        ensure!(heard["kind"] == "answer", "{heard}");
        schemas::judge(heard["raw"].as_str().context("what came")?)?;
        Ok(heard["answer"].take())
    }

    /// An operation on the system address book that must succeed.
    fn on_book(&mut self, name: &str, mut arguments: Value) -> Result<Value> {
        arguments["container"] = BOOK.into();
        let answer = self.ask(name, &arguments)?;
        ensure!(code(&answer) == 0, "{name}: {answer}");
        Ok(answer)
    }

    /// The code of an operation on the system address book.
    fn refused(&mut self, name: &str, mut arguments: Value) -> Result<u64> {
        arguments["container"] = BOOK.into();
        Ok(code(&self.ask(name, &arguments)?))
    }

    /// First and last sequence, and when the book was rebuilt.
    fn info(&mut self) -> Result<[u64; 3]> {
        let answer = self.on_book("getDeltaInfo", json!({}))?;
        ensure!(answer["delta_info"]["count"].is_null(), "{answer}");
        let number = |name: &str| answer["delta_info"][name].as_u64().with_context(|| format!("{name}: {answer}"));
        Ok([number("first_sequence")?, number("last_sequence")?, number("last_time_po_rebuild")?])
    }

    /// The whole book, by a cursor in pages of 4.
    fn copy(&mut self) -> Result<BTreeMap<String, Value>> {
        let cursor = self.on_book("createCursor", json!({}))?["cursor"].take();
        let mut entries = BTreeMap::new();
        loop {
            let page = self.on_book("readCursor", json!({"cursor": cursor, "count": 4}))?;
            let items = page["items"]["item"].as_array().context("items")?;
            if items.is_empty() {
                break;
            }
            ensure!(items.len() <= 4, "{page}");
            entries.extend(items.iter().map(|item| (id(item), item.clone())));
        }
        self.on_book("destroyCursor", json!({"cursor": cursor}))?;
        Ok(entries)
    }

    fn deltas(&mut self, info: Value) -> Result<Value> {
        self.on_book("getDeltas", json!({"delta_info": {"DeltaInfo": info}}))
    }

    /// Brings a copy up to date, in pages, as the interface's documentation has it; gives the sequences that were read.
    fn catch_up(&mut self, copy: &mut BTreeMap<String, Value>, known: [u64; 3], page: u64) -> Result<Vec<u64>> {
        let [_, head, rebuilt] = self.info()?;
        let (mut read, mut pages) = (known[1], Vec::new());
        while read < head {
            let info = json!({"count": page, "first_sequence": read + 1, "last_time_po_rebuild": rebuilt});
            let answer = self.deltas(info)?;
            let items = answer["items"]["item"].as_array().context("items")?;
            ensure!(answer["delta_info"]["count"] == items.len(), "{answer}");
            items.iter().for_each(|item| apply(copy, item));
            let last = answer["delta_info"]["last_sequence"].as_u64().context("the last sequence")?;
            ensure!(last == read + items.len() as u64, "one item for each sequence: {answer}");
            read = last;
            pages.push(read);
        }
        Ok(pages)
    }

    /// Waits for its end, which must be in peace.
    fn end(mut self) -> Result<()> {
        drop(self.input);
        ensure!(self.process.line()?.is_none());
        let (status, stderr) = self.process.end()?;
        ensure!(status.success(), "{status}: {stderr}");
        Ok(())
    }
}

fn code(answer: &Value) -> u64 {
    answer["status"]["code"].as_u64().expect("every answer has a status")
}

fn id(item: &Value) -> String {
    item["id"].as_str().expect("every item has an id").to_owned()
}

fn apply(copy: &mut BTreeMap<String, Value>, item: &Value) {
    let mut item = item.clone();
    let sync = item.as_object_mut().and_then(|members| members.remove("sync"));
    match sync.as_ref().and_then(Value::as_str).expect("what happened") {
        "delete" => drop(copy.remove(&id(&item))),
        "add" | "update" => drop(copy.insert(id(&item), item)),
        other => panic!("{other}"),
    }
}

/// Without the members of groups, which deltas do not tell.
fn without_members(mut copy: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    copy.values_mut().filter_map(Value::as_object_mut).for_each(|item| drop(item.remove("members")));
    copy
}

#[test]
fn a_copy_of_the_book_follows_its_deltas() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::alice(&server)?;
    let books = client.ask("getAddressBookList", &json!({}))?;
    let found = &books["books"]["book"][0];
    ensure!(found["id"] == BOOK && found["name"] == "GroupWise Address Book", "{books}");
    ensure!(found["is_personal"].is_null(), "a personal book says so: {books}");

    let known = client.info()?;
    let mut copy = client.copy()?;
    let kinds: Vec<_> = copy.values().map(|item| item["is"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["Contact", "Contact", "Contact", "Organization", "Resource", "Group"]);
    let alice = &copy[&contact_id("alice")];
    ensure!(alice["full_name"]["display_name"] == "Alice Archer", "{alice}");
    ensure!(alice["email_list"]["primary"] == "alice@example.org", "{alice}");
    assert_eq!(
        copy.values().find(|item| item["is"] == "Group").context("a group")?["members"]["member"][1]["email"],
        "bob@example.org"
    );

    let added = (0..120).map(|number| json!({"added": contact(&format!("e{number}"), "New")}));
    let staff = json!({"id": "staff", "kind": "group", "fields": [{"name": "name", "value": "Everybody"}]});
    let more = [json!({"modified": contact("e7", "Changed")}), json!({"deleted": "bob"}), json!({"modified": staff})];
    source.book(&added.chain(more).collect::<Vec<_>>())?;
    let pages = client.catch_up(&mut copy, known, 50)?;
    assert_eq!(pages, [56, 106, 130], "the changed group is two");
    assert_eq!(without_members(copy), without_members(client.copy()?));
    let nothing = client.deltas(json!({"first_sequence": 131}))?;
    ensure!(nothing["items"]["item"] == json!([]) && nothing["delta_info"]["last_sequence"] == 130, "{nothing}");
    let view =
        json!({"view": {"View": {"value": ["name", "sync"]}}, "delta_info": {"DeltaInfo": {"first_sequence": 7}}});
    let viewed = client.on_book("getDeltas", view)?;
    ensure!(
        viewed["items"]["item"][0]["name"] == "New" && viewed["items"]["item"][0]["email_list"].is_null(),
        "{viewed}"
    );
    client.end()
}

#[test]
fn a_rebuild_makes_clients_read_the_whole_book() -> Result<()> {
    let server = demo()?;
    let source = Admin::source(&server);
    let mut client = Client::alice(&server)?;
    let before = client.info()?;
    source.book(&[json!("rebuild-started"), json!({"added": contact("alice", "Alice Again")})])?;
    assert_eq!(client.info()?[2], before[2], "it is not finished");
    source.book(&[json!({"added": contact("dora", "Dora")}), json!("rebuild-finished")])?;
    let after = client.info()?;
    assert_eq!(after[..2], [1, 0]);
    ensure!(after[2] != before[2] && after[2] != 0, "{after:?}");
    let stale = json!({"first_sequence": 1, "last_time_po_rebuild": before[2]});
    assert_eq!(client.refused("getDeltas", json!({"delta_info": {"DeltaInfo": stale}}))?, 55062);
    let mut copy = client.copy()?;
    assert_eq!(copy.keys().cloned().collect::<Vec<_>>(), ["alice", "dora"].map(contact_id));
    source.book(&[json!({"deleted": "dora"})])?;
    assert_eq!(client.catch_up(&mut copy, after, 100)?, [1]);
    assert_eq!(copy, client.copy()?);
    client.end()
}

/// The login ends with the process that knew it, and the cursors with the login; what a client knows of the deltas holds.
#[test]
fn a_crash_takes_no_delta() -> Result<()> {
    let server = demo()?;
    let mut client = Client::start(&server)?;
    let session = client.log_in("alice", "postbell")?["session"].as_str().context("a session")?.to_owned();
    let (known, mut copy) = (client.info()?, client.copy()?);
    Admin::source(&server).book(&[json!({"deleted": "bob"}), json!({"added": contact("dora", "Dora")})])?;
    let again = server.again();
    server.kill()?;
    let server = again.start()?;
    client.end()?;

    let mut client = Client::start(&server)?;
    client.use_session(&session)?;
    assert_eq!(client.refused("getDeltaInfo", json!({}))?, 59910);
    assert_eq!(code(&client.log_in("alice", "postbell")?), 0);
    assert_eq!(client.info()?, [1, known[1] + 2, known[2]]);
    assert_eq!(client.catch_up(&mut copy, known, 1)?, [7, 8]);
    assert_eq!(copy, client.copy()?);
    client.end()
}

#[test]
fn logins_end_and_are_refused() -> Result<()> {
    let server = demo()?;
    let mut client = Client::start(&server)?;
    for (username, password) in [("alice", "wrong"), ("nobody", "postbell")] {
        let answer = client.log_in(username, password)?;
        ensure!(code(&answer) == 53273 && answer["session"].is_null(), "one is told what the other is: {answer}");
    }
    let key = json!({"TrustedApplication": {"username": "alice", "name": "app", "key": "0123"}});
    let proxy = json!({"Proxy": {"username": "alice", "password": "postbell", "proxy": "bob"}});
    for auth in [key, proxy] {
        assert_eq!(code(&client.ask("login", &json!({"auth": auth, "language": "en", "version": "1"}))?), 59905);
    }
    assert_eq!(client.refused("getDeltaInfo", json!({}))?, 59920);
    client.use_session("nonsense")?;
    assert_eq!(client.refused("getDeltaInfo", json!({}))?, 59910);

    let answer = client.log_in("alice@example.org", "postbell")?;
    ensure!(answer["userinfo"]["userid"] == "alice" && answer["gw_version"].is_string(), "{answer}");
    assert_eq!(code(&client.ask("getTimestamp", &json!({"noop": true}))?), 0);
    assert_eq!(code(&client.ask("getDeltaInfo", &json!({"container": "7.AutoDomain.PO.100.0.1.0.1@16"}))?), 59925);
    let bad = json!({"delta_info": {"DeltaInfo": {"count": -2}}});
    assert_eq!(client.refused("getDeltas", bad)?, 59905);
    let beyond = client.deltas(json!({"first_sequence": 4_000_000_000_u64}))?;
    ensure!(beyond["items"]["item"] == json!([]) && beyond["delta_info"]["last_sequence"] == 6, "{beyond}");
    assert_eq!(client.refused("readCursor", json!({"cursor": 7}))?, 59909);
    assert_eq!(code(&client.ask("getFolderList", &json!({"parent": "folders", "recurse": true}))?), 59905);

    let malformed = Connection::open(server.clients)?.ask(&request("POST", PATH, &[], b"<Envelope><Body>"))?;
    ensure!(malformed.head.status == 500 && malformed.body.contains("<faultcode>"), "{malformed:?}");
    assert_eq!(code(&client.ask("logout", &json!({}))?), 0);
    assert_eq!(client.refused("getDeltaInfo", json!({}))?, 59910, "the session is dead");
    assert_eq!(code(&client.ask("logout", &json!({}))?), 59910);
    client.end()
}
