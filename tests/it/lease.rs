//! Two processes that could serve one tenant, here two hosts on one journal: only the one with the lease says anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postbell::clock::{Clock, ManualClock, since_boot};
use postbell::contract::requests::Refusal;
use postbell::journal::{Input, Journal};
use postbell::tenant::{Body, IngestError, Lease, RequestError, SwapOptions, Tenant};
use postbell::{Host, HostOptions, OpenError, TenantOptions};
use postbell_tests::embedded::{
    self, ALICE, Alteration, Commanded, between, get_events, request, span, subscribe, whole,
};
use postbell_tests::histories::{self, delivery};
use postbell_tests::hostile::until;
use postbell_tests::swaps::guest;
use postbell_tests::{PATIENCE, eventually};

/// One of the processes.
struct Node {
    host: Host,
    tenant: Tenant,
    lease: Arc<Lease>,
    opened: Receiver<Result<(), OpenError>>,
}

impl Node {
    fn new(journal: Arc<dyn Journal>) -> Result<Node> {
        Node::with(embedded::host(journal), postbell::plugin::bundled(), &[("domains", "example.org")])
    }

    /// On this host, with this component and these settings.
    fn with(host: Host, component: &[u8], settings: &[(&str, &str)]) -> Result<Node> {
        let (plugin, lease) = (host.load(component)?, Arc::new(Lease::default()));
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = TenantOptions { settings, lease: Some(lease.clone()), ..TenantOptions::default() };
        let (told, opened) = std::sync::mpsc::channel();
        let tenant = host.open_later("example.org", &plugin, options, move |result| drop(told.send(result)))?;
        Ok(Node { host, tenant, lease, opened })
    }

    /// The lease is here for longer than any test takes.
    fn lease(&self) -> Result<()> {
        self.lease.extend(since_boot().context("the time since the start")? + 3_600_000);
        self.tenant.leased(self.host.last_used("example.org", &self.tenant.plugin())?);
        Ok(())
    }

    /// Its keeper has seen that it is over.
    fn lose(&self) {
        self.lease.end();
        self.tenant.leased(None);
    }

    /// Whether it says that another one has the tenant, of changes and of requests.
    async fn refers_elsewhere(&self) -> bool {
        let (change, offset) =
            (self.tenant.ingest(delivery(ALICE, "x", 1), span(99)), self.tenant.source_offset("imap-1"));
        let moved = (change.await, offset.await) == (Err(IngestError::Moved), Err(IngestError::Moved));
        let asked = self.tenant.request(request(histories::subscribe_pull("inbox"))).await;
        moved && matches!(asked, Err(RequestError::Refused(Refusal::Moved)))
    }
}

fn two() -> Result<(Arc<Commanded>, Node, Node)> {
    let journal = Arc::new(Commanded::default());
    Ok((journal.clone(), Node::new(journal.clone())?, Node::new(journal)?))
}

#[tokio::test]
async fn a_tenant_opens_where_its_lease_is_and_moves_with_it() -> Result<()> {
    let (_, one, other) = two()?;
    ensure!(one.refers_elsewhere().await && other.refers_elsewhere().await);
    one.lease()?;
    one.opened.recv_timeout(PATIENCE)??;
    one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
    let (id, watermark) = subscribe(&one.tenant).await;
    ensure!(other.refers_elsewhere().await);
    one.tenant.leave().await;
    one.lease.end();
    ensure!(one.refers_elsewhere().await);
    other.lease()?;
    other.opened.recv_timeout(PATIENCE)??;
    ensure!(other.tenant.source_offset("imap-1").await? == 1);
    other.tenant.ingest(delivery(ALICE, "m2", 2), span(1)).await?;
    ensure!(get_events(&other.tenant, &id, &watermark).await.contains("NewMailEvent"));
    Ok(())
}

