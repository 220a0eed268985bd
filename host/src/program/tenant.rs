//! `postbell tenant`: the tenants of a running server.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::client::ServerArgs;
use super::output::Output;

/// `postbell tenant ...`.
#[derive(Subcommand, Debug)]
pub enum TenantCommand {
    /// Print an object a line for each tenant.
    List {
        /// Which server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a tenant, or change it; those of the configuration change there.
    Put(PutArgs),
    /// Close a tenant; those of the configuration are removed there.
    Delete(DeleteArgs),
}

/// `postbell tenant put ...`.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// Its name.
    tenant: String,
    /// A TOML file with what a `[[tenant]]` of the configuration holds, without its name. Paths in it are the server's,
    /// relative to its configuration.
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// `postbell tenant delete ...`.
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// Its name.
    tenant: String,
    /// Remove also what is kept of it, for good.
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does it. Blocks.
///
/// # Errors
///
/// There is no key, a file cannot be read, or the server cannot be asked or refuses.
pub fn run(command: &TenantCommand) -> Result<(), Failure> {
    match command {
        TenantCommand::List { server } => list(server),
        TenantCommand::Put(args) => put(args),
        TenantCommand::Delete(args) => delete(args),
    }
}

fn list(server: &ServerArgs) -> Result<(), Failure> {
    let mut answer = server.client()?.get("/v1/tenants")?;
    let text = answer.body_mut().read_to_string().context("the server's answer")?;
    let listing: Value = serde_json::from_str(&text).context("not an answer of a postbell server")?;
    let mut out = Output::standard();
    for tenant in listing["tenants"].as_array().context("not an answer of a postbell server")? {
        out.line(tenant.to_string())?;
    }
    out.end()
}

fn put(args: &PutArgs) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", args.file.display()));
    let text = std::fs::read_to_string(&args.file).map_err(|error| wrong(&error))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let body = serde_json::to_vec(&table).map_err(|error| wrong(&error))?;
    args.server.client()?.put(&path(&args.tenant), &[("content-type", "application/json")], &body)?;
    Ok(())
}

fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let query = if args.purge { "?purge=true" } else { "" };
    args.server.client()?.delete(&format!("{}{query}", path(&args.tenant)))?;
    Ok(())
}

fn path(tenant: &str) -> String {
    let tenant = percent_encoding::utf8_percent_encode(tenant, super::counted::PART);
    format!("/v1/tenants/{tenant}")
}
