//! Plugins that misbehave, all in one component: the text in [`CHOSEN`] says which one it is. A test puts it there, in
//! the bytes of the component.
//!
//! A program is a file in `programs/`, and what it does not do otherwise, it does as `plugin.rs` has it: a plugin that
//! counts its inputs and parks whoever asks for it.

#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "exported only to WebAssembly"))]
#![allow(missing_docs, reason = "the contract is documented in wit/")]

mod plugin;

use std::cell::RefCell;

use crate::plugin::{Plugin, State};
use exports::postbell::notify::changes::Batch;
use exports::postbell::notify::lifecycle::{Gauge, LoadError, Manifest, Pending, Restart};
use exports::postbell::notify::outbound::Outcome;
use exports::postbell::notify::requests::{Claims, Refusal, Request, RequestHead, Settlement};
use exports::postbell::notify::types::{Moment, Reaction, Reply};
use exports::postbell::notify::{changes, lifecycle, outbound, requests};

wit_bindgen::generate!({ path: "../../../wit", world: "notifier" });

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// Uses the memory that the module starts with.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// `PROGRAM` or `PROGRAM PARAMETER`, filled up with blanks, between two marks.
#[used]
static CHOSEN: [u8; 80] = *b"<postbell-program>plain                                         </postbell-prog>";

/// The two words of [`CHOSEN`], read as what may have been altered after it was compiled.
fn chosen() -> (String, String) {
    // SAFETY: it is a reference to a static.
    let bytes = unsafe { std::ptr::read_volatile(&CHOSEN) };
    let text = String::from_utf8_lossy(&bytes[18..64]).into_owned();
    let mut words = text.split_whitespace().map(str::to_owned);
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

/// What the program was told beside its name.
fn parameter() -> String {
    chosen().1
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Enters a function of the contract.
fn enter<T>(function: &str, call: impl FnOnce(&dyn Plugin, &mut State) -> T) -> T {
    let name = chosen().0;
    let (_, program) = PROGRAMS.iter().find(|(known, _)| *known == name).expect("the test names a program");
    program.enter(function);
    STATE.with_borrow_mut(|state| call(*program, state))
}

/// What the component exports.
struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> Manifest {
        enter("describe", |program, _| program.describe())
    }

    fn open(at: Moment, _seed: Vec<u8>, _settings: Vec<(String, String)>) -> Result<(), String> {
        enter("open", |program, state| program.open(state, at))
    }

    fn configure(at: Moment, _settings: Vec<(String, String)>) -> Result<Reaction, String> {
        enter("configure", |program, state| Ok(program.configure(state, at)))
    }

    fn tick(at: Moment) -> Reaction {
        enter("tick", |program, state| program.tick(state, at))
    }

    fn restarted(at: Moment, _how: Restart) -> Reaction {
        enter("restarted", |program, state| program.restarted(state, at))
    }

    fn drain(at: Moment) -> Reaction {
        enter("drain", |program, state| program.drain(state, at))
    }

    fn outstanding() -> Pending {
        enter("outstanding", |program, state| program.outstanding(state))
    }

    fn save(part: u32) -> Option<Vec<u8>> {
        enter("save", |program, state| program.save(state, part))
    }

    fn load(format: String, part: Vec<u8>, _more: bool) -> Result<(), LoadError> {
        if format != "hostile/1" {
            return Err(LoadError::UnknownFormat(format));
        }
        enter("load", |program, state| program.load(state, &part))
    }

    fn inspect() -> Vec<Gauge> {
        enter("inspect", |program, state| program.inspect(state))
    }
}

impl changes::Guest for Component {
    fn ingest(at: Moment, batch: Batch) -> Reaction {
        enter("ingest", |program, state| program.ingest(state, at, batch))
    }
}

impl requests::Guest for Component {
    fn identify(head: RequestHead, body: Vec<u8>) -> Claims {
        enter("identify", |program, _| program.identify(&head, &body))
    }

    fn refuse(_head: RequestHead, _body: Vec<u8>, why: Refusal) -> Reply {
        enter("refuse", |program, _| program.refuse(why))
    }

    fn answer(at: Moment, request: Request) -> Reaction {
        enter("answer", |program, state| program.answer(state, at, &request))
    }

    fn settled(at: Moment, settlements: Vec<Settlement>) -> Reaction {
        enter("settled", |program, state| program.settled(state, at, &settlements))
    }
}

impl outbound::Guest for Component {
    fn finished(at: Moment, call: u64, outcome: Outcome) -> Reaction {
        enter("finished", |program, state| program.finished(state, at, call, outcome))
    }
}

#[cfg(target_arch = "wasm32")]
export!(Component);
