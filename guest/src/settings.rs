//! The settings of a tenant: every limit and period that an operator may want to change.

use serde::{Deserialize, Serialize};

use crate::networks::Network;

/// Settings, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `domains`: the tenant's mail domains, lower case. A change of an unknown account opens it if its domain is here.
    pub domains: Vec<String>,
    /// `ews-heartbeat-seconds` (25; 1 to 300): how long a stream is silent before it says that it is alive. Clients
    /// expect to hear something every 30 to 45 seconds.
    pub heartbeat_seconds: u32,
    /// `ews-streaming-idle-minutes` (1440; 1 to 525600): how long a streaming subscription lives without a stream.
    pub streaming_idle_minutes: u32,
    /// `accounts` (100000; 1 to 10000000): accounts of the tenant, closed ones included; beyond, no mailbox is opened.
    pub accounts: u32,
    /// `folders` (1000000; 1000 to 100000000): folders of all accounts, those included that histories still name; beyond, a
    /// change that names another one is rejected.
    pub folders: u64,
    /// `ews-subscriptions` (200000; 1 to 10000000): subscriptions of all accounts; beyond, none is made.
    pub subscriptions: u32,
    /// `ews-subscriptions-per-account` (5000; 1 to 1000000): subscriptions to one mailbox.
    pub subscriptions_per_account: u32,
    /// `ews-streams-per-account` (10; 1 to 1000000): open streams of one account.
    pub streams_per_account: u32,
    /// `ews-ids-per-stream` (200; 1 to 10000): subscriptions on one stream.
    pub ids_per_stream: u32,
    /// `ews-queue-events` (4000; 1 to 1000000): events that one subscription may have pending; with more it has missed
    /// events.
    pub queue_events: u32,
    /// `ews-queue-bytes` (4194304; 4096 to 1073741824): bytes of events that one subscription may have pending.
    pub queue_bytes: u64,
    /// `push-allow` (none): networks in CIDR form, separated by blanks. A push subscription's URL may name addresses in
    /// them, though they are not public. The host gives it, and judges again what a name resolves to.
    pub push_allow: Vec<Network>,
    /// `ews-history-events` (10000; 1 to 10000000): events kept of one account.
    pub history_events: u32,
    /// `ews-history-bytes` (4194304; 4096 to 1073741824): bytes of events kept of one account.
    pub history_bytes: u64,
    /// `ews-history-hours` (48; 1 to 8760): how long events are kept.
    pub history_hours: u32,
    /// `ews-history-total-bytes` (134217728; 65536 to 2147483648): bytes of events kept of all accounts together; the
    /// oldest go first. A quarter as much again is for the items that are remembered to have been moved.
    pub history_total_bytes: u64,
    /// `book-bytes` (134217728; 65536 to 4294967296): what the address book may take, in bytes; beyond, an entry is
    /// rejected.
    pub book_bytes: u64,
    /// `book-entry-bytes` (65536; 1024 to 131072): what one entry of the address book may say, in bytes; beyond, it is
    /// rejected.
    pub book_entry_bytes: u32,
    /// `book-delta-days` (15; 1 to 90): how long the address book's deltas are kept.
    pub book_delta_days: u32,
    /// `book-deltas` (100000; 1 to 10000000): how many of them are kept.
    pub book_deltas: u32,
    /// `groupwise-session-idle-minutes` (30; 1 to 1440): how long a session lives without a request.
    pub session_idle_minutes: u32,
    /// `groupwise-sessions-per-account` (50; 1 to 10000): sessions of one account; with one more the one that was idle
    /// longest ends.
    pub sessions_per_account: u32,
    /// `groupwise-sessions-total-bytes` (67108864; 65536 to 1073741824): what all sessions and their cursors may take, in
    /// bytes; beyond, those end that were idle longest.
    pub sessions_total_bytes: u64,
    /// `groupwise-cursors-per-session` (20; 1 to 1000): cursors of one session; with one more the oldest ends.
    pub cursors_per_session: u32,
    /// `groupwise-search-bytes` (16777216; 65536 to 1073741824): how much of the address book a request with a filter looks
    /// through, in bytes; beyond, it is refused.
    pub search_bytes: u64,
    /// `groupwise-keys-per-account` (100; 1 to 100000): keys under which one account may have events recorded; beyond, a
    /// configuration is refused.
    pub keys_per_account: u32,
    /// `groupwise-key-bytes` (16384; 256 to 131072): what one configuration may say, in bytes; beyond, it is refused.
    pub key_bytes: u32,
    /// `groupwise-keys-total-bytes` (67108864; 65536 to 1073741824): what the keys of all accounts may take with their
    /// configurations, in bytes; beyond, a configuration is refused.
    pub keys_total_bytes: u64,
    /// `groupwise-key-idle-days` (20; 1 to 365): how long a key lives without being used.
    pub key_idle_days: u32,
    /// `groupwise-persistence-days` (20; 1 to 365): the longest that a configuration may have records kept.
    pub persistence_days: u32,
    /// `groupwise-events-account-bytes` (8388608; 4096 to 1073741824): bytes of records of one account; beyond, the key
    /// with the most is lost.
    pub records_account_bytes: u64,
    /// `groupwise-events-total-bytes` (134217728; 65536 to 2147483648): bytes of records of all accounts together; beyond,
    /// the key whose records would end first is lost.
    pub records_total_bytes: u64,
    /// `groupwise-events-per-answer` (256; 1 to 1000): records in one answer.
    pub events_per_answer: u32,
    /// `groupwise-event-reads-per-account` (10; 1 to 10000): answers with records of one account that are on their way;
    /// beyond, a request for more is refused.
    pub event_reads_per_account: u32,
    /// `zimbra-waitset-*-request-timeout` (300, 30 and 1200 seconds; each 1 to 86400): how long users' requests wait.
    pub wait_timeouts: Timeouts,
    /// `zimbra-admin-waitset-*-request-timeout` (300, 0 and 3600 seconds; each 0 to 86400): how long administrators' do.
    pub admin_wait_timeouts: Timeouts,
    /// `zimbra-waitset-max-per-account` (5; 1 to 1000000): WaitSets of one account; the oldest goes when one more is made.
    pub wait_sets_per_account: u32,
    /// `zimbra-active-waitset-timeout-minutes` (20; 1 to 525600): how long a WaitSet lives without being used.
    pub wait_set_idle_minutes: u32,
    /// `zimbra-waitsets` (100000; 1 to 10000000): WaitSets of all accounts; beyond, none is made.
    pub wait_sets: u32,
    /// `zimbra-waitset-members` (2000000; 1 to 100000000): members of all WaitSets together; beyond, none is added.
    pub wait_set_members: u32,
}

