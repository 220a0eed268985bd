//! The state machine: `(state, input) -> (state, reaction)`. No clock, no chance, no output but the reaction.

use serde::{Deserialize, Serialize};

use crate::changes::{Account, Batch, Change, Happening};
use crate::event::{self, EventId};
use crate::lifecycle::{Gauge, Pending, Restart};
use crate::query;
use crate::requests::{Access, Request, Settlement};
use crate::settings::Settings;
use crate::states::{Accounts, Changed, Types, types_of};
use crate::streams::{Due, Stream, Streams};
use crate::types::{Moment, Place, Reaction, Rejection, Reply};

/// The most parts of a reaction, and the bytes after which no further one is begun: below what the contract allows.
const MOST_REPLIES: usize = 256;
const MOST_BYTES: usize = 512 << 10;

/// The longest name or id of an account, in bytes.
const MOST_NAME: usize = 1_024;

/// Everything that the plugin knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Push {
    settings: Settings,
    accounts: Accounts,
    streams: Streams,
    /// Grows whenever positions that clients hold have become void.
    era: u32,
    /// The position of the last change.
    sequence: u64,
}

impl Push {
    /// Takes over settings; whether they are others. An error leaves the old ones.
    pub fn configure(&mut self, settings: &[(String, String)]) -> Result<bool, String> {
        let settings = Settings::read(settings)?;
        Ok(std::mem::replace(&mut self.settings, settings.clone()) != settings)
    }

    /// Changes: each stream that covers one hears of it, once for all of this batch.
    pub fn ingest(&mut self, at: Moment, batch: &Batch) -> Reaction {
        let (mut rejections, mut applied) = (Vec::new(), false);
        for (group, of_account) in (0..).zip(&batch.accounts) {
            for (index, change) in (0..).zip(&of_account.changes) {
                let result = self.apply(at, &of_account.account, change);
                applied |= result.is_ok();
                let place = Place::Change((group, index));
                rejections.extend(result.err().map(|reason| Rejection { place, reason: reason.into() }));
            }
        }
        let turn = self.turn(at);
        Reaction { rejections, changed: applied || turn.changed, ..turn }
    }

