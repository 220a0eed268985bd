//! A running server, asked over its admin listener.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::Failure;
use super::counted::refusal;

/// How long the server may take for its answer to begin, and then for each piece of it.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// How long the server may take to say that it wants a body; then it is sent unasked.
const ASKING_TIME: Duration = Duration::from_secs(10);

/// Which server, and the key to it.
#[derive(Args, Debug)]
pub struct ServerArgs {
    /// Admin listener of the server
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    url: String,
    /// Admin key of the server or of the tenant [default: the environment variable POSTBELL_KEY]
    #[arg(long)]
    key: Option<String>,
}

impl ServerArgs {
    /// A client of it.
    ///
    /// # Errors
    ///
    /// There is no key.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.url, self.key.as_deref())
    }
}

/// A server, and the key to it.
pub struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

impl Client {
    /// `key`: of the command line; else it is taken from the environment.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn new(url: &str, key: Option<&str>) -> Result<Client, Failure> {
        let key = key.map(str::to_owned).or_else(|| std::env::var("POSTBELL_KEY").ok()).filter(|key| !key.is_empty());
        let missing = || Failure::Usage("a key is needed: --key or the environment variable POSTBELL_KEY".to_owned());
        let config = Agent::config_builder()
            .timeout_connect(Some(ANSWER_TIME))
            .timeout_await_100(Some(ASKING_TIME))
            .timeout_recv_response(Some(ANSWER_TIME))
            .timeout_per_read(Some(ANSWER_TIME))
            .http_status_as_error(false);
        Ok(Client {
            agent: config.build().into(),
            base: url.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {}", key.ok_or_else(missing)?),
        })
    }

    /// What is at a path.
    ///
    /// # Errors
    ///
    /// The server does not answer, or refuses.
    pub fn get(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let url = self.url(path);
        let answer = self.agent.get(&url).header("authorization", &self.authorization).call();
        accepted(&url, answer)
    }

    /// Puts something there, once the server says that it wants it (RFC 9110, section 10.1.1): one that refuses closes
    /// the connection under a body that is still being sent, and its refusal would be lost.
    ///
    /// # Errors
    ///
    /// As for `get`.
    pub fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Response<Body>> {
        let url = self.url(path);
        let mut request =
            self.agent.put(&url).header("authorization", &self.authorization).header("expect", "100-continue");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        accepted(&url, request.send(body))
    }

    /// Has something done.
    ///
    /// # Errors
    ///
    /// As for `get`.
    pub fn post(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let url = self.url(path);
        let answer = self.agent.post(&url).header("authorization", &self.authorization).send_empty();
        accepted(&url, answer)
    }

    /// Removes what is at a path.
    ///
    /// # Errors
    ///
    /// As for `get`.
    pub fn delete(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let url = self.url(path);
        let answer = self.agent.delete(&url).header("authorization", &self.authorization).call();
        accepted(&url, answer)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn accepted(url: &str, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Response<Body>> {
    let mut response = answer.with_context(|| format!("{url}: the server does not answer"))?;
    let status = response.status();
    if status != StatusCode::OK {
        let text = response.body_mut().read_to_string().context("the server's answer")?;
        bail!("{url}: {}", refusal(status, &text));
    }
    Ok(response)
}
