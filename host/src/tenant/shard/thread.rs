//! The loop of a thread that has tenants: the next message, or the next timer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use super::own::{Away, OwnThreads, Place, Usage};
use super::{Command, Message};
use crate::clock::{Clock, ThreadWatch};
use crate::tenant::actor::{Actor, Next};

/// How many messages are taken before due timers get their turn.
const TURN: usize = 256;

pub(super) struct Thread {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) actors: BTreeMap<u64, Seated>,
    /// When a tenant is due, and which.
    timers: BTreeSet<(u64, u64)>,
    /// When a tenant was used last that has an instance, and which.
    awake: BTreeSet<(u64, u64)>,
    /// How many of them there may be.
    most_awake: usize,
    pub(super) place: Place,
}

pub(super) struct Seated {
    pub(super) actor: Box<Actor>,
    due: Option<u64>,
    awake: Option<u64>,
    pub(super) usage: Usage,
}

impl Thread {
    /// One for many tenants. `home`: where its messages come from.
    pub(super) fn shard(clock: Arc<dyn Clock>, most_awake: usize, home: Sender<Message>, own: OwnThreads) -> Thread {
        let place = Place::Shard { home, away: BTreeMap::new(), own };
        let (actors, timers, awake) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Thread { clock, actors, timers, awake, most_awake, place }
    }

    /// One for a single tenant, whose shard is `home`.
    pub(super) fn own(clock: Arc<dyn Clock>, key: u64, home: Sender<Message>) -> Thread {
        let (actors, timers, awake) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Thread {
            clock,
            actors,
            timers,
            awake,
            most_awake: usize::MAX,
            place: Place::Own { key, home, calm: 0, leaves: false },
        }
    }

    pub(super) fn run(mut self, waiting: &Receiver<Message>) {
        let mut watch = ThreadWatch::start();
        while let Some(first) = self.wait(waiting) {
            let mut touched = BTreeSet::new();
            for message in first.into_iter().chain(waiting.try_iter()).take(TURN) {
                match message {
                    Message::Open { key, mut actor } => {
                        actor.seated();
                        self.seat(key, actor);
                        touched.insert(key);
                    }
                    Message::Command { key, command } => {
                        self.command(key, command);
                        touched.insert(key);
                    }
                    Message::Move(step) => match self.moves(step) {
                        Some(key) => touched.extend(key),
                        None => return,
                    },
                    Message::Advanced => self.advanced(),
                    Message::Stop => return,
                }
            }
            for key in &touched {
                let Some(seated) = self.actors.get_mut(key) else { continue };
                match seated.actor.end_turn() {
                    Next::GoesOn => self.arm(*key),
                    Next::Ends => drop(self.remove(*key)),
                }
            }
            touched.extend(self.tick());
            self.account(&touched, watch.lap());
            self.make_room();
        }
    }

    /// The next message; none inside if something is due first; none at all if nobody can send any more.
    fn wait(&self, waiting: &Receiver<Message>) -> Option<Option<Message>> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let due = timer.into_iter().chain(self.window_ends()).min();
        match due.and_then(|due| self.clock.wait(due)) {
            None => waiting.recv().ok().map(Some),
            Some(timeout) => match waiting.recv_timeout(timeout) {
                Ok(message) => Some(Some(message)),
                Err(RecvTimeoutError::Timeout) => Some(None),
                Err(RecvTimeoutError::Disconnected) => None,
            },
        }
    }

    /// The tenant lives here from now on.
    pub(super) fn seat(&mut self, key: u64, actor: Box<Actor>) {
        let usage = Usage::begin(self.clock.monotonic());
        self.actors.insert(key, Seated { actor, due: None, awake: None, usage });
        self.arm(key);
    }

    pub(super) fn command(&mut self, key: u64, command: Command) {
        let Some(seated) = self.actors.get_mut(&key) else { return self.forward(key, command) };
        if seated.actor.handle(command) == Next::Ends {
            self.remove(key);
        }
    }

    /// Does what is due, and says whose turn it was.
    fn tick(&mut self) -> Vec<u64> {
        let now = self.clock.monotonic();
        let due: Vec<u64> = self.timers.range(..=(now, u64::MAX)).map(|(_, key)| *key).collect();
        for key in &due {
            let Some(seated) = self.actors.get_mut(key) else { continue };
            if seated.actor.tick_if_due() == Next::Ends {
                self.remove(*key);
            } else {
                self.arm(*key);
            }
        }
        due
    }

    fn arm(&mut self, key: u64) {
        let Some(seated) = self.actors.get_mut(&key) else { return };
        let due = seated.actor.due();
        if due != seated.due {
            if let Some(former) = std::mem::replace(&mut seated.due, due) {
                self.timers.remove(&(former, key));
            }
            self.timers.extend(due.map(|due| (due, key)));
        }
        let awake = seated.actor.awake_since();
        if awake != seated.awake {
            if let Some(former) = std::mem::replace(&mut seated.awake, awake) {
                self.awake.remove(&(former, key));
            }
            self.awake.extend(awake.map(|since| (since, key)));
        }
    }

    /// Lets those sleep that were idle longest, if there are too many awake.
    fn make_room(&mut self) {
        let over = self.awake.len().saturating_sub(self.most_awake).min(TURN);
        let idle: Vec<u64> = self.awake.iter().take(over).map(|(_, key)| *key).collect();
        for key in idle {
            if let Some(seated) = self.actors.get_mut(&key) {
                seated.actor.doze();
                self.arm(key);
            }
        }
    }

    /// The tenant lives here no more.
    pub(super) fn remove(&mut self, key: u64) -> Option<Box<Actor>> {
        let seated = self.actors.remove(&key)?;
        if let Some(due) = seated.due {
            self.timers.remove(&(due, key));
        }
        if let Some(awake) = seated.awake {
            self.awake.remove(&(awake, key));
        }
        Some(seated.actor)
    }

    fn advanced(&self) {
        let Place::Shard { away, .. } = &self.place else { return };
        for away in away.values() {
            if let Away::Own(messages) = away {
                // An error means that it is on its way back.
                let _ = messages.send(Message::Advanced);
            }
        }
    }
}
