//! A tenant that keeps its shard busy moves to a thread of its own, which has a lower priority, and comes back once it is
//! calm. All its messages go through its shard, so that none overtakes another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::thread::Thread;
use super::{Command, Message};
use crate::tenant::actor::Actor;

/// In how many milliseconds a tenant may compute as much as it may.
const WINDOW_MILLISECONDS: u64 = 1_000;

/// For so many windows in a row a tenant must have computed less than half of that before it comes back.
const CALM_WINDOWS: u32 = 10;

/// How much nicer a tenant's own thread is than all others: the system gives it a tenth of what it gives them.
const NICER: i32 = 10;

/// How many threads tenants have of their own, and how many they may have.
#[derive(Clone, Debug)]
pub(crate) struct OwnThreads {
    most: usize,
    now: Arc<AtomicUsize>,
}

impl OwnThreads {
    pub(crate) fn new(most: usize) -> OwnThreads {
        OwnThreads { most, now: Arc::default() }
    }

    /// How many there are now.
    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Option<Presence> {
        let one_more = |now| (now < self.most).then_some(now + 1);
        let entered = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| Presence(self.now.clone()))
    }
}

/// One thread is there, as long as this is.
struct Presence(Arc<AtomicUsize>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The steps by which a tenant moves.
pub(super) enum Move {
    /// To its shard: it is calm, or closed.
    Calm(u64),
    /// To its own thread: nothing comes after this.
    Leave,
    /// To its shard: here it is, unless it is closed.
    Back(u64, Option<Box<Actor>>),
}

/// What kind of thread this is.
pub(super) enum Place {
    Shard {
        home: Sender<Message>,
        away: BTreeMap<u64, Away>,
        own: OwnThreads,
    },
    Own {
        key: u64,
        home: Sender<Message>,
        /// Windows in a row in which it was calm.
        calm: u32,
        /// It has told its shard.
        leaves: bool,
    },
}

/// Where a shard's tenant is instead.
pub(super) enum Away {
    /// On a thread of its own.
    Own(Sender<Message>),
    /// On its way back, while these wait.
    Returning(Vec<Command>),
}

/// What a tenant computed in a window.
pub(super) struct Usage {
    since: u64,
    computed: Duration,
}

impl Usage {
    pub(super) fn begin(now: u64) -> Usage {
        Usage { since: now, computed: Duration::ZERO }
    }

    fn ends(&self) -> u64 {
        self.since.saturating_add(WINDOW_MILLISECONDS)
    }
}

impl Thread {
    /// When the window ends in which a tenant on its own thread may show that it is calm.
    pub(super) fn window_ends(&self) -> Option<u64> {
        let Place::Own { key, leaves: false, .. } = &self.place else { return None };
        self.actors.get(key).map(|seated| seated.usage.ends())
    }

    /// Notes what these computed in a turn of the thread that took so much of the processor, and lets them move accordingly.
    pub(super) fn account(&mut self, touched: &BTreeSet<u64>, turn: Duration) {
        let now = self.clock.monotonic();
        match self.place {
            Place::Shard { .. } => {
                for key in touched {
                    if self.is_over(*key, now, turn) {
                        self.move_out(*key);
                    }
                }
            }
            Place::Own { key, .. } => self.note_calm(key, now, turn),
        }
    }

    /// Whether the tenant computed more in this window than it may.
    fn is_over(&mut self, key: u64, now: u64, turn: Duration) -> bool {
        let Some(seated) = self.actors.get_mut(&key) else { return false };
        let (computed, budget) = (seated.actor.take_computed(turn), seated.actor.busy());
        if seated.usage.ends() <= now {
            seated.usage = Usage::begin(now);
        }
        seated.usage.computed += computed;
        seated.usage.computed > budget
    }

    fn move_out(&mut self, key: u64) {
        let Place::Shard { home, own, .. } = &self.place else { return };
        let (home, presence) = (home.clone(), own.enter());
        let Some(seated) = self.actors.get_mut(&key) else { return };
        seated.usage = Usage::begin(self.clock.monotonic());
        let Some(presence) = presence else { return seated.actor.cannot_move() };
        let (messages, waiting) = channel();
        let clock = self.clock.clone();
        let thread = std::thread::Builder::new().name(format!("postbell-own-{key}")).spawn(move || {
            let nice = rustix::process::getpriority_process(None).unwrap_or(0);
            // An error means that the system does not have this; the thread is as good without.
            let _ = rustix::process::setpriority_process(None, nice + NICER);
            Thread::own(clock, key, home).run(&waiting);
            drop(presence);
        });
        match thread {
            Ok(_) => self.send_out(key, messages),
            Err(error) => tracing::error!(%error, "no thread for a busy tenant; it stays on its shard"),
        }
    }

    fn send_out(&mut self, key: u64, messages: Sender<Message>) {
        let Some(mut actor) = self.remove(key) else { return };
        actor.moved_out();
        // It waits for this.
        let _ = messages.send(Message::Move(Move::Back(key, Some(actor))));
        if let Place::Shard { away, .. } = &mut self.place {
            away.insert(key, Away::Own(messages));
        }
    }

    fn note_calm(&mut self, key: u64, now: u64, turn: Duration) {
        let Some(seated) = self.actors.get_mut(&key) else { return self.ask_to_leave() };
        seated.usage.computed += seated.actor.take_computed(turn);
        if now < seated.usage.ends() {
            return;
        }
        let is_calm = seated.usage.computed < seated.actor.busy() / 2;
        seated.usage = Usage::begin(now);
        let Place::Own { calm, .. } = &mut self.place else { return };
        *calm = if is_calm { *calm + 1 } else { 0 };
        if *calm >= CALM_WINDOWS {
            self.ask_to_leave();
        }
    }

    fn ask_to_leave(&mut self) {
        if let Place::Own { key, home, leaves, .. } = &mut self.place
            && !std::mem::replace(leaves, true)
        {
            // An error means that the shard has stopped, and this thread is about to.
            let _ = home.send(Message::Move(Move::Calm(*key)));
        }
    }

    /// A step of a move: whose it is, if anything is to be done for it; none: this thread is not needed any more.
    pub(super) fn moves(&mut self, step: Move) -> Option<Option<u64>> {
        match step {
            Move::Calm(key) => self.call_back(key),
            Move::Leave => {
                if let Place::Own { key, home, .. } = &self.place {
                    let (key, home) = (*key, home.clone());
                    let actor = self.remove(key);
                    // An error means that the shard has stopped.
                    let _ = home.send(Message::Move(Move::Back(key, actor)));
                }
                return None;
            }
            Move::Back(key, actor) => {
                let waited = match &mut self.place {
                    Place::Shard { away, .. } => away.remove(&key),
                    Place::Own { .. } => None,
                };
                if let Some(actor) = actor {
                    self.seat(key, actor);
                }
                if let Some(Away::Returning(commands)) = waited {
                    for command in commands {
                        self.command(key, command);
                    }
                }
                return Some(Some(key));
            }
        }
        Some(None)
    }

    fn call_back(&mut self, key: u64) {
        let Place::Shard { away, .. } = &mut self.place else { return };
        if let Some(Away::Own(messages)) = away.insert(key, Away::Returning(Vec::new())) {
            // It waits for this.
            let _ = messages.send(Message::Move(Move::Leave));
        }
    }

    /// The tenant is not here.
    pub(super) fn forward(&mut self, key: u64, command: Command) {
        let Place::Shard { away, .. } = &mut self.place else { return };
        match away.get_mut(&key) {
            // To a tenant that is closed it is dropped, and with it whatever waits for its response.
            Some(Away::Own(messages)) => drop(messages.send(Message::Command { key, command })),
            Some(Away::Returning(commands)) => commands.push(command),
            None => {}
        }
    }
}
