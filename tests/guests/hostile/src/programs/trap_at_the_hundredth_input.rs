//! It works ninety-nine times.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::plugin::{Plugin, State, polite_answer};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        assert!(state.count < 99, "the hundredth");
        polite_answer(state, at, request)
    }
}
