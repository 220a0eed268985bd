//! What waits for a commit: reactions leave in the order of their inputs, once every input fed before is committed.

use std::collections::VecDeque;

/// Things to be released, each when the journal has reached its position.
pub(super) struct Outbox<T> {
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Outbox { waiting: VecDeque::new() }
    }
}

impl<T> Outbox<T> {
    /// `through`: the last input that must be committed before `item` may leave.
    pub(super) fn push(&mut self, through: u64, item: T) {
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| *last <= through), "positions never go back");
        self.waiting.push_back((through, item));
    }

    /// The next thing that may leave now that everything up to `committed` is.
    pub(super) fn release(&mut self, committed: u64) -> Option<T> {
        self.waiting.pop_front_if(|(through, _)| *through <= committed).map(|(_, item)| item)
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What waits, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(_, item)| item)
    }

    /// As `iter`, to alter it.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.iter_mut().map(|(_, item)| item)
    }

    /// Drops what waits for more than `through` to be committed: that will never be.
    pub(super) fn forget(&mut self, through: u64) {
        self.waiting.retain(|(last, _)| *last <= through);
    }

    /// Everything that waits: the append that it waits for has failed.
    pub(super) fn void(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overtakes_what_waits_for_a_commit() {
        let mut outbox = Outbox::default();
        outbox.push(1, "journaled");
        outbox.push(1, "shows what the first one did");
        outbox.push(2, "journaled too");
        assert_eq!(outbox.release(0), None);
        assert_eq!(outbox.release(1), Some("journaled"));
        assert_eq!(outbox.release(1), Some("shows what the first one did"));
        assert_eq!(outbox.release(1), None);
        assert_eq!(outbox.void().collect::<Vec<_>>(), ["journaled too"]);
        assert_eq!(outbox.release(9), None);
    }
}
