//! It breaks the rule that the parameter names.

use crate::exports::postbell::notify::requests::{Claims, Request, RequestHead, Span};
use crate::exports::postbell::notify::types::{Moment, Place, Reaction, Rejection, Reply};
use crate::parameter;
use crate::plugin::{Plugin, State, call, polite_answer, reaction, reply};

pub struct Program;

impl Plugin for Program {
    fn identify(&self, head: &RequestHead, body: &[u8]) -> Claims {
        let none = Claims {
            credential: None,
            wants_token: false,
            act_as: None,
            accounts: vec![],
            ends_login: false,
            secrets: vec![],
        };
        match (&*parameter(), &*head.path) {
            ("secrets-beyond-the-body", "/break") => {
                Claims { secrets: vec![Span { start: body.len() as u32, length: 1 }], ..none }
            }
            _ => none,
        }
    }

    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        if request.head.path != "/break" {
            return polite_answer(state, at, request);
        }
        let id = request.id;
        let good = reply(id, "good");
        let one = |reply| reaction(&State::default(), vec![reply], true);
        match &*parameter() {
            "neighbours-request" => one(reply(id + 1, "not yours")),
            "second-final-part" => reaction(state, vec![good, reply(id, "again")], true),
            "status-below" => one(Reply { status: 199, ..good }),
            "status-above" => one(Reply { status: 600, ..good }),
            "header-injection" => one(Reply { headers: vec![("x-a".into(), "b\r\nset-cookie: c".into())], ..good }),
            "header-name" => one(Reply { headers: vec![("x a:".into(), "b".into())], ..good }),
            "unchanged-but-parked" => reaction(state, vec![], false),
            "unchanged-but-open" => reaction(state, vec![Reply { more: true, ..good }], false),
            "unchanged-but-called" => Reaction { calls: vec![call(state)], ..reaction(state, vec![good], false) },
            "reused-call" => {
                let first = call(state);
                let second = crate::exports::postbell::notify::types::Call { id: first.id, ..call(state) };
                Reaction { calls: vec![first, second], ..reaction(state, vec![good], true) }
            }
            "rejections" => {
                let rejection = Rejection { place: Place::Change((0, 0)), reason: "why not".into() };
                Reaction { rejections: vec![rejection], ..one(good) }
            }
            other => panic!("no such rule: {other}"),
        }
    }
}