/// A swap is kept where the tenant goes, though that process would have another version take over from the one before.
#[tokio::test]
async fn a_swap_goes_with_the_tenant() -> Result<()> {
    let journal = Arc::new(Commanded::default());
    let node = |version| Node::with(embedded::host(journal.clone()), &guest(version), &[]);
    let one = node("first")?;
    one.lease()?;
    one.opened.recv_timeout(PATIENCE)??;
    let other = node("second")?;
    one.tenant.swap(&one.host.load(&guest("answers"))?, SwapOptions::default()).end().await?;
    one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
    one.tenant.leave().await;
    one.lease.end();
    // What was swapped in cannot be had at first.
    journal.alter(Alteration { no_components: true, ..Alteration::default() });
    other.lease()?;
    ensure!(other.tenant.source_offset("imap-1").await.is_err());
    journal.alter(Alteration::default());
    eventually(async || other.tenant.source_offset("imap-1").await == Ok(1)).await?;
    ensure!(other.tenant.plugin().manifest().version == "answers", "{}", other.tenant.plugin().manifest().version);
    Ok(())
}

/// Who let a tenant go takes no snapshots of it, and cuts nothing: what the other one needs, it does not know.
#[tokio::test]
async fn who_let_a_tenant_go_leaves_its_journal_alone() -> Result<()> {
    let (clock, journal) = (Arc::new(ManualClock::at(1_800_000_000_000)), Arc::new(Commanded::default()));
    let host = embedded::host_at(journal.clone(), clock.clone());
    let node = Node::with(host, postbell::plugin::bundled(), &[("domains", "example.org")])?;
    node.lease()?;
    node.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
    node.tenant.leave().await;
    clock.advance(24 * 3_600_000);
    // What is due is begun before the second of these is answered, and done before it is read again.
    for _ in 0..2 {
        ensure!(node.tenant.source_offset("imap-1").await == Err(IngestError::Moved));
    }
    ensure!(node.tenant.prepare().await);
    let facts = journal.facts(&journal.seats()?.remove(0))?.context("facts")?;
    ensure!(facts.snapshots.is_empty(), "{facts:?}");
    Ok(())
}

/// A clock that knows how often a thread began to wait.
#[derive(Default)]
struct Counting {
    clock: ManualClock,
    waits: AtomicU64,
}

impl Clock for Counting {
    fn wall(&self) -> u64 {
        self.clock.wall()
    }

    fn monotonic(&self) -> u64 {
        self.clock.monotonic()
    }

    fn wait(&self, due: u64) -> Option<Duration> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.clock.wait(due)
    }

    fn on_advance(&self, callback: Box<dyn Fn() + Send + Sync>) {
        self.clock.on_advance(callback);
    }
}

/// A process that had no room for the tenant, and then no lease, does not try on.
#[tokio::test]
async fn who_waits_for_room_at_a_node_that_loses_its_lease_is_told() -> Result<()> {
    let (clock, journal) = (Arc::<Counting>::default(), Arc::new(Commanded::default()));
    let options =
        HostOptions { journal, clock: clock.clone(), instances: 1, shards: 1, ..postbell_tests::host_options() };
    let host = Host::new(options)?;
    let neighbour = embedded::open(&host, TenantOptions::default())?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let lease = Arc::new(Lease::default());
    let options = TenantOptions { lease: Some(lease.clone()), ..TenantOptions::default() };
    let tenant = host.open_later("elsewhere.org", &plugin, options, |_| {})?;
    lease.extend(since_boot().context("the time since the start")? + 3_600_000);
    tenant.leased(None);
    until(&tenant, "no room", |figures| figures.refusals.contains_key("instances")).await?;
    let offset = tenant.source_offset("imap-1");
    lease.end();
    tenant.leased(None);
    ensure!(tokio::time::timeout(PATIENCE, offset).await? == Err(IngestError::Moved));
    // When it would have been tried again, there is nothing to do.
    clock.clock.advance(250);
    let before = clock.waits.load(Ordering::Relaxed);
    for _ in 0..1_000 {
        neighbour.source_offset("imap-1").await?;
    }
    let waits = clock.waits.load(Ordering::Relaxed) - before;
    ensure!(waits <= 2_000, "the thread waits once or twice for each question, and not {waits} times for 1,000");
    Ok(())
}

