//! One committer for all tenants: what waits while a commit runs goes into the next one, so that many tenants share a
//! sync. A journal whose seats do not wait for each other takes its appends itself.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use super::{Append, Journal, JournalError, Outcome, Respond};
use crate::clock::Clock;

/// Hands appends to the thread that commits them, which ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Committer {
    handle: Arc<Handle>,
}

struct Handle {
    messages: Sender<Message>,
    journal: Arc<dyn Journal>,
}

enum Message {
    Append(Append, Respond),
    /// A clock that is advanced by hand was.
    Advanced,
    Stop,
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Committer {
        let (messages, waiting) = channel();
        let advanced = messages.clone();
        // An error means that the thread has ended.
        clock.on_advance(Box::new(move || drop(advanced.send(Message::Advanced))));
        let handle = Handle { messages, journal: journal.clone() };
        std::thread::Builder::new()
            .name("postbell-commit".into())
            .spawn(move || Thread { journal, clock, sync_due: None }.run(&waiting))
            .expect("the operating system gives a thread at start");
        Committer { handle: Arc::new(handle) }
    }

    /// Commits in the order of the calls; appends of one seat need not wait for each other.
    pub(crate) fn append(&self, append: Append, respond: impl FnOnce(Outcome) + Send + 'static) {
        let Some((append, respond)) = self.handle.journal.append_later(append, Box::new(respond)) else { return };
        if let Err(unsent) = self.handle.messages.send(Message::Append(append, respond))
            && let Message::Append(_, respond) = unsent.0
        {
            respond(Err(JournalError::Store("the committer has stopped".into())));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // An error means that the thread has ended already.
        let _ = self.messages.send(Message::Stop);
    }
}

struct Thread {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    /// When what was appended must be synced, in the clock's monotonic time; none: it is.
    sync_due: Option<u64>,
}

impl Thread {
    fn run(mut self, waiting: &Receiver<Message>) {
        let mut stopped = false;
        while !stopped && let Some(first) = self.wait(waiting) {
            let (mut appends, mut responds) = (Vec::new(), Vec::new());
            for message in first.into_iter().chain(waiting.try_iter()) {
                match message {
                    Message::Append(append, respond) => {
                        appends.push(append);
                        responds.push(respond);
                    }
                    Message::Advanced => {}
                    Message::Stop => stopped = true,
                }
            }
            if !appends.is_empty() {
                self.commit(&appends, responds);
            }
            if stopped || self.sync_due.is_some_and(|due| due <= self.clock.monotonic()) {
                self.sync();
            }
        }
    }

    /// The next message; none inside if a sync is due first; none at all if nobody can send any more.
    fn wait(&self, waiting: &Receiver<Message>) -> Option<Option<Message>> {
        match self.sync_due.and_then(|due| self.clock.wait(due)) {
            None => waiting.recv().ok().map(Some),
            Some(timeout) => match waiting.recv_timeout(timeout) {
                Ok(message) => Some(Some(message)),
                Err(RecvTimeoutError::Timeout) => Some(None),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        }
    }

    fn commit(&mut self, appends: &[Append], responds: Vec<Respond>) {
        let outcomes = self.journal.append(appends);
        debug_assert_eq!(outcomes.len(), appends.len(), "one outcome for each append");
        if let Some(interval) = self.journal.sync_interval() {
            self.sync_due.get_or_insert_with(|| self.clock.monotonic().saturating_add(interval));
        }
        for (append, outcome) in appends.iter().zip(&outcomes) {
            outcome.as_ref().err().into_iter().for_each(|error| append.chain.break_off(error));
        }
        for (respond, outcome) in responds.into_iter().zip(outcomes) {
            respond(outcome);
        }
    }

    fn sync(&mut self) {
        if self.sync_due.take().is_some()
            && let Err(error) = self.journal.sync()
        {
            tracing::error!(%error, "the journal was not synced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::journal::{Chain, MemoryJournal, Record, Seat, SeatFacts, Snapshot};

    struct Counting {
        memory: MemoryJournal,
        syncs: Sender<()>,
    }

    impl Journal for Counting {
        fn append(&self, appends: &[Append]) -> Vec<Outcome> {
            self.memory.append(appends)
        }
        fn sync_interval(&self) -> Option<u64> {
            Some(50)
        }
        fn sync(&self) -> Outcome {
            self.syncs.send(()).map_err(|error| JournalError::Store(error.to_string()))
        }
        fn read(&self, seat: &Seat, from: u64) -> Result<Vec<Record>, JournalError> {
            self.memory.read(seat, from)
        }
        fn facts(&self, seat: &Seat) -> Result<Option<SeatFacts>, JournalError> {
            self.memory.facts(seat)
        }
        fn seats(&self) -> Result<Vec<Seat>, JournalError> {
            self.memory.seats()
        }
        fn put_snapshot(&self, seat: &Seat, snapshot: &Snapshot) -> Outcome {
            self.memory.put_snapshot(seat, snapshot)
        }
        fn snapshot(&self, seat: &Seat, sequence: u64) -> Result<Option<Arc<Snapshot>>, JournalError> {
            self.memory.snapshot(seat, sequence)
        }
        fn cut(&self, seat: &Seat, horizon: u64) -> Outcome {
            self.memory.cut(seat, horizon)
        }

        fn remove(&self, seat: &Seat) -> Outcome {
            self.memory.remove(seat)
        }
    }

    #[test]
    fn what_was_appended_is_synced_when_the_interval_is_over_and_at_the_end() {
        let (syncs, synced) = channel();
        let clock = Arc::new(ManualClock::at(0));
        let journal = Arc::new(Counting { memory: MemoryJournal::default(), syncs });
        let committer = Committer::start(journal, clock.clone());
        let append = || {
            let (respond, committed) = channel();
            let seat = Seat { tenant: "a".into(), plugin: "b".into(), partition: 0 };
            committer.append(Append { seat, expected: 0, records: vec![], chain: Chain::default() }, move |outcome| {
                respond.send(outcome).expect("the test waits");
            });
            assert_eq!(committed.recv(), Ok(Ok(())));
        };
        append();
        clock.advance(49);
        append();
        assert!(synced.try_recv().is_err(), "the interval is not over");
        clock.advance(1);
        assert_eq!(synced.recv(), Ok(()));
        append();
        drop(committer);
        assert_eq!(synced.iter().count(), 1, "the last of it");
    }
}
