//! What was sent to readers and is not taken by them yet: bounded for each answer, and for the whole host.
//!
//! A part for a reader that has taken all the others always passes, however large it is and whatever other readers do:
//! the bounds are for those who are behind. So a host holds its total and, beyond that, one part of each answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Limits;

/// The bytes that all readers of a host have not taken yet.
#[derive(Debug)]
pub(crate) struct UnreadTotal {
    bytes: AtomicUsize,
    limit: usize,
}

impl UnreadTotal {
    /// `limit`: in bytes.
    pub(crate) fn new(limit: usize) -> Arc<UnreadTotal> {
        Arc::new(UnreadTotal { bytes: AtomicUsize::new(0), limit })
    }
}

/// What the reader of one answer has not taken yet.
#[derive(Debug)]
pub(super) struct Unread {
    parts: AtomicUsize,
    bytes: AtomicUsize,
    total: Arc<UnreadTotal>,
}

impl Unread {
    /// Of an answer whose first part has so many bytes.
    pub(super) fn new(total: &Arc<UnreadTotal>, bytes: usize) -> Arc<Unread> {
        let unread = Unread { parts: AtomicUsize::new(0), bytes: AtomicUsize::new(0), total: total.clone() };
        unread.add(bytes);
        Arc::new(unread)
    }

    /// Counts another part.
    ///
    /// # Errors
    ///
    /// The reader is behind, and with this part too far: by the limit of this name.
    pub(super) fn send(&self, bytes: usize, limits: &Limits) -> Result<(), &'static str> {
        let parts = self.parts.load(Ordering::Relaxed);
        if parts >= limits.unread_parts.max(1) {
            return Err("unread-parts");
        }
        if parts > 0 && self.bytes.load(Ordering::Relaxed) + bytes > limits.unread_bytes {
            return Err("unread-bytes");
        }
        if parts > 0 && self.total.bytes.load(Ordering::Relaxed) + bytes > self.total.limit {
            return Err("unread-bytes-total");
        }
        self.add(bytes);
        Ok(())
    }

    fn add(&self, bytes: usize) {
        self.parts.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.total.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The reader took a part.
    pub(super) fn take(&self, bytes: usize) {
        self.parts.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.total.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Unread {
    /// What was never taken is gone with both ends of the answer.
    fn drop(&mut self) {
        self.total.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(unread_parts: usize, unread_bytes: usize) -> Limits {
        Limits { unread_parts, unread_bytes, ..Limits::default() }
    }

    #[test]
    fn a_reader_that_is_behind_has_bounds() {
        let total = UnreadTotal::new(100);
        let unread = Unread::new(&total, 10);
        assert_eq!(unread.send(30, &limits(2, 40)), Ok(()));
        assert_eq!(unread.send(0, &limits(2, 40)), Err("unread-parts"));
        assert_eq!(unread.send(1, &limits(9, 40)), Err("unread-bytes"));
        assert_eq!(unread.send(61, &limits(9, 400)), Err("unread-bytes-total"));
        unread.take(10);
        assert_eq!(unread.send(70, &limits(9, 400)), Ok(()));
    }

    #[test]
    fn a_reader_that_has_taken_everything_gets_the_next_part() {
        let total = UnreadTotal::new(10);
        let _behind = Unread::new(&total, 50);
        let unread = Unread::new(&total, 20);
        unread.take(20);
        assert_eq!(unread.send(30, &limits(0, 5)), Ok(()));
    }

    #[test]
    fn what_is_never_taken_is_given_back() {
        let total = UnreadTotal::new(10);
        let unread = Unread::new(&total, 10);
        drop(Unread::new(&total, 50));
        assert_eq!(total.bytes.load(Ordering::Relaxed), 10);
        drop(unread);
        assert_eq!(total.bytes.load(Ordering::Relaxed), 0);
    }
}
