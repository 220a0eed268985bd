//! How many instances there are, and how many there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Fault;

/// Counts the instances of one host, whatever they are for.
#[derive(Debug)]
pub(crate) struct Census {
    most: u64,
    now: AtomicU64,
}

/// One instance is there, as long as this is.
#[derive(Debug)]
pub(super) struct Presence(Arc<Census>);

impl Census {
    pub(crate) fn new(most: u32) -> Arc<Census> {
        Arc::new(Census { most: most.into(), now: AtomicU64::new(0) })
    }

    /// How many there are now.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Whether there is room enough that some may be kept that nobody needs at the moment.
    pub(super) fn is_roomy(&self) -> bool {
        self.now() < self.most - self.most / 4
    }

    /// One more, if there may be.
    pub(super) fn enter(self: &Arc<Census>) -> Result<Presence, Fault> {
        let one_more = |now| (now < self.most).then_some(now + 1);
        match self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Presence(self.clone())),
            Err(_) => Err(Fault::Instances(self.most)),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_makes_room() {
        let census = Census::new(2);
        let first = census.enter();
        let second = census.enter();
        assert!(first.is_ok() && second.is_ok() && !census.is_roomy());
        assert_eq!(census.enter().expect_err("it is full"), Fault::Instances(2));
        drop(first);
        assert_eq!((census.now(), census.is_roomy()), (1, true));
        assert!(census.enter().is_ok());
    }
}
