//! It has a thousand calls made for each request.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::plugin::{Plugin, State, call, polite_answer};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        let answered = polite_answer(state, at, request);
        Reaction { calls: (0..1_000).map(|_| call(state)).collect(), ..answered }
    }
}
