//! Sessions: who has logged in, and the cursors that each holds.
//!
//! The session string is the host's token. What is kept here follows its `visit`, which names a login without being a
//! secret.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use serde::{Deserialize, Serialize};

use super::cursors::Cursors;
use crate::book::Sequence;
use crate::contract::Instant;
use crate::settings::Settings;
use crate::turn::MAX_TIMERS;

/// A session; never reused.
pub type SessionNo = u32;

/// How much of an application's name is kept, in characters.
const MAX_APPLICATION: usize = 64;

/// What a session takes without its texts and its cursors, in bytes.
const SESSION_WEIGHT: u64 = 512;

/// What a program that owes takes without its texts, in bytes.
const OWING_WEIGHT: u64 = 128;

/// A client program of one account: what the same one says each time that it logs in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Program {
    /// The id of the account.
    pub account: String,
    /// The application as it calls itself; empty: not at all.
    pub application: String,
}

impl Program {
    /// What a login says.
    pub fn of(account: &str, application: &str) -> Self {
        Self { account: account.to_owned(), application: application.chars().take(MAX_APPLICATION).collect() }
    }

    fn weight(&self) -> u64 {
        OWING_WEIGHT + self.account.len() as u64 + self.application.len() as u64
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The host's name of the login.
    pub visit: String,
    /// Whose it is.
    pub program: Program,
    /// When it ends unless it is used before.
    pub deadline: Instant,
    /// Its cursors.
    pub cursors: Cursors,
    /// From where on its client may take deltas for read that it has not read (0: from somewhere). Until it has read
    /// them, or the whole address book, it is told to read the whole.
    pub skipped: Option<Sequence>,
}

impl Session {
    fn weight(&self) -> u64 {
        // Its program stands in an index, too.
        SESSION_WEIGHT + self.visit.len() as u64 * 2 + self.program.weight() * 2 + self.cursors.weight()
    }
}

/// All sessions. The sums follow from the rest.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    all: BTreeMap<SessionNo, Session>,
    next: SessionNo,
    by_visit: BTreeMap<String, SessionNo>,
    by_program: BTreeSet<(Program, SessionNo)>,
    by_deadline: BTreeSet<(Instant, SessionNo)>,
    /// Programs without a session that skipped deltas in an earlier one.
    owing: BTreeSet<Program>,
    bytes: u64,
    owing_bytes: u64,
    /// How many ended because there were too many of their account, or they took too much with all others.
    pub displaced: u64,
    /// How many cursors were closed because their session opened too many.
    pub cursors_displaced: u64,
    /// How many requests were refused because they searched too much.
    pub searches_refused: u64,
}

impl Sessions {
    /// Begins a session, which takes over what its program owes. Where that is one too many for the account, the one
    /// that was idle longest ends.
    pub fn begin(&mut self, visit: String, program: Program, now: Instant, settings: &Settings) {
        let theirs: Vec<_> = self.of_account(&program.account).collect();
        if theirs.len() >= settings.sessions_per_account as usize {
            let idlest = theirs.into_iter().min_by_key(|number| (self.all[number].deadline, *number));
            idlest.into_iter().for_each(|number| self.end(number, settings));
            self.displaced += 1;
        }
        let owed = self.owing.remove(&program).then_some(0);
        self.owing_bytes -= owed.map_or(0, |_| program.weight());
        let skipped = owed.or_else(|| self.of_program(&program).find_map(|session| session.skipped));
        let (deadline, cursors) = (deadline(now, settings), Cursors::default());
        self.insert(self.next, Session { visit, program, deadline, cursors, skipped });
        self.next += 1;
    }

    /// A session is used: gives it its idle life from now on. Whether that altered anything.
    pub fn keep_alive(&mut self, number: SessionNo, now: Instant, settings: &Settings) -> bool {
        let promised = now.saturating_add(settings.session_idle_ms());
        let Some(session) = self.all.get(&number).filter(|session| session.deadline < promised) else {
            return false;
        };
        self.by_deadline.remove(&(session.deadline, number));
        self.set_deadline(number, deadline(now, settings));
        true
    }

    /// Ends a session. What its program owes is remembered, for as many programs of an account as it may have sessions.
    pub fn end(&mut self, number: SessionNo, settings: &Settings) {
        let Some(session) = self.all.remove(&number) else {
            return;
        };
        self.bytes -= session.weight();
        let Session { visit, program, deadline, skipped, .. } = session;
        self.by_visit.remove(&visit);
        self.by_deadline.remove(&(deadline, number));
        self.by_program.remove(&(program.clone(), number));
        let theirs = self.owing.range(Program::of(&program.account, "")..);
        let count = theirs.take_while(|it| it.account == program.account).count();
        if skipped.is_some() && count < settings.sessions_per_account as usize {
            self.insert_owing(program);
        }
    }

