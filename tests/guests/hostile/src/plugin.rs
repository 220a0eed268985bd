//! What every program is unless it says otherwise: a plugin that counts its inputs, and that keeps every rule.

use crate::exports::postbell::notify::changes::Batch;
use crate::exports::postbell::notify::lifecycle::{Gauge, LoadError, Manifest, Pending, Route};
use crate::exports::postbell::notify::outbound::Outcome;
use crate::exports::postbell::notify::requests::{Claims, Refusal, Request, RequestHead, Settlement};
use crate::exports::postbell::notify::types::{Call, CallTarget, HttpTarget, Moment, Reaction, Reply};

/// What a program knows.
#[derive(Default)]
pub struct State {
    /// Inputs that changed it.
    pub count: u64,
    /// Requests that wait for a change.
    pub parked: Vec<u64>,
    /// Calls that were made, and how many of the last of them have not ended.
    pub calls: u64,
    pub calling: Vec<u64>,
    /// Requests whose confirmed part is not settled.
    pub sent: Vec<u64>,
    pub wake_at: Option<u64>,
}

/// The functions of the contract. Requests are told apart by their path: `/park` waits for a change, `/call` has a call
/// made, `/wake` asks for a tick, `/confirm` wants to hear what became of its part; every other one is answered at once
/// by the number of inputs so far.
pub trait Plugin: Sync {
    /// Called first in every function.
    fn enter(&self, _function: &str) {}

    fn describe(&self) -> Manifest {
        let route = Route {
            prefix: "/".into(),
            methods: vec!["POST".into()],
            headers: vec![],
            schemes: vec![],
            park_ms: 60_000,
        };
        Manifest {
            name: "hostile".into(),
            version: "1".into(),
            routes: vec![route],
            state_formats: vec!["hostile/1".into()],
        }
    }

    fn open(&self, _state: &mut State, _at: Moment) -> Result<(), String> {
        Ok(())
    }

    fn configure(&self, state: &mut State, _at: Moment) -> Reaction {
        reaction(state, vec![], false)
    }

    fn tick(&self, state: &mut State, at: Moment) -> Reaction {
        let due = state.wake_at.is_some_and(|due| due <= at.now);
        if due {
            state.wake_at = None;
            state.count += 1;
        }
        let replies = if due { some_parked(state, at, "a change") } else { vec![] };
        reaction(state, replies, due)
    }

    fn restarted(&self, state: &mut State, _at: Moment) -> Reaction {
        let changed = !(state.parked.is_empty() && state.sent.is_empty() && state.calling.is_empty());
        (state.parked, state.sent, state.calling) = (vec![], vec![], vec![]);
        reaction(state, vec![], changed)
    }

    fn drain(&self, state: &mut State, at: Moment) -> Reaction {
        let replies = some_parked(state, at, "drained");
        let changed = !replies.is_empty();
        reaction(state, replies, changed)
    }

    fn outstanding(&self, state: &mut State) -> Pending {
        let mut requests: Vec<u64> = state.parked.iter().chain(&state.sent).copied().collect();
        requests.sort_unstable();
        Pending { requests, calls: state.calling.clone(), wake_at: state.wake_at }
    }

    fn save(&self, state: &mut State, part: u32) -> Option<Vec<u8>> {
        (part == 0).then(|| state.bytes())
    }

    fn load(&self, state: &mut State, part: &[u8]) -> Result<(), LoadError> {
        *state = State::of(part).ok_or_else(|| LoadError::Corrupt("not what it saved".into()))?;
        Ok(())
    }

    fn inspect(&self, state: &mut State) -> Vec<Gauge> {
        vec![Gauge { name: "inputs".into(), labels: vec![], value: state.count as f64 }]
    }

    fn ingest(&self, state: &mut State, at: Moment, _batch: Batch) -> Reaction {
        state.count += 1;
        let replies = some_parked(state, at, "a change");
        reaction(state, replies, true)
    }

    fn identify(&self, _head: &RequestHead, _body: &[u8]) -> Claims {
        Claims {
            credential: None,
            wants_token: false,
            act_as: None,
            accounts: vec![],
            ends_login: false,
            secrets: vec![],
        }
    }

