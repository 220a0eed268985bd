//! The real server, killed in the middle of its work and started again: whatever it promised is there.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use postbell::plugin;
use postbell_tests::load::plan::ACCOUNTS;
use postbell_tests::load::{self, ADMIN_KEY, INGEST_KEY, PASSWORD, Promise, TENANT};
use postbell_tests::nats::Nats;
use postbell_tests::program::Start;

use crate::{PROGRAM, cheap_hash};

/// How often the server is killed with the same data directory.
const KILLS_A_ROUND: u64 = 10;

/// How often it is killed in a round in which versions take over from each other all the time.
const KILLS_WHILE_SWAPPED: u64 = 4;

#[test]
fn nothing_acknowledged_is_lost() -> Result<()> {
    rounds("sync = 'always'", Promise::Everything)
}

/// The same where NATS keeps it: this machine has nothing.
#[test]
fn nothing_acknowledged_is_lost_where_nats_keeps_it() -> Result<()> {
    let nats = Nats::start()?;
    let cluster = format!("[cluster]\nservers = ['{}']\nreplicas = 1\nlease-seconds = 1", nats.url(""));
    let kills: u64 = variable("POSTBELL_KILLS")?.unwrap_or(5);
    let seed = variable("POSTBELL_SEED")?.map_or_else(random, Ok)?;
    println!("NATS: POSTBELL_SEED={seed}");
    let start = start("", &cluster, seed)?;
    let outcome = load::run(start, Promise::Everything, seed, kills.min(KILLS_A_ROUND));
    println!("{}", outcome.with_context(|| format!("NATS: play it again with POSTBELL_SEED={seed}"))?);
    Ok(())
}

/// What a crash may take then, it takes from the end, and whoever counted on it hears of that.
#[test]
fn with_an_interval_nothing_is_lost_in_silence() -> Result<()> {
    rounds("sync = 50", Promise::UpToTheLastSync)
}

/// The same while others send what does not end and read nothing. POSTBELL_BESIEGED_KILLS says how often it is killed.
#[test]
fn hostile_clients_take_nothing_from_others() -> Result<()> {
    let kills: u64 = variable("POSTBELL_BESIEGED_KILLS")?.unwrap_or(5);
    let seed = variable("POSTBELL_SEED")?;
    let rounds = if seed.is_some() { 1 } else { kills.div_ceil(KILLS_A_ROUND) };
    for _ in 0..rounds {
        let seed = seed.map_or_else(random, Ok)?;
        println!("besieged: POSTBELL_SEED={seed}");
        let outcome = load::run_besieged(on_disk("sync = 'always'", seed)?, seed, kills.min(KILLS_A_ROUND));
        println!("{}", outcome.with_context(|| format!("besieged: play it again with POSTBELL_SEED={seed}"))?);
    }
    Ok(())
}

/// Killed at any moment of a swap, the server runs one of the two versions, and nobody can tell. POSTBELL_SWAP_SEEDS says
/// how many rounds are played, POSTBELL_SEED which one instead.
#[test]
fn a_swap_is_whole_or_never_was() -> Result<()> {
    let seed = variable("POSTBELL_SEED")?;
    let rounds = if seed.is_some() { 1 } else { variable("POSTBELL_SWAP_SEEDS")?.unwrap_or(5) };
    for _ in 0..rounds {
        let seed = seed.map_or_else(random, Ok)?;
        println!("swaps: POSTBELL_SEED={seed}");
        let outcome =
            load::run_swapping(on_disk("sync = 'always'", seed)?, seed, KILLS_WHILE_SWAPPED, plugin::bundled());
        println!("{}", outcome.with_context(|| format!("swaps: play it again with POSTBELL_SEED={seed}"))?);
    }
    Ok(())
}

/// POSTBELL_KILLS says how often the server is killed, POSTBELL_SEED which round is played, instead of new ones.
fn rounds(sync: &str, promise: Promise) -> Result<()> {
    let kills: u64 = variable("POSTBELL_KILLS")?.unwrap_or(20);
    let seed = variable("POSTBELL_SEED")?;
    let rounds = if seed.is_some() { 1 } else { kills.div_ceil(KILLS_A_ROUND) };
    for _ in 0..rounds {
        let seed = seed.map_or_else(random, Ok)?;
        println!("{sync}: POSTBELL_SEED={seed}");
        let outcome = load::run(on_disk(sync, seed)?, promise, seed, kills.min(KILLS_A_ROUND));
        println!("{}", outcome.with_context(|| format!("{sync}: play it again with POSTBELL_SEED={seed}"))?);
    }
    Ok(())
}

/// Where this machine's disk keeps it.
fn on_disk(sync: &str, seed: u64) -> Result<Start> {
    start(&format!("data = '{{folder}}/data'\n{sync}"), "", seed)
}

/// The longest that a tenant is awake without anything happening, in milliseconds: about as long as a round has pauses.
const LONGEST_AWAKE: u64 = 200;

/// A server that takes snapshots often, whose tenant sleeps when nothing happens for a time of the seed's, and whose limits
/// are out of reach: who is idle while it is killed again and again has missed nothing.
fn start(server: &str, cluster: &str, seed: u64) -> Result<Start> {
    let awake = 1 + seed / 256 % LONGEST_AWAKE;
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\n{server}\n\
         admin-key = '{ADMIN_KEY}'\nsnapshot-inputs = 20\nhistory-hours = 0\n{cluster}\n\
         [limits]\nsleep-milliseconds = {awake}\n\
         [[tenant]]\nname = '{TENANT}'\ndomains = ['{TENANT}']\nusers = 'users.toml'\ningest-key = '{INGEST_KEY}'\n\
         [tenant.settings]\news-queue-events = 1_000_000\news-history-events = 1_000_000\n\
         ews-history-bytes = 1_000_000_000\news-heartbeat-seconds = 5\n"
    );
    let hash = cheap_hash(PASSWORD)?;
    let users = ACCOUNTS.map(|name| format!("[[user]]\nname = '{name}'\npassword = '{hash}'\n")).concat();
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)
}

pub fn variable<T: FromStr<Err: Display>>(name: &str) -> Result<Option<T>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|error| anyhow!("{name}={text}: {error}"))
}

pub fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
