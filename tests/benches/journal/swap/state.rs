//! A tenant with many subscriptions, of which there is a snapshot.

use std::sync::Arc;

use postbell::contract::requests::Access;
use postbell::journal::{Journal, MemoryJournal, Snapshot};
use postbell::plugin::Plugin;
use postbell::tenant::{Limits, Retention, Tenant};
use postbell::{Host, TenantOptions};
use postbell_tests::embedded::{request, whole};
use postbell_tests::histories::{self, delivery};
use postbell_tests::scale::scaled;
use postbell_tests::swaps::edition;

use crate::scene::{self, span};

/// How many subscriptions each account has: so a change concerns as many in every size.
const OF_AN_ACCOUNT: usize = 50;

/// How many inputs follow the last subscription, the last of which make a snapshot due.
const CHANGES: usize = 200;

/// The tenant, and what swaps it.
pub struct State {
    pub host: Host,
    pub tenant: Tenant,
    journal: Arc<MemoryJournal>,
    accounts: usize,
    delivered: usize,
}

/// How many subscriptions there are.
pub fn sizes() -> Vec<usize> {
    match std::env::var("POSTBELL_SUBSCRIPTIONS") {
        Ok(one) => vec![one.parse().expect("POSTBELL_SUBSCRIPTIONS is a number")],
        Err(_) => scaled(vec![1_000, 10_000, 100_000, 1_000_000], vec![1_000]),
    }
}

impl State {
    pub async fn of(subscriptions: usize) -> State {
        let journal = Arc::new(MemoryJournal::default());
        let (host, plugin) = scene::host(journal.clone());
        let inputs = (subscriptions + CHANGES) as u64;
        let retention = Retention { snapshot_inputs: inputs, snapshot_bytes: u64::MAX, ..Retention::default() };
        let mut limits = Limits { retention, ..Limits::default() };
        // A million subscriptions need more than a tenant has if nobody says so.
        limits.instance.memory_bytes = 4 << 30;
        let mut options = TenantOptions { limits, ..scene::options() };
        options.settings.push(("ews-subscriptions".into(), "10000000".into()));
        let tenant = host.open("example.org", &plugin, options).expect("the tenant opens");
        let accounts = subscriptions / OF_AN_ACCOUNT;
        let mut state = State { host, tenant, journal, accounts, delivered: 0 };
        state.deliver(accounts).await;
        for number in 0..subscriptions {
            subscribe(&state.tenant, &account(number % accounts)).await;
        }
        state.deliver(CHANGES).await;
        while state.tenant.statistics().snapshot == 0 {
            state.deliver(1).await;
        }
        assert_eq!(state.tenant.statistics().snapshot_failures, 0);
        state
    }

    /// One message after the other, to each account in turn.
    pub async fn deliver(&mut self, messages: usize) {
        for _ in 0..messages {
            let number = self.delivered;
            let batch = delivery(&account(number % self.accounts), &format!("m{number}"), number as u64);
            self.tenant.ingest(batch, span(0, number as u64, 1)).await.expect("it is applied");
            self.delivered += 1;
        }
    }

    /// The same plugin under another identity.
    pub fn edition(&self, number: usize) -> Plugin {
        let edition = edition(postbell::plugin::bundled(), u8::try_from(number % 2).expect("one of two"));
        self.host.load(&edition).expect("it loads")
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let seat = self.journal.seats().expect("a journal in memory").remove(0);
        let sequence = self.tenant.statistics().snapshot;
        self.journal.snapshot(&seat, sequence).expect("a journal in memory").expect("it is there")
    }
}

fn account(number: usize) -> String {
    format!("user{number}@example.org")
}

async fn subscribe(tenant: &Tenant, account: &str) {
    let mut subscribe = request(histories::subscribe_pull("inbox"));
    let Access::Granted(grant) = &mut subscribe.access else { unreachable!("requests here are granted") };
    (grant.account.id, grant.account.name) = (account.into(), account.into());
    let answer = whole(tenant.request(subscribe).await);
    assert!(answer.contains("<m:SubscriptionId>"), "{answer}");
}
