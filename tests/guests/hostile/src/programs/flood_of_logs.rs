//! It has much to say.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{LogLevel, LogLine, Moment, Reaction};
use crate::plugin::{Plugin, State, polite_answer};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        let line = |number| LogLine { level: LogLevel::Info, message: format!("{number}\nforged line") };
        Reaction { logs: (0..10_000).map(line).collect(), ..polite_answer(state, at, request) }
    }
}
