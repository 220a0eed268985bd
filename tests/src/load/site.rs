//! Where the server is, as those know who use it: it comes, it is killed, it comes again. And what everybody may know of
//! everybody else's progress.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::plan::SOURCES;
use crate::PATIENCE;
use crate::program::Server;

/// One life of the server, from a start to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Life {
    /// From 1.
    pub number: u64,
    /// Where mail clients connect.
    pub clients: SocketAddr,
    /// Where sources connect.
    pub admin: SocketAddr,
    /// How long its users wait for a word of it.
    pub patience: Duration,
}

/// Something that must not be, whatever happens to the server.
#[derive(Debug)]
pub struct Wrong(pub String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// How somebody's work with the server goes on.
#[derive(Debug)]
pub enum Step {
    /// There is more to do.
    More,
    /// It is done.
    Last,
}

/// What the server promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Promise {
    /// What is acknowledged stays, whatever happens to the process.
    Everything,
    /// What was acknowledged shortly before the process was killed may be lost, and whoever relies on it is told.
    UpToTheLastSync,
}

/// How far each source is, in changes.
pub type Offsets = [u64; SOURCES];

/// Shared by all who use the server, and by who kills it.
#[derive(Debug)]
pub struct Site {
    promise: Promise,
    patience: Duration,
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    life: Option<Life>,
    lives: u64,
    /// The last life that followed a crash.
    after_crash: u64,
    answers: u64,
    swap_steps: u64,
    subscribed: usize,
    posted: Offsets,
    acknowledged: Offsets,
    closing: bool,
    /// A server stood still for a while.
    delayed: bool,
    finished: usize,
    done: usize,
    /// Who has not come to an end.
    working: BTreeSet<String>,
    failure: Option<anyhow::Error>,
}

impl Site {
    /// A site without a server, which will make this promise.
    pub fn new(promise: Promise) -> Site {
        Site { promise, patience: PATIENCE, now: Mutex::default(), changed: Condvar::new() }
    }

    /// One whose users give up a server that says nothing for so long.
    pub fn patient(self, patience: Duration) -> Site {
        Site { patience, ..self }
    }

    /// A server stands still: what clients asked it, and gave up, may come to be later.
    pub fn delay(&self) {
        self.change(|now| now.delayed = true);
    }

    /// Whether what clients gave up may come to be.
    pub fn is_delayed(&self) -> bool {
        self.now().delayed
    }

    /// Whether the server keeps everything.
    pub fn is_safe(&self) -> bool {
        self.promise == Promise::Everything
    }

    /// Whether the server may have forgotten what it did in this life.
    pub fn may_have_forgotten(&self, life: u64) -> bool {
        !self.is_safe() && life < self.now().after_crash
    }

    /// The server is there, after a crash or not.
    pub fn up(&self, server: &Server, crashed: bool) -> Life {
        let mut now = self.now();
        now.lives += 1;
        if crashed {
            now.after_crash = now.lives;
        }
        (now.answers, now.swap_steps, now.subscribed) = (0, 0, 0);
        let (clients, admin, patience) = (server.clients, server.admin, self.patience);
        let life = Life { number: now.lives, clients, admin, patience };
        now.life = Some(life);
        self.changed.notify_all();
        life
    }

    /// The life that the server is in; waits until it is there.
    pub fn life(&self) -> Result<Life> {
        self.wait(|now| now.life).context("waiting for the server")
    }

    /// The server is about to go: from now on what fails is excused.
    pub fn down(&self) {
        self.change(|now| now.life = None);
    }

    /// Somebody had an answer from the server.
    pub fn answered(&self) {
        self.change(|now| now.answers += 1);
    }

    /// Waits until the server has given so many answers in this life.
    pub fn wait_for_answers(&self, answers: u64) -> Result<()> {
        self.wait(|now| (now.answers >= answers).then_some(())).context("waiting for answers")
    }

    /// A swap has come a step further.
    pub fn swap_went_on(&self) {
        self.change(|now| now.swap_steps += 1);
    }

    /// Waits until swaps have come so many steps further in this life.
    pub fn wait_for_swap_steps(&self, steps: u64) -> Result<()> {
        self.wait(|now| (now.swap_steps >= steps).then_some(())).context("waiting for swaps")
    }

