//! Whose turn it is: calls at once, and calls a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Limits of calls at once, of all and of each tenant, and of calls a second of each tenant.
pub(super) struct Lines {
    all: Arc<Semaphore>,
    at_once: usize,
    interval: Duration,
    longest: Duration,
    lines: Mutex<HashMap<String, Line>>,
}

/// One tenant's.
struct Line {
    places: Arc<Semaphore>,
    /// When the next call may begin.
    next: Instant,
}

/// As long as it lives, a call may be made.
pub(super) struct Turn {
    _places: [OwnedSemaphorePermit; 2],
}

impl Lines {
    /// `longest`: how long a call may wait because of the rate.
    pub(super) fn new(all: usize, at_once: usize, per_second: u32, longest: Duration) -> Lines {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Lines { all: Arc::new(Semaphore::new(all)), at_once, interval, longest, lines: Mutex::default() }
    }

    /// Waits for a turn. An error says which limit it would wait for too long.
    pub(super) async fn turn(&self, tenant: &str) -> Result<Turn, &'static str> {
        let (begin, places) = self.line_up(tenant)?;
        sleep_until(begin).await;
        let closed = "the host is stopping";
        let own = places.acquire_owned().await.map_err(|_| closed)?;
        let shared = self.all.clone().acquire_owned().await.map_err(|_| closed)?;
        Ok(Turn { _places: [own, shared] })
    }

    /// When this call may begin; the next ones of its tenant may later. A tenant that was silent for a second may begin as
    /// many calls as it may make in one.
    fn line_up(&self, tenant: &str) -> Result<(Instant, Arc<Semaphore>), &'static str> {
        let now = Instant::now();
        let mut lines = self.lines.lock().expect("nothing panics while this lock is held");
        let line = lines.entry(tenant.to_owned()).or_insert_with(|| Line {
            places: Arc::new(Semaphore::new(self.at_once)),
            next: now - Duration::from_secs(1),
        });
        let begin = line.next.max(now - Duration::from_secs(1));
        if begin > now + self.longest {
            return Err("too many calls a second");
        }
        line.next = begin + self.interval;
        Ok((begin, line.places.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_rate_wait_and_then_fail() {
        let lines = Lines::new(1_000, 1_000, 10, Duration::from_secs(2));
        let begin = Instant::now();
        let (mut made, mut refused) = (Vec::new(), 0);
        for _ in 0..50 {
            match lines.line_up("a") {
                Ok((at, _)) => made.push(at.saturating_duration_since(begin).as_millis()),
                Err(_) => refused += 1,
            }
        }
        assert_eq!(made[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100]);
        assert_eq!((made.len(), made.last(), refused), (31, Some(&2_000), 19));
        assert!(lines.line_up("b").is_ok(), "another tenant has a line of its own");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(lines.line_up("a").is_ok_and(|(at, _)| at <= Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_made_at_once() {
        let lines = Lines::new(3, 2, 1_000, Duration::from_secs(1));
        let (first, _second) = (lines.turn("a").await, lines.turn("a").await);
        let wait = tokio::time::timeout(Duration::from_secs(5), lines.turn("a")).await;
        assert!(wait.is_err(), "two of one tenant");
        let _third = lines.turn("b").await;
        assert!(tokio::time::timeout(Duration::from_secs(5), lines.turn("c")).await.is_err(), "three of all");
        drop(first);
        assert!(lines.turn("c").await.is_ok());
    }
}
