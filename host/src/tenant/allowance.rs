//! So much in a minute: what a tenant may have of something, all at once or evenly.

/// How many parts one of whatever is allowed has, so that a minute's share of a millisecond is a whole number.
const PARTS: u64 = 60_000;

/// A stock that refills evenly, up to what may be taken at once.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    per_minute: u64,
    at_once: u64,
    parts: u64,
    at: u64,
}

impl Allowance {
    /// All of a minute's is there at `now`, in monotonic milliseconds, and may be taken at once.
    pub(super) fn new(per_minute: u64, now: u64) -> Allowance {
        Allowance::at_once(per_minute, per_minute, now)
    }

    /// Only so many may be taken at once.
    pub(super) fn at_once(per_minute: u64, at_once: u64, now: u64) -> Allowance {
        Allowance { per_minute, at_once, parts: at_once.saturating_mul(PARTS), at: now }
    }

    /// Takes one; false: there is none left now.
    pub(super) fn take(&mut self, now: u64) -> bool {
        self.take_some(1, now) == 1
    }

    /// Takes so many, or all that are left now; how many.
    pub(super) fn take_some(&mut self, wanted: u64, now: u64) -> u64 {
        self.refill(now);
        let taken = wanted.min(self.parts / PARTS);
        self.parts -= taken * PARTS;
        taken
    }

    /// When one is there, in monotonic milliseconds; 0: now.
    pub(super) fn next(&self, now: u64) -> u64 {
        match PARTS.saturating_sub(self.refilled(now)) {
            0 => 0,
            lacking => now.saturating_add(lacking.div_ceil(self.per_minute.max(1))),
        }
    }

    fn refill(&mut self, now: u64) {
        (self.parts, self.at) = (self.refilled(now), now.max(self.at));
    }

    fn refilled(&self, now: u64) -> u64 {
        let gained = now.saturating_sub(self.at).saturating_mul(self.per_minute);
        self.parts.saturating_add(gained).min(self.at_once.saturating_mul(PARTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_is_there_at_once_and_comes_again_evenly() {
        let mut allowance = Allowance::new(60, 1_000);
        assert_eq!(allowance.next(1_000), 0);
        assert_eq!((0..100).filter(|_| allowance.take(1_000)).count(), 60);
        assert_eq!(allowance.next(1_000), 2_000);
        assert!(!allowance.take(1_999));
        assert!(allowance.take(2_000) && !allowance.take(2_000));
        assert_eq!(allowance.take_some(100, 1_000_000), 60, "no more than a minute's worth");
        assert_eq!((allowance.take_some(2, 1_003_000), allowance.take_some(2, 1_003_000)), (2, 1));
    }

    #[test]
    fn fewer_may_be_had_at_once_than_in_a_minute() {
        let mut allowance = Allowance::at_once(60, 5, 1_000);
        assert_eq!((allowance.take_some(100, 1_000), allowance.next(1_000)), (5, 2_000));
        assert_eq!((0..60).map(|second| allowance.take_some(9, 2_000 + 1_000 * second)).sum::<u64>(), 60);
    }

    #[test]
    fn a_clock_that_stands_still_or_lags_gives_nothing() {
        let mut allowance = Allowance::new(1, 5);
        assert!(allowance.take(5) && !allowance.take(5) && !allowance.take(0));
        assert_eq!(allowance.next(5), 60_005);
    }

    #[test]
    fn nothing_is_allowed_where_nothing_is() {
        let mut allowance = Allowance::new(0, 0);
        assert!(!allowance.take(u64::MAX));
    }
}
