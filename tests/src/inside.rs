//! A tenant in this process that serves clients over sockets, with whatever clock the test gives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use postbell::clock::Clock;
use postbell::contract::changes::Account;
use postbell::contract::requests::{Rank, Settlement};
use postbell::journal::{Input, Journal, MemoryJournal};
use postbell::serve::connection::Patience;
use postbell::serve::counters::Counters;
use postbell::serve::directory::{Directory, MayActFor, User};
use postbell::serve::exchange::{ClientTenant, Exchange};
use postbell::serve::front::{self, ConnectionLimits, Front};
use postbell::serve::gate::{Gate, LoginLimits};
use postbell::serve::logins::Logins;
use postbell::serve::passwords;
use postbell::serve::proxies::Proxies;
use postbell::serve::receive::BodyLimits;
use postbell::serve::throttle::FailureLimits;
use postbell::tenant::{Body, Limits, Parts, Request, Tenant};
use postbell::{Host, HostOptions, TenantOptions, contract};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::PATIENCE;
use crate::embedded::ALICE;
use crate::ews::{ALL_FOLDERS, envelope, get_streaming_events, message, subscribe_streaming};
use crate::histories::{self, delivery};

/// A tenant in this process, whose journal tells what its plugin was told.
#[expect(missing_debug_implementations, reason = "clocks have none")]
pub struct Inside {
    /// Where it serves.
    pub runtime: Runtime,
    /// The tenant.
    pub tenant: Tenant,
    journal: Arc<MemoryJournal>,
    clock: Arc<dyn Clock>,
    stop: watch::Sender<bool>,
    _host: Host,
}

impl Inside {
    /// A new tenant, its journal in memory.
    pub fn new(limits: Limits, options: HostOptions) -> Result<Inside> {
        let (journal, clock) = (Arc::new(MemoryJournal::default()), options.clock.clone());
        let host = Host::new(HostOptions { journal: journal.clone(), instances: 20, ..options })?;
        let plugin = host.load(postbell::plugin::bundled())?;
        let settings = vec![("domains".to_owned(), "example.org".to_owned())];
        let tenant =
            host.open("example.org", &plugin, TenantOptions { settings, limits, ..TenantOptions::default() })?;
        Ok(Inside { runtime: Runtime::new()?, tenant, journal, clock, stop: watch::Sender::new(false), _host: host })
    }

    /// Delivers a message to alice.
    pub fn ingest(&self, name: &str) -> Result<()> {
        self.runtime.block_on(self.tenant.ingest(delivery(ALICE, name, 1), None))?;
        Ok(())
    }

    /// A stream of alice's that has said that it is open.
    pub fn stream(&self) -> Result<Parts> {
        let ask = |operation: &str| {
            let contract::requests::Request { head, body, access, act_as, accounts, .. } =
                histories::request(0, ALICE, envelope(operation));
            self.runtime.block_on(self.tenant.request(Request { head, body: body.into(), access, act_as, accounts }))
        };
        let Body::Whole(subscribed) = ask(&subscribe_streaming(ALL_FOLDERS))?.body else { bail!("a whole answer") };
        let subscription = message(std::str::from_utf8(&subscribed)?)?.subscription.context("a subscription")?;
        let Body::Parts(mut parts) = ask(&get_streaming_events(&[&subscription], 30))?.body else { bail!("parts") };
        ensure!(self.next(&mut parts)?.contains("ConnectionStatus"));
        Ok(parts)
    }

    /// The next part.
    pub fn next(&self, parts: &mut Parts) -> Result<String> {
        let part = self.runtime.block_on(parts.next()).context("the end")??;
        Ok(String::from_utf8(part.into())?)
    }

    /// What the plugin was told of its parts.
    pub fn settlements(&self) -> Result<Vec<Settlement>> {
        // Answered when everything before it is committed.
        self.runtime.block_on(self.tenant.source_offset("none"))?;
        let seat = self.journal.seats()?.pop().context("a seat")?;
        let inputs = self.journal.read(&seat, 1)?.into_iter().map(|record| record.input);
        Ok(inputs
            .flat_map(|input| if let Input::Settled(settlements) = &*input { settlements.clone() } else { vec![] })
            .collect())
    }

    /// Serves clients; alice's password is `postbell`.
    pub fn listen(&self) -> Result<SocketAddr> {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        self.runtime.spawn(front::listen(listener, Arc::new(self.front()?), self.stop.subscribe()));
        Ok(address)
    }

    fn front(&self) -> Result<Front> {
        let (clock, counters) = (self.clock.clone(), Arc::<Counters>::default());
        let user = User {
            account: Account { id: ALICE.into(), name: ALICE.into(), aliases: vec![] },
            login: None,
            password: Some(passwords::hash("postbell").map_err(|error| anyhow::anyhow!("{error}"))?),
            rank: Rank::User,
            may_act_for: MayActFor::These(vec![]),
            display_name: String::new(),
        };
        let directory = Directory::new(vec![user]).ok().context("one user")?;
        let failures = FailureLimits { per_account: 10, per_address: 10, window_ms: 60_000 };
        let gate = Gate::new(LoginLimits { waiting: 10, failures }, counters.clone(), clock.clone())?;
        let logins = Arc::new(Logins::new("inside", directory, None, Arc::new(gate), clock.clone())?);
        let (tenant, hosts, domains) = (self.tenant.clone(), vec![], vec![]);
        let served = ClientTenant { tenant, hosts, domains, body_bytes: 1 << 20, logins };
        let body = BodyLimits { bytes: 1 << 20, bytes_total: 1 << 24, time: PATIENCE };
        let limits = ConnectionLimits {
            connections: 10,
            connections_per_address: 10,
            header_bytes: 65_536,
            patience: Patience { head: PATIENCE, idle: PATIENCE },
            send_time: Duration::from_secs(60),
            handshake_time: PATIENCE,
        };
        let exchange = Exchange::new(vec![served], Proxies::default(), body, counters.clone(), clock);
        Ok(Front { exchange, tls: None, limits, counters })
    }
}
