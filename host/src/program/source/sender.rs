//! Sends what is in the spool, and goes on where the server is, however long it was away.

use anyhow::Context;

use super::spool::Spool;
use crate::clock::pause;
use crate::program::counted::Counted;

/// The most lines of a batch.
const BATCH_LINES: usize = 500;

/// How long to wait before a server that failed is asked again, in milliseconds.
const AGAIN_MS: u64 = 1_000;

/// Sends until it cannot go on; why.
pub fn send(spool: &Spool, server: &Counted) -> anyhow::Error {
    let mut said = String::new();
    loop {
        match from_where_it_is(spool, server, &mut said) {
            Ok(never) => match never {},
            Err(End::Spool(error)) => return error,
            Err(End::Server(error)) => complain(&mut said, format!("{error:#}")),
        }
        pause(AGAIN_MS);
    }
}

/// Why sending ends.
enum End {
    /// For now: the server will be asked again.
    Server(anyhow::Error),
    /// For good.
    Spool(anyhow::Error),
}

fn from_where_it_is(spool: &Spool, server: &Counted, said: &mut String) -> Result<std::convert::Infallible, End> {
    let mut next = server.offset().map_err(End::Server)?;
    let mut most = BATCH_LINES;
    spool.acknowledge(next).map_err(End::Spool)?;
    loop {
        // What ends the wait ends the process.
        let lines =
            spool.wait(next, most).and_then(|lines| lines.context("the spool is closed")).map_err(End::Spool)?;
        let Some(receipt) = server.send(next, lines.concat()).map_err(End::Server)? else {
            if lines.len() > 1 {
                most = lines.len() / 2;
                continue;
            }
            return Err(End::Server(anyhow::anyhow!("line {next} of the spool is too large for the server")));
        };
        if !said.is_empty() {
            tracing::info!("the server takes changes again");
            said.clear();
        }
        for rejected in &receipt.rejected {
            let line = next + rejected.position;
            tracing::warn!(line, reason = rejected.reason, "a change was rejected");
        }
        next += lines.len() as u64;
        most = BATCH_LINES;
        spool.acknowledge(next).map_err(End::Spool)?;
    }
}

/// Each complaint once, not once a second.
fn complain(said: &mut String, complaint: String) {
    if *said != complaint {
        tracing::warn!("changes wait in the spool: {complaint}");
        *said = complaint;
    }
}
