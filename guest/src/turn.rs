//! One input being handled: the reaction as it grows, within its limits.

use crate::contract::{Call, CallTarget, LogLevel, LogLine, Moment, Place, Reaction, Rejection, Reply, RequestId};

/// How many replies a reaction holds at most; the contract says so.
pub const MAX_REPLIES: usize = 256;

/// How many bytes of replies and calls a reaction holds at most; the contract says so.
pub const MAX_BYTES: usize = 1 << 20;

/// The room that is left free for one more part of a stream, the largest that there is.
pub const PART_ROOM: usize = 192 << 10;

/// How large the answer to the request itself may be.
pub const MAX_ANSWER: usize = MAX_BYTES - PART_ROOM;

/// How many calls a reaction makes at most; the rest follow with the next.
pub const MAX_CALLS: usize = 64;

/// How many bytes of calls a reaction holds at most, so that streams have their share.
const MAX_CALL_BYTES: usize = MAX_BYTES / 2;

/// The room that is left free for one more call, the largest that there is.
const CALL_ROOM: usize = 96 << 10;

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
    calls: Vec<Call>,
    call_bytes: usize,
    logs: Vec<LogLine>,
    rejections: Vec<Rejection>,
}

impl Turn {
    /// The beginning of a turn.
    pub fn new(at: Moment) -> Self {
        Self {
            at,
            changed: false,
            replies: Vec::new(),
            bytes: 0,
            calls: Vec::new(),
            call_bytes: 0,
            logs: Vec::new(),
            rejections: Vec::new(),
        }
    }

    /// Whether there is room for one more part of a stream.
    pub fn has_room(&self) -> bool {
        self.replies.len() < MAX_REPLIES && self.bytes + PART_ROOM <= MAX_BYTES
    }

    /// Whether there is room for one more call.
    pub fn has_room_for_a_call(&self) -> bool {
        let fits = self.call_bytes + CALL_ROOM <= MAX_CALL_BYTES && self.bytes + CALL_ROOM <= MAX_BYTES;
        fits && self.calls.len() < MAX_CALLS
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

    /// Adds a call.
    pub fn call(&mut self, call: Call) {
        let target = match &call.target {
            CallTarget::HttpPost(http) => {
                http.url.len() + http.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            }
            CallTarget::Tcp(tcp) => tcp.address.len(),
        };
        let bytes = call.body.len() + target;
        self.bytes += bytes;
        self.call_bytes += bytes;
        self.calls.push(call);
    }

    /// Adds a line for the operator.
    pub fn log(&mut self, level: LogLevel, message: String) {
        self.bytes += message.len();
        self.logs.push(LogLine { level, message });
    }

    /// Adds a change that was not applied.
    pub fn reject(&mut self, place: Place, reason: String) {
        self.bytes += reason.len();
        self.rejections.push(Rejection { place, reason });
    }

    /// The reaction.
    pub fn finish(self, wake_at: Option<u64>) -> Reaction {
        Reaction {
            replies: self.replies,
            calls: self.calls,
            wake_at,
            rejections: self.rejections,
            logs: self.logs,
            changed: self.changed,
        }
    }
}
