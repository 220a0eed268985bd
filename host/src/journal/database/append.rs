//! Appends: what came together goes into one transaction.

use std::collections::BTreeMap;

use redb::{Durability, WriteTransaction};

use super::opened::{Known, KnownSeat, Opened, Tip};
use super::store::{Store, Trouble};
use super::tables::{RECORDS, SEATS};
use crate::contract::lifecycle::Restart;
use crate::journal::format::{self, SeatRow};
use crate::journal::{Append, Input, JournalError, Seat, last_swap};

/// How much may be acknowledged and not synced, whatever the interval.
const UNSYNCED_BYTES: usize = 32 << 20;

/// What was acknowledged and not synced: it is written again, where the database must be opened again.
#[derive(Default)]
pub(super) struct Unsynced {
    changes: Vec<Changes>,
    bytes: usize,
}

/// Gives a seat a number; see [`Known::new_seat`].
pub(super) fn new_seat(opened: &Opened, unsynced: &mut Unsynced, seat: &Seat) -> Result<u64, Trouble> {
    let new = opened.known().new_seat();
    let changes = Changes { seats: vec![(seat.clone(), new.row)], records: vec![] };
    let transaction = opened.write(Durability::Immediate)?;
    changes.write(&transaction)?;
    transaction.commit()?;
    unsynced.clear();
    opened.known().seats.insert(seat.clone(), new);
    Ok(new.row.number)
}

/// What one transaction of appends puts into the tables.
#[derive(Default)]
struct Changes {
    seats: Vec<(Seat, SeatRow)>,
    records: Vec<(u64, u64, Vec<u8>)>,
}

/// What is to be appended, and what is known of the seats then.
struct Plan<'a> {
    opened: &'a Opened,
    changes: Changes,
    seats: BTreeMap<Seat, KnownSeat>,
    /// Some record tells of a regression. A crash must not take that back: the next life would tell of it again, under
    /// the same number, and take what clients were given in between for its own.
    tells: bool,
}

type Outcomes = Vec<Result<(), JournalError>>;

/// See [`crate::journal::Journal::append`].
pub(super) fn append(store: &Store, appends: &[Append]) -> Outcomes {
    let unsynced_allowed = store.interval().is_some();
    let outcomes = store.write(|opened, unsynced| {
        let mut plan = Plan { opened, changes: Changes::default(), seats: BTreeMap::new(), tells: false };
        let outcomes = appends.iter().map(|append| plan.add(append)).collect::<Result<Outcomes, Trouble>>()?;
        plan.carry_out(unsynced_allowed, unsynced)?;
        Ok(outcomes)
    });
    outcomes.unwrap_or_else(|error| appends.iter().map(|_| Err(error.clone())).collect())
}

impl Plan<'_> {
    /// Adds one append, or tells why it cannot be.
    fn add(&mut self, append: &Append) -> Result<Result<(), JournalError>, Trouble> {
        let mut known = self.opened.known();
        let (mut seat, new) = match self.seat(&append.seat, &mut known) {
            Ok(seat) => seat,
            Err(Trouble::Own(error)) => return Ok(Err(error)),
            Err(trouble) => return Err(trouble),
        };
        let found = seat.tip.unwrap_or_default().last;
        if let Some(refusal) = append.refusal(found) {
            return Ok(Err(refusal));
        }
        let Some(last) = append.records.last() else { return Ok(Ok(())) };
        seat.tip = Some(Tip { last: last.sequence, now: last.now });
        let told = append.records.iter().any(|record| tells_of_a_regression(&record.input));
        if told {
            seat.row.told = known.journal.regressions;
            self.tells = true;
        }
        let swap = last_swap(&append.records);
        seat.row.swap = swap.unwrap_or(seat.row.swap);
        if told || new || swap.is_some() {
            self.changes.seats.push((append.seat.clone(), seat.row));
        }
        let number = seat.row.number;
        let records = append.records.iter();
        let records = records.map(|record| (number, record.sequence, format::encode_record(number, record)));
        self.changes.records.extend(records);
        self.seats.insert(append.seat.clone(), seat);
        Ok(Ok(()))
    }

    /// What is known of a seat, with its tip; and whether it is new.
    fn seat(&self, seat: &Seat, known: &mut Known) -> Result<(KnownSeat, bool), Trouble> {
        if let Some(planned) = self.seats.get(seat) {
            return Ok((*planned, false));
        }
        match known.seats.get_mut(seat) {
            Some(there) => {
                there.tip(seat, self.opened)?;
                Ok((*there, false))
            }
            None => Ok((known.new_seat(), true)),
        }
    }

    fn carry_out(self, unsynced_allowed: bool, unsynced: &mut Unsynced) -> Result<(), Trouble> {
        let Plan { opened, changes, seats, tells } = self;
        if changes.records.is_empty() {
            return Ok(());
        }
        let later = unsynced_allowed && !tells && unsynced.bytes < UNSYNCED_BYTES;
        let transaction = opened.write(if later { Durability::None } else { Durability::Immediate })?;
        changes.write(&transaction)?;
        transaction.commit()?;
        if later {
            unsynced.push(changes);
        } else {
            unsynced.clear();
        }
        opened.known().seats.extend(seats);
        Ok(())
    }
}

impl Changes {
    fn write(&self, transaction: &WriteTransaction) -> Result<(), Trouble> {
        let mut seats = transaction.open_table(SEATS)?;
        for (seat, row) in &self.seats {
            let key = (&*seat.tenant, &*seat.plugin, seat.partition);
            seats.insert(key, format::encode_seat(seat, row).as_slice())?;
        }
        let mut records = transaction.open_table(RECORDS)?;
        for (number, sequence, record) in &self.records {
            records.insert((*number, *sequence), record.as_slice())?;
        }
        Ok(())
    }
}

impl Unsynced {
    fn push(&mut self, changes: Changes) {
        self.bytes += changes.records.iter().map(|(_, _, record)| record.len()).sum::<usize>();
        self.changes.push(changes);
    }

    /// All is synced.
    pub(super) fn clear(&mut self) {
        *self = Unsynced::default();
    }

    /// Writes and syncs it into a database that was opened again.
    pub(super) fn write_again(&mut self, opened: &Opened) -> Result<(), Trouble> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let transaction = opened.write(Durability::Immediate)?;
        for changes in &self.changes {
            changes.write(&transaction)?;
        }
        transaction.commit()?;
        self.clear();
        Ok(())
    }
}

fn tells_of_a_regression(input: &Input) -> bool {
    matches!(input, Input::Restarted(Restart { regressed: true, .. }))
}
