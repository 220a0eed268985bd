//! A database that is open, with what is known of its seats.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use super::append::Unsynced;
use super::store::Trouble;
use super::tables::{JOURNAL, PIECES, RECORDS, SEATS, SNAPSHOTS, piece_span, remove, span};
use crate::journal::format::{self, FormatError, JournalRow, SeatRow};
use crate::journal::{JournalError, Seat};

/// A database that is open.
pub(super) struct Opened {
    database: Database,
    /// Which one it is of those that this process opened one after the other.
    pub(super) generation: u64,
    known: Mutex<Known>,
}

/// What is known without reading.
pub(super) struct Known {
    pub(super) journal: JournalRow,
    pub(super) seats: BTreeMap<Seat, KnownSeat>,
    /// The number of the next seat that is new.
    next_number: u64,
}

/// What is known of a seat.
#[derive(Clone, Copy)]
pub(super) struct KnownSeat {
    pub(super) row: SeatRow,
    /// None: nobody has looked yet.
    pub(super) tip: Option<Tip>,
}

/// Where a seat's journal ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tip {
    /// The last input's sequence.
    pub(super) last: u64,
    /// The tenant's time at it.
    pub(super) now: u64,
}

impl Opened {
    /// A database of which nothing is known yet: [`Opened::learn`].
    pub(super) fn new(database: Database, generation: u64) -> Opened {
        let known = Known { journal: JournalRow::default(), seats: BTreeMap::new(), next_number: 0 };
        Opened { database, generation, known: Mutex::new(known) }
    }

    /// Makes the tables, if it has none yet, and notes that a run begins, which may lose what it acknowledged or not.
    pub(super) fn begin_run(&self, may_lose: bool) -> Result<(), Trouble> {
        let transaction = self.write(Durability::Immediate)?;
        let found = transaction.open_table(JOURNAL)?.get(())?.map(|row| format::decode_journal(row.value()));
        let mut row =
            found.transpose().map_err(|error| damaged(format!("the journal's own row: {error}")))?.unwrap_or_default();
        row.regressions += u64::from(row.unsynced);
        row.unsynced = may_lose;
        transaction.open_table(JOURNAL)?.insert((), format::encode_journal(&row).as_slice())?;
        transaction.open_table(SEATS)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(SNAPSHOTS)?;
        transaction.open_table(PIECES)?;
        Ok(transaction.commit()?)
    }

    /// Reads what is to be known.
    pub(super) fn learn(&self) -> Result<(), Trouble> {
        let transaction = self.look()?;
        let row = transaction.open_table(JOURNAL)?.get(())?.map(|row| format::decode_journal(row.value()));
        let journal = row.and_then(Result::ok).ok_or_else(|| damaged("the journal's own row".into()))?;
        let mut seats = BTreeMap::new();
        for entry in transaction.open_table(SEATS)?.iter()? {
            let (key, row) = entry?;
            let (tenant, plugin, partition) = key.value();
            let seat = Seat { tenant: tenant.into(), plugin: plugin.into(), partition };
            let row = format::decode_seat(&seat, row.value());
            let row = row.map_err(|error| damaged(format!("the row of {seat}: {error}")))?;
            seats.insert(seat, KnownSeat { row, tip: None });
        }
        let next_number = seats.values().map(|seat| seat.row.number + 1).max().unwrap_or(0);
        *self.known() = Known { journal, seats, next_number };
        Ok(())
    }

    /// A look at everything, as it is now.
    pub(super) fn look(&self) -> Result<ReadTransaction, Trouble> {
        Ok(self.database.begin_read()?)
    }

