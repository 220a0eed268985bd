//! A real client of Zimbra, python-zimbra, from the Python environment of the tests: by XML and by JSON, as a user and as
//! an administrator.

use std::io::Write;
use std::process::{ChildStdin, Stdio};

use anyhow::{Context, Result, bail, ensure};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::program::{Process, Server};
use postbell_tests::zimbra::{ADMIN_PATH, PATH};
use serde_json::{Value, json};

use crate::{demo, python};

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";
const MAIL: &str = "urn:zimbraMail";
const ADMIN: &str = "urn:zimbraAdmin";
const FORMATS: [&str; 2] = ["xml", "json"];

/// The key that the demo shares with those who vouch for its users.
const PREAUTH_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// python-zimbra, doing what it is told and telling what it hears.
pub(crate) struct Client {
    process: Process,
    input: ChildStdin,
}

impl Client {
    fn start(server: &Server, format: &str, path: &str, login: &str, key: &str, way: &str) -> Result<Client> {
        let url = format!("http://{}{path}", server.clients);
        let mut command = python("zimbra.py")?;
        command.args([format, &url, login, key, way]);
        let mut process = Process::spawn(command.stdin(Stdio::piped()))?;
        let input = process.stdin().context("its input is piped")?;
        Ok(Client { process, input })
    }

    /// Logged in as alice.
    pub(crate) fn alice(server: &Server, format: &str) -> Result<Client> {
        Client::start(server, format, PATH, "alice", "postbell", "password")?.logged_in()
    }

    /// Logged in as the administrator.
    fn admin(server: &Server, format: &str) -> Result<Client> {
        Client::start(server, format, ADMIN_PATH, "admin", "postbell", "admin")?.logged_in()
    }

    fn logged_in(mut self) -> Result<Client> {
        ensure!(self.hear("token")?["has_token"] == true);
        Ok(self)
    }

    pub(crate) fn tell(&mut self, namespace: &str, name: &str, arguments: &Value) -> Result<()> {
        Ok(writeln!(self.input, "{namespace} {name}Request {arguments}")?)
    }

    /// The next thing that it tells, which must be of this kind.
    pub(crate) fn hear(&mut self, kind: &str) -> Result<Value> {
        let line = self.process.line()?.context("the client ended; see its traceback above")?;
        let heard: Value = serde_json::from_str(&line)?;
        ensure!(heard["kind"] == kind, "expected {kind}: {heard}");
        Ok(heard)
    }

    pub(crate) fn answer(&mut self, name: &str) -> Result<Value> {
        let mut heard = self.hear("answer")?;
        let change = &heard["header"]["context"]["change"];
        ensure!(change["token"].is_u64() || change["token"].is_string(), "a change token: {heard}");
        Ok(heard["answer"][format!("{name}Response")].take())
    }

    pub(crate) fn ask(&mut self, namespace: &str, name: &str, arguments: &Value) -> Result<Value> {
        self.tell(namespace, name, arguments)?;
        self.answer(name)
    }

    /// The code of the fault that this is refused with.
    fn refused(&mut self, namespace: &str, name: &str, arguments: &Value) -> Result<String> {
        self.tell(namespace, name, arguments)?;
        Ok(self.hear("fault")?["code"].as_str().context("a code")?.to_owned())
    }

    pub(crate) fn create(&mut self, namespace: &str, name: &str, arguments: &Value) -> Result<String> {
        let created = self.ask(namespace, name, arguments)?;
        ensure!(created["seq"] == 0 || created["seq"] == "0", "{created}");
        Ok(created["waitSet"].as_str().context("an id")?.to_owned())
    }

    /// Waits for its end, which must be in peace.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.input);
        ensure!(self.process.line()?.is_none());
        let (status, stderr) = self.process.end()?;
        ensure!(status.success(), "{status}: {stderr}");
        Ok(())
    }
}

/// The ids that an answer names, as `a` or as `error` with its type. A list of one is none in XML, for this client.
pub(crate) fn named(answer: &Value, what: &str) -> Vec<String> {
    let one = |entry: &Value| {
        let id = entry["id"].as_str().unwrap_or_default().to_owned();
        entry["type"].as_str().map_or(id.clone(), |kind| format!("{id} {kind}"))
    };
    match &answer[what] {
        Value::Array(entries) => entries.iter().map(one).collect(),
        Value::Null => Vec::new(),
        entry => vec![one(entry)],
    }
}

