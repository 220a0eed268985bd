//! The plugin as a whole: inputs in, reactions out.

use crate::book::Book;
use crate::changes;
use crate::contract::{
    Batch, CallId, Claims, Gauge, LoadError, Manifest, Moment, Outcome, Pending, Reaction, Refusal, Reply, Request,
    RequestHead, Restart, Settlement,
};
use crate::dialects;
use crate::ews;
use crate::groupwise::events;
use crate::ids::Keys;
use crate::settings::Settings;
use crate::snapshot::{FIRST_FORMAT, FORMAT, Loading, Saving};
use crate::state::State;
use crate::turn::Turn;
use crate::zimbra::waiters;

/// What this plugin is and serves. Uses no state.
pub fn describe() -> Manifest {
    Manifest {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        routes: dialects::routes(),
        state_formats: vec![FORMAT.to_owned(), FIRST_FORMAT.to_owned()],
    }
}

/// What a request says of itself. Uses no state and never fails: what cannot be read claims nothing.
pub fn identify(head: &RequestHead, body: &[u8]) -> Claims {
    dialects::identify(head, body)
}

/// Refuses a request in the host's name, in the dialect of its route. Uses no state.
pub fn refuse(head: &RequestHead, body: &[u8], why: Refusal) -> Reply {
    dialects::refuse(head, body, why)
}

/// One tenant's notification logic: a state machine without clock, chance or I/O.
///
/// Before [`open`](Self::open) or a whole [`load`](Self::load) it is a tenant without domains whose ids anyone can
/// guess.
#[derive(Debug, Default)]
pub struct Notify {
    state: State,
    saving: Saving,
    loading: Option<Loading>,
}

impl Notify {
    /// The first input of a new tenant. An error names the setting, or says that `seed` is not 32 bytes.
    pub fn open(&mut self, at: Moment, seed: &[u8], settings: &[(String, String)]) -> Result<(), String> {
        let seed = seed.try_into().map_err(|_| "the seed is not 32 bytes long".to_owned())?;
        let settings = Settings::read(settings)?;
        self.state = State::default();
        self.state.keys = Keys::from_seed(seed);
        self.state.settings = settings;
        self.state.book = Book::new(at.now);
        Ok(())
    }

    /// New settings in place of the old; an error names the setting and leaves the state as it was.
    pub fn configure(&mut self, at: Moment, settings: &[(String, String)]) -> Result<Reaction, String> {
        let settings = Settings::read(settings)?;
        Ok(self.input(at, |state, turn| {
            turn.changed |= state.settings != settings;
            state.settings = settings;
            state.cut_histories(turn);
        }))
    }

    /// Time has passed.
    pub fn tick(&mut self, at: Moment) -> Reaction {
        self.input(at, |state, turn| state.cut_histories(turn))
    }

    /// The host came back: every stream is gone, calls in flight are made again, and idle lives go on where they were.
    /// If the state has regressed, no watermark is good any more and every subscription has missed events.
    pub fn restarted(&mut self, at: Moment, how: Restart) -> Reaction {
        let mut turn = Turn::new(at);
        turn.changed = true;
        let state = &mut self.state;
        let requests: Vec<_> = state.streams.keys().copied().collect();
        state.postpone(how.down_ms);
        requests.into_iter().for_each(|request| state.drop_stream(request, at.now));
        ews::push::restart(state);
        events::notify::restart(state);
        state.events.forget_all_reads();
        waiters::restart(state, at.now, how.down_ms);
        if how.regressed {
            state.regress(at);
        }
        self.finish(turn)
    }

    /// The host is about to stop: every stream is closed in its own way.
    pub fn drain(&mut self, at: Moment) -> Reaction {
        self.input(at, |state, turn| {
            let requests: Vec<_> = state.streams.keys().copied().collect();
            turn.changed |= !requests.is_empty();
            requests.into_iter().for_each(|request| state.with_stream(request, |stream| stream.close()));
            waiters::drain(state, turn);
        })
    }

    /// What the state still waits for.
    pub fn outstanding(&self) -> Pending {
        let mut requests: Vec<_> = self.state.streams.keys().copied().collect();
        requests.extend(self.state.waitsets.waiting().map(|(request, _)| request));
        requests.extend(self.state.events.reading());
        requests.sort_unstable();
        Pending { requests, calls: self.state.calls(), wake_at: self.state.wake_at() }
    }

    /// Part `part` of the whole state, at most 1 MiB; none after the last.
    pub fn save(&mut self, part: u32) -> Option<Vec<u8>> {
        self.saving.part(&self.state, part)
    }

    /// The parts of a `save` in their order. Until the last one has been taken without error, the state is the old one.
    pub fn load(&mut self, format: &str, part: &[u8], more: bool) -> Result<(), LoadError> {
        let mut loading = self.loading.take().unwrap_or_default();
        match loading.part(format, part, more)? {
            Some(state) => self.state = state,
            None => self.loading = Some(loading),
        }
        Ok(())
    }

