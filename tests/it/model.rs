//! Random subscriptions, changes, polls, streams, lost answers, restarts: every subscription gets every event that it
//! covers, in order, at least once, and never one that it does not cover, or is told that it missed some.
//!
//! The native logic is driven directly and time is the test's own. A history follows from its seed: a failure names it,
//! and
//! `POSTBELL_SEED=<seed>` runs it alone and tells its steps; `POSTBELL_HISTORIES=<how many>` runs more.

mod asking;
mod clients;
mod mailbox;
mod pushing;
mod world;

use anyhow::{Context, Result, ensure};

use world::{Told, World};

/// How many histories, and how long they are.
const SEEDS: u64 = 60;
const STEPS: usize = 300;

#[test]
fn every_subscription_hears_what_it_covers() -> Result<()> {
    if let Some(seed) = asked("POSTBELL_SEED")? {
        return run(seed, true).map(drop);
    }
    let mut all = Told::default();
    for seed in 0..asked("POSTBELL_HISTORIES")?.unwrap_or(SEEDS) {
        let told = run(seed, false).with_context(|| format!("POSTBELL_SEED={seed}"))?;
        all = all + told;
    }
    ensure!(all.parts.min(all.polls).min(all.pushes) > 500 && all.misses > 100, "hardly anything happened: {all:?}");
    Ok(())
}

/// The number in an environment variable.
fn asked(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
}

fn run(seed: u64, aloud: bool) -> Result<Told> {
    let mut world = World::new(seed)?;
    for number in 0..STEPS {
        let step = world.step();
        if aloud {
            eprintln!("{number}: {step:?}");
        }
        world.take(&step).with_context(|| format!("step {number}, {step:?}"))?;
    }
    world.finish().context("at the end")?;
    Ok(world.told)
}
