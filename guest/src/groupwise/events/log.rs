//! What happened in one mailbox, as far as a key still has it among its records.

use std::collections::{BTreeMap, BTreeSet};

use super::key::KeyNo;
use super::occurrence::{Occurrence, Uid};

/// What one record counts for beside what it is a record of, in bytes.
const RECORD: u64 = 16;

/// The occurrences of one mailbox, and its keys.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The number of the next occurrence.
    pub next: Uid,
    /// The keys of this mailbox.
    pub keys: BTreeSet<KeyNo>,
    /// How many answers with its records are on their way.
    pub reads: u32,
    kept: BTreeMap<Uid, Kept>,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    occurrence: Occurrence,
    /// How many keys have it.
    holders: u32,
}

impl Log {
    /// One in which nothing is kept, and whose next occurrence gets this number.
    pub fn since(next: Uid) -> Self {
        Self { next, ..Self::default() }
    }

    /// Keeps an occurrence that so many keys have recorded under the next number; gives the bytes that it counts for.
    pub fn keep(&mut self, occurrence: Occurrence, holders: u32) -> u64 {
        let bytes = occurrence.bytes() + RECORD * u64::from(holders);
        self.kept.insert(self.next, Kept { occurrence, holders });
        self.next += 1;
        self.bytes += bytes;
        bytes
    }

    /// Puts an occurrence in its place that no key has yet.
    pub fn restore(&mut self, uid: Uid, occurrence: Occurrence) -> u64 {
        let bytes = occurrence.bytes();
        self.kept.insert(uid, Kept { occurrence, holders: 0 });
        self.bytes += bytes;
        bytes
    }

    /// Another key has this among its records. The bytes that it counts for; none: there is no such occurrence.
    pub fn hold(&mut self, uid: Uid) -> Option<u64> {
        self.kept.get_mut(&uid)?.holders += 1;
        self.bytes += RECORD;
        Some(RECORD)
    }

    /// A key no longer has this among its records; gives the bytes that it counted for.
    pub fn release(&mut self, uid: Uid) -> u64 {
        let Some(kept) = self.kept.get_mut(&uid) else {
            return 0;
        };
        kept.holders -= 1;
        let mut bytes = RECORD;
        if kept.holders == 0 {
            bytes += kept.occurrence.bytes();
            self.kept.remove(&uid);
        }
        self.bytes -= bytes;
        bytes
    }

    /// An occurrence that a key has.
    pub fn get(&self, uid: Uid) -> &Occurrence {
        &self.kept[&uid].occurrence
    }

    /// The first with at least this number.
    pub fn next_from(&self, uid: Uid) -> Option<(Uid, &Occurrence)> {
        self.kept.range(uid..).next().map(|(uid, kept)| (*uid, &kept.occurrence))
    }

    /// What all of it counts for, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything was heard so much later, in milliseconds.
    pub fn postpone(&mut self, by_ms: u64) {
        for kept in self.kept.values_mut() {
            kept.occurrence.heard = kept.occurrence.heard.saturating_add(by_ms);
        }
    }
}