    /// A transaction. Without durability, it becomes durable with the next one that has it.
    pub(super) fn write(&self, durability: Durability) -> Result<WriteTransaction, Trouble> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        Ok(transaction)
    }

    /// What is known without reading.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("a panic while this lock is held ends the use of this database")
    }

    /// The number that stands for a seat; none: there is nothing of it.
    pub(super) fn number(&self, seat: &Seat) -> Option<u64> {
        self.known().seats.get(seat).map(|known| known.row.number)
    }

    /// Makes durable all that was committed.
    pub(super) fn sync(&self, unsynced: &mut Unsynced) -> Result<(), Trouble> {
        self.write(Durability::Immediate)?.commit()?;
        unsynced.clear();
        Ok(())
    }

    /// Removes a seat, in one transaction: its number may be another's then.
    pub(super) fn remove(&self, seat: &Seat, unsynced: &mut Unsynced) -> Result<(), Trouble> {
        let Some(number) = self.number(seat) else { return Ok(()) };
        let transaction = self.write(Durability::Immediate)?;
        transaction.open_table(SEATS)?.remove((&*seat.tenant, &*seat.plugin, seat.partition))?;
        remove(&mut transaction.open_table(RECORDS)?, span(number, 0..=u64::MAX), usize::MAX)?;
        remove(&mut transaction.open_table(SNAPSHOTS)?, span(number, 0..=u64::MAX), usize::MAX)?;
        remove(&mut transaction.open_table(PIECES)?, piece_span(number, 0..=u64::MAX), usize::MAX)?;
        transaction.commit()?;
        unsynced.clear();
        self.known().seats.remove(seat);
        Ok(())
    }

    /// Counts a regression.
    pub(super) fn mark_regressed(&self) -> Result<(), Trouble> {
        let row = self.known().journal;
        self.set_journal(JournalRow { regressions: row.regressions + 1, ..row })
    }

    /// Syncs, and notes that nothing is lost.
    pub(super) fn end_run(&self) -> Result<(), Trouble> {
        let row = self.known().journal;
        self.set_journal(JournalRow { unsynced: false, ..row })
    }

    fn set_journal(&self, row: JournalRow) -> Result<(), Trouble> {
        let transaction = self.write(Durability::Immediate)?;
        transaction.open_table(JOURNAL)?.insert((), format::encode_journal(&row).as_slice())?;
        transaction.commit()?;
        self.known().journal = row;
        Ok(())
    }
}

impl Known {
    /// What there is to know of a seat that is new.
    pub(super) fn new_seat(&mut self) -> KnownSeat {
        let row = SeatRow { number: self.next_number, told: self.journal.regressions, swap: 0 };
        self.next_number += 1;
        KnownSeat { row, tip: Some(Tip::default()) }
    }

    /// A seat's journal ends here, if it did not end later already.
    pub(super) fn raise_tip(&mut self, seat: &Seat, tip: Tip) {
        if let Some(KnownSeat { tip: Some(known), .. }) = self.seats.get_mut(seat)
            && known.last < tip.last
        {
            *known = tip;
        }
    }
}

impl KnownSeat {
    /// Where the seat's journal ends; read once.
    pub(super) fn tip(&mut self, seat: &Seat, opened: &Opened) -> Result<Tip, Trouble> {
        match self.tip {
            Some(tip) => Ok(tip),
            None => {
                let tip = read_tip(seat, self.row.number, &opened.look()?)?;
                Ok(*self.tip.insert(tip))
            }
        }
    }
}

fn read_tip(seat: &Seat, number: u64, transaction: &ReadTransaction) -> Result<Tip, Trouble> {
    let record = match transaction.open_table(RECORDS)?.range(span(number, 0..=u64::MAX))?.next_back().transpose()? {
        Some((key, value)) => {
            let last = key.value().1;
            let record = format::decode_record(number, last, value.value());
            Tip { last, now: record.map_err(|error| damaged_at(seat, last, "record", &error))?.now }
        }
        None => Tip::default(),
    };
    let snapshot =
        match transaction.open_table(SNAPSHOTS)?.range(span(number, 0..=u64::MAX))?.next_back().transpose()? {
            Some((key, value)) => {
                let last = key.value().1;
                let head = format::decode_snapshot(number, last, value.value());
                Tip { last, now: head.map_err(|error| damaged_at(seat, last, "snapshot", &error))?.now }
            }
            None => Tip::default(),
        };
    Ok(if snapshot.last > record.last { snapshot } else { record })
}

/// What a seat has at a sequence is not what was stored.
pub(super) fn damaged_at(seat: &Seat, sequence: u64, what: &str, error: &FormatError) -> Trouble {
    damaged(format!("{seat}, {what} {sequence}: {error}"))
}

/// Something is not what was stored.
pub(super) fn damaged(what: String) -> Trouble {
    Trouble::Own(JournalError::Damaged(what))
}
