//! `postbell source`: stands beside a mail server, keeps what it tells in a spool, and sends it to a running server, each
//! thing once, however long that is away.

mod cyrus;
mod dovecot;
mod imap;
mod mapping;
mod marks;
mod moves;
mod resync;
mod sender;
mod spool;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::spool::Spool;
use super::Failure;
use super::counted::{Counted, Destination, Reading};
use super::logging::{self, LogFormat};

/// Mail servers that a source can stand beside.
#[derive(Subcommand, Debug)]
pub enum SourceCommand {
    /// Read what Cyrus IMAP writes to its notify socket
    ///
    /// The socket is made by this command: start it before Cyrus. Cyrus waits for nobody, so what happens while this
    /// command does not run is lost; what happens while the server is away is not.
    Cyrus(cyrus::CyrusArgs),
    /// Read what postbell.lua appends to a file, and recognise moves
    ///
    /// Dovecot writes the file itself: nothing is lost while neither this command nor the server runs.
    Dovecot(dovecot::DovecotArgs),
    /// Take what another mail server posts, and map it by rules
    Webhook(webhook::WebhookArgs),
}

/// Where the changes go, and where they wait.
#[derive(Args, Debug)]
struct TargetArgs {
    #[command(flatten)]
    destination: Destination,
    /// Folder of what was not acknowledged yet; made if it is not there
    #[arg(long)]
    spool: PathBuf,
    /// The most bytes that wait there; beyond, no more is read from the mail server
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    spool_bytes: u64,
    /// How the log is written, on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Runs until SIGTERM or SIGINT, or until it cannot go on.
///
/// # Errors
///
/// There is no key, the spool or the mail server's side cannot be opened, or the server counts other lines than the spool.
pub fn run(command: SourceCommand) -> Result<(), Failure> {
    match command {
        SourceCommand::Cyrus(args) => {
            let (target, socket) = args.parts();
            forward(target, "cyrus", "cyrus", move || cyrus::open(&socket))
        }
        SourceCommand::Dovecot(args) => {
            let (target, tail) = args.parts()?;
            forward(target, "dovecot", "dovecot", move || dovecot::open(tail))
        }
        SourceCommand::Webhook(args) => {
            let (target, receiver) = args.parts()?;
            forward(target, "webhook", "postbell", move || webhook::open(receiver))
        }
    }
}

/// Reads a mail server's side into the spool, until that is closed.
type Reader = Box<dyn FnOnce(Arc<Spool>) -> anyhow::Result<()> + Send>;

fn forward(
    target: TargetArgs,
    kind: &'static str,
    format: &'static str,
    open: impl FnOnce() -> anyhow::Result<Reader>,
) -> Result<(), Failure> {
    let _logging = logging::start(target.log_format);
    let Destination { url, tenant, map, .. } = &target.destination;
    let key = target.destination.key()?;
    let spool = Arc::new(
        Spool::open(&target.spool, kind, target.spool_bytes)
            .with_context(|| format!("the spool {}", target.spool.display()))?,
    );
    let reading = Reading { format, maps: map };
    let server = Counted::new(url, &key, tenant, spool.source(), reading);
    let reader = open()?;
    let (failed, failure) = oneshot::channel();
    let sending = spool.clone();
    thread::spawn(move || failed.send(sender::send(&sending, &server)));
    let reading = spool.clone();
    let (ended, end) = oneshot::channel();
    thread::spawn(move || ended.send(reader(reading)));
    let runtime = Builder::new_current_thread().enable_all().build().context("the thread for signals")?;
    Ok(runtime.block_on(until_stopped(&spool, failure, end))?)
}

/// What is in the spool stays there for the next run; so nothing is waited for but the reader.
async fn until_stopped(
    spool: &Spool,
    sender: oneshot::Receiver<anyhow::Error>,
    mut reader: oneshot::Receiver<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let gone = |_| Err(anyhow!("the reader has panicked"));
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    println!("postbell source ready source={}", spool.source());
    tokio::select! {
        ended = &mut reader => return ended.unwrap_or_else(gone),
        failure = sender => return Err(failure.unwrap_or_else(|_| anyhow!("the sender has panicked"))),
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    spool.close();
    reader.await.unwrap_or_else(gone)
}
