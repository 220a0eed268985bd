//! One key of one mailbox: its configuration, its records, and whether its application waits for being told.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::lines::Target;
use super::occurrence::Uid;
use crate::contract::Instant;
use crate::mailboxes::MailboxNo;

/// A key; never reused.
pub type KeyNo = u32;

/// What a key takes without its texts, in bytes.
const WEIGHT: u64 = 512;

/// A day, in milliseconds: keys and records end at midnight (UTC), as GroupWise's nightly maintenance has it.
pub const DAY: u64 = 86_400_000;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Whose it is.
    pub mailbox: MailboxNo,
    /// As the application chose it.
    pub name: String,
    /// None: it was removed, and only records are left.
    pub configuration: Option<Configuration>,
    /// Its records, ascending.
    pub records: VecDeque<Uid>,
    /// How long each is kept, in milliseconds.
    pub persistence_ms: u64,
    /// The day on which it was used last.
    pub used: Instant,
    /// Whether its application is on the notification list.
    pub armed: bool,
    /// Whether there is something to tell it, once it is.
    pub owed: bool,
    /// Records of it were lost: to its application it is gone.
    pub lost: bool,
    /// The highest record that a client was given.
    pub seen: Uid,
}

impl Key {
    /// A key of a mailbox, not configured yet.
    pub fn new(mailbox: MailboxNo, name: &str) -> Self {
        Self {
            mailbox,
            name: name.to_owned(),
            configuration: None,
            records: VecDeque::new(),
            persistence_ms: 0,
            used: 0,
            armed: false,
            owed: false,
            lost: false,
            seen: 0,
        }
    }

    /// What it takes with its configuration, without its records, in bytes.
    pub fn weight(&self) -> u64 {
        Self::weight_of(&self.name, self.configuration.as_ref())
    }

    /// What a key with this name and this configuration would take.
    pub fn weight_of(name: &str, configuration: Option<&Configuration>) -> u64 {
        // The name stands in an index, too, and containers are kept as they were said and as sources say them.
        WEIGHT + name.len() as u64 * 2 + configuration.map_or(0, |it| it.bytes() as u64 * 3)
    }

    /// Its configuration, unless it is lost.
    pub fn valid_configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref().filter(|_| !self.lost)
    }

    /// Where its application is to be told now.
    pub fn due(&self) -> Option<Target> {
        let configuration = self.configuration.as_ref().filter(|it| it.enabled && self.armed && self.owed)?;
        configuration.target().map(|(address, port)| (address.to_owned(), port))
    }

    /// Puts its application on the notification list, if it can be told and is not on it; whether that altered anything.
    pub fn arm(&mut self) -> bool {
        let listens = self.configuration.as_ref().is_some_and(|it| it.enabled && it.target().is_some());
        let arms = listens && !self.armed;
        self.armed |= arms;
        self.owed &= !arms;
        arms
    }

    /// Puts its application back on the list: it was not told what it was to be told.
    pub fn arm_again(&mut self) {
        self.armed = true;
        self.owed = self.lost || !self.records.is_empty();
    }

    /// It is used. Whether it was not used before on this day.
    pub fn touch(&mut self, now: Instant) -> bool {
        let today = now - now % DAY;
        let later = today > self.used;
        self.used = self.used.max(today);
        later
    }

    /// When a record that was heard then is too old.
    pub fn ends(&self, heard: Instant) -> Instant {
        midnight(heard.saturating_add(self.persistence_ms))
    }
}

/// The first midnight at or after a moment.
pub fn midnight(at: Instant) -> Instant {
    at.div_ceil(DAY).saturating_mul(DAY)
}
