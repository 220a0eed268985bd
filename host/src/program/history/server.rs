//! The history of a running server.

use std::io::{self, Read};

use anyhow::Context;
use percent_encoding::utf8_percent_encode;

use crate::admin::journal::Listing;
use crate::program::Failure;
use crate::program::client::Client;
use crate::program::counted::PART;

pub(super) struct Server(Client);

impl Server {
    /// `key`: of the command line; else it is taken from the environment.
    pub(super) fn new(url: &str, key: Option<&str>) -> Result<Server, Failure> {
        Client::new(url, key).map(Server)
    }

    pub(super) fn listing(&self) -> anyhow::Result<Listing> {
        let text = self.0.get("/v1/journal")?.body_mut().read_to_string().context("the server's answer")?;
        serde_json::from_str(&text).context("not an answer of a postbell server")
    }

    pub(super) fn archive(&self, tenant: Option<&str>) -> anyhow::Result<impl Read + Send + use<>> {
        let path = match tenant {
            Some(tenant) => format!("/v1/tenants/{}/backup", utf8_percent_encode(tenant, PART)),
            None => "/v1/backup".to_owned(),
        };
        Ok(io::BufReader::new(self.0.get(&path)?.into_body().into_reader()))
    }
}