#[test]
fn a_user_creates_waits_and_destroys() -> Result<()> {
    for format in FORMATS {
        let server = demo()?;
        let source = Admin::source(&server);
        let mut alice = Client::alice(&server, format)?;
        let set = alice.create(MAIL, "CreateWaitSet", &json!({"defTypes": "m,f", "add": {"a": {"name": ALICE}}}))?;
        let wait = |seq: &str| json!({"waitSet": set, "seq": seq});
        let idle = alice.ask(MAIL, "WaitSet", &wait("0"))?;
        ensure!(idle["seq"] == "0" && named(&idle, "a").is_empty(), "{idle}");
        source.deliver("m1", 1)?;
        let news = alice.ask(MAIL, "WaitSet", &wait("0"))?;
        ensure!(news["seq"] == "2" && named(&news, "a") == [ALICE], "{news}");

        // It waits; a change wakes it.
        alice.tell(MAIL, "WaitSet", &json!({"waitSet": set, "seq": "2", "block": 1, "timeout": 300}))?;
        source.deliver("m2", 2)?;
        let news = alice.answer("WaitSet")?;
        ensure!(news["seq"] == "3" && named(&news, "a") == [ALICE], "{news}");

        // A second one displaces it.
        alice.tell(MAIL, "WaitSet", &json!({"waitSet": set, "seq": "3", "block": 1}))?;
        let mut second = Client::alice(&server, format)?;
        wait_for_waiters(&server, 1)?;
        ensure!(second.ask(MAIL, "WaitSet", &wait("3"))?["seq"] == "3");
        let canceled = alice.answer("WaitSet")?;
        ensure!(canceled["canceled"] == "1" || canceled["canceled"] == true, "{canceled}");
        ensure!(canceled["seq"].is_null(), "{canceled}");

        // Existence comes before ownership; others are refused.
        let mut bob = Client::start(&server, format, PATH, BOB, "postbell", "password")?.logged_in()?;
        assert_eq!(bob.refused(MAIL, "WaitSet", &wait("3"))?, "service.PERM_DENIED");
        assert_eq!(
            bob.refused(MAIL, "WaitSet", &json!({"waitSet": "WaitSet-1", "seq": "0"}))?,
            "admin.NO_SUCH_WAITSET"
        );
        let foreign = json!({"defTypes": "m", "add": {"a": [{"name": ALICE}]}});
        assert_eq!(bob.refused(MAIL, "CreateWaitSet", &foreign)?, "service.PERM_DENIED");
        assert_eq!(bob.refused(MAIL, "WaitSet", &json!({"waitSet": set, "seq": "x"}))?, "service.INVALID_REQUEST");
        assert_eq!(bob.refused(MAIL, "SearchRequests", &json!({}))?, "service.UNKNOWN_DOCUMENT");

        let destroyed = alice.ask(MAIL, "DestroyWaitSet", &json!({"waitSet": set}))?;
        ensure!(destroyed["waitSet"] == set.as_str(), "{destroyed}");
        assert_eq!(alice.refused(MAIL, "DestroyWaitSet", &json!({"waitSet": set}))?, "mail.NO_SUCH_WAITSET");
        [alice, second, bob].into_iter().try_for_each(Client::end)?;
    }
    Ok(())
}

/// How often the server is asked whether requests wait.
const ATTEMPTS: usize = 20_000;

/// Until so many requests wait: the server says so.
fn wait_for_waiters(server: &Server, count: usize) -> Result<()> {
    let admin = Admin::new(server.admin, "example.org", "demo");
    let waits = format!("name=\"wait_set_requests\"}} {count}.0");
    for _ in 0..ATTEMPTS {
        let metrics = admin.ask("GET", "/metrics", b"")?.body;
        if metrics.lines().any(|line| line.ends_with(&waits)) {
            return Ok(());
        }
    }
    bail!("never {waits}");
}

