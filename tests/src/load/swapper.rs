//! Who has one version of the plugin after the other take over, and goes back, while everybody works.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use postbell::journal::ComponentId;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::site::{Life, Site, Step, Wrong};
use super::{ADMIN_KEY, TENANT};
use crate::admin::Admin;
use crate::histories::Random;
use crate::http::{Connection, request};
use crate::swaps::edition;

/// So many versions there are. They differ in name only.
const EDITIONS: u64 = 3;

/// How long versions are compared at most, in milliseconds.
const MOST_SHADOW: u64 = 100;

/// The swapper, and what it knows of the version that runs.
pub struct Swapper<'s> {
    site: &'s Site,
    random: Random,
    component: &'static [u8],
    /// One of these runs; none: it was never asked. More than one: the server went while it swapped.
    may_run: BTreeSet<String>,
    /// How many swaps were carried out.
    pub swaps: u64,
}

impl<'s> Swapper<'s> {
    /// Of this plugin.
    pub fn new(site: &'s Site, random: Random, component: &'static [u8]) -> Swapper<'s> {
        Swapper { site, random, component, may_run: BTreeSet::new(), swaps: 0 }
    }

    /// Has every version take over once: compiled before anybody hurries, each later swap takes no longer than it must.
    pub fn prepare(&mut self) -> Result<()> {
        let life = self.site.life()?;
        (0..EDITIONS).try_for_each(|number| {
            let component = edition(self.component, number as u8);
            self.ask(life, "PUT", "/plugin", &component, &sha256(&component))
        })
    }

    /// Swaps until all sources have come to their ends.
    pub fn run(&mut self) -> Result<()> {
        let site = self.site;
        site.work(|life| {
            self.check(life)?;
            if site.is_finished() {
                return Ok(Step::Last);
            }
            self.swap(life)?;
            site.answered();
            Ok(Step::More)
        })
    }

    /// It is exactly the version of which the last answer told, or, after a crash, that which was being swapped in.
    fn check(&mut self, life: Life) -> Result<()> {
        let answer = admin(life).ask("GET", "/v1/plugins", b"")?;
        ensure!(answer.head.status == 200, "{answer:?}");
        let listing: Value = serde_json::from_str(&answer.body)?;
        let runs = listing["tenants"][0]["sha256"].as_str().context("a version")?.to_owned();
        let known = self.may_run.is_empty() || self.may_run.contains(&runs);
        ensure!(known, Wrong(format!("{runs} runs, and it may be one of {:?}", self.may_run)));
        self.may_run = [runs].into();
        Ok(())
    }

    fn swap(&mut self, life: Life) -> Result<()> {
        if self.random.below(4) == 0 {
            let listing: Value = serde_json::from_str(&admin(life).ask("GET", "/v1/plugins", b"")?.body)?;
            let previous = listing["tenants"][0]["previous"].as_str().context("a version to go back to")?;
            return self.ask(life, "POST", "/rollback", b"", previous);
        }
        let component = edition(self.component, self.random.below(EDITIONS) as u8);
        let path = match self.random.below(2) {
            0 => "/plugin".to_owned(),
            _ => format!("/plugin?shadow={}ms", self.random.below(MOST_SHADOW)),
        };
        self.ask(life, "PUT", &path, &component, &sha256(&component))
    }

    /// Has `to` take over, and tells of every line of the answer, so that the server may be killed at each.
    fn ask(&mut self, life: Life, method: &str, path: &str, body: &[u8], to: &str) -> Result<()> {
        self.may_run.insert(to.to_owned());
        let (path, authorization) = (format!("/v1/tenants/{TENANT}{path}"), format!("Bearer {ADMIN_KEY}"));
        let mut connection = Connection::open(life.admin)?;
        connection.send(&request(method, &path, &[("Authorization", &authorization)], body))?;
        let head = connection.head()?;
        ensure!(head.status == 200, "{method} {path}: {head:?}");
        let mut said = String::new();
        while let Some(lines) = connection.chunk()? {
            said.push_str(std::str::from_utf8(&lines)?);
            self.site.swap_went_on();
        }
        let last: Value = serde_json::from_str(said.lines().last().context("a line")?)?;
        ensure!(last["done"]["to"] == to, "{method} {path} to {to}: {said}");
        self.may_run = [to.to_owned()].into();
        self.swaps += 1;
        Ok(())
    }
}

fn sha256(component: &[u8]) -> String {
    ComponentId(Sha256::digest(component).into()).to_string()
}

fn admin(life: Life) -> Admin {
    Admin::new(life.admin, TENANT, ADMIN_KEY)
}
