//! What a connection's peer has of the answers that were sent to it.
//!
//! A body notes each part that it hands out. The connection notes, when everything handed out is written, how many
//! bytes that were; and later, how many of its bytes the peer has acknowledged. A confirmed part counts as received
//! once a later part of its answer is acknowledged whole, the last one once the end of the answer is. What a broken
//! connection leaves open is lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::tenant::Receipt;

/// How many bytes of parts may wait to be written; the rest stays with the tenant, where it is bounded.
const AHEAD: usize = 64 << 10;

/// Is told what the peer has of one answer; dropped before it is complete, the peer is gone.
pub trait Settle: Send {
    /// The peer has the first `parts` of its confirmed parts.
    fn acknowledge(&mut self, parts: u32);

    /// The peer has all of it.
    fn complete(self: Box<Self>);
}

impl Settle for Receipt {
    fn acknowledge(&mut self, parts: u32) {
        Receipt::acknowledge(self, parts);
    }

    fn complete(self: Box<Self>) {
        Receipt::complete(*self);
    }
}

/// The answers of one connection that are not settled yet; shared by the connection and their bodies.
#[derive(Clone, Default)]
pub struct Deliveries(Arc<Mutex<Ledger>>);

#[derive(Default)]
struct Ledger {
    /// In the order of the answers. The marks are about the first of them, up to the mark that ends it.
    receipts: VecDeque<Box<dyn Settle>>,
    /// What was handed out since the last flush, and in how many bytes of parts.
    unwritten: VecDeque<Mark>,
    ahead: usize,
    /// What was handed out before, and how many bytes the connection had written when it was flushed.
    written: VecDeque<(u64, Mark)>,
    /// A body that waits for the next flush.
    body: Option<Waker>,
}

/// What it means when the peer has all bytes up to here.
#[derive(Debug)]
enum Mark {
    /// It has so many confirmed parts.
    Parts(u32),
    /// It has the answer.
    Complete,
    /// The answer ends here, without its end.
    BrokenOff,
}

impl Deliveries {
    /// Another answer begins.
    pub fn answer(&self, receipt: Box<dyn Settle>) -> Delivery {
        self.ledger().receipts.push_back(receipt);
        Delivery { deliveries: self.clone(), noted: 0, ended: false }
    }

    /// Everything that was handed out so far lies within the first `written` bytes. Whether there was anything to note.
    pub fn flushed(&self, written: u64) -> bool {
        let ledger = &mut *self.ledger();
        let news = !ledger.unwritten.is_empty();
        ledger.written.extend(ledger.unwritten.drain(..).map(|mark| (written, mark)));
        ledger.ahead = 0;
        if let Some(body) = ledger.body.take() {
            body.wake();
        }
        news
    }

    /// Whether anything that was written waits for being acknowledged.
    pub fn outstanding(&self) -> bool {
        !self.ledger().written.is_empty()
    }

    /// The peer has acknowledged the first `bytes` bytes.
    pub fn acknowledged(&self, bytes: u64) {
        let ledger = &mut *self.ledger();
        while let Some((_, mark)) = ledger.written.pop_front_if(|(written, _)| *written <= bytes) {
            match mark {
                Mark::Parts(parts) => ledger.receipts.front_mut().into_iter().for_each(|of| of.acknowledge(parts)),
                Mark::Complete => ledger.receipts.pop_front().into_iter().for_each(Settle::complete),
                Mark::BrokenOff => drop(ledger.receipts.pop_front()),
            }
        }
    }

    /// The connection is over: what is not settled is lost.
    pub fn end(&self) {
        *self.ledger() = Ledger::default();
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer on its way, held by its body. Dropped before [`Delivery::complete`], it is broken off.
pub struct Delivery {
    deliveries: Deliveries,
    noted: u32,
    ended: bool,
}

impl Delivery {
    /// Ready when the connection has room for another part.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut ledger = self.deliveries.ledger();
        if ledger.ahead < AHEAD {
            return Poll::Ready(());
        }
        ledger.body = Some(context.waker().clone());
        Poll::Pending
    }

    /// A part of so many bytes is handed out; there were `confirmed` confirmed parts before it.
    pub fn part(&mut self, bytes: usize, confirmed: u32) {
        let mut ledger = self.deliveries.ledger();
        ledger.ahead += bytes;
        if confirmed > self.noted {
            self.noted = confirmed;
            match ledger.unwritten.back_mut() {
                Some(Mark::Parts(parts)) => *parts = confirmed,
                _ => ledger.unwritten.push_back(Mark::Parts(confirmed)),
            }
        }
    }

    /// All parts are handed out.
    pub fn complete(mut self) {
        self.end(Mark::Complete);
    }

    fn end(&mut self, mark: Mark) {
        self.ended = true;
        self.deliveries.ledger().unwritten.push_back(mark);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Mark::BrokenOff);
        }
    }
}

