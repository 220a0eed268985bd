//! What waits to be appended, seat by seat: one append of a seat is on its way at a time, and seats do not wait for each
//! other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::journal::{Append, JournalError, Respond, Seat};

/// An append, and who waits for it.
pub(super) struct Waiting {
    pub(super) append: Append,
    pub(super) respond: Respond,
}

impl Waiting {
    /// It is not carried out, nor what builds on it.
    pub(super) fn refuse(self, why: JournalError) {
        self.append.chain.break_off(&why);
        (self.respond)(Err(why));
    }
}

/// Where a seat's subject ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tip {
    /// The last record.
    pub(super) last: u64,
    /// The tenant's time at it, in milliseconds since the Unix epoch.
    pub(super) now: u64,
    /// The last record that tells of another component.
    pub(super) swap: u64,
    /// The stream's sequence of the last message; 0: there is none.
    pub(super) message: u64,
}

/// What is known of a seat between its appends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// None: it must be asked for.
    pub(super) tip: Option<Tip>,
    /// The greatest number of a group of this life that is known to be stored.
    pub(super) group: Option<u64>,
}

#[derive(Default)]
struct Lane {
    waiting: Vec<Waiting>,
    /// Something of it is on its way.
    busy: bool,
    known: Known,
    /// What is known was wrong at some moment since it was taken.
    outdated: bool,
}

/// Every seat's.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Mutex<BTreeMap<Seat, Lane>>,
}

impl Lanes {
    /// Adds an append; whether somebody must begin to carry it out.
    pub(super) fn push(&self, append: Append, respond: Respond) -> bool {
        let mut lanes = self.lanes_now();
        let lane = lanes.entry(append.seat.clone()).or_default();
        lane.waiting.push(Waiting { append, respond });
        !std::mem::replace(&mut lane.busy, true)
    }

    /// All that waits for a seat; none: nothing does, and whoever asked need not ask again.
    pub(super) fn take(&self, seat: &Seat) -> Option<(Vec<Waiting>, Known)> {
        let mut lanes = self.lanes_now();
        let lane = lanes.get_mut(seat)?;
        if lane.waiting.is_empty() {
            lane.busy = false;
            return None;
        }
        lane.outdated = false;
        Some((std::mem::take(&mut lane.waiting), lane.known))
    }

    /// What is known after it was carried out.
    pub(super) fn learned(&self, seat: &Seat, mut known: Known) {
        if let Some(lane) = self.lanes_now().get_mut(seat) {
            if lane.outdated {
                known.tip = None;
            }
            lane.known = known;
        }
    }

    /// The seat's end may be another than what is known.
    pub(super) fn forget(&self, seat: &Seat) {
        if let Some(lane) = self.lanes_now().get_mut(seat) {
            lane.known.tip = None;
            lane.outdated = true;
        }
    }

    fn lanes_now(&self) -> MutexGuard<'_, BTreeMap<Seat, Lane>> {
        self.lanes.lock().expect("nothing panics while this lock is held")
    }
}
