//! `postbell cluster`: which nodes serve which tenants, and how a node is emptied before it is stopped.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::Failure;
use super::client::{Client, ServerArgs};
use super::output::Output;
use crate::admin::cluster::{ClusterListing, NodeListing, Placed};
use crate::cluster::is_apart;

/// How long to wait before it is looked again whether a node is empty.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `postbell cluster ...`.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Say which nodes there are, how far each lags, and which has which tenant
    Status(StatusArgs),
    /// Let a node's tenants go to the others, and wait until it has none
    Drain(DrainArgs),
}

/// `postbell cluster status ...`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print all of it as one object
    #[arg(long)]
    json: bool,
}

/// `postbell cluster drain ...`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// The node's name, as `postbell cluster status` prints it
    node: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Let it have tenants again
    #[arg(long)]
    end: bool,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

/// Does it. Blocks.
///
/// # Errors
///
/// There is no key, or the server cannot be asked, is in no cluster, or refuses.
pub fn run(command: &ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(args) => status(args),
        ClusterCommand::Drain(args) => drain(args),
    }
}

fn status(args: &StatusArgs) -> Result<(), Failure> {
    let listing = listing(&args.server.client()?)?;
    let mut out = Output::standard();
    if args.json {
        out.line(json!(listing).to_string())?;
    } else {
        for node in &listing.nodes {
            out.line(line(node))?;
        }
        for tenant in &listing.tenants {
            out.line(place(tenant))?;
        }
    }
    out.end()
}

fn drain(args: &DrainArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = format!("/v1/cluster/drains/{}", utf8_percent_encode(&args.node, NON_ALPHANUMERIC));
    let mut out = Output::standard();
    if args.end {
        client.delete(&path)?;
        out.line(format!("node {} may have tenants again", args.node))?;
        return out.end();
    }
    client.put(&path, &[], &[])?;
    if !args.no_wait {
        wait_until_empty(&client, &args.node, &mut out)?;
    }
    out.end()
}

#[expect(clippy::disallowed_methods, reason = "the server says only when it is asked")]
fn wait_until_empty(client: &Client, node: &str, out: &mut Output) -> Result<(), Failure> {
    let mut told = None;
    loop {
        let has = |tenant: &&Placed| tenant.node.as_deref() == Some(node);
        let left = listing(client)?.tenants.iter().filter(has).count();
        if told != Some(left) {
            out.line(format!("node {node} has {left} tenants"))?;
            told = Some(left);
        }
        if left == 0 {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn listing(client: &Client) -> Result<ClusterListing, Failure> {
    let mut answer = client.get("/v1/cluster")?;
    let text = answer.body_mut().read_to_string().context("the server's answer")?;
    Ok(serde_json::from_str(&text).context("not an answer of a postbell server")?)
}

fn line(listed: &NodeListing) -> String {
    let NodeListing { node, clients, silent_ms, clock_ahead_ms, draining, tenants, uncommitted, moves, .. } = listed;
    let draining = if *draining { ", draining" } else { "" };
    let clock = match clock_ahead_ms / 1_000 {
        _ if !is_apart(*clock_ahead_ms) => String::new(),
        ahead @ 0.. => format!(", its clock {ahead} s ahead"),
        behind => format!(", its clock {} s behind", behind.unsigned_abs()),
    };
    format!(
        "node {node}: {tenants} tenants, {uncommitted} inputs uncommitted, {moves} moves, seen {silent_ms} ms ago, \
         {clients}{draining}{clock}"
    )
}

fn place(placed: &Placed) -> String {
    let Placed { tenant, node, home, next } = placed;
    let at = node.as_ref().map_or_else(|| "nowhere".to_owned(), |node| format!("node {node}"));
    let goes = home.as_ref().filter(|_| home != node).map(|home| format!(", to go to {home}")).unwrap_or_default();
    let prepares = if next.is_some() { ", which prepares" } else { "" };
    format!("{tenant}: {at}{goes}{prepares}")
}