    /// Ends sessions, those first that were idle longest and never this one, until all take no more than they may. What their
    /// programs owe counts, too: where that is most of it, it is forgotten. Whether it was: then every program owes.
    #[must_use]
    pub fn cut(&mut self, but: Option<SessionNo>, settings: &Settings) -> bool {
        let mut forgotten = false;
        while self.bytes + self.owing_bytes > settings.sessions_total_bytes {
            if self.owing_bytes > settings.sessions_total_bytes / 2 {
                self.owing.clear();
                self.owing_bytes = 0;
                forgotten = true;
                continue;
            }
            let Some((_, idlest)) = self.by_deadline.iter().find(|(_, number)| Some(*number) != but).copied() else {
                break;
            };
            self.end(idlest, settings);
            self.displaced += 1;
        }
        forgotten
    }

    /// An account is closed: its sessions end, and nothing of it is remembered.
    pub fn close(&mut self, account: &str, settings: &Settings) {
        let theirs: Vec<_> = self.of_account(account).collect();
        theirs.into_iter().for_each(|number| self.end(number, settings));
        let owing_bytes = &mut self.owing_bytes;
        self.owing.retain(|program| {
            let stays = program.account != account;
            *owing_bytes -= if stays { 0 } else { program.weight() };
            stays
        });
    }

    /// When the next one ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Ends those whose time is over, not too many at once; whether there were any.
    pub fn run_out(&mut self, now: Instant, settings: &Settings) -> bool {
        let due = self.by_deadline.iter().take(MAX_TIMERS).take_while(|(deadline, _)| *deadline <= now);
        let due: Vec<_> = due.map(|(_, number)| *number).collect();
        let any = !due.is_empty();
        due.into_iter().for_each(|number| self.end(number, settings));
        any
    }

    /// Every idle life lasts this much longer.
    pub fn postpone(&mut self, by_ms: u64) {
        let deadlines = std::mem::take(&mut self.by_deadline);
        deadlines.into_iter().for_each(|(due, number)| self.set_deadline(number, due.saturating_add(by_ms)));
    }

    /// The session of a login.
    pub fn find(&self, visit: &str) -> Option<SessionNo> {
        self.by_visit.get(visit).copied()
    }

    /// A session.
    pub fn get(&self, number: SessionNo) -> Option<&Session> {
        self.all.get(&number)
    }

    /// A session, to be altered: where its cursors stand and what it owes, nothing else.
    pub fn get_mut(&mut self, number: SessionNo) -> Option<&mut Session> {
        self.all.get_mut(&number)
    }

    /// Opens or closes cursors of a session.
    pub fn with_cursors<T>(&mut self, number: SessionNo, alter: impl FnOnce(&mut Cursors) -> T) -> Option<T> {
        let session = self.all.get_mut(&number)?;
        let before = session.weight();
        let given = alter(&mut session.cursors);
        self.bytes = self.bytes - before + session.weight();
        Some(given)
    }

    /// What all of them take, and what is remembered of those that have ended, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.owing_bytes
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The first with at least this number.
    pub fn next_from(&self, number: SessionNo) -> Option<(SessionNo, &Session)> {
        self.all.range(number..).next().map(|(number, session)| (*number, session))
    }

    /// The number that the next one gets.
    pub fn next(&self) -> SessionNo {
        self.next
    }

    /// Sets that number.
    pub fn set_next(&mut self, next: SessionNo) {
        self.next = next;
    }

    /// The first program without a session, after another, that skipped something.
    pub fn next_owing(&self, after: Option<&Program>) -> Option<&Program> {
        match after {
            None => self.owing.first(),
            Some(after) => self.owing.range((Excluded(after), Unbounded)).next(),
        }
    }

    /// Puts such a program in its place.
    pub fn insert_owing(&mut self, program: Program) {
        let weight = program.weight();
        self.owing_bytes += if self.owing.insert(program) { weight } else { 0 };
    }

    /// Puts a session in its place.
    pub fn insert(&mut self, number: SessionNo, session: Session) {
        self.by_visit.insert(session.visit.clone(), number);
        self.by_deadline.insert((session.deadline, number));
        self.by_program.insert((session.program.clone(), number));
        self.bytes += session.weight();
        self.all.insert(number, session);
    }

    fn set_deadline(&mut self, number: SessionNo, deadline: Instant) {
        if let Some(session) = self.all.get_mut(&number) {
            session.deadline = deadline;
            self.by_deadline.insert((deadline, number));
        }
    }

    fn of_account(&self, account: &str) -> impl Iterator<Item = SessionNo> {
        let from = (Program::of(account, ""), 0);
        self.by_program.range(from..).take_while(move |(it, _)| it.account == account).map(|(_, number)| *number)
    }

    fn of_program(&self, program: &Program) -> impl Iterator<Item = &Session> {
        let theirs = self.by_program.range((program.clone(), 0)..).take_while(move |(it, _)| it == program);
        theirs.map(|(_, number)| &self.all[number])
    }
}

/// When a session that is used now ends: a little later than promised, so that most requests need not move it.
fn deadline(now: Instant, settings: &Settings) -> Instant {
    let idle = settings.session_idle_ms();
    now.saturating_add(idle).saturating_add(idle / 64)
}