#[test]
fn an_administrator_waits_for_chosen_accounts_and_for_all() -> Result<()> {
    for format in FORMATS {
        let server = demo()?;
        let source = Admin::source(&server);
        let mut admin = Client::admin(&server, format)?;
        let set = admin.create(
            ADMIN,
            "AdminCreateWaitSet",
            &json!({"defTypes": "all", "add": {"a": [{"id": ALICE}, {"name": "nobody@example.org"}]}}),
        )?;
        let ask = |admin: &mut Client, mut more: Value| {
            more["waitSet"] = set.as_str().into();
            admin.ask(ADMIN, "AdminWaitSet", &more)
        };
        let added = ask(
            &mut admin,
            json!({"seq": "0", "add": {"a": [{"id": ALICE}, {"id": BOB, "types": "m", "folderInterests": "2"}, {"name": "nobody@example.org"}]}}),
        )?;
        let mut errors = named(&added, "error");
        errors.sort_unstable();
        assert_eq!(errors, ["alice@example.org ALREADY_IN_SET_DURING_ADD", "nobody@example.org NO_SUCH_ACCOUNT"]);
        source.change(&[delivered(BOB, "b1", 1)])?;
        let news = ask(&mut admin, json!({"seq": "0", "block": 1, "expand": 1}))?;
        ensure!(news["seq"] == "2" && named(&news, "a") == [BOB], "{news}");
        ensure!(news.to_string().contains("MESSAGE"), "its modifications: {news}");
        let queried = admin.ask(ADMIN, "QueryWaitSet", &json!({"waitSet": set}))?;
        ensure!(queried.to_string().contains("folderInterests"), "{queried}");
        let removed = ask(
            &mut admin,
            json!({"seq": "2", "remove": {"a": [{"id": BOB}]}, "update": {"a": [{"id": ALICE, "token": "1"}]}}),
        )?;
        ensure!(named(&removed, "a").is_empty(), "alice has not changed: {removed}");
        source.deliver("m1", 1)?;
        source.change(&[delivered(BOB, "b2", 2)])?;
        let news = ask(&mut admin, json!({"seq": "2"}))?;
        ensure!(news["seq"] == "3" && named(&news, "a") == [ALICE], "{news}");
        let withdrawn = ask(&mut admin, json!({"seq": "3", "update": {"a": [{"id": ALICE, "token": "99:d1"}]}}))?;
        ensure!(withdrawn["seq"] == "3" && named(&withdrawn, "a").is_empty(), "{withdrawn}");
        assert_eq!(admin.refused(ADMIN, "QueryWaitSet", &json!({"waitSet": "#"}))?, "admin.NO_SUCH_WAITSET");

        let everyone = admin.create(ADMIN, "AdminCreateWaitSet", &json!({"defTypes": "all", "allAccounts": 1}))?;
        admin.tell(ADMIN, "AdminWaitSet", &json!({"waitSet": everyone, "seq": "0", "block": 1}))?;
        source.change(&[delivered("carol@example.org", "c1", 1)])?;
        let news = admin.answer("AdminWaitSet")?;
        assert_eq!(named(&news, "a"), ["carol@example.org"]);
        let destroyed = admin.ask(ADMIN, "AdminDestroyWaitSet", &json!({"waitSet": everyone}))?;
        ensure!(destroyed["waitSet"] == everyone.as_str());
        admin.end()?;
    }
    Ok(())
}

#[test]
fn logins_by_preauth_and_their_refusals() -> Result<()> {
    for format in FORMATS {
        let server = demo()?;
        let mut alice = Client::start(&server, format, PATH, ALICE, PREAUTH_KEY, "preauth")?.logged_in()?;
        let info = alice.ask("urn:zimbraAccount", "GetInfo", &json!({}))?;
        ensure!(info.to_string().contains(ALICE), "{info}");
        alice.ask(MAIL, "NoOp", &json!({}))?;
        alice.ask("urn:zimbraAccount", "EndSession", &json!({}))?;
        assert_eq!(alice.refused(MAIL, "NoOp", &json!({}))?, "service.AUTH_EXPIRED");
        alice.end()?;
        for (login, key, way, path, code) in [
            (ALICE, "another key", "preauth", PATH, "account.AUTH_FAILED"),
            (ALICE, "wrong", "password", PATH, "account.AUTH_FAILED"),
            ("nobody@example.org", "postbell", "password", PATH, "account.AUTH_FAILED"),
            (ALICE, "postbell", "admin", ADMIN_PATH, "service.PERM_DENIED"),
            ("admin", "wrong", "admin", ADMIN_PATH, "account.AUTH_FAILED"),
        ] {
            let mut client = Client::start(&server, format, path, login, key, way)?;
            let text = client.hear("refused")?["text"].to_string();
            ensure!(text.contains(code), "{login} by {way}: {text}");
            client.end()?;
        }
    }
    Ok(())
}

#[test]
fn several_requests_at_once() -> Result<()> {
    for format in FORMATS {
        let server = demo()?;
        let mut alice = Client::alice(&server, format)?;
        let create = json!([MAIL, "CreateWaitSetRequest", {"defTypes": "m"}]);
        let wait = json!([MAIL, "WaitSetRequest", {"waitSet": "#", "seq": "0", "block": 1}]);
        let batch = json!([create, create, create, wait, [MAIL, "NoOpRequest", {}]]);
        writeln!(alice.input, "batch {batch}")?;
        let heard = alice.hear("batch")?;
        let names: Vec<_> = heard["answers"].as_array().context("a list")?.iter().map(|it| it[0].clone()).collect();
        // This client leaves the fault out of the names.
        assert_eq!(names, ["CreateWaitSetResponse", "CreateWaitSetResponse", "CreateWaitSetResponse", "NoOpResponse"]);
        assert_eq!(heard["has_fault"], true);
        alice.end()?;
    }
    Ok(())
}
