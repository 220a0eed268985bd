//! Shared by tests and benches: the program run as its users run it, and clients that see every byte.
//!
//! Nothing here sleeps or measures time. What waits, waits for a state, and gives up after [`PATIENCE`]; what waits for ever
//! all the same is found by the [`watchdog`].

#![forbid(unsafe_code)]

pub mod admin;
pub mod browser;
pub mod component;
pub mod conformance;
pub mod embedded;
pub mod ews;
pub mod figures;
pub mod groupwise;
pub mod histories;
pub mod hostile;
pub mod http;
pub mod inside;
pub mod load;
pub mod mail_servers;
pub mod native;
pub mod nats;
pub mod network;
pub mod program;
pub mod scale;
pub mod schemas;
pub mod strict_reader;
pub mod swaps;
pub mod tls;
pub mod watchdog;
pub mod zimbra;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postbell::HostOptions;

/// How long a test waits for a state before it fails. No test passes or fails by how much of it is used.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where everything here keeps compiled plugins, beside the program that runs, so that each is compiled once.
///
/// # Panics
///
/// The operating system does not say where this program is.
pub fn compiled_plugins() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    program.ancestors().nth(2).expect("cargo put it into a folder of its own").join("compiled-plugins")
}

/// As [`until`], asking what answers later.
///
/// # Errors
///
/// It does not come to it.
pub async fn eventually(mut so: impl AsyncFnMut() -> bool) -> Result<()> {
    let coming = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, coming).await.context("it does not come to it")
}

/// A host's defaults, except that it keeps there what it compiled.
pub fn host_options() -> HostOptions {
    watchdog::watched();
    HostOptions { cache: Some(compiled_plugins()), ..HostOptions::default() }
}

/// Asks until it is so.
///
/// # Errors
///
/// The question cannot be asked, or it does not come to it.
#[expect(clippy::disallowed_methods, reason = "this is how long to wait for a state, and no measurement")]
pub fn until(mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !so()? {
        if begun.elapsed() > PATIENCE {
            bail!("it does not come to it");
        }
        std::thread::yield_now();
    }
    Ok(())
}