    /// Somebody has made a subscription.
    pub fn subscribed(&self) {
        self.change(|now| now.subscribed += 1);
        self.answered();
    }

    /// Waits until so many subscriptions were made in this life.
    pub fn wait_for_subscriptions(&self, subscriptions: usize) -> Result<()> {
        self.wait(|now| (now.subscribed >= subscriptions).then_some(())).context("waiting for subscriptions")
    }

    /// The source is about to send its changes up to this offset.
    pub fn posting(&self, source: usize, end: u64) {
        self.change(|now| now.posted[source] = now.posted[source].max(end));
    }

    /// The source knows that its changes up to this offset are applied.
    pub fn acknowledged(&self, source: usize, end: u64) {
        self.change(|now| now.acknowledged[source] = end);
    }

    /// The source knows that what it sent after this offset is lost.
    pub fn lost(&self, source: usize, after: u64) {
        self.change(|now| (now.acknowledged[source], now.posted[source]) = (after, after));
    }

    /// What is certainly applied.
    pub fn certain(&self) -> Offsets {
        self.now().acknowledged
    }

    /// What may be applied.
    pub fn possible(&self) -> Offsets {
        self.now().posted
    }

    /// Waits until more is acknowledged than this, and gives what is; or until the server goes, or every source has
    /// finished.
    pub fn wait_for_news(&self, life: Life, heard: Offsets) -> Result<Offsets> {
        let over = |now: &Now| now.life != Some(life) || now.finished == SOURCES;
        self.wait(|now| (now.acknowledged != heard || over(now)).then_some(now.acknowledged))
            .context("waiting for news")
    }

    /// Sources are to come to their ends.
    pub fn close(&self) {
        self.change(|now| now.closing = true);
    }

    /// Whether sources are to come to their ends.
    pub fn is_closing(&self) -> bool {
        self.now().closing
    }

    /// A source has come to its end: everything that it sent is applied.
    pub fn finished(&self) {
        self.change(|now| now.finished += 1);
    }

    /// Whether every source has come to its end.
    pub fn is_finished(&self) -> bool {
        self.now().finished == SOURCES
    }

    /// Waits until so many have done all their work.
    pub fn wait_until_done(&self, workers: usize) -> Result<()> {
        self.wait(|now| (now.done == workers).then_some(())).context("waiting for everybody to come to an end")
    }

    /// Lets somebody work with one life of the server after another, step by step. What fails in a life that has ended is
    /// tried again in the next; a [`Wrong`] is never excused.
    pub fn work(&self, mut step: impl FnMut(Life) -> Result<Step>) -> Result<()> {
        loop {
            let life = self.life()?;
            match step(life) {
                Ok(Step::More) => {}
                Ok(Step::Last) => return Ok(()),
                Err(error) if is_wrong(&error) || self.now().life == Some(life) => {
                    return Err(error.context(format!("in life {} of the server", life.number)));
                }
                Err(_) => {}
            }
        }
    }

    /// Keeps the first failure of all; after it nobody waits any more. The name is that of whoever works.
    pub fn guard(&self, name: &str, work: impl FnOnce() -> Result<()>) {
        self.change(|now| {
            now.working.insert(name.to_owned());
        });
        let outcome = work();
        self.change(|now| {
            now.working.remove(name);
            match outcome {
                Ok(()) => now.done += 1,
                Err(error) => {
                    now.failure.get_or_insert(error);
                }
            }
        });
    }

    /// Whether somebody has failed.
    pub fn has_failed(&self) -> bool {
        self.now().failure.is_some()
    }

    /// The first failure of all.
    pub fn verdict(&self) -> Result<()> {
        self.now().failure.take().map_or(Ok(()), Err)
    }

    fn wait<T>(&self, mut found: impl FnMut(&Now) -> Option<T>) -> Result<T> {
        let mut result = None;
        let waits = |now: &mut Now| {
            result = found(now);
            result.is_none() && now.failure.is_none()
        };
        let (now, _) =
            self.changed.wait_timeout_while(self.now(), PATIENCE, waits).expect("nobody panics with it locked");
        ensure!(now.failure.is_none(), "somebody else has failed");
        result.with_context(|| format!("in vain: {now:?}"))
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now());
        self.changed.notify_all();
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("nobody panics with it locked")
    }
}

fn is_wrong(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Wrong>())
}
