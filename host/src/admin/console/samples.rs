//! What has changed since a while ago: rates of tenants, and how long clients waited. Samples are taken when a page is
//! shown, so nobody pays for them while nobody looks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use crate::HistogramFigures;

/// How far apart samples are at least, in milliseconds.
const APART_MILLISECONDS: u64 = 2_000;

/// How many points of time are plotted.
const POINTS: usize = 150;

/// What one tenant did from the server's start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Inputs that changed mailboxes.
    pub batches: u64,
    /// Requests of clients.
    pub requests: u64,
}

/// What one tenant does in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub batches: f64,
    pub requests: f64,
}

/// How long clients waited in an interval, in seconds: half of them, and 99 of 100, waited no longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waited {
    /// When the interval ended, in milliseconds of the clock.
    pub at: u64,
    pub half: f64,
    pub most: f64,
}

#[derive(Default)]
pub(super) struct Samples(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    /// The one before the last, and the last.
    tenants: VecDeque<(u64, BTreeMap<String, Done>)>,
    wakes: Option<HistogramFigures>,
    waited: VecDeque<Waited>,
}

impl Samples {
    /// Takes one, if the last is old enough.
    pub fn take(
        &self,
        now: u64,
        tenants: impl FnOnce() -> BTreeMap<String, Done>,
        wakes: impl FnOnce() -> HistogramFigures,
    ) {
        let mut taken = self.lock();
        if taken.tenants.back().is_some_and(|(at, _)| at + APART_MILLISECONDS > now) {
            return;
        }
        taken.tenants.push_back((now, tenants()));
        if taken.tenants.len() > 2 {
            taken.tenants.pop_front();
        }
        let wakes = wakes();
        if let Some(before) = taken.wakes.replace(wakes.clone()) {
            let (half, most) = (quantile(&before, &wakes, 0.5), quantile(&before, &wakes, 0.99));
            taken.waited.extend(half.zip(most).map(|(half, most)| Waited { at: now, half, most }));
            if taken.waited.len() > POINTS {
                taken.waited.pop_front();
            }
        }
    }

    /// What a tenant did in a second, between the last two samples; none: there are not two of it.
    pub fn rates(&self, tenant: &str) -> Option<Rates> {
        let taken = self.lock();
        let [(before, then), (now, last)] = [taken.tenants.front()?, taken.tenants.get(1)?];
        let (then, last) = (then.get(tenant)?, last.get(tenant)?);
        let seconds = (now - before) as f64 / 1e3;
        let rate = |then: u64, last: u64| last.saturating_sub(then) as f64 / seconds;
        Some(Rates { batches: rate(then.batches, last.batches), requests: rate(then.requests, last.requests) })
    }

    /// How long clients waited in each interval in which one was woken, oldest first.
    pub fn waited(&self) -> Vec<Waited> {
        self.lock().waited.iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().expect("nothing panics while this lock is held")
    }
}

/// The time within which this share of what came since `before` was done: within a bucket evenly spread.
fn quantile(before: &HistogramFigures, now: &HistogramFigures, share: f64) -> Option<f64> {
    let counts = now.buckets.iter().zip(&before.buckets).map(|(now, before)| (now.0, now.1.saturating_sub(before.1)));
    let counts: Vec<_> = counts.collect();
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let wanted = total as f64 * share;
    let (mut below, mut passed) = (0.0, 0.0);
    for (bound, count) in counts {
        if count > 0 && passed + count as f64 >= wanted {
            // What is in no bucket took at least as long as the last one.
            let width = if bound == f64::MAX { 0.0 } else { bound - below };
            return Some(below + width * (wanted - passed) / count as f64);
        }
        (below, passed) = (bound, passed + count as f64);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(counts: [u64; 3]) -> HistogramFigures {
        let buckets = [0.25, 0.5, f64::MAX].into_iter().zip(counts).collect();
        HistogramFigures { sum: 0.0, count: counts.iter().sum(), buckets }
    }

    #[test]
    fn rates_are_those_between_the_last_two_samples() {
        let samples = Samples::default();
        let take = |now, batches| {
            let done = Done { batches, requests: 2 * batches };
            samples.take(now, || BTreeMap::from([("a".to_owned(), done)]), || figures([0; 3]));
        };
        take(0, 0);
        assert_eq!(samples.rates("a"), None);
        take(1_999, 500);
        assert_eq!(samples.rates("a"), None, "it is too early for another sample");
        take(2_000, 10);
        assert_eq!(samples.rates("a"), Some(Rates { batches: 5.0, requests: 10.0 }));
        take(6_000, 10);
        assert_eq!(samples.rates("a"), Some(Rates { batches: 0.0, requests: 0.0 }));
        assert_eq!(samples.rates("b"), None);
    }

    #[test]
    fn quantiles_are_those_of_what_came_since() {
        let before = figures([100, 0, 0]);
        assert_eq!(quantile(&before, &before, 0.5), None);
        assert_eq!(quantile(&before, &figures([100, 4, 0]), 0.5), Some(0.375));
        assert_eq!(quantile(&before, &figures([102, 2, 0]), 0.5), Some(0.25));
        assert_eq!(quantile(&before, &figures([100, 0, 3]), 0.99), Some(0.5));
    }
}
