//! A Postbell plugin that tells JMAP clients what changed, by EventSource (RFC 8620, section 7.3).
//!
//! All that it decides is in [`Push`], which is plain Rust and is tested natively; this file only hands the calls of the
//! contract on to it.

mod event;
mod push;
mod query;
mod settings;
mod states;
mod streams;

use std::cell::RefCell;

pub use exports::postbell::notify::{changes, lifecycle, outbound, requests, types};
pub use push::Push;

use changes::Batch;
use lifecycle::{Gauge, LoadError, Manifest, Pending, Restart, Route};
use outbound::Outcome;
use requests::{Claims, Refusal, Request, RequestHead, Settlement};
use types::{Moment, Reaction, Reply};

wit_bindgen::generate!({ path: "../../wit", world: "notifier" });

/// The layout of what is saved. Another layout gets another name.
const FORMAT: &str = "jmap-push/1";

/// The most bytes that a part of a snapshot may have.
const PART: usize = 1 << 20;

/// An instance: the state, and what is half saved or half loaded.
#[derive(Default)]
struct Instance {
    push: Push,
    saved: Vec<u8>,
    loaded: Vec<u8>,
}

thread_local! {
    static INSTANCE: RefCell<Instance> = RefCell::default();
}

fn with<T>(call: impl FnOnce(&mut Push) -> T) -> T {
    INSTANCE.with_borrow_mut(|instance| call(&mut instance.push))
}

/// What the component exports.
pub struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> Manifest {
        let route = Route {
            prefix: "/jmap/eventsource".into(),
            methods: vec!["GET".into()],
            headers: vec!["last-event-id".into()],
            schemes: vec!["basic".into()],
            park_ms: settings::MOST_STREAM_MINUTES * 60_000 + 60_000,
        };
        Manifest {
            name: "jmap-push".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            routes: vec![route],
            state_formats: vec![FORMAT.into()],
        }
    }

    fn open(_at: Moment, _seed: Vec<u8>, settings: Vec<(String, String)>) -> Result<(), String> {
        // The seed is for ids that must not be guessed; a client of this protocol holds none.
        with(|push| push.configure(&settings)).map(|_| ())
    }

    fn configure(at: Moment, settings: Vec<(String, String)>) -> Result<Reaction, String> {
        with(|push| {
            let others = push.configure(&settings)?;
            let turn = push.turn(at);
            Ok(Reaction { changed: others || turn.changed, ..turn })
        })
    }

    fn tick(at: Moment) -> Reaction {
        with(|push| push.turn(at))
    }

    fn restarted(_at: Moment, how: Restart) -> Reaction {
        with(|push| push.restarted(how))
    }

    fn drain(at: Moment) -> Reaction {
        with(|push| push.drain(at))
    }

    fn outstanding() -> Pending {
        with(|push| push.outstanding())
    }

    fn save(part: u32) -> Option<Vec<u8>> {
        INSTANCE.with_borrow_mut(|Instance { push, saved, .. }| {
            if part == 0 {
                *saved = push.to_bytes();
            }
            saved.chunks(PART).nth(part as usize).map(<[u8]>::to_vec)
        })
    }

    fn load(format: String, part: Vec<u8>, more: bool) -> Result<(), LoadError> {
        if format != FORMAT {
            return Err(LoadError::UnknownFormat(format));
        }
        INSTANCE.with_borrow_mut(|Instance { push, loaded, .. }| {
            loaded.extend(part);
            if !more {
                *push = Push::from_bytes(&std::mem::take(loaded)).map_err(LoadError::Corrupt)?;
            }
            Ok(())
        })
    }

    fn inspect() -> Vec<Gauge> {
        with(|push| push.inspect())
    }
}

impl changes::Guest for Component {
    fn ingest(at: Moment, batch: Batch) -> Reaction {
        with(|push| push.ingest(at, &batch))
    }
}

impl requests::Guest for Component {
    /// The login is HTTP's own: nothing in the body is of interest.
    fn identify(_head: RequestHead, _body: Vec<u8>) -> Claims {
        Claims {
            credential: None,
            wants_token: false,
            act_as: None,
            accounts: vec![],
            ends_login: false,
            secrets: vec![],
        }
    }

    fn refuse(_head: RequestHead, _body: Vec<u8>, why: Refusal) -> Reply {
        event::refusal(why)
    }

    fn answer(at: Moment, request: Request) -> Reaction {
        with(|push| push.answer(at, &request))
    }

    fn settled(_at: Moment, settlements: Vec<Settlement>) -> Reaction {
        with(|push| push.settled(&settlements))
    }
}

impl outbound::Guest for Component {
    /// This plugin makes no calls.
    fn finished(_at: Moment, _call: u64, _outcome: Outcome) -> Reaction {
        with(|push| push.nothing())
    }
}

#[cfg(target_arch = "wasm32")]
export!(Component);
