//! Postbell from outside: the program, run as its users run it, and their clients.

mod bad_input;
mod captured;
mod cluster;
mod commit;
mod component;
mod damage;
mod exchangelib;
mod faults;
mod feed;
mod groupwise_schemas;
mod gwsoap;
mod jetstream;
mod killed;
mod model;
mod outbound;
mod parity;
mod parked;
mod power;
mod program;
mod python_zimbra;
mod replay;
mod schemas;
mod secrets;
mod settled;
mod swap;
mod swap_faults;
mod swap_program;
mod tidy;
mod tools;
mod wire;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
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
