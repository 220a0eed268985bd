//! Reading everything, to tell what is damaged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, ReadTransaction};

use super::open::CACHE_BYTES;
use super::opened::Opened;
use super::overlay::Overlay;
use super::read::{first, horizon};
use super::snapshots;
use super::storage::Storage;
use super::store::{Store, Trouble, attempt};
use super::tables::{RECORDS, SNAPSHOTS, span};
use crate::journal::format;
use crate::journal::{JournalError, Seat};

/// What a check read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many seats there are.
    pub seats: u64,
    /// How many records were read.
    pub records: u64,
    /// How many snapshots were read.
    pub snapshots: u64,
    /// What is not as it was stored. Empty: all is well.
    pub damages: Vec<Damage>,
}

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where: a seat and a sequence; none: in what all seats share.
    pub place: Option<(Seat, u64)>,
    /// What is wrong there.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some((seat, sequence)) => write!(formatter, "{seat}, sequence {sequence}: {}", self.what),
            None => formatter.write_str(&self.what),
        }
    }
}

/// See [`super::DatabaseJournal::check`].
pub(super) fn check(store: &Store) -> Result<CheckReport, JournalError> {
    let mut report = CheckReport::default();
    let pages = store.write_on(|opened, unsynced, storage| {
        opened.sync(unsynced)?;
        Ok(check_pages(storage))
    })?;
    report.damages.extend(pages.map(|what| Damage { place: None, what }));
    for seat in store.read(|opened| Ok(opened.known().seats.keys().cloned().collect::<Vec<_>>()))? {
        report.seats += 1;
        match store.read(|opened| Checker { report: &mut report, opened, seat: &seat }.check()) {
            Err(JournalError::Damaged(what)) => report.damages.push(Damage { place: None, what }),
            checked => checked?,
        }
    }
    Ok(report)
}

/// The store's own check: it reads every page when it repairs. Nothing may be written meanwhile. None: all is well.
fn check_pages(storage: &Arc<Storage>) -> Option<String> {
    let fell_back = Arc::new(AtomicBool::new(false));
    let repaired = attempt(|| {
        let mut builder = Builder::new();
        let fell_back = fell_back.clone();
        // The file is in use, so it looks like one that was not closed in order. A repair says 0.0 when it begins, and
        // only when the last commit is not whole something before 0.6, the end of the first pass.
        builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |repair| {
            fell_back.fetch_or(repair.progress() > 0.0 && repair.progress() < 0.6, Ordering::Relaxed);
        });
        Ok(builder.create_with_backend(Overlay::over(storage.clone())?)?)
    });
    match repaired {
        Err(trouble) => Some(format!("the store: {trouble}")),
        Ok(_) if fell_back.load(Ordering::Relaxed) => Some("the store: its last commit is not whole".into()),
        Ok(_) => None,
    }
}

/// Checks one seat, as it is at one moment.
struct Checker<'a> {
    report: &'a mut CheckReport,
    opened: &'a Opened,
    seat: &'a Seat,
}

impl Checker<'_> {
    fn check(&mut self) -> Result<(), Trouble> {
        let number = self.opened.number(self.seat);
        let number = number.expect("a seat that is known has a number");
        let transaction = self.opened.look()?;
        self.check_snapshots(&transaction, number)?;
        self.check_records(&transaction, number)
    }

    fn check_snapshots(&mut self, transaction: &ReadTransaction, number: u64) -> Result<(), Trouble> {
        for entry in transaction.open_table(SNAPSHOTS)?.range(span(number, 0..=u64::MAX))? {
            let sequence = entry?.0.value().1;
            self.report.snapshots += 1;
            match snapshots::read(transaction, self.seat, number, sequence) {
                Err(Trouble::Own(error)) => self.damaged(sequence, error.to_string()),
                read => drop(read?),
            }
        }
        Ok(())
    }

    fn check_records(&mut self, transaction: &ReadTransaction, number: u64) -> Result<(), Trouble> {
        // What a cut has not removed yet may stand before the horizon.
        let horizon = horizon(transaction, number)?;
        let mut expected = first(transaction, number, horizon)?.min(horizon + 1);
        for entry in transaction.open_table(RECORDS)?.range(span(number, expected..=u64::MAX))? {
            let (key, record) = entry?;
            let sequence = key.value().1;
            self.report.records += 1;
            if sequence != expected {
                self.damaged(expected, format!("the records up to {} are missing", sequence - 1));
            }
            if let Err(error) = format::decode_record(number, sequence, record.value()) {
                self.damaged(sequence, format!("the record: {error}"));
            }
            expected = sequence.saturating_add(1);
        }
        Ok(())
    }

    fn damaged(&mut self, sequence: u64, what: String) {
        self.report.damages.push(Damage { place: Some((self.seat.clone(), sequence)), what });
    }
}
