//! A histogram that many threads fill at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds; what is longer is in one more. From a small input to the longest that
/// an input may run.
const BOUNDS: [u64; 13] =
    [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// How often something took how long.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What a histogram holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramFigures {
    /// The sum of all durations, in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// The upper bound of each bucket in seconds, the last infinite, and how many are in it and in none before.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// One more.
    pub(crate) fn observe(&self, duration: Duration) {
        let microseconds = duration.as_micros();
        let bucket = BOUNDS.partition_point(|bound| u128::from(*bound) < microseconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What it holds now.
    pub(crate) fn figures(&self) -> HistogramFigures {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        HistogramFigures { sum: self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9, count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for microseconds in [0, 10, 11, 10_000_000, 10_000_001, 60_000_000] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let HistogramFigures { sum, count, buckets } = histogram.figures();
        assert_eq!((count, sum), (6, 80.000_022));
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_01, 2), (0.000_03, 1), (10.0, 1), (f64::MAX, 2)]);
    }
}
