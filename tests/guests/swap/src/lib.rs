//! A small plugin in many versions, for the tests of swaps.
//!
//! It counts changes. `POST /guest` with the body `stream` gets the count, and after each change again, in confirmed
//! parts; with `wait` it is answered by the next change; with anything else at once, after `call` has asked for an outbound
//! call, and `wake` for a tick in a second, which counts as a thousand changes. A stream that ends is forgotten.
//!
//! Which version it is stands in [`VERSION`], which the tests overwrite in the component's bytes.

#![allow(missing_docs, reason = "the contract documents what is generated from it")]
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "exported only to WebAssembly"))]

wit_bindgen::generate!({ path: "../../../wit", world: "notifier" });

use std::cell::RefCell;
use std::collections::BTreeSet;

use exports::postbell::notify::{changes, lifecycle, outbound, requests, types};
use lifecycle::LoadError;
use types::{Call, CallTarget, Moment, Reaction, Reply, TcpTarget};

/// Uses the memory that the module starts with.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// At which of the inputs of an instance versions fail that do so later.
const FAILS_AT: u32 = 50;

/// How long `wake` sleeps, in milliseconds; the late version longer.
const SLEEP: u64 = 1_000;
const LATE_SLEEP: u64 = 5_000;

/// The version's name follows `version=`, filled up with blanks.
static VERSION: [u8; 48] = *b"postbell-swap-guest version=first               ";

fn version() -> String {
    // SAFETY: it is a reference. Volatile, because it is not what the compiler saw.
    let bytes = unsafe { std::ptr::read_volatile(&raw const VERSION) };
    String::from_utf8_lossy(&bytes[28..]).trim_end().to_owned()
}

fn is(name: &str) -> bool {
    version() == name
}

/// All that there is.
#[derive(Default)]
struct State {
    count: u64,
    streams: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
    calls: BTreeSet<u64>,
    wake_at: Option<u64>,
    /// Not part of the state: how many inputs this instance was given.
    inputs: u32,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
    static LOADED: RefCell<Vec<u8>> = RefCell::default();
}

impl State {
    fn input(&mut self) {
        self.inputs += 1;
        assert!(!(is("hundredth") && self.inputs == 100), "the hundredth input");
        if is("endless") && self.inputs == FAILS_AT {
            loop {
                std::hint::black_box(());
            }
        }
        if is("memory") && self.inputs == FAILS_AT {
            std::hint::black_box(vec![1_u8; 600 << 20]);
        }
    }

    fn text(&self) -> String {
        let list = |ids: &BTreeSet<u64>| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let wake_at = self.wake_at.into_iter().collect();
        let lists = [&self.streams, &self.waiting, &self.calls, &wake_at].map(list);
        format!("{};{}", self.count, lists.join(";"))
    }

    fn read(text: &str) -> Option<State> {
        let mut fields = text.split(';');
        let count = fields.next()?.parse().ok()?;
        let mut list = || -> Option<BTreeSet<u64>> {
            fields.next()?.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok()).collect()
        };
        let (streams, waiting, calls, wake_at) = (list()?, list()?, list()?, list()?.first().copied());
        Some(State { count, streams, waiting, calls, wake_at, inputs: 0 })
    }

    fn say(&self) -> String {
        if is("answers") { format!("count={}", self.count) } else { self.count.to_string() }
    }

    fn tell_streams(&self) -> Vec<Reply> {
        self.streams.iter().map(|to| reply(*to, self.say(), true, true)).collect()
    }

    fn reaction(&self, replies: Vec<Reply>, changed: bool) -> Reaction {
        Reaction { replies, calls: vec![], wake_at: self.wake_at, rejections: vec![], logs: vec![], changed }
    }
}

/// Where nobody is called by the host of a test.
fn call(id: u64) -> Call {
    Call { id, target: CallTarget::Tcp(TcpTarget { address: "listener.example".into(), port: 1 }), body: vec![b'!'] }
}

fn reply(to: u64, body: String, more: bool, confirm: bool) -> Reply {
    Reply { to, status: 200, headers: vec![], body: body.into_bytes(), more, confirm }
}

fn with<T>(call: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(call)
}

struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Manifest {
        assert!(!is("describe"), "describe");
        let formats: &[&str] = match &*version() {
            "format" => &["swap-guest/2"],
            "both" => &["swap-guest/2", "swap-guest/1"],
            _ => &["swap-guest/1"],
        };
        lifecycle::Manifest {
            name: "swap-guest".into(),
            version: version(),
            routes: vec![lifecycle::Route {
                prefix: "/guest".into(),
                methods: vec!["POST".into()],
                headers: vec![],
                schemes: vec![],
                park_ms: 3_600_000,
            }],
            state_formats: formats.iter().map(|format| (*format).to_owned()).collect(),
        }
    }

    fn open(_: Moment, _: Vec<u8>, _: Vec<(String, String)>) -> Result<(), String> {
        with(State::input);
        Ok(())
    }

    fn configure(_: Moment, _: Vec<(String, String)>) -> Result<Reaction, String> {
        with(|state| {
            state.input();
            Ok(state.reaction(vec![], true))
        })
    }

    fn tick(at: Moment) -> Reaction {
        with(|state| {
            let due = state.wake_at.take_if(|due| *due <= at.now).is_some();
            if !due {
                return state.reaction(vec![], false);
            }
            state.count += 1_000;
            state.reaction(state.tell_streams(), true)
        })
    }

    fn restarted(_: Moment, _: lifecycle::Restart) -> Reaction {
        with(|state| {
            state.input();
            (state.streams, state.waiting, state.calls) = Default::default();
            state.reaction(vec![], true)
        })
    }

    fn drain(_: Moment) -> Reaction {
        with(|state| {
            let open: Vec<u64> = state.streams.iter().chain(&state.waiting).copied().collect();
            (state.streams, state.waiting) = Default::default();
            state.reaction(open.into_iter().map(|to| reply(to, "drained".into(), false, false)).collect(), true)
        })
    }

    fn outstanding() -> lifecycle::Pending {
        with(|state| {
            let requests: BTreeSet<u64> = state.streams.union(&state.waiting).copied().collect();
            let (requests, calls) = (requests.into_iter().collect(), state.calls.iter().copied().collect());
            lifecycle::Pending { requests, calls, wake_at: state.wake_at }
        })
    }

    fn save(part: u32) -> Option<Vec<u8>> {
        (part == 0).then(|| with(|state| state.text().into_bytes()))
    }

    fn load(format: String, part: Vec<u8>, more: bool) -> Result<(), LoadError> {
        assert!(!is("load"), "load");
        if !Self::describe().state_formats.contains(&format) {
            return Err(LoadError::UnknownFormat(format));
        }
        LOADED.with_borrow_mut(|loaded| loaded.extend(part));
        if !more {
            let text = LOADED.with_borrow_mut(std::mem::take);
            let state = String::from_utf8(text).ok().and_then(|text| State::read(&text));
            with(|now| state.map(|state| *now = state)).ok_or(LoadError::Corrupt("no state".into()))?;
        }
        Ok(())
    }

    fn inspect() -> Vec<lifecycle::Gauge> {
        let gauge = |name: &str, value| lifecycle::Gauge { name: name.into(), labels: vec![], value };
        with(|state| vec![gauge("count", state.count as f64), gauge("calls", state.calls.len() as f64)])
    }
}

impl changes::Guest for Component {
    fn ingest(_: Moment, batch: changes::Batch) -> Reaction {
        with(|state| {
            state.input();
            state.count += batch.accounts.iter().map(|account| account.changes.len() as u64).sum::<u64>();
            let (say, mut replies) = (state.say(), state.tell_streams());
            if !is("silent") {
                let waiting = std::mem::take(&mut state.waiting);
                replies.extend(waiting.into_iter().map(|to| reply(to, say.clone(), false, false)));
            }
            state.reaction(replies, true)
        })
    }
}

impl requests::Guest for Component {
    fn identify(_: requests::RequestHead, _: Vec<u8>) -> requests::Claims {
        requests::Claims {
            credential: None,
            wants_token: false,
            act_as: None,
            accounts: vec![],
            ends_login: false,
            secrets: vec![],
        }
    }

    fn refuse(_: requests::RequestHead, _: Vec<u8>, _: requests::Refusal) -> Reply {
        reply(0, version(), false, false)
    }

    fn answer(at: Moment, request: requests::Request) -> Reaction {
        with(|state| {
            state.input();
            let id = request.id;
            match &*request.body {
                b"stream" => {
                    state.streams.insert(id);
                    state.reaction(vec![reply(id, state.say(), true, true)], true)
                }
                b"wait" if is("eager") => state.reaction(vec![reply(id, "eager".into(), false, false)], false),
                b"wait" => {
                    state.waiting.insert(id);
                    state.reaction(vec![], true)
                }
                b"call" if !is("mute") => {
                    state.calls.insert(id);
                    let said = state.reaction(vec![reply(id, state.say(), false, false)], true);
                    Reaction { calls: vec![call(id)], ..said }
                }
                b"wake" => {
                    state.wake_at = Some(at.now + if is("late") { LATE_SLEEP } else { SLEEP });
                    state.reaction(vec![reply(id, state.say(), false, false)], true)
                }
                b"fault" => panic!("asked for"),
                b"fault the first" if is("second") => panic!("asked for"),
                _ => state.reaction(vec![reply(id, state.say(), false, false)], false),
            }
        })
    }

    fn settled(_: Moment, settlements: Vec<requests::Settlement>) -> Reaction {
        with(|state| {
            state.input();
            let before = state.text();
            for settlement in settlements.iter().filter(|settlement| settlement.end.is_some()) {
                state.streams.remove(&settlement.request);
                state.waiting.remove(&settlement.request);
            }
            let changed = state.text() != before;
            state.reaction(vec![], changed)
        })
    }
}

impl outbound::Guest for Component {
    fn finished(_: Moment, call: u64, _: outbound::Outcome) -> Reaction {
        with(|state| {
            let known = state.calls.remove(&call);
            state.reaction(vec![], known)
        })
    }
}

#[cfg(target_arch = "wasm32")]
export!(Component);
