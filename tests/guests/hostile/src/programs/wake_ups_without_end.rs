//! Once told, it asks for a tick at once in every tick: that does nothing (`idle`), that says so (`unchanged`), or that is
//! soon (`soon`).

use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::parameter;
use crate::plugin::{Plugin, State, reaction};

pub struct Program;

impl Plugin for Program {
    fn tick(&self, state: &mut State, at: Moment) -> Reaction {
        state.wake_at = Some(if parameter() == "soon" { at.now + 1 } else { 0 });
        reaction(state, vec![], parameter() != "unchanged")
    }
}
