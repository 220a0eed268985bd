//! Answers with records that are on their way: what they remove is removed once their client has them.
//!
//! Until then other requests do not see these records; they come again if the client did not get the answer.

use serde::{Deserialize, Serialize};

use super::key::KeyNo;
use super::occurrence::Uid;
use super::store::Events;
use crate::contract::RequestId;
use crate::mailboxes::MailboxNo;

/// An answer on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Whose records it has.
    pub key: KeyNo,
    /// The mailbox of that key.
    pub mailbox: MailboxNo,
    /// The records that are removed with it, ascending.
    pub records: Vec<Uid>,
}

impl Events {
    /// How many answers with records of a mailbox are on their way.
    pub fn reads_of(&self, mailbox: MailboxNo) -> u32 {
        self.logs.get(&mailbox).map_or(0, |log| log.reads)
    }

    /// The requests whose answers are on their way, ascending.
    pub fn reading(&self) -> impl Iterator<Item = RequestId> {
        self.reads.keys().copied()
    }

    /// Whether the answer to this request is to be confirmed.
    pub fn is_reading(&self, request: RequestId) -> bool {
        self.reads.contains_key(&request)
    }

    /// An answer with these records of a key begins its way. Whether they go with it.
    pub fn begin_read(&mut self, request: RequestId, number: KeyNo, given: &[Uid], remove: bool) {
        let Some(mailbox) = self.with_key(number, |key| {
            key.seen = key.seen.max(given.last().copied().unwrap_or_default());
            if remove {
                key.records.retain(|uid| given.binary_search(uid).is_err());
            }
            key.mailbox
        }) else {
            return;
        };
        let records = if remove { given.to_vec() } else { Vec::new() };
        self.insert_read(request, Read { key: number, mailbox, records });
    }

    /// Puts an answer in its place.
    pub(super) fn insert_read(&mut self, request: RequestId, read: Read) {
        if let Some(log) = self.logs.get_mut(&read.mailbox) {
            log.reads += 1;
        }
        self.reads.insert(request, read);
    }

    /// An answer has ended; whether it was known.
    pub fn end_read(&mut self, request: RequestId, delivered: bool) -> bool {
        let Some(Read { key, mailbox, records }) = self.reads.remove(&request) else {
            return false;
        };
        if let Some(log) = self.logs.get_mut(&mailbox) {
            log.reads -= 1;
        }
        if delivered {
            records.iter().for_each(|uid| self.release(key, *uid));
        } else {
            self.give_back(key, &records);
        }
        self.forget_if_empty(key);
        true
    }

    /// No answer is on its way any more, and none arrived.
    pub fn forget_all_reads(&mut self) {
        let requests: Vec<_> = self.reads.keys().copied().collect();
        for request in requests {
            self.end_read(request, false);
        }
    }

    /// Records that were not delivered are there again, and their application hears of them.
    fn give_back(&mut self, number: KeyNo, records: &[Uid]) {
        self.with_key(number, |key| {
            key.records.extend(records);
            key.records.make_contiguous().sort_unstable();
            key.owed |= key.armed && !records.is_empty();
        });
    }

    /// Records on their way are removed whatever becomes of their answer.
    pub(super) fn forget_reads(&mut self, number: KeyNo) {
        let mut gone = Vec::new();
        for read in self.reads.values_mut().filter(|read| read.key == number) {
            gone.append(&mut read.records);
        }
        gone.into_iter().for_each(|uid| self.release(number, uid));
    }

    /// Whether records of a key are on their way.
    pub(super) fn is_read(&self, number: KeyNo) -> bool {
        self.reads.values().any(|read| read.key == number && !read.records.is_empty())
    }
}
