//! Several servers that share tenants: a client at any of them is served, and goes on when its server is another.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use async_nats::jetstream;
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::ews::Client;
use postbell_tests::http::{Connection, request};
use postbell_tests::load::cluster::{self, Member};
use postbell_tests::load::plan::ACCOUNTS;
use postbell_tests::load::{ADMIN_KEY, INGEST_KEY, PASSWORD, TENANT};
use postbell_tests::nats::{Nats, NatsCluster};
use postbell_tests::network::Link;
use postbell_tests::program::{Server, Start, run};
use postbell_tests::until;
use serde_json::{Value, json};

use crate::killed::{random, variable};
use crate::{PROGRAM, cheap_hash};

/// How long a lease lasts where nodes fail all the time, in seconds.
const LEASE: u64 = 5;

/// How long one lasts where nobody may fail because a busy machine is late with a beat.
const LONG_LEASE: u64 = 20;

/// How often a tenant goes to the other node and comes back while clients ask.
const MOVES: u32 = 3;

/// A node of this name, whose journal these servers of NATS keep.
fn node(name: &str, servers: &[String]) -> Result<Start> {
    node_with(name, servers, 1, LONG_LEASE)
}

/// A node whose journal they keep so many times, and whose lease lasts so many seconds.
fn node_with(name: &str, servers: &[String], replicas: usize, lease: u64) -> Result<Start> {
    let servers: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = '{ADMIN_KEY}'\n\
         snapshot-inputs = 20\n\
         [cluster]\nnode = '{name}'\nservers = [{}]\nreplicas = {replicas}\nlease-seconds = {lease}\nappend-seconds = 5\nchanges = true\n\
         [[tenant]]\nname = '{TENANT}'\ndomains = ['{TENANT}']\nusers = 'users.toml'\ningest-key = '{INGEST_KEY}'\n\
         [tenant.settings]\news-queue-events = 1_000_000\news-history-events = 1_000_000\n\
         ews-history-bytes = 1_000_000_000\news-heartbeat-seconds = 5\n",
        servers.join(", ")
    );
    let hash = cheap_hash(PASSWORD)?;
    let users: String = ACCOUNTS.map(|name| format!("[[user]]\nname = '{name}'\npassword = '{hash}'\n")).concat();
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)
}

