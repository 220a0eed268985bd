//! How much the bodies of all requests may take at a time.

use std::sync::Arc;

use super::counters::Counters;

/// The memory that bodies share.
#[derive(Debug)]
pub struct Room {
    most: u64,
    counters: Arc<Counters>,
}

/// The bodies that are there leave no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bodies of all requests are too large")]
pub struct NoRoom;

impl Room {
    /// For so many bytes; `counters` have how many of them are taken.
    pub fn new(most: usize, counters: Arc<Counters>) -> Room {
        Room { most: most as u64, counters }
    }

    /// The share of a body of which nothing has arrived yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { room: self.clone(), bytes: 0 }
    }
}

/// What one body takes, until this is dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    bytes: u64,
}

impl Share {
    /// Takes so many bytes more.
    ///
    /// # Errors
    ///
    /// There is no room for them; nothing is taken.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = bytes as u64;
        if self.room.counters.body_grew(bytes) > self.room.most {
            self.room.counters.body_shrank(bytes);
            return Err(NoRoom);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.counters.body_shrank(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_what_there_is() {
        let counters = Arc::new(Counters::default());
        let room = Arc::new(Room::new(10, counters.clone()));
        let (mut first, mut second) = (room.share(), room.share());
        assert_eq!((first.grow(6), second.grow(4)), (Ok(()), Ok(())));
        assert_eq!((first.grow(1), second.grow(11)), (Err(NoRoom), Err(NoRoom)));
        drop(first);
        assert_eq!((second.grow(6), second.grow(1)), (Ok(()), Err(NoRoom)));
        assert_eq!(counters.body_bytes(), 10);
    }
}
