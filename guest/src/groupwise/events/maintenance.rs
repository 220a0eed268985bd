//! What ends by itself, at midnight (UTC) as in GroupWise's nightly maintenance: records that are older than their key
//! keeps them, keys whose last records ended so, and keys that nobody uses.

use super::key::{DAY, KeyNo, midnight};
use super::store::Events;
use crate::contract::Instant;
use crate::mailboxes::MailboxNo;
use crate::settings::Settings;
use crate::turn::MAX_TIMERS;

impl Events {
    /// When something ends next, or an application is called again.
    pub fn next_timer(&self, settings: &Settings) -> Option<Instant> {
        let aging = self.aging.first().map(|(due, _)| *due);
        let idle = self.idle.first().map(|(used, _)| idle_ends(*used, settings));
        [aging, idle, self.lines.next_timer()].into_iter().flatten().min()
    }

    /// Ends what is due, not too many keys at once; whether anything was.
    pub fn run_out(&mut self, now: Instant, settings: &Settings) -> bool {
        let mut any = self.lines.run_out(now);
        for _ in 0..MAX_TIMERS {
            let aged = self.aging.first().filter(|(due, _)| *due <= now).map(|(_, number)| *number);
            let is_idle = |(used, _): &&(Instant, KeyNo)| idle_ends(*used, settings) <= now;
            let idle = self.idle.first().filter(is_idle).map(|(_, number)| *number);
            match (aged, idle) {
                (Some(number), _) => self.age(number, |ends| ends <= now),
                (None, Some(number)) => self.expire(number),
                (None, None) => break,
            }
            any = true;
        }
        any
    }

    /// The maintenance of one mailbox, now: a record is too old from the moment on that its age reaches what its key says.
    /// Whether anything was.
    pub fn clean(&mut self, mailbox: MailboxNo, now: Instant) -> bool {
        let keys: Vec<_> = self.of_mailbox(mailbox).map(|(number, key)| (number, key.persistence_ms)).collect();
        let before = self.bytes();
        for (number, persistence_ms) in keys {
            let horizon = now.saturating_sub(persistence_ms);
            self.age_while(number, |_, heard| heard <= horizon);
        }
        self.bytes() != before
    }

    /// Every life lasts this much longer.
    pub fn postpone(&mut self, by_ms: u64) {
        let numbers: Vec<_> = self.keys.keys().copied().collect();
        // Indices are made from what was heard: out of them first, back into them last.
        let mut keys = Vec::with_capacity(numbers.len());
        for number in numbers {
            keys.push((number, self.with_key(number, |key| std::mem::take(&mut key.records))));
        }
        self.logs.values_mut().for_each(|log| log.postpone(by_ms));
        for (number, records) in keys {
            self.with_key(number, |key| {
                key.used = key.used.saturating_add(by_ms);
                key.records = records.unwrap_or_default();
            });
        }
    }

    fn age(&mut self, number: KeyNo, is_over: impl Fn(Instant) -> bool) {
        self.age_while(number, |ends, _| is_over(ends));
    }

    /// Removes the oldest records of a key while their end, or the moment when they were heard, says so. A key that had
    /// records and has none any more is deleted: its application has not read them for as long as it wanted them.
    fn age_while(&mut self, number: KeyNo, is_over: impl Fn(Instant, Instant) -> bool) {
        let any = self.remove_aged(number, is_over);
        let is_empty = self.get(number).is_some_and(|key| key.records.is_empty());
        if any && is_empty && !self.is_read(number) {
            self.expire(number);
        }
    }

    /// Removes these records, and leaves the key; whether there were any.
    pub(super) fn remove_aged(&mut self, number: KeyNo, is_over: impl Fn(Instant, Instant) -> bool) -> bool {
        let Some(key) = self.get(number) else {
            return false;
        };
        let log = &self.logs[&key.mailbox];
        let over = |heard| is_over(key.ends(heard), heard);
        let gone: Vec<_> = key.records.iter().copied().take_while(|uid| over(log.get(*uid).heard)).collect();
        self.with_key(number, |key| key.records.drain(..gone.len()).for_each(drop));
        gone.iter().for_each(|uid| self.release(number, *uid));
        !gone.is_empty()
    }

    fn expire(&mut self, number: KeyNo) {
        self.remove(number);
        self.counts.expired += 1;
    }
}

/// When a key ends that was used on the day which begins then: not before it was idle for as long as it may be.
fn idle_ends(used: Instant, settings: &Settings) -> Instant {
    midnight(used.saturating_add(DAY).saturating_add(settings.key_idle_ms()))
}
