//! What it costs that NATS keeps the inputs three times: acknowledged changes per second, beside messages that are published
//! without anything above them, and beside this machine's disk; what a change costs with one, two and three nodes; and how
//! long a dead node's tenants are without service.
//!
//! Three servers of NATS, all on this machine, which sync before they acknowledge. An argument names the part to run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{State, Stream};
use postbell::contract::changes::{AccountChanges, Batch};
use postbell::journal::{DatabaseJournal, DatabaseOptions, JetStreamJournal, JetStreamOptions, Journal, SyncMode};
use postbell::tenant::{SourceSpan, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::figures::{Figure, Table, Unit};
use postbell_tests::histories::delivery;
use postbell_tests::host_options;
use postbell_tests::nats::NatsCluster;
use postbell_tests::program::{Server, Start, processor_time};
use postbell_tests::scale::scaled;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_postbell-under-test");

/// How many tenants are sent changes at a time.
const TENANTS: usize = 10;

/// How many batches each is sent.
fn all_batches() -> usize {
    scaled(100, 5)
}

fn rounds() -> usize {
    scaled(3, 1)
}

/// How often a node dies.
fn deaths() -> usize {
    scaled(5, 1)
}

fn main() -> Result<()> {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| named.as_ref().is_none_or(|named| named == name);
    if wanted("changes") {
        changes()?;
    }
    if wanted("nodes") {
        nodes()?;
    }
    if wanted("death") {
        death()?;
    }
    Ok(())
}

/// Changes per second, and the processor time of a change: here, and in all servers of NATS.
struct Rate {
    changes: f64,
    here: f64,
    servers: f64,
}

/// One round, the rivals in turn.
struct Round {
    postbell: Rate,
    published: Rate,
    /// Each message after the one that its sender believes to be the subject's last, as a journal needs it.
    expecting: Rate,
    disk: Rate,
    /// What NATS kept of a change.
    bytes: f64,
}

/// One of a round's rates.
type Of = fn(&Round) -> &Rate;

impl Round {
    fn ratio(&self) -> f64 {
        self.postbell.changes / self.published.changes
    }
}

fn changes() -> Result<()> {
    let title = format!("Acknowledged changes per second, kept three times in NATS; {TENANTS} tenants, in turn");
    let rates = ["postbell", "published", "expecting the last", "disk"].map(|name| (name, Unit::Rate));
    let columns = [&rates[..], &[("postbell to published", Unit::Ratio), ("bytes of a change", Unit::Count)]].concat();
    let table = Table::begin(title, "", &columns);
    let mut costs = Vec::new();
    for size in [1, 100] {
        let rounds = (0..rounds()).map(|_| whole_round(size)).collect::<Result<Vec<_>>>()?;
        let median = |of: &dyn Fn(&Round) -> f64| Some(Figure::of(rounds.iter().map(of)).alone());
        let name = format!("batches of {size}");
        let values = [
            median(&|round| round.postbell.changes),
            median(&|round| round.published.changes),
            median(&|round| round.expecting.changes),
            median(&|round| round.disk.changes),
            Some(Figure::of(rounds.iter().map(Round::ratio))),
            median(&|round| round.bytes),
        ];
        table.row(&name, &values);
        let of: [(&str, Of); 4] = [
            ("postbell", |round| &round.postbell),
            ("published", |round| &round.published),
            ("expecting the last", |round| &round.expecting),
            ("disk", |round| &round.disk),
        ];
        costs.extend(of.map(|(who, rate)| {
            let here = median(&|round| rate(round).here * 1e3);
            (format!("{name}, {who}"), [here, median(&|round| rate(round).servers * 1e3)])
        }));
    }
    let columns = [("here", Unit::Time), ("in NATS", Unit::Time)];
    let table = Table::begin("Processor time of such a change", "", &columns);
    costs.iter().for_each(|(name, values)| table.row(name, values));
    Ok(())
}

/// A round in which NATS took all that was published beside Postbell: servers that share two cores with all of this
/// sometimes elect another leader, which refuses a message that names the one before.
fn whole_round(size: usize) -> Result<Round> {
    for _ in 0..3 {
        if let Some(round) = round(size)? {
            return Ok(round);
        }
    }
    bail!("NATS refused what was published in three rounds")
}

/// Everything on NATS, as messages alone, and everything on the disk. None if messages alone were refused.
fn round(size: usize) -> Result<Option<Round>> {
    let nats = NatsCluster::start()?;
    let servers: Vec<String> = nats.servers.iter().map(|server| server.url("")).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    let journal = connect(&servers)?;
    let stream = runtime.block_on(stream(&servers[0]))?;
    let postbell = rate(size, &nats, || send_all(&runtime, Arc::new(journal), size))?;
    let state = runtime.block_on(async { stream.get_info().await })?.state;
    let published = |expecting| runtime.block_on(publish(&servers, &state, expecting));
    let (plain, expecting) = match [false, true].map(|expecting| rate(size, &nats, || published(expecting))) {
        [Ok(plain), Ok(expecting)] => (plain, expecting),
        refused => {
            refused.into_iter().filter_map(Result::err).for_each(|error| eprintln!("measured again: {error:#}"));
            return Ok(None);
        }
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let options = DatabaseOptions { sync: SyncMode::Always, repairing: None };
    let journal = DatabaseJournal::open(&folder.path().join("journal"), options)?;
    let disk = rate(size, &nats, || send_all(&runtime, Arc::new(journal), size))?;
    let bytes = state.bytes as f64 / (TENANTS * all_batches() * size) as f64;
    Ok(Some(Round { postbell, published: plain, expecting, disk, bytes }))
}

/// What becomes of work that takes so long. Messages that were not sent because changes wait for each other are counted as if
/// they were.
fn rate(size: usize, nats: &NatsCluster, work: impl FnOnce() -> Result<Duration>) -> Result<Rate> {
    let used = || -> Result<(Duration, Duration)> {
        let servers = nats.servers.iter().map(|server| server.processor_time()).sum::<Result<Duration>>()?;
        Ok((processor_time(std::process::id())?, servers))
    };
    let changes = (TENANTS * all_batches() * size) as f64;
    let before = used()?;
    let took = work()?;
    let after = used()?;
    let each = |after: Duration, before: Duration| (after - before).as_secs_f64() * 1e6 / changes;
    Ok(Rate { changes: changes / took.as_secs_f64(), here: each(after.0, before.0), servers: each(after.1, before.1) })
}

/// As soon as the servers have elected who leads.
fn connect(servers: &[String]) -> Result<JetStreamJournal> {
    let options = JetStreamOptions { servers: servers.to_vec(), ..JetStreamOptions::default() };
    for _ in 0..100 {
        if let Ok(journal) = JetStreamJournal::connect(options.clone()) {
            return Ok(journal);
        }
    }
    Ok(JetStreamJournal::connect(options)?)
}

async fn stream(server: &str) -> Result<Stream> {
    let context = jetstream::new(async_nats::connect(server).await?);
    Ok(context.get_stream("postbell-0").await?)
}

/// As many messages of the same size, each tenant's one after the other.
async fn publish(servers: &[String], like: &State, expecting: bool) -> Result<Duration> {
    let context = jetstream::new(async_nats::connect(servers.to_vec()).await?);
    let name = if expecting { "expecting" } else { "plain" };
    let config = jetstream::stream::Config {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        num_replicas: 3,
        ..jetstream::stream::Config::default()
    };
    context.create_stream(config).await?;
    let payload = bytes::Bytes::from(vec![b'x'; usize::try_from(like.bytes / like.messages)?]);
    let each = like.messages / TENANTS as u64;
    let (begun, mut publishers) = (now(), JoinSet::new());
    for number in 0..TENANTS {
        let (context, payload) = (context.clone(), payload.clone());
        publishers.spawn(async move {
            let mut last = 0;
            for _ in 0..each {
                let mut message = PublishMessage::build().payload(payload.clone());
                if expecting {
                    message = message.expected_last_subject_sequence(last);
                }
                last = context.send_publish(format!("{name}.{number}"), message).await?.await?.sequence;
            }
            Ok::<_, async_nats::Error>(())
        });
    }
    while let Some(published) = publishers.join_next().await {
        published?.map_err(|error| anyhow::anyhow!(error))?;
    }
    Ok(begun.elapsed())
}

/// Every tenant's next batch is sent when the last is acknowledged.
fn send_all(runtime: &tokio::runtime::Runtime, journal: Arc<dyn Journal>, size: usize) -> Result<Duration> {
    let host = Host::new(HostOptions { journal, instances: 100, ..host_options() })?;
    let plugin = host.load(postbell::plugin::bundled())?;
    let settings = vec![("domains".to_owned(), "example.org".to_owned())];
    let open = |number: usize| {
        let options = TenantOptions { settings: settings.clone(), ..TenantOptions::default() };
        host.open(&format!("tenant-{number}"), &plugin, options)
    };
    let tenants = (0..TENANTS).map(open).collect::<Result<Vec<Tenant>, _>>()?;
    let begun = now();
    runtime.block_on(async {
        let mut sending = JoinSet::new();
        for tenant in tenants {
            sending.spawn(async move {
                for number in 0..all_batches() {
                    let (batch, offset) = (batch(number, size), (number * size) as u64);
                    let span = SourceSpan { source: "source".into(), offset, length: size as u64 };
                    tenant.ingest(batch, Some(span)).await?;
                }
                Ok::<_, postbell::tenant::IngestError>(())
            });
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(begun.elapsed())
}

fn batch(number: usize, size: usize) -> Batch {
    let account = "user@example.org".to_owned();
    let changes = (0..size).flat_map(|change| {
        delivery(&account, &format!("m{number}-{change}"), number as u64).accounts.remove(0).changes
    });
    let changes = changes.collect();
    Batch { accounts: vec![AccountChanges { account, changes }], book: vec![] }
}

fn death() -> Result<()> {
    let times = (0..deaths()).map(|_| one_death()).collect::<Result<Vec<_>>>()?;
    let title = "From a node's death to its tenant's first acknowledged change elsewhere";
    let table = Table::begin(title, "", &[("median", Unit::Time), ("longest", Unit::Time)]);
    let longest = times.iter().max().copied().context("one at least")?;
    let median = Figure::of(times.iter().map(|time| time.as_secs_f64() * 1e9));
    table.row(&format!("leases of 8 s, {} deaths", times.len()), &[median, longest.into()].map(Some));
    Ok(())
}

fn one_death() -> Result<Duration> {
    let nats = NatsCluster::start()?;
    let node = |name: &str| node(&nats, name, &["example.org".to_owned()]);
    let (one, two) = (node("a")?, node("b")?);
    let admin = |server: &Server| Admin::new(server.admin, "example.org", "key");
    let placed = |server: &Server| -> Result<Value> {
        Ok(serde_json::from_str::<Value>(&admin(server).ask("GET", "/v1/cluster", b"")?.body)?["tenants"][0].clone())
    };
    postbell_tests::until(|| {
        let placed = placed(&two)?;
        Ok(placed["node"].is_string() && placed["node"] == placed["home"] && placed["next"].is_null())
    })?;
    let (owner, other) = if placed(&two)?["node"] == "a" { (one, two) } else { (two, one) };
    let batch = |id: &str, offset: u64| json!({"source": "s", "offset": offset, "changes": [delivered("alice@example.org", id, 1)]});
    postbell_tests::until(|| Ok(admin(&other).post(&batch("m1", 0))?.head.status == 200))?;
    owner.kill_whatever_it_logged();
    let died = now();
    postbell_tests::until(|| Ok(admin(&other).post(&batch("m2", 1))?.head.status == 200))
        .context("until it is served")?;
    let time = died.elapsed();
    other.stop_whatever_it_logged()?;
    Ok(time)
}

/// A server that shares these tenants with others.
fn node(nats: &NatsCluster, name: &str, tenants: &[String]) -> Result<Server> {
    let servers: Vec<String> = nats.servers.iter().map(|server| format!("'{}'", server.url(""))).collect();
    let tenants = tenants.iter().map(|tenant| format!("[[tenant]]\nname = '{tenant}'\ndomains = ['{tenant}']\n"));
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'key'\n\
         [cluster]\nnode = '{name}'\nservers = [{}]\n{}",
        servers.join(", "),
        tenants.collect::<String>()
    );
    Start::configured(PROGRAM, &configuration)?.start()
}

/// What the nodes of a cluster, all on this machine, need for a change that is posted to any of them.
fn nodes() -> Result<()> {
    let title =
        format!("Changes posted to any node, {TENANTS} tenants; processor time of all nodes, and of all of NATS");
    let columns =
        [("changes a second", Unit::Rate), ("nodes", Unit::Time), ("NATS", Unit::Time), ("bytes kept", Unit::Count)];
    let table = Table::begin(title, "", &columns);
    for size in [1, 100] {
        for count in 1..=NODES.len() {
            let cost = with_nodes(&NODES[..count], size)?;
            let changes = (TENANTS * all_batches() * size) as f64;
            let each = |time: Duration| time.as_secs_f64() * 1e9 / changes;
            let rate = changes / cost.time.as_secs_f64();
            let values = [rate, each(cost.nodes), each(cost.servers), cost.bytes as f64 / changes];
            table.row(&format!("{count} nodes, batches of {size}"), &values.map(|value| Some(value.into())));
        }
    }
    Ok(())
}

const NODES: [&str; 3] = ["a", "b", "c"];

struct Cost {
    time: Duration,
    nodes: Duration,
    servers: Duration,
    bytes: u64,
}

fn with_nodes(names: &[&str], size: usize) -> Result<Cost> {
    let nats = NatsCluster::start()?;
    let tenants: Vec<String> = (0..TENANTS).map(|number| format!("t{number}.example")).collect();
    let nodes = names.iter().map(|name| node(&nats, name, &tenants)).collect::<Result<Vec<_>>>()?;
    for server in &nodes {
        postbell_tests::until(|| {
            let listing = Admin::new(server.admin, "", "key").ask("GET", "/v1/cluster", b"")?.body;
            let listing: Value = serde_json::from_str(&listing)?;
            let placed = listing["tenants"].as_array().context("tenants")?;
            let home = |tenant: &Value| tenant["node"].is_string() && tenant["node"] == tenant["home"];
            Ok(placed.len() == TENANTS && placed.iter().all(|tenant| home(tenant) && tenant["next"].is_null()))
        })?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let stream = runtime.block_on(stream(&nats.servers[0].url("")))?;
    let used = || -> Result<(Duration, Duration, u64)> {
        let nodes = nodes.iter().map(Server::processor_time).sum::<Result<Duration>>()?;
        let servers = nats.servers.iter().map(|server| server.processor_time()).sum::<Result<Duration>>()?;
        Ok((nodes, servers, runtime.block_on(async { stream.get_info().await })?.state.bytes))
    };
    let (before, begun) = (used()?, now());
    std::thread::scope(|scope| {
        let post = |(number, tenant): (usize, &String)| {
            let admins: Vec<Admin> = nodes.iter().map(|server| Admin::new(server.admin, tenant, "key")).collect();
            scope.spawn(move || post_all(&admins, number, size))
        };
        let posting: Vec<_> = tenants.iter().enumerate().map(post).collect();
        posting.into_iter().try_for_each(|posting| posting.join().expect("no panic"))
    })?;
    let (time, after) = (begun.elapsed(), used()?);
    for server in nodes {
        server.stop_whatever_it_logged()?;
    }
    Ok(Cost { time, nodes: after.0 - before.0, servers: after.1 - before.1, bytes: after.2 - before.2 })
}

/// A tenant's batches, each to the next node, when the last is acknowledged.
fn post_all(admins: &[Admin], number: usize, size: usize) -> Result<()> {
    for round in 0..all_batches() {
        let changes: Vec<Value> = (0..size)
            .map(|change| delivered(&format!("user@t{number}.example"), &format!("m{round}-{change}"), 1))
            .collect();
        let answer = admins[(number + round) % admins.len()]
            .post(&json!({"source": "s", "offset": round * size, "changes": changes}))?;
        ensure!(answer.head.status == 200, "{answer:?}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}
