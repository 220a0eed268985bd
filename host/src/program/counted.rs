//! A source that a running server keeps count of, so that each of its lines is applied once.

use std::time::Duration;

use anyhow::{Context, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::Failure;
use crate::clock::pause;

/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(120);

/// How often a batch is repeated that the server cannot take yet.
const ATTEMPTS: u32 = 60;

/// The longest wait that a server's `Retry-After` can ask for, in seconds.
const LONGEST_WAIT: u64 = 60;

/// What is not escaped in a part of a path: the unreserved characters of RFC 3986.
pub const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where changes go, as options of the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Destination {
    /// Admin listener of the server
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    pub url: String,
    /// Tenant that the changes belong to
    #[arg(long)]
    pub tenant: String,
    /// Ingest key of the tenant [default: the environment variable POSTBELL_KEY, where nobody can list it]
    #[arg(long)]
    key: Option<String>,
    /// Calls the mail server's user FROM by the account name TO; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = mapping)]
    pub map: Vec<String>,
}

impl Destination {
    /// The key.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn key(&self) -> Result<String, Failure> {
        let key = self.key.clone().or_else(|| std::env::var("POSTBELL_KEY").ok()).filter(|key| !key.is_empty());
        let missing = || Failure::Usage("a key is needed: --key or the environment variable POSTBELL_KEY".to_owned());
        key.ok_or_else(missing)
    }
}

fn mapping(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(text.to_owned()),
        _ => Err("expected FROM=TO".into()),
    }
}

/// How the server is to read the lines.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The format's name, as [`crate::ingest::Format::named`] knows it.
    pub format: &'a str,
    /// `FROM=TO`: how users of the mail server are called here.
    pub maps: &'a [String],
}

/// One source of one tenant, at the server.
pub struct Counted {
    agent: Agent,
    /// Its name.
    pub source: String,
    /// Path of the source, and what stands in the query of every batch.
    path: String,
    query: String,
    authorization: String,
}

/// What the server answers to a batch.
#[derive(Debug, Deserialize)]
pub struct Receipt {
    /// How many lines were applied.
    pub accepted: u64,
    /// The others.
    pub rejected: Vec<Rejected>,
}

/// A line that was not applied.
#[derive(Debug, Deserialize)]
pub struct Rejected {
    /// Its position in the batch, from 0.
    pub position: u64,
    /// For people.
    pub reason: String,
}

#[derive(Deserialize)]
struct Offset {
    offset: u64,
}

#[derive(Deserialize)]
struct Refusal {
    error: Problem,
    expected: Option<u64>,
}

#[derive(Deserialize)]
struct Problem {
    message: String,
}

impl Counted {
    /// `url`: the server's admin listener; `key`: the tenant's ingest key.
    pub fn new(url: &str, key: &str, tenant: &str, source: &str, reading: Reading<'_>) -> Counted {
        let part = |text: &str| utf8_percent_encode(text, PART).to_string();
        let base = url.trim_end_matches('/');
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("format", reading.format);
        for map in reading.maps {
            query.append_pair("map", map);
        }
        let config = Agent::config_builder().timeout_global(Some(REQUEST_TIME)).http_status_as_error(false);
        Counted {
            agent: config.build().into(),
            path: format!("{base}/v1/tenants/{}/sources/{}", part(tenant), part(source)),
            query: query.finish(),
            authorization: format!("Bearer {key}"),
            source: source.to_owned(),
        }
    }

    /// How many lines of the source are acknowledged.
    ///
    /// # Errors
    ///
    /// The server does not answer, is too busy for long, or refuses.
    pub fn offset(&self) -> anyhow::Result<u64> {
        let ask = || self.agent.get(&self.path).header("authorization", &self.authorization).call();
        Ok(self.answer::<Offset>(ask)?.context("the server cannot answer")?.offset)
    }

    /// Sends lines of which `offset` came before. None: it is too much for one request.
    ///
    /// # Errors
    ///
    /// As for `offset`.
    pub fn send(&self, offset: u64, lines: Vec<u8>) -> anyhow::Result<Option<Receipt>> {
        let url = format!("{}?{}&offset={offset}", self.path, self.query);
        self.answer(|| {
            let post = self.agent.post(&url).header("authorization", &self.authorization);
            post.content_type("application/x-ndjson").send(&lines[..])
        })
    }

    /// Asks until the server can answer; it says itself how long to wait. None: the request is too large.
    fn answer<T: serde::de::DeserializeOwned>(
        &self,
        ask: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> anyhow::Result<Option<T>> {
        for _ in 0..ATTEMPTS {
            let mut response = ask().with_context(|| format!("{}: the server does not answer", self.path))?;
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                pause(1_000 * wait(&response));
                continue;
            }
            let status = response.status();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                return Ok(None);
            }
            let text = response.body_mut().read_to_string().context("the server's answer")?;
            if status == StatusCode::OK {
                return serde_json::from_str(&text).map(Some).context("not an answer of a postbell server");
            }
            bail!(refusal(status, &text));
        }
        bail!("the server was too busy {ATTEMPTS} times; run the same command again to go on")
    }
}

/// How many seconds the server asks to wait.
fn wait(response: &Response<Body>) -> u64 {
    let header = response.headers().get("retry-after");
    let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(1_u64);
    seconds.min(LONGEST_WAIT)
}

/// What a refusal says, for people.
pub fn refusal(status: StatusCode, text: &str) -> String {
    let Ok(Refusal { error, expected }) = serde_json::from_str(text) else {
        return format!("the server answered {status}; is this its admin listener?");
    };
    match expected {
        Some(expected) => format!(
            "the server has only {expected} lines of this source now: does another feed use its name? Run the same \
             command again to go on from there"
        ),
        None => format!("the server answered {}: {}", status.as_u16(), error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_have_two_sides() {
        assert_eq!(mapping("a=b@c"), Ok("a=b@c".into()));
        for odd in ["", "a", "=b", "a="] {
            assert!(mapping(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn refusals_are_explained() {
        let said = |status, text| refusal(StatusCode::from_u16(status).unwrap(), text);
        assert_eq!(said(401, r#"{"error":{"code":"key","message":"no"}}"#), "the server answered 401: no");
        assert!(said(409, r#"{"error":{"code":"gap","message":"x"},"expected":7}"#).contains("only 7 lines"));
        assert!(said(404, "<html>").contains("is this its admin listener?"));
    }
}