/// Two of them: the one that has the tenant, with its name, and the other one.
fn two(nats: &Nats) -> Result<[(Server, &'static str); 2]> {
    let servers = [nats.url("")];
    let one = (node("a", &servers)?.start()?, "a");
    let two = (node("b", &servers)?.start()?, "b");
    until(|| {
        let placed = [place(&one.0)?, place(&two.0)?];
        Ok(placed.iter().all(|placed| placed["node"].is_string() && placed["node"] == placed["home"]))
    })
    .context("until the tenant is where it is to be")?;
    // The node may still be reading its history, and tells whoever asks to come again.
    until(|| Ok(source(&one.0).offset("test").is_ok())).context("until the tenant is open there")?;
    Ok(if place(&one.0)?["node"] == "a" { [one, two] } else { [two, one] })
}

/// Where a server sees the tenant.
fn place(server: &Server) -> Result<Value> {
    let answer = Admin::new(server.admin, TENANT, ADMIN_KEY).ask("GET", "/v1/cluster", b"")?;
    let listing: Value = serde_json::from_str(&answer.body)?;
    Ok(listing["tenants"][0].clone())
}

fn batch(id: &str, offset: u64) -> Value {
    json!({"source": "test", "offset": offset, "changes": [delivered("alice@example.org", id, 1)]})
}

fn source(server: &Server) -> Admin {
    Admin::new(server.admin, TENANT, INGEST_KEY)
}

fn alice(server: &Server) -> Client {
    Client::new(server, "alice@example.org", PASSWORD)
}

#[test]
fn whoever_is_asked_the_node_that_has_the_tenant_answers() -> Result<()> {
    let nats = Nats::start()?;
    let [(owner, _), (other, _)] = two(&nats)?;
    let subscription = alice(&other).subscribe_streaming()?;
    let mut stream = alice(&other).stream(&[&subscription])?;
    ensure!(source(&other).post(&batch("m1", 0))?.head.status == 200);
    ensure!(stream.events()?.len() == 3, "a stream through the other node hears of it");
    ensure!(source(&owner).post(&batch("m2", 1))?.head.status == 200);
    ensure!(!stream.events()?.is_empty());
    drop(stream);
    let (pulled, mut watermark) = alice(&other).subscribe_pull()?;
    ensure!(source(&other).offset("test")? == 2);
    ensure!(source(&owner).post(&batch("m3", 2))?.head.status == 200);
    ensure!(!alice(&owner).all_events(&pulled, &mut watermark)?.is_empty());
    // The figures of the node that has it count both.
    let figures = Admin::new(owner.admin, TENANT, ADMIN_KEY);
    figures.until_figure("postbell_parked_requests{tenant=\"example.org\"}", 0)?;
    // Who does not know the secret is nobody.
    let forged = Admin::new(other.admin, TENANT, ADMIN_KEY);
    let guessed = request("POST", "/-/answers/0?complete", &[("x-postbell-forwarded", "guess")], b"");
    ensure!(forged.ask("GET", "/v1/cluster", b"")?.head.status == 200);
    let mut connection = Connection::open(other.clients)?;
    ensure!(connection.ask(&guessed)?.head.status == 404);
    Ok(())
}

#[test]
fn what_a_dead_node_had_another_one_serves() -> Result<()> {
    let nats = Nats::start()?;
    let [(owner, name), (other, _)] = two(&nats)?;
    let (pulled, mut watermark) = alice(&other).subscribe_pull()?;
    ensure!(source(&other).post(&batch("m1", 0))?.head.status == 200);
    owner.kill_whatever_it_logged();
    until(|| Ok(place(&other)?["node"].as_str().is_some_and(|node| node != name)))?;
    until(|| Ok(source(&other).post(&batch("m2", 1))?.head.status == 200))?;
    let mut events = Vec::new();
    until(|| {
        events.extend(alice(&other).all_events(&pulled, &mut watermark).unwrap_or_default());
        Ok(events.iter().filter(|event| event.kind == "NewMailEvent").count() == 2)
    })
    .with_context(|| format!("both messages: {events:?}"))?;
    ensure!(other.stop_whatever_it_logged()?.contains("the node is silent"));
    Ok(())
}

#[test]
fn a_node_is_emptied_before_it_is_stopped() -> Result<()> {
    let nats = Nats::start()?;
    let [(owner, name), (other, second)] = two(&nats)?;
    let (pulled, mut watermark) = alice(&other).subscribe_pull()?;
    ensure!(source(&owner).post(&batch("m1", 0))?.head.status == 200);
    let url = format!("http://{}", other.admin);
    let asked = |arguments: &[&str]| {
        run(PROGRAM, ["cluster"].iter().chain(arguments).chain(&["--url", &url, "--key", ADMIN_KEY]).copied())
    };
    let drained = asked(&["drain", name])?;
    ensure!(drained.code == 0 && drained.stdout.ends_with(&format!("node {name} has 0 tenants\n")), "{drained:?}");
    let status = asked(&["status"])?.stdout;
    ensure!(status.contains(&format!("{TENANT}: node {second}\n")) && status.contains(", draining"), "{status}");
    // The other has it, and may still be reading its history.
    until(|| Ok(source(&owner).post(&batch("m2", 1))?.head.status == 200))?;
    ensure!(!alice(&owner).all_events(&pulled, &mut watermark)?.is_empty(), "it hands its clients' requests on");
    ensure!(source(&owner).post(&batch("m3", 2))?.head.status == 200);
    owner.stop()?;
    ensure!(!alice(&other).all_events(&pulled, &mut watermark)?.is_empty());
    let unknown = asked(&["drain", "nobody"])?;
    ensure!(unknown.code == 1 && unknown.stderr.contains("no node `nobody`"), "{unknown:?}");
    ensure!(asked(&["drain", name, "--end"])?.code == 0);
    Ok(())
}

/// Each tenant's move takes a while, in which no node has it: clients wait then, and are not refused.
#[test]
fn who_asks_while_a_tenant_moves_is_answered() -> Result<()> {
    let nats = Nats::start()?;
    let [(owner, name), (other, second)] = two(&nats)?;
    let url = format!("http://{}", other.admin);
    let moved = |arguments: &[&str], to: &str| {
        let options = ["--url", &url, "--key", ADMIN_KEY];
        let asked = run(PROGRAM, ["cluster", "drain", name].iter().chain(arguments).chain(&options).copied())?;
        ensure!(asked.code == 0, "{asked:?}");
        until(|| Ok(place(&other)?["node"] == to)).with_context(|| format!("until it is at {to}"))
    };
    let moving = AtomicBool::new(true);
    let ask = |client: Client| -> Result<u64> {
        let (pulled, watermark) = client.subscribe_pull()?;
        let mut answers = 0;
        while moving.load(Ordering::Relaxed) {
            client.get_events(&pulled, &watermark).with_context(|| format!("after {answers} answers"))?;
            answers += 1;
        }
        Ok(answers)
    };
    std::thread::scope(|scope| {
        let clients = [&owner, &other, &owner, &other].map(alice).map(|client| scope.spawn(|| ask(client)));
        let all = (0..MOVES).try_for_each(|_| moved(&[], second).and_then(|()| moved(&["--end"], name)));
        moving.store(false, Ordering::Relaxed);
        all?;
        for client in clients {
            ensure!(client.join().map_err(|_| anyhow!("a client panicked"))?? > 0);
        }
        Ok(())
    })
}

/// A change that a source publishes to NATS is applied once, by whichever node has the tenant.
#[test]
fn what_is_published_is_applied_once_by_the_node_that_has_the_tenant() -> Result<()> {
    let nats = Nats::start()?;
    let [(owner, name), (other, _)] = two(&nats)?;
    let (pulled, mut watermark) = alice(&other).subscribe_pull()?;
    let applied = |offset| until(|| Ok(source(&other).offset("test").is_ok_and(|expected| expected == offset)));
    publish(&nats, &batch("m1", 0).to_string())?;
    applied(1)?;
    publish(&nats, &batch("m1", 0).to_string())?;
    publish(&nats, "no JSON")?;
    publish(&nats, &batch("far ahead", 7).to_string())?;
    publish(&nats, &batch("m2", 1).to_string())?;
    applied(2)?;
    let url = format!("http://{}", other.admin);
    let drained = run(PROGRAM, ["cluster", "drain", name, "--url", &url, "--key", ADMIN_KEY])?;
    ensure!(drained.code == 0, "{drained:?}");
    publish(&nats, &batch("m3", 2).to_string())?;
    applied(3)?;
    let events = alice(&other).all_events(&pulled, &mut watermark)?;
    ensure!(events.iter().filter(|event| event.kind == "NewMailEvent").count() == 3, "{events:?}");
    let log = owner.stop_whatever_it_logged()?;
    ensure!(log.matches("a message of a source's was not applied").count() == 2, "{log}");
    Ok(())
}

/// A clock that is an hour ahead is told of, and what moves to it and back is served.
#[test]
fn clocks_that_are_apart_are_told_of_and_lose_nothing() -> Result<()> {
    let nats = Nats::start()?;
    let servers = [nats.url("")];
    let right = node("a", &servers)?.start()?;
    let ahead = node("b", &servers)?
        .environment("LD_PRELOAD", fake_time()?)
        .environment("FAKETIME", "+1h")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()?;
    let url = format!("http://{}", right.admin);
    let asked = |arguments: &[&str]| {
        let end = ["--url", &url, "--key", ADMIN_KEY];
        let done = run(PROGRAM, ["cluster"].iter().chain(arguments).chain(&end).copied())?;
        ensure!(done.code == 0, "{done:?}");
        Ok(done.stdout)
    };
    until(|| Ok(asked(&["status"])?.lines().any(|line| line.starts_with("node b:") && line.contains(" s ahead"))))?;
    // Each way once, with changes before and after.
    asked(&["drain", "b"])?;
    until(|| Ok(source(&right).post(&batch("m1", 0))?.head.status == 200))?;
    asked(&["drain", "b", "--end"])?;
    asked(&["drain", "a"])?;
    until(|| Ok(source(&right).post(&batch("m2", 1))?.head.status == 200))?;
    let (pulled, mut watermark) = alice(&right).subscribe_pull()?;
    ensure!(source(&right).post(&batch("m3", 2))?.head.status == 200);
    asked(&["drain", "a", "--end"])?;
    asked(&["drain", "b"])?;
    until(|| Ok(source(&right).post(&batch("m4", 3))?.head.status == 200))?;
    let events = alice(&right).all_events(&pulled, &mut watermark)?;
    ensure!(events.iter().filter(|event| event.kind == "NewMailEvent").count() == 2, "{events:?}");
    ensure!(source(&right).offset("test")? == 4);
    let logs = [right.stop_whatever_it_logged()?, ahead.stop_whatever_it_logged()?];
    ensure!(logs.iter().all(|log| log.contains("its clock and this machine's are apart")), "{logs:?}");
    Ok(())
}

/// What makes a program believe in another time.
fn fake_time() -> Result<&'static str> {
    const PLACES: [&str; 3] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib64/faketime/libfaketime.so.1",
    ];
    let there = PLACES.into_iter().find(|place| std::path::Path::new(place).exists());
    there.context("libfaketime is missing: `make setup` installs it")
}

