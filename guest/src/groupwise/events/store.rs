//! All keys of all mailboxes.

use std::collections::{BTreeMap, BTreeSet};

use super::configuration::Configuration;
use super::key::{Key, KeyNo};
use super::lines::{Lines, Target};
use super::log::Log;
use super::occurrence::{Occurrence, Uid};
use super::reads::Read;
use crate::contract::{Instant, RequestId};
use crate::mailboxes::MailboxNo;
use crate::settings::Settings;

/// Why the records of a key could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Changes of its mailbox were lost on the way here.
    Gap,
    /// Its account, or all accounts together, had more records than the settings allow.
    Full,
}

/// What was counted, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Keys that were lost by a gap.
    pub lost_by_gap: u64,
    /// Keys that were lost because there were too many records.
    pub lost_as_full: u64,
    /// Keys that ended because nobody read their records, or used them.
    pub expired: u64,
    /// Configurations that were refused because their account had too many keys, or all keys took too much.
    pub keys_refused: u64,
    /// Configurations that were refused because they said too much.
    pub configurations_refused: u64,
    /// Reads that were refused because too many answers were on their way.
    pub reads_refused: u64,
    /// Applications that were told.
    pub told: u64,
    /// Applications that could not be told.
    pub failed: u64,
    /// Applications that the host refused to tell.
    pub refused: u64,
}

/// All keys. `by_name`, `aging`, `idle` and the sums follow from the rest.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// What was counted.
    pub counts: Counts,
    /// The number that the next key gets.
    pub next: KeyNo,
    /// Connections to applications.
    pub lines: Lines,
    pub(super) keys: BTreeMap<KeyNo, Key>,
    pub(super) logs: BTreeMap<MailboxNo, Log>,
    pub(super) reads: BTreeMap<RequestId, Read>,
    /// When the oldest record of a key ends.
    pub(super) aging: BTreeSet<(Instant, KeyNo)>,
    /// When a key was last used.
    pub(super) idle: BTreeSet<(Instant, KeyNo)>,
    by_name: BTreeMap<(MailboxNo, String), KeyNo>,
    pub(super) bytes: u64,
    key_bytes: u64,
}

impl Events {
    /// The key with this name.
    pub fn find(&self, mailbox: MailboxNo, name: &str) -> Option<KeyNo> {
        self.by_name.get(&(mailbox, name.to_owned())).copied()
    }

    /// A key.
    pub fn get(&self, number: KeyNo) -> Option<&Key> {
        self.keys.get(&number)
    }

    /// The keys of a mailbox, in the order in which they came to be.
    pub fn of_mailbox(&self, mailbox: MailboxNo) -> impl Iterator<Item = (KeyNo, &Key)> {
        let numbers = self.logs.get(&mailbox).into_iter().flat_map(|log| &log.keys);
        numbers.map(|number| (*number, &self.keys[number]))
    }

