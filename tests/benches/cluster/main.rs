//! What it costs that NATS keeps the inputs three times: acknowledged changes per second, beside messages that are published
//! without anything above them, and beside this machine's disk; and how long a dead node's tenants are without service.
//!
//! Three servers of NATS, all on this machine, which sync before they acknowledge. An argument names the part to run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use postbell::contract::changes::{AccountChanges, Batch};
use postbell::journal::{DatabaseJournal, DatabaseOptions, JetStreamJournal, JetStreamOptions, Journal, SyncMode};
use postbell::tenant::{SourceSpan, Tenant};
use postbell::{Host, HostOptions, TenantOptions};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::histories::delivery;
use postbell_tests::host_options;
use postbell_tests::nats::NatsCluster;
use postbell_tests::program::{Server, Start};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_postbell-under-test");

/// How many tenants are sent changes at a time.
const TENANTS: usize = 10;

/// How many batches each is sent.
const BATCHES: usize = 100;

const ROUNDS: usize = 3;

/// How often a node dies.
const DEATHS: usize = 5;

fn main() -> Result<()> {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| named.as_ref().is_none_or(|named| named == name);
    if wanted("changes") {
        changes()?;
    }
    if wanted("death") {
        death()?;
    }
    Ok(())
}

/// One measurement: changes per second, and what NATS kept of them.
struct Measured {
    rate: f64,
    messages: u64,
    bytes: u64,
}

fn changes() -> Result<()> {
    println!("\nAcknowledged changes per second, {TENANTS} tenants, medians of {ROUNDS} rounds, in turn.\n");
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>8} {:>14}",
        "batch", "postbell", "published", "disk", "ratio", "bytes/change"
    );
    for size in [1, 100] {
        let mut rounds = (0..ROUNDS).map(|_| round(size)).collect::<Result<Vec<_>>>()?;
        rounds.sort_by(|one, other| (one.0.rate / one.1).total_cmp(&(other.0.rate / other.1)));
        let (whole, published, disk) = &rounds[ROUNDS / 2];
        let bytes = whole.bytes as f64 / (TENANTS * BATCHES * size) as f64;
        let ratio = whole.rate / published;
        println!("{size:>6} {:>10.0} {published:>10.0} {disk:>10.0} {ratio:>8.2} {bytes:>14.0}", whole.rate);
    }
    Ok(())
}

/// Changes per second with everything on NATS, as messages alone, and with everything on the disk.
fn round(size: usize) -> Result<(Measured, f64, f64)> {
    let nats = NatsCluster::start()?;
    let servers: Vec<String> = nats.servers.iter().map(|server| server.url("")).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    let journal = connect(&servers)?;
    let stream = runtime.block_on(stream(&servers[0]))?;
    let whole = {
        let sent = send_all(&runtime, Arc::new(journal), size)?;
        let state = runtime.block_on(async { stream.get_info().await })?.state;
        Measured { rate: sent, messages: state.messages, bytes: state.bytes }
    };
    let published = runtime.block_on(publish(&servers, &whole, size))?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let options = DatabaseOptions { sync: SyncMode::Always, repairing: None };
    let disk = send_all(&runtime, Arc::new(DatabaseJournal::open(&folder.path().join("journal"), options)?), size)?;
    Ok((whole, published, disk))
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

/// As many messages of the same size, each tenant's one after the other; in changes per second.
async fn publish(servers: &[String], like: &Measured, size: usize) -> Result<f64> {
    let context = jetstream::new(async_nats::connect(servers.to_vec()).await?);
    let config = jetstream::stream::Config {
        name: "plain".into(),
        subjects: vec!["plain.>".into()],
        num_replicas: 3,
        ..jetstream::stream::Config::default()
    };
    context.create_stream(config).await?;
    let (each, payload) = (like.messages as usize / TENANTS, like.bytes / like.messages.max(1));
    let payload = bytes::Bytes::from(vec![b'x'; usize::try_from(payload)?]);
    let (begun, mut publishers) = (now(), JoinSet::new());
    for number in 0..TENANTS {
        let (context, payload) = (context.clone(), payload.clone());
        publishers.spawn(async move {
            for _ in 0..each {
                context.publish(format!("plain.{number}"), payload.clone()).await?.await?;
            }
            Ok::<_, async_nats::Error>(())
        });
    }
    while let Some(published) = publishers.join_next().await {
        published?.map_err(|error| anyhow::anyhow!(error))?;
    }
    // What was not sent in as many messages, because it waited for each other, is counted as if it was.
    Ok((TENANTS * BATCHES * size) as f64 / begun.elapsed().as_secs_f64())
}

/// Every tenant's next batch is sent when the last is acknowledged.
fn send_all(runtime: &tokio::runtime::Runtime, journal: Arc<dyn Journal>, size: usize) -> Result<f64> {
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
                for number in 0..BATCHES {
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
    Ok((TENANTS * BATCHES * size) as f64 / begun.elapsed().as_secs_f64())
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
    let mut times = (0..DEATHS).map(|_| one_death()).collect::<Result<Vec<_>>>()?;
    times.sort();
    println!(
        "\nFrom a node's death to its tenant's first acknowledged change elsewhere, leases of 8 s, {DEATHS} deaths:"
    );
    println!("{:.1?} to {:.1?}, median {:.1?}", times[0], times[DEATHS - 1], times[DEATHS / 2]);
    Ok(())
}

fn one_death() -> Result<Duration> {
    let nats = NatsCluster::start()?;
    let servers: Vec<String> = nats.servers.iter().map(|server| format!("'{}'", server.url(""))).collect();
    let node = |name: &str| -> Result<Server> {
        let configuration = format!(
            "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'key'\n\
             [cluster]\nnode = '{name}'\nservers = [{}]\n[[tenant]]\nname = 'example.org'\ndomains = ['example.org']\n",
            servers.join(", ")
        );
        Start::configured(PROGRAM, &configuration)?.start()
    };
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
    ensure!(admin(&other).post(&batch("m1", 0))?.head.status == 200);
    owner.kill_whatever_it_logged();
    let died = now();
    postbell_tests::until(|| Ok(admin(&other).post(&batch("m2", 1))?.head.status == 200))
        .context("until it is served")?;
    let time = died.elapsed();
    other.stop_whatever_it_logged()?;
    Ok(time)
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}