/// Publishes a message for the tenant, and waits until it is stored.
fn publish(nats: &Nats, message: &str) -> Result<()> {
    let (url, message) = (nats.url(""), message.to_owned());
    tokio::runtime::Runtime::new()?.block_on(async move {
        let context = jetstream::new(async_nats::connect(url).await?);
        context.publish("postbell.changes.example=2eorg", message.into()).await?.await?;
        Ok(())
    })
}

/// Two servers of three may not keep anything three times.
#[test]
fn a_node_that_starts_while_nats_is_short_of_a_server_waits_for_it() -> Result<()> {
    let mut nats = NatsCluster::prepared()?;
    nats.servers[..2].iter_mut().try_for_each(Nats::again)?;
    let servers = [nats.servers[0].url(""), nats.servers[1].url("")];
    let start = node_with("a", &servers, 3, LONG_LEASE)?;
    let server = start.start_once_logged("tried again", || nats.servers[2].again())?;
    ensure!(source(&server).post(&batch("m1", 0))?.head.status == 200);
    server.stop_whatever_it_logged()?;
    Ok(())
}

/// A server that is in no cluster says so.
#[test]
fn without_a_cluster_there_is_none() -> Result<()> {
    let server = Server::demo(PROGRAM)?;
    let url = format!("http://{}", server.admin);
    let status = run(PROGRAM, ["cluster", "status", "--url", &url, "--key", "demo-admin"])?;
    ensure!(status.code == 1 && status.stderr.contains("this server is in no cluster"), "{status:?}");
    Ok(())
}

