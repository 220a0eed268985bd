//! It gives more than a reaction may hold: a `body`, many `replies`, long `logs`, or a body that is said to have 1 GiB and
//! has not (`lie`).

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{LogLevel, LogLine, Moment, Reaction, Reply};
use crate::parameter;
use crate::plugin::{Plugin, State, polite_answer, reaction, reply};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        let to = request.id;
        let with_body = |body| Reply { body, ..reply(to, "") };
        let part = || Reply { more: true, ..reply(to, "x") };
        let line = || LogLine { level: LogLevel::Info, message: "x".repeat(1 << 20) };
        let replies = match &*parameter() {
            "body" => vec![with_body(vec![b'x'; 200 << 20])],
            // SAFETY: there is none. It tells the host of memory that it does not have; the host must not believe it.
            "lie" => vec![with_body(unsafe { Vec::from_raw_parts(16 as *mut u8, 1 << 30, 1 << 30) })],
            "replies" => (0..100_000).map(|_| part()).collect(),
            _ => return Reaction { logs: (0..100).map(|_| line()).collect(), ..polite_answer(state, at, request) },
        };
        reaction(state, replies, true)
    }
}
