//! It counts, and says that nothing was changed.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::plugin::{Plugin, State, polite_answer};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        Reaction { changed: request.head.path == "/true", ..polite_answer(state, at, request) }
    }
}
