//! Where the program's log goes: stderr, as text or as JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text each.
    #[default]
    Text,
    /// A JSON object on a line each.
    Json,
}

/// Directs the process's log lines to stderr. `POSTBELL_LOG` filters them (`warn`, `postbell=debug`, ...; default
/// `info`).
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("POSTBELL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