/// How long requests may wait, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Where the client says nothing.
    pub default_seconds: u32,
    /// At least.
    pub min_seconds: u32,
    /// At most.
    pub max_seconds: u32,
}

impl Timeouts {
    /// How long a request waits that asks for so many seconds, in milliseconds: never less than one second, as with Zimbra.
    pub fn clamp_ms(self, wanted: Option<i64>) -> u64 {
        let wanted = wanted.unwrap_or(i64::from(self.default_seconds));
        let (min, max) = (i64::from(self.min_seconds.max(1)), i64::from(self.max_seconds.max(1)));
        wanted.max(min).min(max) as u64 * 1000
    }
}

/// What one subscription may have pending.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// How many events.
    pub events: u32,
    /// What they may count for, in bytes.
    pub bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            heartbeat_seconds: 25,
            streaming_idle_minutes: 1440,
            accounts: 100_000,
            folders: 1_000_000,
            subscriptions: 200_000,
            subscriptions_per_account: 5000,
            streams_per_account: 10,
            ids_per_stream: 200,
            queue_events: 4000,
            queue_bytes: 4 << 20,
            push_allow: Vec::new(),
            history_events: 10_000,
            history_bytes: 4 << 20,
            history_hours: 48,
            history_total_bytes: 128 << 20,
            book_bytes: 128 << 20,
            book_entry_bytes: 64 << 10,
            book_delta_days: 15,
            book_deltas: 100_000,
            session_idle_minutes: 30,
            sessions_per_account: 50,
            sessions_total_bytes: 64 << 20,
            cursors_per_session: 20,
            search_bytes: 16 << 20,
            keys_per_account: 100,
            key_bytes: 16_384,
            keys_total_bytes: 64 << 20,
            key_idle_days: 20,
            persistence_days: 20,
            records_account_bytes: 8 << 20,
            records_total_bytes: 128 << 20,
            events_per_answer: 256,
            event_reads_per_account: 10,
            wait_timeouts: Timeouts { default_seconds: 300, min_seconds: 30, max_seconds: 1200 },
            admin_wait_timeouts: Timeouts { default_seconds: 300, min_seconds: 0, max_seconds: 3600 },
            wait_sets_per_account: 5,
            wait_set_idle_minutes: 20,
            wait_sets: 100_000,
            wait_set_members: 2_000_000,
        }
    }
}

