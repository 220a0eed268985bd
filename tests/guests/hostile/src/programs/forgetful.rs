//! It does not know what is open: it forgets a request (`unanswered`) or when it is to be woken (`unwoken`), or keeps what
//! has ended (`unsettled`, `unrestarted`), or remembers what it does not save (`unsaved`).

use std::cell::Cell;

use crate::exports::postbell::notify::lifecycle::Pending;
use crate::exports::postbell::notify::requests::{Request, Settlement};
use crate::exports::postbell::notify::types::{Moment, Reaction};
use crate::parameter;
use crate::plugin::{Plugin, State, polite_answer, reaction, reply};

thread_local! {
    /// Settlements that changed nothing, which are in no journal.
    static IDLE: Cell<u64> = const { Cell::new(0) };
}

pub struct Program;

impl Plugin for Program {
    fn outstanding(&self, state: &mut State) -> Pending {
        let mut requests: Vec<u64> = state.parked.iter().chain(&state.sent).copied().collect();
        requests.sort_unstable();
        let wake_at = state.wake_at.filter(|_| parameter() != "unwoken");
        Pending { requests, calls: state.calling.clone(), wake_at }
    }

    fn answer(&self, state: &mut State, at: Moment, request: &Request) -> Reaction {
        match (&*parameter(), &*request.head.path) {
            ("unanswered", "/park") => {
                state.count += 1;
                reaction(state, vec![], true)
            }
            ("unsaved", "/") => {
                state.count += 1;
                reaction(state, vec![reply(request.id, &IDLE.get().to_string())], true)
            }
            _ => polite_answer(state, at, request),
        }
    }

    fn settled(&self, state: &mut State, _at: Moment, settlements: &[Settlement]) -> Reaction {
        let before = state.parked.len() + state.sent.len();
        if parameter() != "unsettled" {
            for settlement in settlements.iter().filter(|settlement| settlement.end.is_some()) {
                state.parked.retain(|id| *id != settlement.request);
                state.sent.retain(|id| *id != settlement.request);
            }
        }
        let changed = before > state.parked.len() + state.sent.len();
        IDLE.set(IDLE.get() + u64::from(!changed));
        reaction(state, vec![], changed)
    }

    fn restarted(&self, state: &mut State, _at: Moment) -> Reaction {
        let changed = !(state.parked.is_empty() && state.sent.is_empty() && state.calling.is_empty());
        if parameter() != "unrestarted" {
            (state.parked, state.sent, state.calling) = (vec![], vec![], vec![]);
        }
        reaction(state, vec![], changed)
    }
}