#[cfg(test)]
pub mod testing {
    //! Receipts that tests can read.

    use super::*;

    /// What the receipts of a test were told, in order: `1: 2` for two parts of the first answer, `1: complete`, `1:
    /// gone`.
    #[derive(Clone, Default)]
    pub struct Told(Arc<Mutex<Vec<String>>>);

    struct Recorder {
        name: u32,
        told: Told,
        complete: bool,
    }

    impl Told {
        /// The receipt of the answer of this name.
        pub fn receipt(&self, name: u32) -> Box<dyn Settle> {
            Box::new(Recorder { name, told: self.clone(), complete: false })
        }

        /// What was told since this was asked last.
        pub fn take(&self) -> String {
            self.0.lock().unwrap().drain(..).collect::<Vec<_>>().join(", ")
        }
    }

    impl Recorder {
        fn tell(&self, what: impl std::fmt::Display) {
            self.told.0.lock().unwrap().push(format!("{}: {what}", self.name));
        }
    }

    impl Settle for Recorder {
        fn acknowledge(&mut self, parts: u32) {
            self.tell(parts);
        }

        fn complete(mut self: Box<Self>) {
            self.complete = true;
            self.tell("complete");
        }
    }

    impl Drop for Recorder {
        fn drop(&mut self) {
            if !self.complete {
                self.tell("gone");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Told;
    use super::*;

    fn scene() -> (Deliveries, Told, Delivery) {
        let (deliveries, told) = (Deliveries::default(), Told::default());
        let delivery = deliveries.answer(told.receipt(1));
        (deliveries, told, delivery)
    }

    #[test]
    fn a_part_counts_once_a_later_one_is_acknowledged_whole() {
        let (deliveries, told, mut delivery) = scene();
        delivery.part(10, 0);
        assert!(!deliveries.flushed(100), "nobody waits to hear of it");
        delivery.part(10, 1);
        assert!(deliveries.flushed(200));
        for (bytes, expected) in [(0, ""), (199, ""), (200, "1: 1"), (200, "")] {
            deliveries.acknowledged(bytes);
            assert_eq!(told.take(), expected, "{bytes}");
        }
        assert!(!deliveries.outstanding());
    }

    #[test]
    fn what_is_not_written_is_not_received() {
        let (deliveries, told, mut delivery) = scene();
        delivery.part(10, 1);
        deliveries.acknowledged(1_000);
        assert_eq!(told.take(), "");
        deliveries.end();
        assert_eq!(told.take(), "1: gone");
    }

    #[test]
    fn parts_that_leave_together_are_told_together() {
        let (deliveries, told, mut delivery) = scene();
        for confirmed in [1, 2, 3] {
            delivery.part(10, confirmed);
        }
        deliveries.flushed(100);
        deliveries.acknowledged(100);
        assert_eq!(told.take(), "1: 3");
    }

    #[test]
    fn answers_end_one_after_the_other() {
        let (deliveries, told, delivery) = scene();
        delivery.complete();
        deliveries.flushed(100);
        let mut second = deliveries.answer(told.receipt(2));
        second.part(10, 1);
        deliveries.flushed(200);
        drop(second);
        deliveries.flushed(200);
        deliveries.acknowledged(100);
        assert_eq!(told.take(), "1: complete");
        deliveries.acknowledged(200);
        assert_eq!(told.take(), "2: 1, 2: gone");
    }

    #[test]
    fn a_body_waits_while_too_much_is_unwritten() {
        let (deliveries, _told, mut delivery) = scene();
        let mut context = Context::from_waker(Waker::noop());
        delivery.part(AHEAD - 1, 0);
        assert!(delivery.poll_room(&mut context).is_ready());
        delivery.part(1, 0);
        assert!(delivery.poll_room(&mut context).is_pending());
        deliveries.flushed(AHEAD as u64);
        assert!(delivery.poll_room(&mut context).is_ready());
    }
}
