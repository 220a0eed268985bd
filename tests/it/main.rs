//! Postbell from outside: the program, run as its users run it, and their clients.

mod bad_input;
mod commit;
mod component;
mod damage;
mod exchangelib;
mod faults;
mod feed;
mod parity;
mod parked;
mod program;
mod replay;
mod schemas;
mod secrets;
mod tidy;
mod tools;
mod wire;

use anyhow::Result;
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
