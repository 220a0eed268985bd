//! Who may answer for a tenant that several processes could serve.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::since_boot;

/// The right to answer for a tenant until a moment of the machine's boot time, which passes also while the machine, or
/// this process, sleeps: whoever wakes after it says nothing. What is appended is fenced by the journal; this is for the
/// answers that append nothing.
#[derive(Debug, Default)]
pub struct Lease {
    until: AtomicU64,
    departures: AtomicU64,
}

impl Lease {
    /// It lasts until then, in milliseconds of [`since_boot`].
    pub fn extend(&self, until: u64) {
        self.until.fetch_max(until, Ordering::AcqRel);
    }

    /// It is over.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// How often the tenant has left this process, because the lease was over, or another process has appended for it. Whoever
    /// still has the lease then says so again, by [`crate::tenant::Tenant::leased`].
    pub fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    pub(crate) fn departed(&self) {
        self.departures.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether it lasts. Where the system tells no time, it does not.
    pub fn holds(&self) -> bool {
        since_boot().is_some_and(|now| now < self.until.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_until_its_moment_and_not_when_it_was_ended() {
        let (lease, now) = (Lease::default(), since_boot().expect("this system tells the time since its start"));
        assert!(!lease.holds());
        lease.extend(now);
        assert!(!lease.holds(), "that moment has come");
        lease.extend(now + 3_600_000);
        lease.extend(now);
        assert!(lease.holds(), "what was given is not taken back by less");
        lease.end();
        assert!(!lease.holds());
    }
}
