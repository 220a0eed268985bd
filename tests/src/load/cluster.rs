//! Several servers that share the tenant, under load, while they are killed, stopped, cut off, drained, and NATS with them.
//!
//! What happens to one server in a single one's life happens here to all of them: from a fault until the tenant is where it
//! is to be, what fails is excused; then it is served, through whichever of them, as if nothing had been.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::numbers::Numbers;
use super::site::{Promise, Site, Wrong};
use super::{ADMIN_KEY, CLIENTS, INGEST_KEY, TENANT, Users, With, live, source};
use crate::admin::{Admin, delivered};
use crate::histories::Random;
use crate::nats::NatsCluster;
use crate::network::Link;
use crate::program::{Server, Start};
use crate::until;

/// How long users wait for a server that stands still: longer than two of a stream's signs of life, and than a journal may
/// take, and short enough that they are elsewhere before anybody waits for them in vain.
const PATIENCE_OF_USERS: Duration = Duration::from_secs(15);

/// What happens.
#[derive(Clone, Copy)]
enum Fault {
    /// A server is killed.
    Killed,
    /// One is stopped in order, and started again.
    Restarted,
    /// One is emptied.
    Drained,
    /// One stands still for longer than its lease, and goes on.
    Stopped,
    /// One does not reach NATS for longer than its lease.
    CutOff,
    /// A server of NATS is killed.
    NatsKilled,
}

impl Fault {
    /// Each of them.
    const ALL: [Fault; 6] =
        [Fault::Killed, Fault::Restarted, Fault::Drained, Fault::Stopped, Fault::CutOff, Fault::NatsKilled];
}

/// A server, and its ways to NATS.
pub struct Member {
    /// Its name.
    pub name: String,
    /// How it is started.
    pub start: Start,
    /// Its ways to the servers of NATS.
    pub links: Vec<Link>,
}

/// All of it.
struct Cluster<'a> {
    members: Vec<Member>,
    /// None: it is down.
    servers: Vec<Option<Server>>,
    nats: &'a mut NatsCluster,
    /// How many changes of the prober's own were sent, and how many acknowledged.
    probes: (u64, u64),
}

/// Lets the servers be used, with so many faults. Fails if they break their promise; otherwise says what
/// happened.
pub fn run(members: Vec<Member>, nats: &mut NatsCluster, seed: u64, faults: u64) -> Result<String> {
    let servers = members.iter().map(|_| None).collect();
    let mut cluster = Cluster { members, servers, nats, probes: (0, 0) };
    let outcome = play(&mut cluster, seed, faults);
    if outcome.is_err()
        && let Some(Ok(log)) = cluster.log()
    {
        eprintln!("the servers' logs:\n{log}");
    }
    outcome
}

fn play(cluster: &mut Cluster<'_>, seed: u64, faults: u64) -> Result<String> {
    let mut random = Random(seed);
    let (site, numbers) = (Site::new(Promise::Everything).patient(PATIENCE_OF_USERS), Numbers::default());
    for (server, member) in cluster.servers.iter_mut().zip(&cluster.members) {
        *server = Some(member.start.clone().start()?);
    }
    cluster.settle()?;
    source::baseline(site.up(cluster.any(&mut random)?, false))?;
    let mut users = Users::new(&site, &numbers, &mut random, With::default());
    users.pollers.iter_mut().try_for_each(|poller| poller.subscribe(site.life()?, None))?;
    let mut said = Vec::new();
    let torture = |cluster: &mut Cluster<'_>| {
        for _ in 0..faults {
            live(&site, &mut random)?;
            said.push(cluster.fault(&site, &mut random)?);
            println!("{}", said.join(", "));
        }
        live(&site, &mut random)?;
        site.wait_for_subscriptions(CLIENTS)?;
        site.close();
        Ok(())
    };
    users.work(&site, cluster, torture, Cluster::log)?;
    users.judge(&site)?;
    cluster.check_probes()?;
    for server in &mut cluster.servers {
        server.take().context("a server")?.stop_whatever_it_logged()?;
    }
    Ok(format!("{}; {}", users.summary(), said.join(", ")))
}

