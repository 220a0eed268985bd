//! `postbell replay`: a tenant's history through a plugin, for whoever looks for the reason of something, or wants to
//! know what another version of the plugin would have done.

mod judge;
mod run;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use self::judge::Judge;
use self::run::{Run, RunError};
use super::config::Limits;
use super::history::{History, Origin};
use super::output::{self, Output};
use super::{Failure, inspect};
use crate::contract::types::Reaction;
use crate::journal::{Journal, Seat, SeatFacts, records};
use crate::plugin::Plugin;
use crate::{Host, HostOptions};

/// Exit codes besides those of failures.
const SAME: u8 = 0;
const DIFFERENT: u8 = 1;

/// Feed a tenant's history to a plugin, and print its reactions
///
/// Each is an object on a line of its own. The plugin begins with the newest snapshot before --from that it can load,
/// or at the tenant's first input. Nothing is written anywhere, and no reaction is carried out.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    #[command(flatten)]
    origin: Origin,
    /// The tenant
    #[arg(long)]
    tenant: String,
    /// Sequence of the first input whose reaction is wanted [default: the first that there is]
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// Sequence of the last input [default: the last that there is]
    #[arg(long, value_name = "SEQUENCE")]
    to: Option<u64>,
    /// The plugin [default: the one that is built in]
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Print only differences: without --plugin from the digests of the reactions of then, with it from the built-in
    /// plugin. Exit code 1 if there are any
    #[arg(long)]
    compare: bool,
}

/// What is replayed: some of a seat's records.
struct Part {
    journal: Arc<dyn Journal>,
    seat: Seat,
    facts: SeatFacts,
    from: u64,
    to: u64,
}

/// Replays. Blocks. Gives the exit code.
///
/// # Errors
///
/// The history cannot be had or does not reach back far enough, or a plugin is refused or fails.
pub fn run(args: &ReplayArgs) -> Result<u8, Failure> {
    let history = args.origin.open()?;
    let opened = history.journal(&args.tenant)?;
    // A few instances, of any plugin: they need no pool.
    let (compiler, cache, pool) = (inspect::compiler(&Limits::default())?, inspect::cache(), false);
    let options = HostOptions { compiler, cache, pool, shards: 1, ..HostOptions::default() };
    let host = Host::new(options).context("the engine")?;
    let plugin = load(&host, args.plugin.as_deref())?;
    let part = part(args, &history, opened.journal.clone(), &plugin.1)?;
    let failed = |error| match error {
        RunError::Journal(error) => history.failed(error),
        RunError::NoBeginning { .. } => Failure::Usage(error.to_string()),
        RunError::Fault { .. } | RunError::Refused { .. } => Failure::Running(error.into()),
    };
    let run = Run::begin(&plugin, &part).map_err(failed)?;
    let judge = match (&args.plugin, args.compare) {
        (_, false) => Judge::printing(),
        (None, true) => Judge::of_digests(plugin.1.sha256()),
        (Some(_), true) => Judge::beside(Run::begin(&load(&host, None)?, &part).map_err(failed)?),
    };
    replay(&part, run, judge, failed)
}

fn load(host: &Host, file: Option<&Path>) -> Result<(String, Plugin), Failure> {
    let (origin, component) = match file {
        Some(file) => {
            let unreadable = |error| Failure::Usage(format!("{}: {error}", file.display()));
            (file.display().to_string(), std::fs::read(file).map_err(unreadable)?)
        }
        None => inspect::built_in()?,
    };
    match host.load(&component) {
        Ok(plugin) => Ok((origin, plugin)),
        Err(source) => Err(Failure::Plugin { origin, source }),
    }
}

/// What of the history is asked for: of this plugin's seat, or else of the only one.
fn part(args: &ReplayArgs, history: &History, journal: Arc<dyn Journal>, plugin: &Plugin) -> Result<Part, Failure> {
    let mut seats = journal.seats().map_err(|error| history.failed(error))?;
    seats.retain(|seat| *seat.tenant == *args.tenant);
    let name = &*plugin.manifest().name;
    if seats.len() > 1 && seats.iter().any(|seat| *seat.plugin == *name) {
        seats.retain(|seat| *seat.plugin == *name);
    }
    let seat = match &*seats {
        [] => return Err(history.without(&args.tenant)),
        [seat] => seat.clone(),
        several => {
            let names: Vec<_> = several.iter().map(|seat| &*seat.plugin).collect();
            let names = names.join(", ");
            return Err(Failure::Usage(format!("the tenant has histories of {names}, but none of a plugin {name}")));
        }
    };
    let facts = journal.facts(&seat).map_err(|error| history.failed(error))?;
    let facts = facts.ok_or_else(|| history.without(&args.tenant))?;
    let (first, last) = (facts.horizon() + 1, facts.last);
    let (from, to) = (args.from.unwrap_or(first), args.to.unwrap_or(last));
    if from < first || from > to || to > last {
        let message = format!("{seat}: {from} to {to} is not within its history, which is {first} to {last}");
        return Err(Failure::Usage(message));
    }
    Ok(Part { journal, seat, facts, from, to })
}

/// What a plugin makes of one input of a seat, after all before it; in words why that cannot be said. Blocks.
///
/// # Errors
///
/// The history does not reach back far enough, or the plugin fails.
pub fn caused(journal: Arc<dyn Journal>, seat: Seat, plugin: &Plugin, sequence: u64) -> Result<Reaction, String> {
    let facts = journal.facts(&seat).map_err(|error| error.to_string())?.ok_or("there is no history")?;
    let part = Part { journal, seat, facts, from: sequence, to: sequence };
    let mut run = Run::begin(&("the plugin".to_owned(), plugin.clone()), &part).map_err(|error| error.to_string())?;
    let mut caused = None;
    for record in records(&*part.journal, &part.seat, run.next(), sequence) {
        let record = record.map_err(|error| error.to_string())?;
        caused = run.feed(&record).map_err(|error| error.to_string())?;
    }
    caused.ok_or_else(|| "there is no such input".to_owned())
}

fn replay(part: &Part, mut run: Run, mut judge: Judge, failed: impl Fn(RunError) -> Failure) -> Result<u8, Failure> {
    let mut out = Output::standard();
    let first = judge.next().map_or(run.next(), |next| next.min(run.next()));
    let progress = output::inputs(part.to + 1 - first);
    for record in records(&*part.journal, &part.seat, first, part.to) {
        let record = record.map_err(|error| failed(error.into()))?;
        let reaction = run.feed(&record).map_err(&failed)?.filter(|_| record.sequence >= part.from);
        if let Some(line) = judge.line(&record, reaction).map_err(&failed)? {
            out.line(line)?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    out.end()?;
    eprintln!("inputs {} to {} replayed{}", part.from, part.to, judge.words());
    Ok(if judge.found_differences() { DIFFERENT } else { SAME })
}
