//! `postbell plugin list`: which tenant of a running server runs what.

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::client::ServerArgs;
use super::output::Output;
use super::{Failure, shown};
use crate::admin::plugins::{PluginListing, TenantListing};

/// `postbell plugin list ...`.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

/// Prints a line for each tenant. Blocks.
///
/// # Errors
///
/// There is no key, or the server cannot be asked.
pub fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut answer = args.server.client()?.get("/v1/plugins")?;
    let text = answer.body_mut().read_to_string().context("the server's answer")?;
    let listing: PluginListing = serde_json::from_str(&text).context("not an answer of a postbell server")?;
    let mut out = Output::standard();
    for tenant in &listing.tenants {
        out.line(if args.json { json!(tenant).to_string() } else { line(tenant) })?;
    }
    out.end()
}

fn line(listed: &TenantListing) -> String {
    let TenantListing { tenant, plugin, version, sha256, since, previous, back, faults } = listed;
    let since = if *since == 0 { "from the beginning".to_owned() } else { format!("since {}", shown::moment(*since)) };
    let back = if *back { ", gone back to" } else { "" };
    let previous = previous.as_ref().map(|previous| format!("; before: {previous}")).unwrap_or_default();
    let faults = if *faults == 0 { String::new() } else { format!("; {faults} faults") };
    format!("{tenant}: {plugin} {version} {sha256}, {since}{back}{previous}{faults}")
}