    fn refuse(&self, why: Refusal) -> Reply {
        let status = if matches!(why, Refusal::Fault) { 500 } else { 503 };
        Reply { status, ..reply(0, "refused by the plugin") }
    }

    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        polite_answer(state, at, request)
    }

    fn settled(&self, state: &mut State, _at: Moment, settlements: &[Settlement]) -> Reaction {
        let before = state.parked.len() + state.sent.len();
        for settlement in settlements.iter().filter(|settlement| settlement.end.is_some()) {
            state.parked.retain(|id| *id != settlement.request);
            state.sent.retain(|id| *id != settlement.request);
        }
        let changed = before > state.parked.len() + state.sent.len();
        reaction(state, vec![], changed)
    }

    fn finished(&self, state: &mut State, _at: Moment, call: u64, _outcome: Outcome) -> Reaction {
        let before = state.calling.len();
        state.calling.retain(|other| *other != call);
        let changed = before > state.calling.len();
        reaction(state, vec![], changed)
    }
}

/// Final parts for as many requests that wait as a reaction may answer; a tick has the rest.
fn some_parked(state: &mut State, at: Moment, text: &str) -> Vec<Reply> {
    let now = state.parked.len().min(256);
    let replies = state.parked.drain(..now).map(|id| reply(id, text)).collect();
    if !state.parked.is_empty() {
        state.wake_at = Some(at.now);
    }
    replies
}

/// What a program answers that keeps the rules.
pub fn polite_answer(state: &mut State, at: Moment, request: &Request) -> Reaction {
    let id = request.id;
    state.count += 1;
    match &*request.head.path {
        "/park" => {
            state.parked.push(id);
            reaction(state, vec![], true)
        }
        "/confirm" => {
            state.sent.push(id);
            reaction(state, vec![Reply { confirm: true, ..reply(id, "confirm") }], true)
        }
        "/wake" => {
            state.wake_at = Some(at.now);
            reaction(state, vec![reply(id, "soon")], true)
        }
        "/call" => {
            let call = call(state);
            Reaction { calls: vec![call], ..reaction(state, vec![reply(id, "called")], true) }
        }
        _ => reaction(state, vec![reply(id, &state.count.to_string())], true),
    }
}

/// A reaction with what the state asks for.
pub fn reaction(state: &State, replies: Vec<Reply>, changed: bool) -> Reaction {
    Reaction { replies, calls: vec![], wake_at: state.wake_at, rejections: vec![], logs: vec![], changed }
}

/// A final part.
pub fn reply(to: u64, text: &str) -> Reply {
    Reply { to, status: 200, headers: vec![], body: text.into(), more: false, confirm: false }
}

/// A further call.
pub fn call(state: &mut State) -> Call {
    let id = state.calls;
    state.calls += 1;
    state.calling.push(id);
    let target = CallTarget::HttpPost(HttpTarget { url: "http://192.0.2.1/".into(), headers: vec![] });
    Call { id, target, body: vec![] }
}

impl State {
    /// All of it, as numbers: each list with its length before.
    fn bytes(&self) -> Vec<u8> {
        let lists = [&self.parked, &self.calling, &self.sent];
        let lists = lists.into_iter().flat_map(|list| [list.len() as u64].into_iter().chain(list.iter().copied()));
        let wake_at = [u64::from(self.wake_at.is_some()), self.wake_at.unwrap_or(0)];
        let numbers = [self.count, self.calls].into_iter().chain(wake_at).chain(lists);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    fn of(bytes: &[u8]) -> Option<State> {
        let mut numbers = bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        let (count, calls) = (numbers.next()?, numbers.next()?);
        let (some, wake_at) = (numbers.next()?, numbers.next()?);
        let mut list = || {
            let length = numbers.next()?;
            (0..length).map(|_| numbers.next()).collect::<Option<Vec<u64>>>()
        };
        let (parked, calling, sent) = (list()?, list()?, list()?);
        Some(State { count, calls, parked, calling, sent, wake_at: (some == 1).then_some(wake_at) })
    }
}
