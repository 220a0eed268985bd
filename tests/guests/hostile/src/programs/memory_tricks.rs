//! It answers by what it finds in memory that it never wrote, and by where its memory lies: what is not in the journal
//! has left its traces there.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::plugin::{Plugin, State, reaction, reply};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, _at: Moment, request: &Request) -> Reaction {
        let found = found();
        if request.head.path == "/litter" {
            std::mem::forget(std::hint::black_box(vec![0xA5_u8; 100_000]));
            return reaction(state, vec![reply(request.id, "littered")], false);
        }
        state.count += 1;
        reaction(state, vec![reply(request.id, &found)], true)
    }
}

/// A digest of the heap's next free memory, and its address.
fn found() -> String {
    let memory = Vec::<u8>::with_capacity(200_000);
    let address = memory.as_ptr();
    // SAFETY: there is none: it reads what was never written. In WebAssembly that is some byte.
    let sum = (0..200_000).map(|offset| u64::from(unsafe { address.add(offset).read_volatile() })).sum::<u64>();
    format!("{sum} at {address:p}")
}
