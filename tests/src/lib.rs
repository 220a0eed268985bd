//! Shared by tests and benches: the program run as its users run it, and clients that see every byte.
//!
//! Nothing here sleeps or measures time. What waits, waits for a state, and gives up after [`PATIENCE`].

#![forbid(unsafe_code)]

pub mod admin;
pub mod browser;
pub mod component;
pub mod conformance;
pub mod embedded;
pub mod ews;
pub mod groupwise;
pub mod histories;
pub mod hostile;
pub mod http;
pub mod inside;
pub mod load;
pub mod mail_servers;
pub mod native;
pub mod nats;
pub mod program;
pub mod schemas;
pub mod strict_reader;
pub mod swaps;
pub mod tls;
pub mod zimbra;

use std::time::Duration;

/// How long a test waits for a state before it fails. No test passes or fails by how much of it is used.
pub const PATIENCE: Duration = Duration::from_secs(60);
