//! Requests that are open, and when each has something to hear.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::query::Query;
use crate::states::Types;

/// An open request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Whose changes it hears.
    pub account: usize,
    types: Types,
    close_after_state: bool,
    /// Seconds between pings; 0: none.
    pub ping: u64,
    /// When the next ping is due, in milliseconds since the Unix epoch.
    next_ping: u64,
    /// When it ends, in milliseconds since the Unix epoch.
    ends: u64,
    /// What has changed and was not told.
    pub news: Types,
}

/// What a stream is due to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// What changed; whether that is the end.
    State(bool),
    /// That it is still alive.
    Ping,
    /// Its end.
    End,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Streams {
    all: BTreeMap<u64, Stream>,
    #[serde(skip)]
    due: BTreeSet<(u64, u64)>,
    #[serde(skip)]
    by_account: BTreeSet<(usize, u64)>,
}

impl Stream {
    /// One that begins now, and has missed these.
    pub fn new(account: usize, query: Query, missed: Types, now: u64, minutes: u64) -> Stream {
        let Query { types, close_after_state, ping } = query;
        let (next_ping, ends) = (after(now, ping), now + minutes * 60_000);
        Stream { account, types, close_after_state, ping, next_ping, ends, news: missed.and(types) }
    }

    /// When it has something to hear.
    fn due(&self) -> u64 {
        if self.news.is_empty() { self.next_ping.min(self.ends) } else { 0 }
    }

    fn what(&self, now: u64) -> Due {
        if !self.news.is_empty() {
            Due::State(self.close_after_state)
        } else if self.ends <= now {
            Due::End
        } else {
            Due::Ping
        }
    }
}

/// When a ping is due; never, if there are to be none.
fn after(now: u64, ping: u64) -> u64 {
    if ping == 0 { u64::MAX } else { now + ping * 1_000 }
}

impl Streams {
    /// The numbers of their requests, ascending.
    pub fn ids(&self) -> Vec<u64> {
        self.all.keys().copied().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many an account has.
    pub fn of_account(&self, account: usize) -> usize {
        self.by_account.range((account, 0)..=(account, u64::MAX)).count()
    }

    /// A request that was accepted.
    pub fn add(&mut self, id: u64, stream: Stream) {
        self.due.insert((stream.due(), id));
        self.by_account.insert((stream.account, id));
        self.all.insert(id, stream);
    }

    /// A request that has ended; whether it was known.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(stream) = self.all.remove(&id) else { return false };
        self.due.remove(&(stream.due(), id));
        self.by_account.remove(&(stream.account, id));
        true
    }

    /// These types of an account changed.
    pub fn tell(&mut self, account: usize, types: Types) {
        let ids: Vec<u64> = self.by_account.range((account, 0)..=(account, u64::MAX)).map(|(_, id)| *id).collect();
        for id in ids {
            self.alter(id, |stream| stream.news = stream.news.or(types.and(stream.types)));
        }
    }

    /// All end now.
    pub fn end_all(&mut self, now: u64) {
        for id in self.ids() {
            self.alter(id, |stream| {
                stream.news = Types::default();
                stream.ends = stream.ends.min(now);
            });
        }
    }

    /// The next stream that is to hear something now.
    pub fn next(&self, now: u64) -> Option<(u64, &Stream, Due)> {
        let (_, id) = self.due.first().filter(|(due, _)| *due <= now)?;
        let stream = &self.all[id];
        Some((*id, stream, stream.what(now)))
    }

    /// The stream heard what it was due.
    pub fn heard(&mut self, id: u64, now: u64) {
        self.alter(id, |stream| {
            stream.news = Types::default();
            stream.next_ping = after(now, stream.ping);
        });
    }

    /// When the next is to hear something.
    pub fn wake_at(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due).filter(|due| *due < u64::MAX)
    }

    /// Makes the indices anew, after they were read from a snapshot.
    pub fn index_all(&mut self) {
        self.due = self.all.iter().map(|(id, stream)| (stream.due(), *id)).collect();
        self.by_account = self.all.iter().map(|(id, stream)| (stream.account, *id)).collect();
    }

    /// Whether every stream is of one of so many accounts.
    pub fn are_of(&self, accounts: usize) -> bool {
        self.all.values().all(|stream| stream.account < accounts)
    }

    fn alter(&mut self, id: u64, alter: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.all.get_mut(&id) else { return };
        self.due.remove(&(stream.due(), id));
        alter(stream);
        self.due.insert((stream.due(), id));
    }
}