    /// Figures about the state.
    pub fn inspect(&self) -> Vec<Gauge> {
        let State { mailboxes, subscriptions, streams, book, book_changes, sessions, .. } = &self.state;
        let counts = subscriptions.counts();
        let kind = |kind: &str| vec![("kind".to_owned(), kind.to_owned())];
        let limit = |limit: &str| vec![("limit".to_owned(), limit.to_owned())];
        let why = |why: &str| vec![("why".to_owned(), why.to_owned())];
        let gauge = |name: &str, labels, value: u64| Gauge { name: name.to_owned(), labels, value: value as f64 };
        let mut gauges = vec![
            gauge("accounts", Vec::new(), mailboxes.count() as u64),
            gauge("refused", limit("accounts"), self.state.refused.accounts),
            gauge("folders", Vec::new(), mailboxes.folders()),
            gauge("refused", limit("folders"), self.state.refused.folders),
            gauge("refused", limit("subscriptions"), self.state.refused.subscriptions),
            gauge("subscriptions", kind("pull"), counts.pull),
            gauge("subscriptions", kind("streaming"), counts.streaming),
            gauge("subscriptions", kind("push"), counts.push),
            gauge("push_calls", Vec::new(), self.state.calls().len() as u64),
            gauge("push_subscriptions_dropped", why("failed"), self.state.pushes_failed),
            gauge("push_subscriptions_dropped", why("refused"), self.state.pushes_refused),
            gauge("streams", Vec::new(), streams.len() as u64),
            gauge("history_events", Vec::new(), mailboxes.events()),
            gauge("history_bytes", Vec::new(), mailboxes.bytes()),
            gauge("moved_items_bytes", Vec::new(), mailboxes.moved_bytes()),
            gauge("book_changes", Vec::new(), *book_changes),
            gauge("book_entries", Vec::new(), book.entries.count() as u64),
            gauge("book_bytes", Vec::new(), book.entries.bytes()),
            gauge("book_deltas", Vec::new(), book.deltas.count() as u64),
            gauge("groupwise_sessions", Vec::new(), sessions.count() as u64),
            gauge("groupwise_session_bytes", Vec::new(), sessions.bytes()),
            gauge("groupwise_sessions_displaced", Vec::new(), sessions.displaced),
            gauge("groupwise_cursors_displaced", Vec::new(), sessions.cursors_displaced),
            gauge("groupwise_searches_refused", Vec::new(), sessions.searches_refused),
        ];
        gauges.extend(self.state.events.gauges());
        gauges.extend(waiters::gauges(&self.state));
        gauges
    }

    /// Changes of mailboxes and of the address book.
    pub fn ingest(&mut self, at: Moment, batch: Batch) -> Reaction {
        self.input(at, |state, turn| changes::ingest(state, turn, batch))
    }

    /// A client's request.
    pub fn answer(&mut self, at: Moment, request: &Request) -> Reaction {
        self.input(at, |state, turn| dialects::answer(state, turn, request))
    }

    /// What became of confirmed parts. Unknown requests are ignored.
    pub fn settled(&mut self, at: Moment, settlements: &[Settlement]) -> Reaction {
        self.input(at, |state, turn| {
            for settlement in settlements {
                ews::streams::settle(state, turn, settlement);
                if settlement.end.is_some() {
                    waiters::settle(state, turn, settlement.request);
                    turn.changed |= state.events.end_read(settlement.request, settlement.parts > 0);
                }
            }
        })
    }

    /// How an outbound call ended. Unknown calls are ignored.
    pub fn finished(&mut self, at: Moment, call: CallId, outcome: Outcome) -> Reaction {
        self.input(at, |state, turn| {
            if !events::notify::finish(state, turn, call, &outcome) {
                ews::push::finish(state, turn, call, &outcome);
            }
        })
    }

    /// One input: what is due runs out first, then the input itself, then pushes and streams have their turn.
    fn input(&mut self, at: Moment, handle: impl FnOnce(&mut State, &mut Turn)) -> Reaction {
        let mut turn = Turn::new(at);
        self.state.run_timers(&mut turn);
        handle(&mut self.state, &mut turn);
        self.finish(turn)
    }

    fn finish(&mut self, mut turn: Turn) -> Reaction {
        let state = &mut self.state;
        ews::push::serve(state, &mut turn);
        events::notify::serve(state, &mut turn);
        ews::streams::serve(state, &mut turn);
        waiters::serve(state, &mut turn);
        if turn.changed {
            let pushes = state.next_push().is_some() || state.events.lines.next_ready().is_some();
            let waits = pushes || state.next_ready().is_some() || waiters::wait(state);
            state.backlog_since = waits.then_some(turn.at.now);
        }
        turn.finish(state.wake_at())
    }
}
