//! One committer for all tenants: what waits while a commit runs goes into the next one, so that many tenants share a
//! sync.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Append, Journal, JournalError};

/// Hands appends to the thread that commits them.
#[derive(Clone)]
pub(crate) struct Committer {
    appends: Sender<(Append, Respond)>,
}

/// What became of an append.
pub(crate) type Outcome = Result<(), JournalError>;

/// Told once the append is committed, or has failed.
type Respond = Box<dyn FnOnce(Outcome) + Send>;

impl Committer {
    /// Starts the thread; it ends when the last handle is gone.
    pub(crate) fn start(journal: Arc<dyn Journal>) -> Committer {
        let (appends, waiting) = channel();
        std::thread::Builder::new()
            .name("postbell-commit".into())
            .spawn(move || commit(&*journal, &waiting))
            .expect("the operating system gives a thread at start");
        Committer { appends }
    }

    /// Commits in the order of the calls; appends of one seat need not wait for each other.
    pub(crate) fn append(&self, append: Append, respond: impl FnOnce(Outcome) + Send + 'static) {
        if let Err(unsent) = self.appends.send((append, Box::new(respond))) {
            let (_, respond) = unsent.0;
            respond(Err(JournalError::Store("the committer has stopped".into())));
        }
    }
}

fn commit(journal: &dyn Journal, waiting: &Receiver<(Append, Respond)>) {
    while let Ok(first) = waiting.recv() {
        let (appends, responds): (Vec<Append>, Vec<Respond>) = std::iter::once(first).chain(waiting.try_iter()).unzip();
        let outcomes = journal.append(&appends);
        debug_assert_eq!(outcomes.len(), appends.len(), "one outcome for each append");
        for (respond, outcome) in responds.into_iter().zip(outcomes) {
            respond(outcome);
        }
    }
}