    /// Whether a mailbox has keys.
    pub fn hears(&self, mailbox: MailboxNo) -> bool {
        self.logs.get(&mailbox).is_some_and(|log| !log.keys.is_empty())
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// What all records count for, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What all keys take with their configurations, without their records, in bytes.
    pub fn key_bytes(&self) -> u64 {
        self.key_bytes
    }

    /// What has happened in a mailbox that has keys.
    pub fn log(&self, mailbox: MailboxNo) -> &Log {
        &self.logs[&mailbox]
    }

    /// A key is used; whether that altered anything.
    pub fn touch(&mut self, number: KeyNo, now: Instant) -> bool {
        self.with_key(number, |key| key.touch(now)) == Some(true)
    }

    /// Configures a key, which comes to be if it is not there. One that is there keeps its records, unless it was lost.
    /// Its application is on the notification list, and hears at once if there are records. What is too old by the new
    /// configuration ends, and the key does not end with it.
    pub fn configure(&mut self, mailbox: MailboxNo, name: &str, configuration: Configuration, now: Instant) {
        let number = self.find(mailbox, name).unwrap_or_else(|| {
            self.next += 1;
            self.insert(self.next - 1, Key::new(mailbox, name));
            self.next - 1
        });
        self.with_key(number, |key| key.persistence_ms = configuration.persistence.saturating_mul(1000));
        self.remove_aged(number, |ends, _| ends <= now);
        self.with_key(number, |key| {
            key.configuration = Some(configuration);
            key.lost = false;
            key.armed = false;
            key.arm();
            key.owed = key.armed && !key.records.is_empty();
            key.touch(now);
        });
    }

    /// Removes a key's configuration; its records stay until they are removed, too, or too old.
    pub fn remove_configuration(&mut self, number: KeyNo) {
        self.with_key(number, |key| (key.configuration, key.armed, key.owed) = (None, false, false));
        self.forget_if_empty(number);
    }

    /// Removes a key with all that it has.
    pub fn remove(&mut self, number: KeyNo) {
        self.take_records(number);
        let before = self.marks(number);
        if let Some(key) = self.keys.remove(&number) {
            self.index(number, before);
            self.by_name.remove(&(key.mailbox, key.name));
            self.logs.get_mut(&key.mailbox).map(|log| log.keys.remove(&number));
        }
    }

    /// Removes all keys of a mailbox; whether there were any.
    pub fn remove_all(&mut self, mailbox: MailboxNo) -> bool {
        let numbers: Vec<_> = self.of_mailbox(mailbox).map(|(number, _)| number).collect();
        let any = !numbers.is_empty();
        numbers.into_iter().for_each(|number| self.remove(number));
        any
    }

    /// Records what happened for every key that covers it.
    pub fn record(&mut self, mailbox: MailboxNo, occurrences: Vec<Occurrence>, settings: &Settings) {
        for occurrence in occurrences {
            let Some(log) = self.logs.get_mut(&mailbox) else {
                return;
            };
            let (uid, mut holders) = (log.next, 0);
            for number in &log.keys {
                let key = self.keys.get_mut(number).expect("the index names keys");
                if !key.valid_configuration().is_some_and(|configuration| configuration.covers(&occurrence)) {
                    continue;
                }
                holders += 1;
                if key.records.is_empty() {
                    self.aging.insert((key.ends(occurrence.heard), *number));
                }
                key.records.push_back(uid);
                if key.armed && !key.owed {
                    key.owed = true;
                    key.due().into_iter().for_each(|target| self.lines.begin(target, *number));
                }
            }
            if holders > 0 {
                self.bytes += log.keep(occurrence, holders);
            }
        }
        self.cut_mailbox(mailbox, settings);
    }

    /// Changes of a mailbox, or what its clients were told, were lost: all its keys are.
    pub fn miss(&mut self, mailbox: MailboxNo) {
        let numbers: Vec<_> = self.of_mailbox(mailbox).map(|(number, _)| number).collect();
        numbers.into_iter().for_each(|number| self.lose(number, Loss::Gap));
    }

    /// Clients were told what this state does not know. Numbers of records that were lost do not come again while a
    /// mailbox has less than one record a second.
    pub fn regress(&mut self, now: Instant) {
        let numbers: Vec<_> = self.keys.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.lose(number, Loss::Gap));
        self.logs.values_mut().for_each(|log| log.next = log.next.max(now / 1000));
    }

    /// Loses keys while there are more bytes of records than the settings allow; whether there were.
    pub fn cut(&mut self, settings: &Settings) -> bool {
        let mut any = false;
        while self.bytes > settings.records_total_bytes
            && let Some((_, number)) = self.aging.first().copied()
        {
            self.lose(number, Loss::Full);
            any = true;
        }
        any
    }

    /// Of one account, those with the most records are lost.
    fn cut_mailbox(&mut self, mailbox: MailboxNo, settings: &Settings) {
        while self.logs.get(&mailbox).is_some_and(|log| log.bytes() > settings.records_account_bytes) {
            let most = self.of_mailbox(mailbox).filter(|(_, key)| !key.records.is_empty());
            let most = most.max_by_key(|(number, key)| (key.records.len(), std::cmp::Reverse(*number)));
            let Some(number) = most.map(|(number, _)| number) else {
                break;
            };
            self.lose(number, Loss::Full);
        }
    }