/// What was read before it came is not read again: the journal gives it otherwise now, which would not be taken.
#[tokio::test]
async fn a_tenant_that_was_prepared_for_is_read_from_there_on() -> Result<()> {
    let (journal, one, other) = two()?;
    ensure!(other.tenant.prepare().await, "there is nothing to read yet");
    one.lease()?;
    one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
    let (id, watermark) = subscribe(&one.tenant).await;
    ensure!(other.tenant.prepare().await);
    journal.alter(Alteration { digest_at: Some(2), ..Alteration::default() });
    one.tenant.ingest(delivery(ALICE, "m2", 2), span(1)).await?;
    one.tenant.leave().await;
    one.lease.end();
    other.lease()?;
    other.opened.recv_timeout(PATIENCE)??;
    ensure!(other.tenant.source_offset("imap-1").await? == 2);
    ensure!(get_events(&other.tenant, &id, &watermark).await.contains("NewMailEvent"));
    ensure!(!one.tenant.prepare().await, "from the beginning it is not what it was");
    Ok(())
}

#[tokio::test]
async fn who_waits_at_a_node_that_lost_its_lease_is_told() -> Result<()> {
    let (_, one, _) = two()?;
    one.lease()?;
    one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
    let streaming = whole(one.tenant.request(request(histories::subscribe_streaming())).await);
    let id = between(&streaming, "<m:SubscriptionId>", "<");
    let stream = one.tenant.request(request(histories::get_streaming_events(id, id, 30))).await?;
    let Body::Parts(mut parts) = stream.body else { anyhow::bail!("a stream comes in parts") };
    parts.next().await.context("it has begun")??;
    one.lose();
    let mut last = parts.next().await;
    while let Some(Ok(_)) = last {
        last = parts.next().await;
    }
    ensure!(matches!(last, Some(Err(_))), "the stream is broken off: {last:?}");
    ensure!(one.refers_elsewhere().await);
    // The lease comes back: it goes on where it was.
    one.lease()?;
    eventually(async || one.tenant.source_offset("imap-1").await == Ok(1)).await
}

/// What a process finds that was stopped for longer than its lease, whatever it is asked first.
#[tokio::test]
async fn a_woken_node_says_nothing() -> Result<()> {
    for woken_by in 0..3 {
        let (journal, one, _) = two()?;
        one.lease()?;
        one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
        let (id, watermark) = subscribe(&one.tenant).await;
        let before = journal.records().len();
        one.lease.end();
        match woken_by {
            0 => {
                let asked = one.tenant.request(request(histories::get_events(&id, &watermark))).await;
                ensure!(matches!(asked, Err(RequestError::Refused(Refusal::Moved))), "{asked:?}");
            }
            1 => ensure!(one.tenant.source_offset("imap-1").await == Err(IngestError::Moved)),
            // It was applied before; to say so appends nothing.
            _ => {
                let repeated = one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await;
                ensure!(repeated == Err(IngestError::Moved), "{repeated:?}");
            }
        }
        ensure!(one.refers_elsewhere().await);
        ensure!(journal.records().len() == before);
    }
    Ok(())
}

/// Even where leases fail, nothing is acknowledged twice: whoever appends last has the tenant.
#[tokio::test]
async fn of_two_that_believe_to_have_the_lease_the_journal_takes_one() -> Result<()> {
    let (journal, one, other) = two()?;
    one.lease()?;
    one.tenant.ingest(delivery(ALICE, "m1", 1), span(0)).await?;
    other.lease()?;
    other.opened.recv_timeout(PATIENCE)??;
    let lost = one.tenant.ingest(delivery(ALICE, "m2", 2), span(1)).await;
    ensure!(matches!(lost, Err(IngestError::Journal(_) | IngestError::Moved)), "{lost:?}");
    ensure!(one.refers_elsewhere().await);
    other.tenant.ingest(delivery(ALICE, "m2", 2), span(1)).await?;
    let records = journal.records();
    let applied = records.iter().filter(|record| matches!(*record.input, Input::Ingest { .. })).count();
    ensure!(applied == 2, "{records:?}");
    // Its turn comes again with its keeper's next look.
    one.lease()?;
    eventually(async || one.tenant.source_offset("imap-1").await == Ok(2)).await
}