impl Settings {
    /// Reads settings; what is absent has its default, of a key given twice the last counts. An error names the key.
    pub fn read(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut settings = Self::default();
        for (key, value) in pairs {
            settings.set(key, value)?;
        }
        Ok(settings)
    }

    /// The heartbeat's period in milliseconds.
    pub fn heartbeat_ms(&self) -> u64 {
        u64::from(self.heartbeat_seconds) * 1000
    }

    /// The idle life of a streaming subscription in milliseconds.
    pub fn streaming_idle_ms(&self) -> u64 {
        u64::from(self.streaming_idle_minutes) * 60_000
    }

    /// What one subscription may have pending.
    pub fn queue(&self) -> Queue {
        Queue { events: self.queue_events, bytes: self.queue_bytes }
    }

    /// How long events are kept, in milliseconds.
    pub fn history_ms(&self) -> u64 {
        u64::from(self.history_hours) * 3_600_000
    }

    /// What may be remembered of items that were moved, in all mailboxes together, in bytes.
    pub fn moved_bytes(&self) -> u64 {
        self.history_total_bytes / 4
    }

    /// How long the address book's deltas are kept, in milliseconds.
    pub fn book_delta_ms(&self) -> u64 {
        u64::from(self.book_delta_days) * 86_400_000
    }

    /// The idle life of a GroupWise session in milliseconds.
    pub fn session_idle_ms(&self) -> u64 {
        u64::from(self.session_idle_minutes) * 60_000
    }

    /// How long a key lives without being used, in milliseconds.
    pub fn key_idle_ms(&self) -> u64 {
        u64::from(self.key_idle_days) * 86_400_000
    }

    /// The longest that records are kept, in seconds.
    pub fn persistence_seconds(&self) -> u64 {
        u64::from(self.persistence_days) * 86_400
    }

    /// How long a request to a WaitSet may wait.
    pub fn wait_timeouts(&self, administrator: bool) -> Timeouts {
        if administrator { self.admin_wait_timeouts } else { self.wait_timeouts }
    }

