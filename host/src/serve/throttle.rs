//! Guessing passwords is slow: after so many failures, an account or an address has to wait.
//!
//! What is counted is the login that was typed, whether or not it is anybody's: so a refusal tells nothing of which
//! accounts exist. Failures are counted in windows of a fixed length, and those of the window before weigh less the
//! longer ago it ended.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::counters::Limit;
use super::places::customer;
use crate::clock::Clock;

/// How many accounts and addresses with failures are known of one window; of more, some are forgotten.
const KNOWN: usize = 100_000;

/// How many logins may fail.
#[derive(Clone, Copy, Debug)]
pub struct FailureLimits {
    /// For one account.
    pub per_account: u32,
    /// From one address, or one /64 of IPv6.
    pub per_address: u32,
    /// Within so many milliseconds.
    pub window_ms: u64,
}

/// Counts failed logins.
pub struct Throttle {
    limits: FailureLimits,
    /// Which of too many subjects are forgotten is not for others to decide.
    key: [u8; 32],
    windows: Mutex<Windows>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Windows {
    began: u64,
    current: BTreeMap<Subject, u32>,
    before: BTreeMap<Subject, u32>,
}

type Subject = [u8; 32];

/// Whom a login concerns.
#[derive(Clone, Copy, Debug)]
pub struct Concerned<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The login, as it was typed.
    pub login: &'a str,
    /// Where it was typed.
    pub address: IpAddr,
}

impl Throttle {
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn new(limits: FailureLimits, clock: Arc<dyn Clock>) -> Result<Throttle, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Throttle { limits, key, windows: Mutex::default(), clock })
    }

    /// Whether a login may be tried.
    ///
    /// # Errors
    ///
    /// The limit that was reached.
    pub fn check(&self, concerned: Concerned<'_>) -> Result<(), Limit> {
        let windows = self.windows();
        let left = self.limits.window_ms - (self.clock.monotonic() - windows.began);
        let failures = |subject: Subject| {
            let before = windows.before.get(&subject).copied().unwrap_or(0);
            let weighed = u64::from(before) * left / self.limits.window_ms;
            u64::from(windows.current.get(&subject).copied().unwrap_or(0)) + weighed
        };
        if failures(self.account(concerned)) >= self.limits.per_account.into() {
            return Err(Limit::FailedLoginsPerAccount);
        }
        if failures(self.address(concerned)) >= self.limits.per_address.into() {
            return Err(Limit::FailedLoginsPerAddress);
        }
        Ok(())
    }

    /// A login failed.
    pub fn failed(&self, concerned: Concerned<'_>) {
        let (account, address) = (self.account(concerned), self.address(concerned));
        let mut windows = self.windows();
        for subject in [account, address] {
            let failures = windows.current.entry(subject).or_default();
            *failures = failures.saturating_add(1);
            if windows.current.len() > KNOWN {
                windows.current.pop_first();
            }
        }
    }

    /// The windows, with the current one at its place in time.
    fn windows(&self) -> MutexGuard<'_, Windows> {
        let (now, length) = (self.clock.monotonic(), self.limits.window_ms);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let over = (now - windows.began) / length;
        if over > 0 {
            let ended = std::mem::take(&mut windows.current);
            windows.before = if over == 1 { ended } else { BTreeMap::new() };
            windows.began += over * length;
        }
        windows
    }

    fn account(&self, concerned: Concerned<'_>) -> Subject {
        self.subject(concerned.tenant, &concerned.login.to_lowercase())
    }

    fn address(&self, concerned: Concerned<'_>) -> Subject {
        self.subject("", &customer(concerned.address).to_string())
    }

    fn subject(&self, tenant: &str, name: &str) -> Subject {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&(tenant.len() as u64).to_le_bytes());
        mac.update(tenant.as_bytes());
        mac.update(name.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const LIMITS: FailureLimits = FailureLimits { per_account: 3, per_address: 5, window_ms: 60_000 };

    fn throttle() -> (Throttle, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (Throttle::new(LIMITS, clock.clone()).expect("random bytes"), clock)
    }

    fn by<'a>(login: &'a str, address: &str) -> Concerned<'a> {
        Concerned { tenant: "t", login, address: address.parse().expect("an address") }
    }

    #[test]
    fn an_account_waits_wherever_the_failures_come_from() {
        let (throttle, _) = throttle();
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert_eq!(throttle.check(by("alice", address)), Ok(()));
            throttle.failed(by("Alice", address));
        }
        assert_eq!(throttle.check(by("alice", "192.0.2.4")), Err(Limit::FailedLoginsPerAccount));
        assert_eq!(throttle.check(by("bob", "192.0.2.1")), Ok(()));
        let elsewhere = Concerned { tenant: "u", ..by("alice", "192.0.2.4") };
        assert_eq!(throttle.check(elsewhere), Ok(()));
    }

    #[test]
    fn an_address_waits_whatever_it_tries() {
        let (throttle, _) = throttle();
        for login in ["a", "b", "c", "d", "e"] {
            assert_eq!(throttle.check(by(login, "2001:db8::1")), Ok(()));
            throttle.failed(by(login, "2001:db8::1"));
        }
        assert_eq!(throttle.check(by("f", "2001:db8::2")), Err(Limit::FailedLoginsPerAddress));
        assert_eq!(throttle.check(by("f", "2001:db8:1::1")), Ok(()));
    }

    #[test]
    fn failures_are_forgiven_with_time() {
        let (throttle, clock) = throttle();
        clock.advance(59_999);
        for _ in 0..3 {
            throttle.failed(by("alice", "192.0.2.1"));
        }
        clock.advance(1);
        assert!(throttle.check(by("alice", "192.0.2.1")).is_err(), "the window has just ended");
        clock.advance(20_001);
        assert!(throttle.check(by("alice", "192.0.2.1")).is_ok(), "a third of it is forgiven");
        throttle.failed(by("alice", "192.0.2.1"));
        throttle.failed(by("alice", "192.0.2.1"));
        assert!(throttle.check(by("alice", "192.0.2.1")).is_err());
        clock.advance(120_000);
        assert!(throttle.check(by("alice", "192.0.2.1")).is_ok());
    }

    #[test]
    fn what_is_known_is_bounded() {
        let (throttle, _) = throttle();
        for number in 0..KNOWN {
            throttle.failed(by(&number.to_string(), "192.0.2.1"));
        }
        assert!(throttle.windows().current.len() <= KNOWN);
    }
}
