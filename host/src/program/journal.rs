//! `postbell journal`: what is in a journal, and whether it is whole.

use clap::{Args, Subcommand};
use serde_json::json;

use super::history::{History, Origin};
use super::output::Output;
use super::{Failure, shown};
use crate::admin::journal::{SeatListing, SnapshotListing};
use crate::journal::archive::Item;

/// Exit codes besides those of failures.
const WHOLE: u8 = 0;
const DAMAGED: u8 = 4;

/// `postbell journal ...`.
#[derive(Subcommand, Debug)]
pub enum JournalCommand {
    /// Read everything, and say what is damaged
    ///
    /// Every record and every snapshot is read and verified, of a data directory the database file too. Damage is named on
    /// standard output, with seat and sequence, and the exit code is then 4.
    Check {
        /// Where to take the journal from.
        #[command(flatten)]
        origin: Origin,
    },
    /// List the seats (a seat is a plugin in a tenant), or the inputs of a tenant
    List(ListArgs),
}

/// `postbell journal list ...`.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    origin: Origin,
    /// List the inputs of this tenant; without it, the seats
    #[arg(long)]
    tenant: Option<String>,
    /// Sequence of the first input
    #[arg(long, value_name = "SEQUENCE", requires = "tenant")]
    from: Option<u64>,
    /// Sequence of the last input
    #[arg(long, value_name = "SEQUENCE", requires = "tenant")]
    to: Option<u64>,
    /// Print everything, an object a line; without it nothing is printed of what is in mails, requests and settings
    #[arg(long)]
    json: bool,
}

/// Does what the command says. Blocks. Gives the exit code.
///
/// # Errors
///
/// The journal cannot be had, or not be read to its end.
pub fn run(command: JournalCommand) -> Result<u8, Failure> {
    let mut out = Output::standard();
    let code = match command {
        JournalCommand::Check { origin } => check(&origin.open()?, &mut out)?,
        JournalCommand::List(ListArgs { origin, tenant: None, json, .. }) => {
            for seat in origin.open()?.listing()?.seats {
                out.line(if json { json!(seat).to_string() } else { seat_line(&seat) })?;
            }
            WHOLE
        }
        JournalCommand::List(ListArgs { origin, tenant: Some(tenant), from, to, json }) => {
            let range = (from.unwrap_or(0), to.unwrap_or(u64::MAX));
            list(&origin.open()?, &tenant, range, json, &mut out)?
        }
    };
    out.end()?;
    Ok(code)
}

fn check(history: &History, out: &mut Output) -> Result<u8, Failure> {
    let (listing, damages) = history.check()?;
    listing.seats.iter().try_for_each(|seat| out.line(seat_line(seat)))?;
    damages.iter().try_for_each(|damage| out.line(format_args!("damaged: {damage}")))?;
    Ok(if damages.is_empty() { WHOLE } else { DAMAGED })
}

/// What there is of a seat, in a line.
pub(super) fn seat_line(seat: &SeatListing) -> String {
    let SeatListing { tenant, plugin, partition, first, last, now, snapshots, damaged } = seat;
    if let Some(damaged) = damaged {
        return format!("{tenant}/{plugin}/{partition}: damaged: {damaged}");
    }
    let inputs = if first > last { "no inputs".to_owned() } else { format!("inputs {first} to {last}") };
    let snapshots: String = snapshots.iter().map(snapshot_words).collect();
    format!("{tenant}/{plugin}/{partition}: {inputs}, the last at {}{snapshots}", shown::moment(*now))
}

fn snapshot_words(snapshot: &SnapshotListing) -> String {
    format!("; snapshot at {} ({} bytes)", snapshot.sequence, snapshot.bytes)
}

/// Prints what there is of a tenant from the one sequence to the other.
fn list(history: &History, tenant: &str, range: (u64, u64), json: bool, out: &mut Output) -> Result<u8, Failure> {
    let (mut seat, mut code) = (None, WHOLE);
    for item in history.archive(Some(tenant))? {
        let item = item.map_err(|error| history.failed(error))?;
        let (sequence, more) = match &item {
            Item::Seat(this) => {
                seat = Some(this.clone());
                if !json {
                    out.line(this)?;
                }
                continue;
            }
            Item::Snapshot { snapshot, .. } => (snapshot.sequence, WHOLE),
            Item::Record(record) => (record.sequence, WHOLE),
            Item::Damage(damage) => (damage.sequence, DAMAGED),
        };
        code = code.max(more);
        if sequence < range.0 || sequence > range.1 {
            continue;
        }
        match &seat {
            Some(seat) if json => out.line(shown::item(seat, &item))?,
            _ => out.line(shown::item_in_brief(&item))?,
        }
    }
    if seat.is_some() { Ok(code) } else { Err(history.without(tenant)) }
}
