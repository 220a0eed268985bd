//! One input being handled: the reaction as it grows, within its limits.

use crate::contract::{Moment, Place, Reaction, Rejection, Reply, RequestId};

/// How many replies a reaction holds at most; the contract says so.
pub const MAX_REPLIES: usize = 256;

/// How many bytes of replies a reaction holds at most; the contract says so.
pub const MAX_BYTES: usize = 1 << 20;

/// The room that is left free for one more part of a stream, the largest that there is.
pub const PART_ROOM: usize = 192 << 10;

/// How large the answer to the request itself may be.
pub const MAX_ANSWER: usize = MAX_BYTES - PART_ROOM;

/// How many timers one input lets run out; the rest follow with the next.
pub const MAX_TIMERS: usize = 1024;

/// An input and the reaction to it so far.
pub struct Turn {
    /// When the input happens.
    pub at: Moment,
    /// Whether the state was altered.
    pub changed: bool,
    replies: Vec<Reply>,
    bytes: usize,
    rejections: Vec<Rejection>,
}

impl Turn {
    /// The beginning of a turn.
    pub fn new(at: Moment) -> Self {
        Self { at, changed: false, replies: Vec::new(), bytes: 0, rejections: Vec::new() }
    }

    /// Whether there is room for one more part of a stream.
    pub fn has_room(&self) -> bool {
        self.replies.len() < MAX_REPLIES && self.bytes + PART_ROOM <= MAX_BYTES
    }

    /// Adds a part of an answer.
    pub fn reply(&mut self, reply: Reply) {
        let headers: usize = reply.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.bytes += reply.body.len() + headers;
        self.replies.push(reply);
    }

    /// Adds the whole answer to a request.
    pub fn answer(&mut self, to: RequestId, reply: Reply) {
        self.reply(Reply { to, ..reply });
    }

    /// Adds a change that was not applied.
    pub fn reject(&mut self, place: Place, reason: String) {
        self.rejections.push(Rejection { place, reason });
    }

    /// The reaction.
    pub fn finish(self, wake_at: Option<u64>) -> Reaction {
        Reaction {
            replies: self.replies,
            calls: Vec::new(),
            wake_at,
            rejections: self.rejections,
            logs: Vec::new(),
            changed: self.changed,
        }
    }
}
