//! A shard: a thread that owns the live instances of its tenants and feeds them their inputs, one at a time.

mod own;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

use super::actor::Actor;
use super::actor::Recovered;
use super::follower::FollowError;
use super::open_requests::Respond;
use super::replay::{ReplayError, Replayed};
use super::swap::{Follower, Report, SwapError, SwapOptions};
use super::{IngestError, Ingested, Limits};
use crate::clock::{Clock, Stopwatch};
use crate::contract::changes::Batch;
use crate::contract::lifecycle::Gauge;
use crate::contract::outbound;
use crate::contract::requests::Request;
use crate::journal::{Outcome, SourceSpan};
use crate::plugin::Plugin;
use own::Move;
pub(crate) use own::OwnThreads;
use thread::Thread;

/// The closed list of what a tenant is told.
pub(crate) enum Command {
    Ingest {
        batch: Batch,
        span: Option<SourceSpan>,
        /// Since it was accepted.
        accepted: Stopwatch,
        respond: oneshot::Sender<Result<Ingested, IngestError>>,
    },
    Request {
        request: Box<Request>,
        respond: Respond,
        /// What is said of it while it is on its way.
        trace: tracing::Span,
    },
    /// The reader of an answer has the first `parts` of its confirmed parts.
    Acknowledged {
        id: u64,
        parts: u32,
    },
    /// The reader of an answer is gone, or has all of it.
    Ended {
        id: u64,
        parts: u32,
        orderly: bool,
    },
    SourceOffset {
        source: String,
        respond: oneshot::Sender<Result<u64, IngestError>>,
    },
    Inspect {
        respond: oneshot::Sender<Vec<Gauge>>,
    },
    Configure {
        settings: Vec<(String, String)>,
        respond: oneshot::Sender<Result<(), String>>,
    },
    /// It may use something else from now on.
    Limit {
        limits: Box<Limits>,
    },
    Close {
        respond: oneshot::Sender<()>,
    },
    /// The lease may be here now.
    Leased,
    /// The tenant goes to another process.
    Leave {
        respond: oneshot::Sender<()>,
    },
    /// The tenant may come here soon: whether it could open.
    Prepare {
        respond: oneshot::Sender<bool>,
    },
    /// What was read of a tenant that may come.
    Prepared {
        result: Result<Box<Replayed>, ReplayError>,
        respond: oneshot::Sender<bool>,
    },
    /// What became of a call that was made under this ticket.
    Finished {
        call: u64,
        ticket: u64,
        outcome: outbound::Outcome,
    },
    /// What became of an append of the actor's.
    Committed {
        generation: u64,
        through: u64,
        outcome: Outcome,
    },
    /// What the actor's history gave.
    Replayed {
        replay: u64,
        result: Result<Recovered, ReplayError>,
    },
    /// Another component is to take over.
    Swap {
        plugin: Plugin,
        options: SwapOptions,
        /// It is gone back to.
        back: bool,
        report: Report,
    },
    /// Nobody waits for a swap any more: it may have ended, or is given up.
    SwapUnwatched,
    /// The follower of an attempt to swap has seen what it was given, or failed.
    Follower {
        attempt: u64,
        result: Result<Box<Follower>, SwapError>,
    },
    /// After the swap at this sequence: the requests above a number are compared.
    Sweep {
        swap: u64,
        after: u64,
    },
    /// What became of a snapshot of the actor's.
    Followed {
        through: u64,
        result: Result<(), FollowError>,
    },
}

enum Message {
    Open {
        key: u64,
        actor: Box<Actor>,
    },
    /// A tenant moves between its shard and a thread of its own.
    Move(Move),
    Command {
        key: u64,
        command: Command,
    },
    /// A clock that is advanced by hand was.
    Advanced,
    Stop,
}

/// Where a tenant's commands go.
#[derive(Clone)]
pub(crate) struct Mailbox {
    key: u64,
    messages: Sender<Message>,
    waiting: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
    /// How many tenants its shard has.
    tenants: Arc<AtomicUsize>,
}

impl Mailbox {
    /// Hands the tenant over to the thread.
    pub(crate) fn open(&self, actor: Actor) {
        // An error means that the shard has stopped.
        let _ = self.messages.send(Message::Open { key: self.key, actor: Box::new(actor) });
    }

    /// Whether the tenant is open, or about to be.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The tenant is closed: its name and its key are free.
    pub(crate) fn close(&self) {
        if self.open.swap(false, Ordering::AcqRel) {
            self.tenants.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The tenant's number on its shard.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Sends what somebody asks for; to a tenant that is closed it is dropped, and with it whatever waits for its
    /// response.
    pub(crate) fn send(&self, command: Command) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.tell(command);
    }

    /// Sends news, which never wait.
    pub(crate) fn tell(&self, command: Command) {
        // An error means that the shard has stopped.
        let _ = self.messages.send(Message::Command { key: self.key, command });
    }

    /// One of those that were sent waits no longer.
    pub(super) fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many of those that were sent wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mailbox").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A handle of a shard's thread, and of those that its tenants have of their own.
pub(crate) struct Shard {
    messages: Sender<Message>,
    tenants: Arc<AtomicUsize>,
}

impl Shard {
    /// `most_awake`: how many of its tenants may have an instance while they are idle.
    pub(crate) fn start(number: usize, clock: Arc<dyn Clock>, most_awake: usize, own: OwnThreads) -> Shard {
        let (messages, waiting) = channel();
        let advanced = messages.clone();
        // An error means that the shard has stopped.
        clock.on_advance(Box::new(move || drop(advanced.send(Message::Advanced))));
        std::thread::Builder::new()
            .name(format!("postbell-shard-{number}"))
            .spawn({
                let home = messages.clone();
                move || Thread::shard(clock, most_awake, home, own).run(&waiting)
            })
            .expect("the operating system gives a thread at start");
        Shard { messages, tenants: Arc::default() }
    }

    /// A mailbox for the tenant that `key` will stand for: it is one of the shard's until it is closed.
    pub(crate) fn mailbox(&self, key: u64) -> Mailbox {
        self.tenants.fetch_add(1, Ordering::Relaxed);
        let (messages, open) = (self.messages.clone(), Arc::new(AtomicBool::new(true)));
        Mailbox { key, messages, waiting: Arc::default(), open, tenants: self.tenants.clone() }
    }

    /// How many tenants it has, those included that are about to open.
    pub(crate) fn tenants(&self) -> usize {
        self.tenants.load(Ordering::Relaxed)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // An error means that it has stopped already.
        let _ = self.messages.send(Message::Stop);
    }
}
