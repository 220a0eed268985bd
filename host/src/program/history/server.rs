//! A running server, asked over its admin listener.

use std::io::{self, Read};
use std::time::Duration;

use anyhow::{Context, bail};
use percent_encoding::utf8_percent_encode;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::admin::journal::Listing;
use crate::program::Failure;
use crate::program::feed::{PART, refusal};

/// How long the server may take for its answer to begin, and then for each piece of it.
const ANSWER_TIME: Duration = Duration::from_secs(120);

pub(super) struct Server {
    agent: Agent,
    base: String,
    authorization: String,
}

impl Server {
    /// `key`: of the command line; else it is taken from the environment.
    pub(super) fn new(url: &str, key: Option<&str>) -> Result<Server, Failure> {
        let key = key.map(str::to_owned).or_else(|| std::env::var("POSTBELL_KEY").ok()).filter(|key| !key.is_empty());
        let missing = || Failure::Usage("a key is needed: --key or the environment variable POSTBELL_KEY".to_owned());
        let config = Agent::config_builder()
            .timeout_connect(Some(ANSWER_TIME))
            .timeout_recv_response(Some(ANSWER_TIME))
            .timeout_per_read(Some(ANSWER_TIME))
            .http_status_as_error(false);
        Ok(Server {
            agent: config.build().into(),
            base: url.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {}", key.ok_or_else(missing)?),
        })
    }

    pub(super) fn listing(&self) -> anyhow::Result<Listing> {
        let text = self.get("/v1/journal")?.body_mut().read_to_string().context("the server's answer")?;
        serde_json::from_str(&text).context("not an answer of a postbell server")
    }

    pub(super) fn archive(&self, tenant: Option<&str>) -> anyhow::Result<impl Read + Send + use<>> {
        let path = match tenant {
            Some(tenant) => format!("/v1/tenants/{}/backup", utf8_percent_encode(tenant, PART)),
            None => "/v1/backup".to_owned(),
        };
        Ok(io::BufReader::new(self.get(&path)?.into_body().into_reader()))
    }

    fn get(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let url = format!("{}{path}", self.base);
        let answer = self.agent.get(&url).header("authorization", &self.authorization).call();
        let mut response = answer.with_context(|| format!("{url}: the server does not answer"))?;
        let status = response.status();
        if status != StatusCode::OK {
            let text = response.body_mut().read_to_string().context("the server's answer")?;
            bail!("{url}: {}", refusal(status, &text));
        }
        Ok(response)
    }
}
