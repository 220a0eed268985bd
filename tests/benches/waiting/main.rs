//! A server on which many WaitSetRequests wait: what each costs in memory, and how long a change takes to its client.
//!
//! The server is the program, as its users run it, with a journal that is synced before anybody hears. As many wait as
//! the limit of open files allows, or as POSTBELL_CLIENTS says; POSTBELL_CHANGES says how many changes one of them is
//! told. All clients are tasks of this process, on loopback, so their work is part of the times.

mod client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::{Argon2, Params};
use postbell_tests::admin::{Admin, delivered};
use postbell_tests::program::{Server, Start};
use postbell_tests::scale::scaled;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use client::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_postbell-under-test");
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";
const PASSWORD: &str = "postbell";

/// Files that are open for other things than clients.
const OTHER_FILES: u64 = 500;

/// How many make their WaitSets at once.
const AT_ONCE: usize = 200;

fn main() -> Result<()> {
    let clients = variable("POSTBELL_CLIENTS")
        .unwrap_or(raise_file_limit()?.saturating_sub(OTHER_FILES).min(scaled(20_000, 200)));
    let changes = variable("POSTBELL_CHANGES").unwrap_or(scaled(1_000, 20));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(clients, changes))
}

/// Every client is an open file, here and of the server.
fn raise_file_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

async fn measure(clients: u64, changes: u64) -> Result<()> {
    let server = start(clients)?;
    let source = Admin::new(server.admin, "example.org", "ingest");
    let waiting = connect(&server, clients).await?;
    let before = server.resident_bytes()?;
    let parked = park(&server, waiting).await?;
    let bytes = server.resident_bytes()?.saturating_sub(before);
    println!("{clients} WaitSetRequests wait on one server: {} bytes of its memory for each.\n", bytes / clients);
    println!("{:<52} {:>10} {:>10}", "from a change to the answer", "p50", "p99");
    row(&format!("one of {clients} is told, {changes} changes"), one_by_one(&server, &source, clients, changes).await?);
    row(&format!("all {clients} are told of one change"), all_at_once(source, parked).await?);
    println!("{:<52} {:>10} {:>10}", "Zimbra, a request that came less than 3 s before", "up to 3 s", "3 s");
    println!("{:<52} {:>10} {:>10}", "Zimbra before 2017, every request", "3 s", "4 s");
    server.stop()?;
    Ok(())
}

fn row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name:<52} {:>10.1?} {:>10.1?}", quantile(0.5), quantile(0.99));
}

/// A server with room for so many clients, each with a WaitSet of its own.
fn start(clients: u64) -> Result<Server> {
    let (sets, connections) = (clients + 10, clients + 100);
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\ndata = '{{folder}}/data'\n\
         connections = {connections}\n\
         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\ningest-key = 'ingest'\n\
         [tenant.settings]\nzimbra-waitset-max-per-account = {sets}\n"
    );
    // At the lowest cost: passwords are not what is measured.
    let params = Params::new(8, 1, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let hash = Argon2::from(params).hash_password(PASSWORD.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let users = [ALICE, BOB].map(|name| format!("[[user]]\nname = '{name}'\npassword = '{hash}'\n")).concat();
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)?.start()
}

/// Alice's clients, each with its WaitSet.
async fn connect(server: &Server, clients: u64) -> Result<Vec<Client>> {
    let token = client::log_in(server.clients, ALICE, PASSWORD).await?;
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (address, token, turns) = (server.clients, token.clone(), turns.clone());
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await?;
            Client::with_wait_set(address, &token, ALICE).await
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// Lets all of them wait, until the server says that they do.
async fn park(server: &Server, mut clients: Vec<Client>) -> Result<Vec<Client>> {
    for client in &mut clients {
        client.ask().await?;
    }
    until_waiting(server, clients.len()).await?;
    Ok(clients)
}

async fn until_waiting(server: &Server, count: usize) -> Result<()> {
    let admin = Admin::new(server.admin, "example.org", "ingest");
    let waiting = format!("name=\"wait_set_requests\"}} {count}.0");
    spawn_blocking(move || {
        while !admin.ask("GET", "/metrics", b"")?.body.lines().any(|line| line.ends_with(&waiting)) {}
        Ok(())
    })
    .await?
}

/// While all of alice's wait, bob's one client is told of a change, waits again, and so on.
async fn one_by_one(server: &Server, source: &Admin, others: u64, changes: u64) -> Result<Vec<Duration>> {
    let token = client::log_in(server.clients, BOB, PASSWORD).await?;
    let mut client = Client::with_wait_set(server.clients, &token, BOB).await?;
    let mut times = Vec::new();
    for number in 1..=changes {
        client.ask().await?;
        until_waiting(server, others as usize + 1).await?;
        let source = source.clone();
        let start = now();
        let change = spawn_blocking(move || source.change(&[delivered(BOB, &format!("b{number}"), number as u32)]));
        let answer = client.hear().await?;
        times.push(now().duration_since(start));
        ensure!(answer.contains(&format!("<a id=\"{BOB}\"")), "{answer}");
        change.await??;
    }
    Ok(times)
}

/// Alice's inbox changes, and all of her clients hear of it.
async fn all_at_once(source: Admin, clients: Vec<Client>) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    let start = now();
    for mut client in clients {
        tasks.spawn(async move {
            let answer = client.hear().await?;
            ensure!(answer.contains("<a id="), "{answer}");
            Ok(now().duration_since(start))
        });
    }
    let change = spawn_blocking(move || source.change(&[delivered(ALICE, "m1", 1)]));
    let times = tasks.join_all().await.into_iter().collect();
    change.await?.context("the change is taken")?;
    times
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a bench measures time; this is where")]
    Instant::now()
}