    fn apply(&mut self, at: Moment, account: &str, change: &Change) -> Result<(), &'static str> {
        let number = self.account(account, &change.what)?;
        let types = types_of(&change.what);
        let changed = Changed { sequence: at.sequence, state: change.number.unwrap_or(at.sequence) };
        self.accounts.change(number, types, changed);
        self.streams.tell(number, types);
        self.sequence = at.sequence;
        Ok(())
    }

    /// The account that a change is about, which may come to be known by it.
    fn account(&mut self, account: &str, what: &Happening) -> Result<usize, &'static str> {
        let found = self.accounts.find(account);
        let told = match what {
            Happening::AccountOpened(told) | Happening::AccountModified(told) => Some(told.clone()),
            _ => None,
        };
        if let (Some(number), None) = (found, &told) {
            return Ok(number);
        }
        let name = account.to_owned();
        let told = told.unwrap_or(Account { id: name.clone(), name, aliases: Vec::new() });
        if [&told.id, &told.name].into_iter().chain(&told.aliases).any(|name| name.len() > MOST_NAME) {
            return Err("the account's name is too long");
        }
        if found.is_none() && !self.settings.has_domain_of(&told.name) {
            return Err("there is no such account, and its domain is none of the tenant's");
        }
        if found.is_none() && self.is_full() {
            return Err("there are as many accounts as `jmap-accounts` allows");
        }
        Ok(self.accounts.know(&told))
    }

    fn is_full(&self) -> bool {
        self.accounts.len() as u64 >= self.settings.accounts
    }

    /// A request for events: it stays open, or is refused.
    pub fn answer(&mut self, at: Moment, request: &Request) -> Reaction {
        match self.accept(at, request) {
            Ok(begun) => {
                let mut reaction = self.turn(at);
                reaction.replies.insert(0, begun);
                reaction.changed = true;
                reaction
            }
            Err(refused) => Reaction { replies: vec![refused], ..self.nothing() },
        }
    }

    fn accept(&mut self, at: Moment, request: &Request) -> Result<Reply, Reply> {
        let refuse = |status, kind, detail| event::problem(request.id, status, kind, detail);
        let Access::Granted(grant) = &request.access else {
            return Err(refuse(401, "about:blank", "The login is missing or wrong."));
        };
        let query = query::read(&request.head.query).map_err(|wrong| refuse(400, "about:blank", wrong))?;
        let known = self.accounts.find(&grant.account.id).or_else(|| self.accounts.find(&grant.account.name));
        if known.is_none() && (self.is_full() || grant.account.id.len() > MOST_NAME) {
            return Err(refuse(503, "about:blank", "There is no room for another account."));
        }
        let open = known.map_or(0, |number| self.streams.of_account(number));
        if open as u64 >= self.settings.streams_per_account {
            return Err(refuse(429, "urn:ietf:params:jmap:error:limit", "Too many streams of this account are open."));
        }
        let number = self.accounts.know(&grant.account);
        let missed = self.missed(number, request);
        let stream = Stream::new(number, query, missed, at.now, self.settings.stream_minutes);
        self.streams.add(request.id, stream);
        Ok(event::part(request.id, Vec::new(), true))
    }

    /// What changed since the event that the client has seen last; a client that says none has just read everything.
    fn missed(&self, account: usize, request: &Request) -> Types {
        let seen = request.head.headers.iter().find(|(name, _)| name == "last-event-id");
        let Some((_, seen)) = seen else { return Types::default() };
        let changed = &self.accounts.get(account).changed;
        let since = match EventId::read(seen) {
            Some(id) if id.era == self.era => id.sequence,
            // Not of ours, or void: it may have missed everything.
            _ => 0,
        };
        let later = changed.iter().filter(|(_, changed)| changed.sequence > since);
        Types::of(&later.map(|(one, _)| *one).collect::<Vec<_>>())
    }

    /// Tells streams what they are due to hear, as far as it fits into one reaction; the rest follows by `tick`.
    pub fn turn(&mut self, at: Moment) -> Reaction {
        let (mut replies, mut bytes) = (Vec::new(), 0);
        // One reply of the reaction may be the beginning of a stream.
        while replies.len() < MOST_REPLIES - 1 && bytes < MOST_BYTES {
            let Some((id, stream, due)) = self.streams.next(at.now) else { break };
            let reply = match due {
                Due::State(last) => {
                    let position = EventId { era: self.era, sequence: self.sequence };
                    event::part(id, event::state(self.accounts.get(stream.account), stream.news, position), !last)
                }
                Due::Ping => event::part(id, event::ping(stream.ping), true),
                Due::End => event::part(id, Vec::new(), false),
            };
            bytes += reply.body.len();
            if reply.more {
                self.streams.heard(id, at.now);
            } else {
                self.streams.remove(id);
            }
            replies.push(reply);
        }
        let changed = !replies.is_empty();
        Reaction { replies, changed, ..self.nothing() }
    }

    /// What became of requests: those that have ended are forgotten.
    pub fn settled(&mut self, settlements: &[Settlement]) -> Reaction {
        let ended = settlements.iter().filter(|settlement| settlement.end.is_some());
        let known = ended.filter(|settlement| self.streams.remove(settlement.request)).count();
        Reaction { changed: known > 0, ..self.nothing() }
    }

    /// Every stream is gone; their clients come again, each with the last event that it has seen.
    pub fn restarted(&mut self, how: Restart) -> Reaction {
        let changed = !self.streams.is_empty() || how.regressed;
        self.streams = Streams::default();
        self.era += u32::from(how.regressed);
        Reaction { changed, ..self.nothing() }
    }

    /// Every stream ends.
    pub fn drain(&mut self, at: Moment) -> Reaction {
        let changed = !self.streams.is_empty();
        self.streams.end_all(at.now);
        Reaction { changed, ..self.turn(at) }
    }

    /// The reaction to what means nothing here.
    pub fn nothing(&self) -> Reaction {
        let wake_at = self.streams.wake_at();
        Reaction { replies: vec![], calls: vec![], wake_at, rejections: vec![], logs: vec![], changed: false }
    }

    /// What the state waits for.
    pub fn outstanding(&self) -> Pending {
        Pending { requests: self.streams.ids(), calls: vec![], wake_at: self.streams.wake_at() }
    }

    /// Figures for metrics.
    pub fn inspect(&self) -> Vec<Gauge> {
        let gauge = |name: &str, value: usize| Gauge { name: name.into(), labels: vec![], value: value as f64 };
        vec![gauge("accounts", self.accounts.len()), gauge("streams", self.streams.len())]
    }

    /// The whole state.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("every value of the state can be written")
    }

    /// What [`Push::to_bytes`] gave. An error says what is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Push, String> {
        let (mut push, rest): (Push, _) = postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
        if !rest.is_empty() || !push.streams.are_of(push.accounts.len()) {
            return Err("bytes that no state gives".into());
        }
        push.accounts.index_all();
        push.streams.index_all();
        Ok(push)
    }
}
