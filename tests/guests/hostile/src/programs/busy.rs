//! It keeps every rule, and computes for long at each request.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::plugin::{Plugin, State, polite_answer};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        for number in 0..5_000_000_u64 {
            std::hint::black_box(number);
        }
        polite_answer(state, at, request)
    }
}
