//! It takes all the memory that it can have.

use crate::exports::postbell::notify::requests::Request;
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::plugin::{Plugin, State};

pub struct Program;

impl Plugin for Program {
    fn answer(&self, _state: &mut State, _at: Moment, _request: &Request) -> Reaction {
        let mut all = Vec::new();
        loop {
            all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}
