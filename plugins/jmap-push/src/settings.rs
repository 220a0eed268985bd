//! The plugin's settings. Each has a default; a key that is not known is an error.

use serde::{Deserialize, Serialize};

/// The longest that a stream may live, in minutes.
pub const MOST_STREAM_MINUTES: u64 = 24 * 60;

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The host's: the tenant's mail domains. Accounts of others are not opened by a change.
    pub domains: Vec<String>,
    /// `jmap-stream-minutes` (60; 1 to 1440): a stream ends after this time, and its client comes again.
    pub stream_minutes: u64,
    /// `jmap-streams-per-account` (10; 1 to 1000): with more, a client is answered 429.
    pub streams_per_account: u64,
    /// `jmap-accounts` (100000; 1 to 10000000): accounts that are known; changes of further ones are rejected.
    pub accounts: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { domains: Vec::new(), stream_minutes: 60, streams_per_account: 10, accounts: 100_000 }
    }
}

impl Settings {
    /// Reads all settings. An error names the one that is wrong.
    pub fn read(given: &[(String, String)]) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for (key, value) in given {
            match &**key {
                "domains" => settings.domains = value.split_whitespace().map(str::to_owned).collect(),
                "jmap-stream-minutes" => settings.stream_minutes = number(key, value, MOST_STREAM_MINUTES)?,
                "jmap-streams-per-account" => settings.streams_per_account = number(key, value, 1_000)?,
                "jmap-accounts" => settings.accounts = number(key, value, 10_000_000)?,
                _ => return Err(format!("{key}: there is no such setting")),
            }
        }
        Ok(settings)
    }

    /// Whether an address is of one of the tenant's domains.
    pub fn has_domain_of(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map(|(_, domain)| domain);
        domain.is_some_and(|domain| self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain)))
    }
}

fn number(key: &str, value: &str, most: u64) -> Result<u64, String> {
    let within = value.parse().ok().filter(|number| (1..=most).contains(number));
    within.ok_or_else(|| format!("{key}: a number from 1 to {most}, not {value:?}"))
}