/// Three nodes and three servers of NATS. POSTBELL_CLUSTER_SEEDS says how many rounds are played, and POSTBELL_SEED which one
/// instead.
#[test]
fn whatever_happens_to_nodes_nothing_is_lost_or_told_twice() -> Result<()> {
    let seed = variable("POSTBELL_SEED")?;
    let rounds = if seed.is_some() { 1 } else { variable("POSTBELL_CLUSTER_SEEDS")?.unwrap_or(3) };
    for _ in 0..rounds {
        let seed = seed.map_or_else(random, Ok)?;
        println!("cluster: POSTBELL_SEED={seed}");
        let mut nats = NatsCluster::start()?;
        let members = ["a", "b", "c"].map(|name| {
            let links = nats.servers.iter().map(|server| Link::to(server.port())).collect::<Result<Vec<_>>>()?;
            let urls: Vec<String> = links.iter().map(Link::url).collect();
            Ok(Member { name: name.into(), start: node_with(name, &urls, 3, LEASE)?, links })
        });
        let members = members.into_iter().collect::<Result<_>>()?;
        let outcome = cluster::run(members, &mut nats, seed, FAULTS);
        println!("{}", outcome.with_context(|| format!("cluster: play it again with POSTBELL_SEED={seed}"))?);
    }
    Ok(())
}

/// How much happens in a round.
const FAULTS: u64 = 2;