    fn lose(&mut self, number: KeyNo, why: Loss) {
        self.take_records(number);
        let Some(false) = self.with_key(number, |key| {
            let known = std::mem::replace(&mut key.lost, true);
            key.owed |= key.armed;
            known
        }) else {
            return;
        };
        match why {
            Loss::Gap => self.counts.lost_by_gap += 1,
            Loss::Full => self.counts.lost_as_full += 1,
        }
        self.forget_if_empty(number);
    }

    /// Removes all records of a key, those on their way to a client too.
    pub(super) fn take_records(&mut self, number: KeyNo) {
        self.forget_reads(number);
        let records = self.with_key(number, |key| std::mem::take(&mut key.records));
        records.into_iter().flatten().for_each(|uid| self.release(number, uid));
    }

    /// Removes the records that a test names; how many.
    pub fn remove_records(&mut self, number: KeyNo, is_meant: impl Fn(Uid, &Occurrence) -> bool) -> usize {
        let Some(log) = self.keys.get(&number).and_then(|key| self.logs.get(&key.mailbox)) else {
            return 0;
        };
        let mut gone = Vec::new();
        let records = &self.keys[&number].records;
        gone.extend(records.iter().copied().filter(|uid| is_meant(*uid, log.get(*uid))));
        for read in self.reads.values_mut().filter(|read| read.key == number) {
            let (meant, rest) = read.records.iter().partition(|uid| is_meant(**uid, log.get(**uid)));
            read.records = rest;
            gone.extend::<Vec<_>>(meant);
        }
        gone.sort_unstable();
        self.with_key(number, |key| key.records.retain(|uid| gone.binary_search(uid).is_err()));
        gone.iter().for_each(|uid| self.release(number, *uid));
        self.forget_if_empty(number);
        gone.len()
    }

    /// A key without configuration and without records is none.
    pub(super) fn forget_if_empty(&mut self, number: KeyNo) {
        let is_empty = self.keys.get(&number).is_some_and(|key| key.configuration.is_none() && key.records.is_empty());
        if is_empty && !self.is_read(number) {
            self.remove(number);
        }
    }

    pub(super) fn release(&mut self, number: KeyNo, uid: Uid) {
        if let Some(log) = self.keys.get(&number).and_then(|key| self.logs.get_mut(&key.mailbox)) {
            self.bytes -= log.release(uid);
        }
    }

    /// Alters a key, keeping the indices as they must be.
    pub fn with_key<T>(&mut self, number: KeyNo, alter: impl FnOnce(&mut Key) -> T) -> Option<T> {
        let before = self.marks(number);
        let given = self.keys.get_mut(&number).map(alter);
        self.index(number, before);
        given
    }

    /// Puts a key in its place.
    pub(super) fn insert(&mut self, number: KeyNo, key: Key) {
        self.by_name.insert((key.mailbox, key.name.clone()), number);
        self.logs.entry(key.mailbox).or_insert_with(|| Log::since(1)).keys.insert(number);
        self.keys.insert(number, key);
        self.index(number, Marks::default());
    }

    fn marks(&self, number: KeyNo) -> Marks {
        let Some(key) = self.keys.get(&number) else {
            return Marks::default();
        };
        let oldest = key.records.front().map(|uid| self.logs[&key.mailbox].get(*uid).heard);
        Marks { used: Some(key.used), ends: oldest.map(|heard| key.ends(heard)), due: key.due(), bytes: key.weight() }
    }

    /// Makes a key's places in the indices those that it has now.
    fn index(&mut self, number: KeyNo, before: Marks) {
        let now = self.marks(number);
        self.key_bytes = self.key_bytes - before.bytes + now.bytes;
        if before.used != now.used {
            before.used.map(|used| self.idle.remove(&(used, number)));
            self.idle.extend(now.used.map(|used| (used, number)));
        }
        if before.ends != now.ends {
            before.ends.map(|ends| self.aging.remove(&(ends, number)));
            self.aging.extend(now.ends.map(|ends| (ends, number)));
        }
        if before.due != now.due {
            before.due.into_iter().for_each(|target| self.lines.end(&target, number));
            now.due.into_iter().for_each(|target| self.lines.begin(target, number));
        }
    }
}

/// Where a key stands in the indices.
#[derive(Default)]
struct Marks {
    used: Option<Instant>,
    ends: Option<Instant>,
    due: Option<Target>,
    bytes: u64,
}
