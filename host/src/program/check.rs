//! `postbell plugin check`: whether a component keeps the contract.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::config::Limits;
use super::output::{self, Output};
use super::{Failure, inspect};
use crate::conformance::{Options, Report, Sample, check};
use crate::plugin::InstanceLimits;
use crate::{Host, HostOptions};

/// The exit code of a plugin that breaks a rule: the one of a plugin that is refused.
const BROKEN: u8 = 3;

/// How many instances the suite has at once, at most.
const INSTANCES: u32 = 20;

/// Check that a plugin keeps the contract: put it through the conformance suite.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The component
    file: PathBuf,
    /// Print one JSON object instead of a line for each rule
    #[arg(long)]
    json: bool,
    /// How many random inputs to feed
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    inputs: u64,
    /// How many of them to feed to five instances side by side, compared at each
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    compared: u64,
    /// What all chance follows from; the same seed finds the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Requests that make sense to the plugin, a JSON object a line: `path`, and `method`, `query`, `content-type`,
    /// `headers`, `body`; `{heard}` in query or body becomes a word of an earlier reply
    #[arg(long, value_name = "FILE")]
    requests: Option<PathBuf>,
    /// A setting of the plugin, beside `domains`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Make instances one by one, as a host with `pool = false` does: for components with more than one memory
    #[arg(long)]
    without_pool: bool,
    /// How long a call may run, in milliseconds
    #[arg(long, default_value_t = InstanceLimits::default().call_milliseconds, value_name = "MS")]
    call_milliseconds: u64,
    /// How much memory an instance may have, in bytes
    #[arg(long, default_value_t = InstanceLimits::default().memory_bytes, value_name = "BYTES")]
    memory_bytes: u64,
}

/// Prints the report; the exit code says whether a rule is broken. Blocks.
///
/// # Errors
///
/// A file cannot be read.
pub fn run(args: &CheckArgs) -> Result<u8, Failure> {
    let component = read(&args.file)?;
    let samples = args.requests.as_deref().map(samples).transpose()?.unwrap_or_default();
    let compiler = inspect::compiler(&Limits::default())?;
    let (cache, instances, pool) = (inspect::cache(), INSTANCES, !args.without_pool);
    let host = Host::new(HostOptions { compiler, cache, instances, pool, shards: 1, ..HostOptions::default() });
    let limits = InstanceLimits {
        call_milliseconds: args.call_milliseconds,
        memory_bytes: args.memory_bytes,
        ..InstanceLimits::default()
    };
    let CheckArgs { inputs, compared, seed, settings, .. } = args;
    let (inputs, compared, seed, settings) = (*inputs, *compared, *seed, settings.clone());
    let options = Options { seed, inputs, compared, settings, samples, limits };
    let bar = output::inputs(inputs);
    let report = check(&host.context("the engine")?, &component, &options, |fed| bar.set_position(fed));
    bar.finish_and_clear();
    print(&report, args.json)?;
    Ok(if report.conforms() { 0 } else { BROKEN })
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    let mut out = Output::standard();
    out.line(if json { report.json().to_string() } else { report.to_string() })?;
    out.end()
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

/// The requests of a file, one a line; empty lines count for nothing.
fn samples(file: &Path) -> Result<Vec<Sample>, Failure> {
    let text = String::from_utf8_lossy(&read(file)?).into_owned();
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let sample = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Failure::Usage(format!("{}:{number}: {error}", file.display())))
    };
    lines.map(sample).collect()
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is written KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
