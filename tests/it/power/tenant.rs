//! A whole host on a disk that fails: what sources and clients were told is true afterwards.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use postbell::clock::ManualClock;
use postbell::journal::SyncMode;
use postbell::tenant::{IngestError, Limits, Retention, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::embedded::{ALICE, between, get_events, request, span, whole};
use postbell_tests::histories::{Random, delivery, subscribe_pull};

use super::disk::{Disk, Failing, Operation};
use super::{loss, open, seeds};

/// How long the host waits at most until it tries again what failed.
const LONGEST_RETRY_MILLISECONDS: u64 = 30_000;

/// What the source and the clients were told.
#[derive(Default)]
struct Told {
    /// How many messages the source has delivered.
    offset: u64,
    subscriptions: Vec<Subscription>,
}

struct Subscription {
    id: String,
    /// Where it was asked last, and how many messages there were then.
    watermark: String,
    since: u64,
}

/// What outlives a host.
struct Machine {
    disk: Disk,
    clock: Arc<ManualClock>,
}

impl Machine {
    fn new() -> Result<Machine> {
        let (disk, clock) = (Disk::default(), Arc::new(ManualClock::at(1_795_296_510_624)));
        Ok(Machine { disk, clock })
    }

    /// Starts a host with one tenant, a moment after the last one.
    fn start(&self) -> Result<(Host, Tenant)> {
        self.clock.advance(1_000);
        let (journal, clock) = (Arc::new(open(&self.disk, SyncMode::Always)?), self.clock.clone());
        let host = Host::new(HostOptions { clock, journal, instances: 20, ..postbell_tests::host_options() })?;
        let plugin = host.load(postbell::plugin::bundled())?;
        let settings = vec![("domains".to_owned(), "example.org".to_owned())];
        let retention = Retention { snapshot_inputs: 15, ..Retention::default() };
        let limits = Limits { retention, ..Limits::default() };
        let tenant =
            host.open("example.org", &plugin, TenantOptions { settings, limits, ..TenantOptions::default() })?;
        Ok((host, tenant))
    }

    /// Goes on with a disk that has this on it. What still ends on the other one does nothing to this.
    fn exchange_disk(&mut self, content: Vec<u8>) {
        self.disk = Disk::with(content);
    }
}

impl Told {
    /// One thing that a source or a client does; whether it was told that it is done.
    async fn step(&mut self, tenant: &Tenant, random: &mut Random) -> bool {
        if self.offset == 0 || random.below(6) > 0 {
            let sent = tenant.ingest(message(self.offset), span(self.offset)).await;
            self.offset += u64::from(sent.is_ok());
            return sent.is_ok();
        }
        let Ok(answer) = tenant.request(request(subscribe_pull("inbox"))).await else { return false };
        let answer = whole(Ok(answer));
        self.subscriptions.push(Subscription {
            id: between(&answer, "<m:SubscriptionId>", "<").to_owned(),
            watermark: between(&answer, "<m:Watermark>", "<").to_owned(),
            since: self.offset,
        });
        true
    }

    /// Holds the tenant to it. One message may be there of which the source was told nothing.
    async fn hold(&mut self, tenant: &Tenant) -> Result<()> {
        let offset = tenant.source_offset("imap-1").await?;
        ensure!(offset == self.offset || offset == self.offset + 1, "{offset}, but {} was acknowledged", self.offset);
        self.offset = offset;
        for subscription in &mut self.subscriptions {
            let heard = subscription.ask(tenant).await.with_context(|| subscription.id.clone())?;
            let expected: Vec<String> = (subscription.since..offset).map(name).collect();
            ensure!(heard == expected, "{} since {}: {heard:?}", subscription.id, subscription.since);
            subscription.since = offset;
        }
        Ok(())
    }
}

fn name(number: u64) -> String {
    format!("message-{number}")
}

fn message(number: u64) -> postbell::contract::changes::Batch {
    delivery(ALICE, &name(number), number)
}

impl Subscription {
    /// The messages of which it tells, and has not told before.
    async fn ask(&mut self, tenant: &Tenant) -> Result<Vec<String>> {
        let mut heard = vec![];
        loop {
            let events = get_events(tenant, &self.id, &self.watermark).await;
            ensure!(events.contains("NoError"), "{events}");
            for event in events.split("<t:NewMailEvent>").skip(1) {
                // An item's id has the account, a byte, a letter and the source's id.
                let id = URL_SAFE_NO_PAD.decode(between(event, "<t:ItemId Id=\"", "\""))?;
                heard.push(String::from_utf8(id)?.rsplit("\0i").next().context("an id")?.to_owned());
            }
            let last = events.rsplit("<t:Watermark>").next().context("events have watermarks")?;
            self.watermark = last.split('<').next().context("a watermark ends")?.to_owned();
            if !events.contains("MoreEvents>true<") {
                return Ok(heard);
            }
        }
    }
}

#[tokio::test]
async fn what_sources_and_clients_were_told_is_true_after_lost_power() -> Result<()> {
    let mut machine = Machine::new()?;
    for seed in seeds() {
        println!("POSTBELL_SEED={seed}");
        let (mut random, mut told) = (Random(seed), Told::default());
        machine.exchange_disk(vec![]);
        for _ in 0..3 {
            machine.disk.fail(Failing::PowerAfter(random.below(800)));
            if let Ok((_host, tenant)) = machine.start() {
                while told.step(&tenant, &mut random).await {}
            }
            machine.exchange_disk(machine.disk.after(loss(&mut random)));
            let (host, tenant) = machine.start()?;
            told.hold(&tenant).await?;
            drop((host, tenant));
            machine.exchange_disk(machine.disk.content());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_stops_acknowledgements_until_there_is_space() -> Result<()> {
    let machine = Machine::new()?;
    let (_host, tenant) = machine.start()?;
    let (mut random, mut told) = (Random(1), Told::default());
    for _ in 0..3 {
        for _ in 0..20 {
            ensure!(told.step(&tenant, &mut random).await);
        }
        machine.disk.fail(Failing::Full);
        for _ in 0..3 {
            let refused = tenant.ingest(message(told.offset), span(told.offset)).await;
            let Err(IngestError::Journal(why)) = refused else { panic!("{refused:?}") };
            ensure!(why.contains("no storage space"), "{why}");
        }
        machine.disk.fail(Failing::Nothing);
        machine.clock.advance(LONGEST_RETRY_MILLISECONDS);
        ensure!(told.step(&tenant, &mut random).await, "it goes on");
        told.hold(&tenant).await?;
    }
    Ok(())
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_until_the_next_start() -> Result<()> {
    let mut machine = Machine::new()?;
    let (mut random, mut told) = (Random(1), Told::default());
    let (host, tenant) = machine.start()?;
    for _ in 0..20 {
        ensure!(told.step(&tenant, &mut random).await);
    }
    machine.disk.fail(Failing::Once(Operation::Sync, 0));
    for _ in 0..3 {
        let refused = tenant.ingest(message(told.offset), span(told.offset)).await;
        let Err(IngestError::Journal(why)) = refused else { panic!("{refused:?}") };
        ensure!(why.contains("check the disk, then restart"), "{why}");
        machine.clock.advance(LONGEST_RETRY_MILLISECONDS);
    }
    drop((host, tenant));
    machine.exchange_disk(machine.disk.content());
    let (_host, tenant) = machine.start()?;
    told.hold(&tenant).await
}
