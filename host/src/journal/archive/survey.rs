//! What an archive holds, in brief.

use super::{Damage, Item};
use crate::journal::{Seat, SeatFacts, Snapshot, SnapshotFacts, last_swap};

/// What there is of each seat, and what is missing; told item by item.
#[derive(Debug, Default)]
pub struct Survey {
    /// In the order of the archive.
    pub seats: Vec<(Seat, SeatFacts)>,
    /// In the order of the archive.
    pub damages: Vec<Damage>,
}

impl Survey {
    /// Takes note of the next item.
    pub fn note(&mut self, item: &Item) {
        let facts = self.seats.last_mut().map(|(_, facts)| facts);
        match (item, facts) {
            (Item::Seat(seat), _) => {
                let facts = SeatFacts { last: 0, now: 0, first: 1, snapshots: Vec::new(), regressed: false, swap: 0 };
                self.seats.push((seat.clone(), facts));
            }
            (Item::Snapshot { snapshot, horizon }, Some(facts)) => {
                if *horizon {
                    facts.snapshots.clear();
                    facts.first = snapshot.sequence + 1;
                }
                facts.snapshots.push(in_brief(snapshot));
                note_last(facts, snapshot.sequence, snapshot.now);
            }
            (Item::Record(record), Some(facts)) => {
                note_last(facts, record.sequence, record.now);
                facts.swap = last_swap(std::slice::from_ref(record)).unwrap_or(facts.swap);
            }
            (Item::Damage(damage), _) => self.damages.push(damage.clone()),
            (Item::Snapshot { .. } | Item::Record(_), None) => {}
        }
    }
}

fn note_last(facts: &mut SeatFacts, sequence: u64, now: u64) {
    if facts.last < sequence {
        (facts.last, facts.now) = (sequence, now);
    }
}

fn in_brief(snapshot: &Snapshot) -> SnapshotFacts {
    let bytes = snapshot.parts.iter().map(|part| part.len() as u64).sum();
    let Snapshot { sequence, now, history_bytes, .. } = *snapshot;
    let (format, tenure) = (snapshot.format.clone(), snapshot.tenure.clone());
    SnapshotFacts { sequence, now, bytes, history_bytes, format, tenure }
}
