//! Postbell from outside: the program, run as its users run it, and their clients.

#![forbid(unsafe_code)]

mod bad_input;
mod capi;
mod captured;
mod cluster;
mod commit;
mod component;
mod conformance;
mod console;
mod corpora;
mod damage;
mod edge;
mod elsewhere;
mod embedding;
mod exchangelib;
mod faults;
mod feed;
mod groupwise_schemas;
mod gwsoap;
mod hostile;
mod jetstream;
mod killed;
mod lease;
mod limits;
mod live_sources;
mod logins;
mod model;
mod nodes;
mod outbound;
mod packaging;
mod parity;
mod parked;
mod plugin_authors;
mod power;
mod program;
mod python_zimbra;
mod refusals;
mod replay;
mod schemas;
mod secrets;
mod settled;
mod sleep;
mod swap;
mod swap_apart;
mod swap_faults;
mod swap_parked;
mod swap_program;
mod tenants;
mod tidy;
mod tls;
mod tools;
mod traces;
mod wait_sets;
mod wire;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use postbell_tests::admin::Admin;
use postbell_tests::program::{Server, Start};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_postbell-under-test");

/// The demo server, without traffic of its own.
fn demo() -> Result<Server> {
    Server::demo(PROGRAM)
}

/// The demo server, to be given settings.
fn demo_with() -> Result<Start> {
    Start::demo(PROGRAM)
}

/// A server for alice, with these lines under `[server]`.
fn configured(settings: &str) -> Result<Start> {
    let configuration = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nadmin-key = 'admin'\n{settings}\
         [[tenant]]\nname = 'example.org'\ndomains = ['example.org']\nusers = 'users.toml'\n"
    );
    let users = format!("[[user]]\nname = 'alice@example.org'\npassword = '{}'\n", cheap_hash("postbell")?);
    Start::configured(PROGRAM, &configuration)?.file("users.toml", &users)
}

/// Whoever has the key of such a server.
fn operator(server: &Server) -> Admin {
    Admin::new(server.admin, "example.org", "admin")
}

/// A program of the real clients, in the Python environment of the tests.
fn python(script: &str) -> Result<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the workspace")?;
    let python = root.join(".venv/bin/python");
    ensure!(python.exists(), "{} is not there: run `make setup`", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/python").join(script));
    Ok(command)
}

/// A password's hash at the lowest cost, for tests that are not about that.
fn cheap_hash(password: &str) -> Result<PasswordHash> {
    let params = Params::new(8, 1, 1, None).map_err(|error| anyhow!("{error}"))?;
    Argon2::from(params).hash_password(password.as_bytes()).map_err(|error| anyhow!("{error}"))
}
