//! Keys and records to and from snapshots: logs with their occurrences first, then what refers to them.

use super::key::{Key, KeyNo};
use super::log::Log;
use super::occurrence::{Occurrence, Uid};
use super::reads::Read;
use super::store::Events;
use crate::contract::RequestId;
use crate::mailboxes::MailboxNo;

impl Events {
    /// The first log of a mailbox with at least this number.
    pub fn next_log(&self, from: MailboxNo) -> Option<(MailboxNo, &Log)> {
        self.logs.range(from..).next().map(|(mailbox, log)| (*mailbox, log))
    }

    /// The first key with at least this number.
    pub fn next_key(&self, from: KeyNo) -> Option<(KeyNo, &Key)> {
        self.keys.range(from..).next().map(|(number, key)| (*number, key))
    }

    /// The first answer on its way to a request with at least this number.
    pub fn next_read(&self, from: RequestId) -> Option<(RequestId, &Read)> {
        self.reads.range(from..).next().map(|(request, read)| (*request, read))
    }

    /// Puts a log in its place.
    pub fn restore_log(&mut self, mailbox: MailboxNo, next: Uid) {
        self.logs.insert(mailbox, Log::since(next));
    }

    /// Puts what happened in its place; false: there is no such log.
    pub fn restore_occurrence(&mut self, mailbox: MailboxNo, uid: Uid, occurrence: Occurrence) -> bool {
        let Some(log) = self.logs.get_mut(&mailbox).filter(|log| uid < log.next) else {
            return false;
        };
        self.bytes += log.restore(uid, occurrence);
        true
    }

    /// Puts a key in its place; false: it has records of what did not happen.
    pub fn restore_key(&mut self, number: KeyNo, key: Key) -> bool {
        let sound = key.records.iter().is_sorted() && self.hold(key.mailbox, key.records.iter());
        if sound {
            self.insert(number, key);
        }
        sound
    }

    /// Puts an answer on its way in its place; false: it has records of what did not happen.
    pub fn restore_read(&mut self, request: RequestId, read: Read) -> bool {
        let sound = self.hold(read.mailbox, read.records.iter());
        if sound {
            self.insert_read(request, read);
        }
        sound
    }

    fn hold<'u>(&mut self, mailbox: MailboxNo, mut uids: impl Iterator<Item = &'u Uid>) -> bool {
        let Some(log) = self.logs.get_mut(&mailbox) else {
            return false;
        };
        uids.all(|uid| log.hold(*uid).map(|bytes| self.bytes += bytes).is_some())
    }
}