impl Cluster<'_> {
    /// Something happens. Afterwards everything is well again.
    fn fault(&mut self, site: &Site, random: &mut Random) -> Result<String> {
        let owner = self.owner()?;
        let of_all = random.below(self.members.len() as u64) as usize;
        let chosen = if random.below(4) > 0 { owner } else { of_all };
        site.down();
        let name = self.members[chosen].name.clone();
        let what = match Fault::ALL[random.below(Fault::ALL.len() as u64) as usize] {
            Fault::Killed => {
                self.servers[chosen].take().context("a server")?.kill_whatever_it_logged();
                self.elsewhere(site, random, chosen)?;
                self.servers[chosen] = Some(self.members[chosen].start.clone().start()?);
                format!("{name} killed")
            }
            Fault::Stopped => {
                site.delay();
                self.server(chosen)?.pause()?;
                self.elsewhere(site, random, chosen)?;
                self.server(chosen)?.resume()?;
                self.probe(chosen)?;
                format!("{name} stopped")
            }
            Fault::CutOff => {
                site.delay();
                self.members[chosen].links.iter().for_each(Link::cut);
                self.elsewhere(site, random, chosen)?;
                self.members[chosen].links.iter().for_each(Link::mend);
                self.probe(chosen)?;
                format!("{name} cut off")
            }
            Fault::NatsKilled => {
                let number = random.below(self.nats.servers.len() as u64) as usize;
                self.nats.servers[number].kill();
                self.nats.servers[number].again()?;
                format!("n{number} killed")
            }
            Fault::Drained => {
                let drain = format!("/v1/cluster/drains/{name}");
                self.admin(chosen)?.ask("PUT", &drain, b"")?;
                self.elsewhere(site, random, chosen)?;
                self.admin(chosen)?.ask("DELETE", &drain, b"")?;
                format!("{name} drained")
            }
            Fault::Restarted => {
                self.servers[chosen].take().context("a server")?.stop_whatever_it_logged()?;
                self.elsewhere(site, random, chosen)?;
                self.servers[chosen] = Some(self.members[chosen].start.clone().start()?);
                format!("{name} restarted")
            }
        };
        self.settle()?;
        site.up(self.any(random)?, false);
        Ok(what)
    }

    /// Another server than this one has the tenant, and answers for a while.
    fn elsewhere(&self, site: &Site, random: &mut Random, but: usize) -> Result<()> {
        let others: Vec<usize> = (0..self.members.len()).filter(|number| *number != but).collect();
        let asked = others[random.below(others.len() as u64) as usize];
        let gone = &self.members[but].name;
        until(|| {
            let tenant = self.tenant(asked)?;
            Ok(tenant["node"].as_str().is_some_and(|node| node != gone)
                && tenant["next"].is_null()
                && self.serves(asked))
        })
        .with_context(|| format!("until another node than {gone} has the tenant"))?;
        site.up(self.server(asked)?, false);
        live(site, random)?;
        site.down();
        Ok(())
    }

    /// Every server has seen a beat of all of them since, and the tenant is where it is to be: NATS works again, and leases that
    /// it let run out have run out.
    #[expect(clippy::disallowed_methods, reason = "what is seen is told by its age")]
    fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        for asked in 0..self.members.len() {
            until(|| {
                let listing = self.listing(asked)?;
                let tenant = self.tenant(asked)?;
                let since = begun.elapsed().as_millis() as u64;
                let seen = |node: &Value| node["silent-ms"].as_u64().is_some_and(|ago| ago < since);
                let nodes = listing["nodes"].as_array().context("nodes")?;
                let all = nodes.len() == self.members.len() && nodes.iter().all(seen);
                let home = tenant["node"].is_string() && tenant["node"] == tenant["home"] && tenant["next"].is_null();
                Ok(all && home && self.serves(asked))
            })
            .with_context(|| format!("until {} sees all well", self.members[asked].name))?;
        }
        Ok(())
    }

    /// A server that was away is told of a change as soon as it is back. What it acknowledges must be there.
    fn probe(&mut self, chosen: usize) -> Result<()> {
        let (sent, acknowledged) = &mut self.probes;
        let id = format!("p{sent}");
        let batch = json!({ "source": "probe", "offset": *acknowledged, "changes": [delivered(PROBED, &id, 1)] });
        let admin = Admin::new(self.servers[chosen].as_ref().context("a server")?.admin, TENANT, INGEST_KEY);
        *sent += 1;
        // It may refuse, and that may have been applied all the same.
        if admin.post(&batch).is_ok_and(|answer| answer.head.status == 200) {
            *acknowledged += 1;
        } else {
            let expected = || Admin::new(self.servers[chosen].as_ref()?.admin, TENANT, INGEST_KEY).offset("probe").ok();
            until(|| Ok(expected().is_some()))?;
            *acknowledged = (*acknowledged).max(expected().unwrap_or_default());
        }
        Ok(())
    }

    fn check_probes(&self) -> Result<()> {
        let offset = Admin::new(self.server(0)?.admin, TENANT, INGEST_KEY).offset("probe")?;
        let (sent, acknowledged) = self.probes;
        ensure!(
            (acknowledged..=sent).contains(&offset),
            Wrong(format!("{offset} probes, not {acknowledged} to {sent}"))
        );
        Ok(())
    }

    /// Whether a change that it is sent is stored.
    fn serves(&self, asked: usize) -> bool {
        let Ok(server) = self.server(asked) else { return false };
        let posted =
            Admin::new(server.admin, TENANT, INGEST_KEY).post(&json!({ "changes": [delivered(PROBED, "s", 1)] }));
        posted.is_ok_and(|answer| answer.head.status == 200)
    }

    fn owner(&self) -> Result<usize> {
        let tenant = self.tenant(0)?;
        let number = self.members.iter().position(|member| tenant["node"] == *member.name);
        number.with_context(|| format!("an owner: {tenant}"))
    }

    fn tenant(&self, asked: usize) -> Result<Value> {
        let listing = self.listing(asked)?;
        let tenants = listing["tenants"].as_array().context("tenants")?;
        Ok(tenants.iter().find(|tenant| tenant["tenant"] == TENANT).cloned().unwrap_or_default())
    }

    fn listing(&self, asked: usize) -> Result<Value> {
        let answer = self.admin(asked)?.ask("GET", "/v1/cluster", b"")?;
        serde_json::from_str(&answer.body).context("a listing")
    }

    fn admin(&self, number: usize) -> Result<Admin> {
        Ok(Admin::new(self.server(number)?.admin, TENANT, ADMIN_KEY))
    }

    fn server(&self, number: usize) -> Result<&Server> {
        self.servers[number].as_ref().with_context(|| format!("{} is down", self.members[number].name))
    }

    fn any(&self, random: &mut Random) -> Result<&Server> {
        self.server(random.below(self.members.len() as u64) as usize)
    }

    fn log(&mut self) -> Option<Result<String>> {
        let mut logs = String::new();
        for number in 0..self.members.len() {
            let figures = self.figures(number).unwrap_or_else(|error| format!("{error:#}"));
            let Some(server) = self.servers[number].take() else { continue };
            let log = server.kill_whatever_it_logged();
            logs += &format!("-- {}\n{figures}\n{log}", self.members[number].name);
        }
        Some(Ok(logs))
    }

    /// What a server says of itself while it lives: where the tenant is, and the figures that are not zero.
    fn figures(&self, number: usize) -> Result<String> {
        let figures = self.admin(number)?.ask("GET", "/metrics", b"")?.body;
        let told = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0") && !line.contains("_bucket{");
        let figures: Vec<&str> = figures.lines().filter(told).collect();
        Ok(format!("{}\n{}", self.tenant(number)?, figures.join("\n")))
    }
}

/// An account that no client of the model looks at.
const PROBED: &str = "probe@example.org";
