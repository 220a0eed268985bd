//! The calls that the plugin waits for, and what is known of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::contract::outbound::Outcome;

/// The calls of one tenant, from the reaction that asks for one to the input that tells its outcome.
#[derive(Default)]
pub(super) struct Calls {
    awaited: BTreeMap<u64, Stage>,
    /// How many of them are on their way.
    flying: usize,
    /// What the plugin is still to be told. An outcome stays here until the plugin has it: the instance may fail on it.
    outcomes: VecDeque<(u64, Outcome)>,
    /// The next call that is made: a plugin's number might come twice, in two lives of its instance.
    next_ticket: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its reaction is not committed.
    Waiting,
    /// It was made, under this ticket.
    Flying(u64),
    /// Its outcome waits for being told.
    Ended,
}

/// What becomes of a call whose reaction is committed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// It is to be made, under this ticket.
    Make(u64),
    /// Too many are on their way; the plugin is told that it failed.
    TooMany,
    /// Nobody waits for it any more.
    Unwanted,
}

impl Calls {
    /// Whether the plugin waits for none, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    /// How many are on their way.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    /// A reaction asks for it.
    pub(super) fn wanted(&mut self, id: u64) {
        self.set(id, Some(Stage::Waiting));
    }

    /// Its reaction is committed.
    pub(super) fn start(&mut self, id: u64, most: usize) -> Start {
        if self.awaited.get(&id) != Some(&Stage::Waiting) {
            return Start::Unwanted;
        }
        if self.flying >= most {
            self.end(id, Outcome::Failed("too many calls at once".into()));
            return Start::TooMany;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.set(id, Some(Stage::Flying(ticket)));
        Start::Make(ticket)
    }

    /// It has ended; false if nobody waits for it any more.
    pub(super) fn ended(&mut self, id: u64, ticket: u64, outcome: Outcome) -> bool {
        let awaited = self.awaited.get(&id) == Some(&Stage::Flying(ticket));
        if awaited {
            self.end(id, outcome);
        }
        awaited
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        self.set(id, Some(Stage::Ended));
        self.outcomes.push_back((id, outcome));
    }

    /// What the plugin is to be told next.
    pub(super) fn outcome(&self) -> Option<&(u64, Outcome)> {
        self.outcomes.front()
    }

    /// How many outcomes it is still to be told.
    pub(super) fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// The plugin was told its outcome.
    pub(super) fn told(&mut self, id: u64) {
        self.set(id, None);
        match self.outcomes.front() {
            Some((first, _)) if *first == id => drop(self.outcomes.pop_front()),
            _ => self.outcomes.retain(|(other, _)| *other != id),
        }
    }

    /// The plugin waits for none of them any more.
    pub(super) fn forget(&mut self) {
        (self.awaited, self.flying) = (BTreeMap::new(), 0);
        self.outcomes.clear();
    }

    /// After every load: what the plugin waits for goes on where it was; `outbox` has what is still to be made, and what
    /// is neither there nor on its way has failed. What only the host knows is forgotten.
    pub(super) fn reconcile(&mut self, pending: &[u64], outbox: &BTreeSet<u64>) {
        let pending: BTreeSet<u64> = pending.iter().copied().collect();
        let waits = |id: &u64, stage: &Stage| match stage {
            Stage::Waiting => outbox.contains(id),
            Stage::Flying(_) | Stage::Ended => true,
        };
        self.awaited.retain(|id, stage| pending.contains(id) && waits(id, stage));
        self.flying = self.awaited.values().filter(|stage| matches!(stage, Stage::Flying(_))).count();
        self.outcomes.retain(|(id, _)| pending.contains(id));
        for id in pending {
            if !self.awaited.contains_key(&id) {
                self.end(id, Outcome::Failed("the host lost it".into()));
            }
        }
    }

    fn set(&mut self, id: u64, stage: Option<Stage>) {
        self.flying += usize::from(matches!(stage, Some(Stage::Flying(_))));
        let former = match stage {
            Some(stage) => self.awaited.insert(id, stage),
            None => self.awaited.remove(&id),
        };
        self.flying -= usize::from(matches!(former, Some(Stage::Flying(_))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(why: &str) -> Outcome {
        Outcome::Failed(why.into())
    }

    /// Calls of these numbers, on their way, with the number as the ticket's.
    fn flying<const N: usize>(ids: [u64; N]) -> Calls {
        let mut calls = Calls::default();
        for id in ids {
            calls.next_ticket = id;
            calls.wanted(id);
            assert_eq!(calls.start(id, N), Start::Make(id));
        }
        calls
    }

    /// Everything that the plugin is told.
    fn told(mut calls: Calls) -> Vec<(u64, Outcome)> {
        let mut told = Vec::new();
        while let Some((id, outcome)) = calls.outcome().cloned() {
            calls.told(id);
            told.push((id, outcome));
        }
        assert_eq!(calls.flying(), calls.awaited.len(), "what was told is forgotten");
        told
    }

    #[test]
    fn an_outcome_is_told_once_and_stays_until_then() {
        let mut calls = flying([1, 2]);
        assert!(calls.ended(2, 2, failed("a")));
        assert!(!calls.ended(2, 2, failed("b")), "it has ended already");
        assert!(!calls.ended(3, 3, failed("c")), "nobody asked for it");
        assert!(!calls.ended(1, 9, failed("d")), "it is another call of that number");
        assert_eq!(calls.flying(), 1);
        assert_eq!(calls.outcome(), calls.outcome());
        assert_eq!(told(calls), [(2, failed("a"))]);
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let mut calls = flying([1, 2]);
        calls.wanted(3);
        assert_eq!(calls.start(3, 2), Start::TooMany);
        assert_eq!(calls.start(3, 9), Start::Unwanted, "it is not made later");
        assert_eq!(told(calls), [(3, failed("too many calls at once"))]);
    }

    #[test]
    fn after_a_load_both_sides_know_the_same() {
        let mut calls = flying([1, 2, 3, 4]);
        assert!(calls.ended(3, 3, failed("late")));
        assert!(calls.ended(4, 4, failed("unknown to the plugin")));
        for id in [5, 6, 7] {
            calls.wanted(id);
        }
        // The plugin does not know 2, 4 and 7; the host never heard of 8; the reaction with 6 is void.
        calls.reconcile(&[1, 3, 5, 6, 8], &BTreeSet::from([5, 7]));
        assert_eq!(calls.flying(), 1);
        assert!(!calls.ended(2, 2, failed("late too")));
        assert_eq!((calls.start(5, 9), calls.start(7, 9)), (Start::Make(5), Start::Unwanted));
        let lost = || failed("the host lost it");
        assert_eq!(told(calls), [(3, failed("late")), (6, lost()), (8, lost())]);
    }

    #[test]
    fn after_a_restart_nothing_of_before_counts() {
        let mut calls = flying([1, 2]);
        assert!(calls.ended(1, 1, failed("a")));
        calls.wanted(3);
        calls.forget();
        assert_eq!((calls.start(3, 9), calls.flying()), (Start::Unwanted, 0));
        assert!(!calls.ended(2, 2, failed("b")));
        assert_eq!(told(calls), []);
    }
}
