//! The admin listener, as sources of changes and operators use it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::http::{Answer, Connection, request};
use crate::program::Server;

/// A caller of the admin API with a key.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    tenant: String,
    authorization: String,
    patience: Duration,
}

impl Admin {
    /// A source of the demo's tenant.
    pub fn source(server: &Server) -> Admin {
        Admin::new(server.admin, "example.org", "demo")
    }

    /// A caller with this key, for this tenant.
    pub fn new(address: SocketAddr, tenant: &str, key: &str) -> Admin {
        Admin { address, tenant: tenant.into(), authorization: format!("Bearer {key}"), patience: PATIENCE }
    }

    /// One that gives up a server that says nothing for so long.
    pub fn patient(self, patience: Duration) -> Admin {
        Admin { patience, ..self }
    }

    /// One request; `path` is taken as it is.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        let headers = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        Connection::patient(self.address, self.patience)?.ask(&request(method, path, &headers, body))
    }

    /// Posts a body to `changes`.
    pub fn post(&self, body: &Value) -> Result<Answer> {
        self.ask("POST", &format!("/v1/tenants/{}/changes", self.tenant), body.to_string().as_bytes())
    }

    /// Posts changes that all must be accepted, without an offset.
    pub fn change(&self, changes: &[Value]) -> Result<()> {
        self.post_all("changes", changes)
    }

    /// Posts changes of the address book that all must be accepted, without an offset.
    pub fn book(&self, changes: &[Value]) -> Result<()> {
        self.post_all("book", changes)
    }

    fn post_all(&self, list: &str, changes: &[Value]) -> Result<()> {
        let answer = self.post(&json!({"source": "test", list: changes}))?;
        ensure!(answer.head.status == 200, "{answer:?}");
        let result: Value = serde_json::from_str(&answer.body)?;
        ensure!(result["accepted"] == changes.len(), "{result}");
        Ok(())
    }

    /// Delivers a message to alice's inbox, which then holds `unread` unread ones.
    pub fn deliver(&self, id: &str, unread: u32) -> Result<()> {
        self.change(&[delivered("alice@example.org", id, unread)])
    }

    /// Posts lines of Cyrus to a source.
    pub fn cyrus(&self, source: &str, offset: u64, query: &str, lines: &str) -> Result<Answer> {
        let path = format!("/v1/tenants/{}/sources/{source}?format=cyrus&offset={offset}{query}", self.tenant);
        self.ask("POST", &path, lines.as_bytes())
    }

    /// A figure of `/metrics`, by its name and labels as they stand there.
    pub fn figure(&self, name: &str) -> Result<u64> {
        let metrics = self.ask("GET", "/metrics", b"")?.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in {metrics}"))?.parse()?)
    }

    /// Waits until a figure is this.
    pub fn until_figure(&self, name: &str, expected: u64) -> Result<()> {
        let reached = self.until(|| self.figure(name).map(|figure| figure == expected))?;
        ensure!(reached, "{name} is {}, never {expected}", self.figure(name)?);
        Ok(())
    }

    /// Asks again until this is true, and tells whether it ever was.
    pub fn until(&self, mut is_true: impl FnMut() -> Result<bool>) -> Result<bool> {
        // Each attempt is a connection and an answer of its own, so these are many seconds.
        let reached = (0..20_000).map(|_| is_true()).find(|reached| !matches!(reached, Ok(false)));
        Ok(reached.transpose()? == Some(true))
    }

    /// How often a limit of the clients' listener has refused something.
    pub fn refusals(&self, limit: &str) -> Result<u64> {
        self.figure(&format!("postbell_client_refusals_total{{limit=\"{limit}\"}}"))
    }

    /// What the server has of a source.
    pub fn offset(&self, source: &str) -> Result<u64> {
        let answer = self.ask("GET", &format!("/v1/tenants/{}/sources/{source}", self.tenant), b"")?;
        ensure!(answer.head.status == 200, "{answer:?}");
        let result: Value = serde_json::from_str(&answer.body)?;
        result["offset"].as_u64().with_context(|| format!("an offset: {result}"))
    }
}

/// A message that arrives in the inbox of an account.
pub fn delivered(account: &str, id: &str, unread: u32) -> Value {
    json!({
        "account": account,
        "at": 1_795_296_510_624_u64,
        "what": {"message-delivered": {"kind": "message", "id": id, "folder": "inbox"}},
        "counts": [{"folder": "inbox", "unread": unread, "total": unread}],
    })
}