    /// How long a WaitSet lives without being used, in milliseconds.
    pub fn wait_set_idle_ms(&self) -> u64 {
        u64::from(self.wait_set_idle_minutes) * 60_000
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "domains" => self.domains = value.split_ascii_whitespace().map(str::to_ascii_lowercase).collect(),
            "ews-heartbeat-seconds" => self.heartbeat_seconds = small(key, value, 1, 300)?,
            "ews-streaming-idle-minutes" => self.streaming_idle_minutes = small(key, value, 1, 525_600)?,
            "accounts" => self.accounts = small(key, value, 1, 10_000_000)?,
            "folders" => self.folders = number(key, value, 1000, 100_000_000)?,
            "ews-subscriptions" => self.subscriptions = small(key, value, 1, 10_000_000)?,
            "ews-subscriptions-per-account" => self.subscriptions_per_account = small(key, value, 1, 1_000_000)?,
            "ews-streams-per-account" => self.streams_per_account = small(key, value, 1, 1_000_000)?,
            "ews-ids-per-stream" => self.ids_per_stream = small(key, value, 1, 10_000)?,
            "ews-queue-events" => self.queue_events = small(key, value, 1, 1_000_000)?,
            "ews-queue-bytes" => self.queue_bytes = number(key, value, 4096, 1 << 30)?,
            "push-allow" => self.push_allow = networks(key, value)?,
            "ews-history-events" => self.history_events = small(key, value, 1, 10_000_000)?,
            "ews-history-bytes" => self.history_bytes = number(key, value, 4096, 1 << 30)?,
            "ews-history-hours" => self.history_hours = small(key, value, 1, 8760)?,
            "ews-history-total-bytes" => self.history_total_bytes = number(key, value, 65_536, 1 << 31)?,
            "book-bytes" => self.book_bytes = number(key, value, 65_536, 1 << 32)?,
            "book-entry-bytes" => self.book_entry_bytes = small(key, value, 1024, 131_072)?,
            "book-delta-days" => self.book_delta_days = small(key, value, 1, 90)?,
            "book-deltas" => self.book_deltas = small(key, value, 1, 10_000_000)?,
            "groupwise-session-idle-minutes" => self.session_idle_minutes = small(key, value, 1, 1440)?,
            "groupwise-sessions-per-account" => self.sessions_per_account = small(key, value, 1, 10_000)?,
            "groupwise-sessions-total-bytes" => self.sessions_total_bytes = number(key, value, 65_536, 1 << 30)?,
            "groupwise-cursors-per-session" => self.cursors_per_session = small(key, value, 1, 1000)?,
            "groupwise-search-bytes" => self.search_bytes = number(key, value, 65_536, 1 << 30)?,
            "groupwise-keys-per-account" => self.keys_per_account = small(key, value, 1, 100_000)?,
            "groupwise-key-bytes" => self.key_bytes = small(key, value, 256, 131_072)?,
            "groupwise-keys-total-bytes" => self.keys_total_bytes = number(key, value, 65_536, 1 << 30)?,
            "groupwise-key-idle-days" => self.key_idle_days = small(key, value, 1, 365)?,
            "groupwise-persistence-days" => self.persistence_days = small(key, value, 1, 365)?,
            "groupwise-events-account-bytes" => self.records_account_bytes = number(key, value, 4096, 1 << 30)?,
            "groupwise-events-total-bytes" => self.records_total_bytes = number(key, value, 65_536, 1 << 31)?,
            "groupwise-events-per-answer" => self.events_per_answer = small(key, value, 1, 1000)?,
            "groupwise-event-reads-per-account" => self.event_reads_per_account = small(key, value, 1, 10_000)?,
            "zimbra-waitset-default-request-timeout" => {
                self.wait_timeouts.default_seconds = small(key, value, 1, 86_400)?;
            }
            "zimbra-waitset-min-request-timeout" => self.wait_timeouts.min_seconds = small(key, value, 1, 86_400)?,
            "zimbra-waitset-max-request-timeout" => self.wait_timeouts.max_seconds = small(key, value, 1, 86_400)?,
            "zimbra-admin-waitset-default-request-timeout" => {
                self.admin_wait_timeouts.default_seconds = small(key, value, 0, 86_400)?;
            }
            "zimbra-admin-waitset-min-request-timeout" => {
                self.admin_wait_timeouts.min_seconds = small(key, value, 0, 86_400)?;
            }
            "zimbra-admin-waitset-max-request-timeout" => {
                self.admin_wait_timeouts.max_seconds = small(key, value, 0, 86_400)?;
            }
            "zimbra-waitset-max-per-account" => self.wait_sets_per_account = small(key, value, 1, 1_000_000)?,
            "zimbra-active-waitset-timeout-minutes" => self.wait_set_idle_minutes = small(key, value, 1, 525_600)?,
            "zimbra-waitsets" => self.wait_sets = small(key, value, 1, 10_000_000)?,
            "zimbra-waitset-members" => self.wait_set_members = small(key, value, 1, 100_000_000)?,
            _ => return Err(["unknown setting '", key, "'"].concat()),
        }
        Ok(())
    }
}

fn networks(key: &str, value: &str) -> Result<Vec<Network>, String> {
    let read = |text: &str| {
        Network::read(text).ok_or_else(|| ["setting '", key, "' has '", text, "', which is no network"].concat())
    };
    value.split_ascii_whitespace().map(read).collect()
}

fn small(key: &str, value: &str, from: u64, to: u64) -> Result<u32, String> {
    number(key, value, from, to).map(|number| number as u32)
}

fn number(key: &str, value: &str, from: u64, to: u64) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| (from..=to).contains(number));
    number.ok_or_else(|| {
        let (from, to) = (from.to_string(), to.to_string());
        ["setting '", key, "' must be a whole number from ", &from, " to ", &to, ", not '", value, "'"].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Settings::read(&pairs)
    }

    #[test]
    fn settings_are_read_or_refused_by_name() {
        let settings = read(&[("ews-heartbeat-seconds", "2"), ("domains", "Example.ORG  b.example")]).expect("valid");
        assert_eq!(settings.heartbeat_ms(), 2000);
        assert_eq!(settings.domains, ["example.org", "b.example"]);
        assert_eq!(read(&[("heartbeat", "2")]), Err("unknown setting 'heartbeat'".into()));
        let reason = "setting 'ews-queue-events' must be a whole number from 1 to 1000000, not '0'";
        assert_eq!(read(&[("ews-queue-events", "0")]), Err(reason.into()));
        let reason = "setting 'push-allow' has '10.0.0.0/33', which is no network";
        assert_eq!(read(&[("push-allow", "127.0.0.0/8 10.0.0.0/33 ::1/128")]), Err(reason.into()));
        assert_eq!(read(&[("push-allow", " 127.0.0.0/8  ::1/128 ")]).expect("valid").push_allow.len(), 2);
        assert_eq!(read(&[("push-allow", "")]).expect("valid").push_allow, []);
    }
}
