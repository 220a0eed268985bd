//! Appends of one seat, one after the other: what waited goes out together.

use std::sync::Arc;

use super::Store;
use super::lanes::{Known, Tip, Waiting};
use super::{failed, publish, read};
use crate::journal::format::{Group, seat_number};
use crate::journal::{Append, Chain, JournalError, Respond, Seat, last_swap};

/// Why an append that nobody waits for any more came as a surprise.
const LATE: &str = "an append that was given up was stored after all";

/// Carries out what waits for a seat until nothing does.
pub(super) async fn run(store: Arc<Store>, seat: Seat) {
    while let Some((waiting, mut known)) = store.lanes.take(&seat) {
        carry_out(&store, &seat, waiting, &mut known).await;
        store.lanes.learned(&seat, known);
    }
}

async fn carry_out(store: &Store, seat: &Seat, waiting: Vec<Waiting>, known: &mut Known) {
    if waiting.iter().all(|waiting| waiting.append.records.is_empty()) {
        // Who appends nothing asks whether the seat is still as expected: what was known does not tell.
        known.tip = None;
    }
    if waiting.first().is_some_and(|first| known.tip.is_some_and(|tip| tip.last != first.append.expected)) {
        // It was another process's meanwhile, perhaps.
        known.tip = None;
    }
    let late = match look(store, seat, known).await {
        Ok(late) => late,
        Err(error) => return waiting.into_iter().for_each(|waiting| waiting.refuse(error.clone())),
    };
    let mut bundle = Bundle::new(store, seat, known, late);
    for waiting in waiting {
        bundle.add(waiting).await;
    }
    bundle.publish().await;
}

/// Finds out where the seat ends, if that is not known; whether an append of this life turned out to be stored that was
/// not known to be.
async fn look(store: &Store, seat: &Seat, known: &mut Known) -> Result<bool, JournalError> {
    if known.tip.is_some() {
        return Ok(false);
    }
    let (tip, last) = store.within(read::tip(store, seat)).await?;
    known.tip = Some(tip);
    let own = last.filter(|last| last.incarnation == store.incarnation).map(|last| last.group);
    let late = own > known.group;
    known.group = known.group.max(own);
    Ok(late)
}

/// What goes out together, while it is gathered.
struct Bundle<'a> {
    store: &'a Store,
    seat: &'a Seat,
    number: u64,
    known: &'a mut Known,
    late: bool,
    /// Why nothing goes out any more.
    failure: Option<JournalError>,
    group: Group,
    /// What the end is with it.
    end: Tip,
    responds: Vec<(Chain, Respond)>,
}

impl<'a> Bundle<'a> {
    fn new(store: &'a Store, seat: &'a Seat, known: &'a mut Known, late: bool) -> Bundle<'a> {
        let end = known.tip.expect("it was looked for");
        let (group, responds, number) = (Group::default(), vec![], seat_number(seat));
        Bundle { store, seat, number, known, late, failure: None, group, end, responds }
    }

    async fn add(&mut self, waiting: Waiting) {
        let mut group = Group::default();
        waiting.append.records.iter().for_each(|record| group.push(self.number, record));
        if !self.group.is_empty() && self.group.bytes() + group.bytes() > publish::piece_bytes(self.store, self.seat) {
            self.publish().await;
        }
        match self.objection(&waiting.append) {
            Some(error) => waiting.refuse(error),
            None => {
                let Waiting { append, respond } = waiting;
                self.group.extend(group);
                if let Some(last) = append.records.last() {
                    let swap = last_swap(&append.records).unwrap_or(self.end.swap);
                    self.end = Tip { last: last.sequence, now: last.now, swap, ..self.end };
                }
                self.responds.push((append.chain, respond));
            }
        }
    }

    fn objection(&self, append: &Append) -> Option<JournalError> {
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        match append.refusal(self.end.last)? {
            JournalError::Conflict { .. } if self.late => Some(failed(&LATE)),
            refusal => Some(refusal),
        }
    }

    async fn publish(&mut self) {
        let outcome = match self.group.is_empty() {
            true => Ok(()),
            false => self.publish_group().await,
        };
        self.failure = outcome.clone().err();
        for (chain, respond) in self.responds.drain(..) {
            self.failure.iter().for_each(|failure| chain.break_off(failure));
            respond(outcome.clone());
        }
    }

    async fn publish_group(&mut self) -> Result<(), JournalError> {
        let before = self.known.tip.take().expect("nothing has failed");
        let number = self.store.new_group();
        let content = std::mem::take(&mut self.group).content();
        match publish::publish(self.store, self.seat, number, content, (before, self.end)).await {
            Ok(message) => {
                self.end.message = message;
                self.known.tip = Some(self.end);
                self.known.group = Some(number);
                Ok(())
            }
            Err(publish::Refusal::Late) => Err(failed(&LATE)),
            Err(publish::Refusal::Other(error)) => Err(error),
        }
    }
}
