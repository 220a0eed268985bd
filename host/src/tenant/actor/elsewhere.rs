//! A tenant that several processes could serve, and how it comes here and goes: whoever has its lease has its instance.

use tokio::sync::oneshot;

use super::commit::Release;
use super::recovery::Then;
use super::{Actor, Beginning, Live};
use crate::contract::requests::Refusal;
use crate::tenant::replay::{ReplayError, Replayed};
use crate::tenant::shard::Command;
use crate::tenant::swap::{Step, SwapError};
use crate::tenant::{IngestError, RequestError};

/// How long an instance is kept for a tenant that is to come, in milliseconds.
const PREPARED_MILLISECONDS: u64 = 120_000;

/// What was read of a tenant that is to come.
pub(super) struct Prepared {
    pub(super) replayed: Box<Replayed>,
    /// When it is dropped, in monotonic time.
    pub(super) until: u64,
}

/// What clients and sources hear.
pub(super) const ELSEWHERE: &str = "another node has the tenant";

impl Actor {
    /// Whether anything may be said for the tenant from here, as far as the lease goes.
    pub(super) fn may_speak(&self) -> bool {
        matches!(self.live, Live::Elsewhere(_)) || self.parts.lease.as_ref().is_none_or(|lease| lease.holds())
    }

    /// The lease may be here now: then the tenant opens.
    pub(super) fn come(&mut self) {
        if self.ended || self.farewell.is_some() || !self.parts.lease.as_ref().is_some_and(|lease| lease.holds()) {
            return;
        }
        match std::mem::replace(&mut self.live, Live::Faulted(String::new())) {
            Live::Elsewhere(beginning) => {
                self.live = Live::Replaying(Then::Begin(*beginning));
                self.begin_replay();
            }
            other => self.live = other,
        }
    }

    /// Has what the journal holds of a tenant read that may come soon: then only the rest is read. Whoever asked hears whether
    /// the tenant could open here, by what is known now.
    pub(super) fn prepare(&mut self, respond: oneshot::Sender<bool>) {
        if !matches!(self.live, Live::Elsewhere(_)) || self.ended {
            // An error means that nobody waits.
            let _ = respond.send(!self.ended);
            return;
        }
        let (history, mailbox) = (self.parts.history.clone(), self.parts.mailbox.clone());
        let begun = self.prepared.take().map(|prepared| *prepared.replayed);
        self.parts.followers.submit(mailbox.key(), move || {
            let result = history.replay(begun, u64::MAX, &[]).map(Box::new);
            mailbox.tell(Command::Prepared { result, respond });
        });
    }

    pub(super) fn note_prepared(&mut self, result: Result<Box<Replayed>, ReplayError>, respond: oneshot::Sender<bool>) {
        let good = match result {
            Ok(replayed) => {
                if matches!(self.live, Live::Elsewhere(_)) {
                    let until = self.parts.clock.monotonic().saturating_add(PREPARED_MILLISECONDS);
                    self.prepared = Some(Prepared { replayed, until });
                }
                true
            }
            Err(error) => {
                tracing::warn!(tenant = &*self.parts.history.seat.tenant, %error, "the tenant would not open here");
                false
            }
        };
        // An error means that nobody waits.
        let _ = respond.send(good);
    }

    /// It did not come.
    pub(super) fn unprepare_if_due(&mut self) {
        let now = self.parts.clock.monotonic();
        self.prepared.take_if(|prepared| prepared.until <= now);
    }

    /// Ends what is open in each dialect's way, then lets the tenant go.
    pub(super) fn leave(&mut self, respond: oneshot::Sender<()>) {
        if matches!(self.live, Live::Elsewhere(_)) {
            // An error means that nobody waits.
            let _ = respond.send(());
            return;
        }
        self.end_all();
        self.outbox.push(self.sequence, Release::Left(respond));
    }

    /// The seat is lost, or given up: the instance is dropped, nothing more is said of what it did, and whoever waits is
    /// told to come again. It opens here again with the next lease.
    pub(super) fn let_go(&mut self, why: &str) {
        tracing::info!(tenant = &*self.parts.history.seat.tenant, why, "the tenant is not served here any more");
        self.begin_anew();
        self.give_swap_up("the tenant moved");
        let mut beginning = None;
        for release in self.outbox.void().collect::<Vec<_>>() {
            match release {
                Release::Opened(unopened) => beginning = Some(unopened),
                release => self.not_from_here(release),
            }
        }
        if let Some((_, plugin, tenure)) = std::mem::take(&mut self.unproven).pop_front() {
            self.put_in_charge(plugin, tenure);
        }
        (self.wake_at, self.waking) = (None, None);
        self.wants_no_room();
        self.settlements.clear();
        self.calls.forget();
        for id in self.open.numbers().collect::<Vec<_>>() {
            self.open.close(id, RequestError::Refused(Refusal::Moved));
        }
        let unopened = match std::mem::replace(&mut self.live, Live::Faulted(String::new())) {
            Live::Replaying(then) => self.not_begun(then),
            Live::Down { then: Some(then), .. } => self.not_begun(*then),
            _ => None,
        };
        let beginning = beginning.or(unopened).unwrap_or_else(|| Box::new(self.next_beginning()));
        self.live = Live::Elsewhere(beginning);
        self.parts.lease.iter().for_each(|lease| lease.departed());
        self.parts.running.rest();
        let mut statistics = self.statistics();
        (statistics.memory, statistics.asleep, statistics.departures) = (0, 0, statistics.departures + 1);
    }

    fn not_from_here(&mut self, release: Release) {
        match release {
            Release::Ingest(respond, _) => drop(respond.send(Err(IngestError::Moved))),
            Release::Offset(respond, _) => drop(respond.send(Err(IngestError::Moved))),
            Release::Configured(respond, _) => drop(respond.send(Err(ELSEWHERE.into()))),
            Release::Left(respond) => {
                // An error means that nobody waits.
                let _ = respond.send(());
            }
            Release::Close(respond) => self.outbox.push(0, Release::Close(respond)),
            Release::Swapped(swapped) => swapped.0.end(Err(SwapError::at(Step::CutOver, ELSEWHERE))),
            Release::Reaction(_) | Release::Woken(..) | Release::Opened(_) => {}
        }
    }

    /// What was to begin; whoever waited for something else is told.
    fn not_begun(&mut self, then: Then) -> Option<Box<Beginning>> {
        match then {
            Then::Begin(beginning) => return Some(Box::new(beginning)),
            Then::Halve(halved) => drop(halved.respond.send(Err(IngestError::Moved))),
            Then::GoOn | Then::Again { .. } => {}
        }
        None
    }

    /// As it was opened, to be opened again.
    fn next_beginning(&self) -> Beginning {
        Beginning {
            seed: (self.parts.seed)(),
            settings: self.settings.clone().unwrap_or_default(),
            take_over: None,
            patient: true,
            opened: Box::new(|_| ()),
        }
    }
}
