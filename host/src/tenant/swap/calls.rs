//! The calls that the live version asked for, beside those that the follower would have.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::types::Call;

#[derive(Default)]
pub(super) struct Calls {
    /// Those that only the follower asked for, as far as is known.
    own: BTreeMap<u64, Call>,
    /// Those that only the live version asked for.
    live: BTreeMap<u64, Call>,
    /// Those whose outcome the follower waits for.
    pending: BTreeSet<u64>,
}

/// What is to be made good when the follower takes over.
#[derive(Debug, Default, PartialEq)]
pub(in crate::tenant) struct CallsApart {
    /// To be made.
    pub(in crate::tenant) own: Vec<Call>,
    /// To be forgotten.
    pub(in crate::tenant) live: Vec<u64>,
    /// All that the follower waits for. What the host does not know of these has failed: an earlier swap forgot it.
    pub(in crate::tenant) pending: Vec<u64>,
}

impl Calls {
    /// Of a follower that begins with a state in which it waits for these.
    pub(super) fn pending(calls: &[u64]) -> Calls {
        Calls { pending: calls.iter().copied().collect(), ..Calls::default() }
    }

    /// The follower has asked for these.
    pub(super) fn asked(&mut self, own: &[Call]) {
        self.pending.extend(own.iter().map(|call| call.id));
    }

    /// The two made different things of an input. Live: none: only that is known.
    pub(super) fn differed(&mut self, live: Option<&[Call]>, own: &[Call]) {
        for call in own {
            if self.live.get(&call.id) == Some(call) {
                self.live.remove(&call.id);
            } else {
                self.own.insert(call.id, call.clone());
            }
        }
        for call in live.unwrap_or_default() {
            if self.own.get(&call.id) == Some(call) {
                self.own.remove(&call.id);
            } else {
                self.live.insert(call.id, call.clone());
            }
        }
    }

    /// A call of the live version has ended. Whether the follower may hear of that.
    pub(super) fn finished(&mut self, id: u64) -> bool {
        let only_live = self.live.remove(&id).is_some();
        let told = !only_live && !self.own.contains_key(&id);
        if told {
            self.pending.remove(&id);
        }
        told
    }

    /// Nothing of before counts any more.
    pub(super) fn restarted(&mut self) {
        *self = Calls::default();
    }

    pub(super) fn take_apart(&mut self) -> CallsApart {
        let Calls { own, live, pending } = std::mem::take(self);
        CallsApart {
            own: own.into_values().collect(),
            live: live.into_keys().collect(),
            pending: pending.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::types::{CallTarget, TcpTarget};

    fn call(id: u64, body: &str) -> Call {
        Call { id, target: CallTarget::Tcp(TcpTarget { address: "a".into(), port: 1 }), body: body.into() }
    }

    #[test]
    fn the_same_call_at_another_time_is_the_same() {
        let mut calls = Calls::default();
        calls.differed(Some(&[call(1, "a"), call(2, "b")]), &[]);
        calls.differed(Some(&[]), &[call(1, "a"), call(3, "c")]);
        assert!(calls.finished(1), "both asked for it");
        let apart = CallsApart { own: vec![call(3, "c")], live: vec![2], pending: vec![] };
        assert_eq!(calls.take_apart(), apart);
    }

    #[test]
    fn the_end_of_anothers_call_is_not_told() {
        let mut calls = Calls::default();
        calls.differed(Some(&[call(1, "a"), call(2, "b")]), &[call(1, "A")]);
        assert!(!calls.finished(1) && !calls.finished(2));
        assert!(calls.finished(9), "it is older than the follower");
        assert_eq!(calls.take_apart(), CallsApart { own: vec![call(1, "A")], live: vec![], pending: vec![] });
    }

    #[test]
    fn what_the_follower_waits_for_is_known() {
        let mut calls = Calls::pending(&[1, 2]);
        calls.asked(&[call(3, "a"), call(4, "b")]);
        calls.differed(Some(&[]), &[call(4, "b")]);
        assert!(calls.finished(1) && calls.finished(3) && !calls.finished(4));
        assert_eq!(calls.take_apart().pending, [2, 4]);
    }
}
