//! Passwords against their argon2id hashes: off the network threads, few at a time, and remembered for a short while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// How long a login that was verified is taken without hashing again, in milliseconds. A changed password is asked for
/// again after this time at the latest.
pub const REMEMBERED_MS: u64 = 60_000;
/// How many verified logins are remembered.
const REMEMBERED: usize = 10_000;

/// More logins wait for being verified than the limit `logins-waiting` allows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins wait")]
pub struct TooManyWait;

/// Verifies passwords; one for all tenants of a process, because all share its processors.
pub struct Passwords {
    /// The key of the fingerprints: random, of this process only, so that they say nothing outside of it.
    key: [u8; 32],
    /// Fingerprints of verified logins, and when each is forgotten (monotonic milliseconds).
    verified: Mutex<BTreeMap<[u8; 32], u64>>,
    hashing: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
    clock: Arc<dyn Clock>,
}

impl Passwords {
    /// `most_waiting`: how many logins may be in verification at a time, those that wait for a processor included.
    ///
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn new(clock: Arc<dyn Clock>, most_waiting: usize) -> Result<Passwords, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Passwords {
            key,
            verified: Mutex::default(),
            hashing: Semaphore::new(processors),
            waiting: AtomicUsize::new(0),
            most_waiting,
            clock,
        })
    }

    /// Whether `secret` is the password whose hash is `stored`.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub async fn verify(&self, secret: &str, stored: &str) -> Result<bool, TooManyWait> {
        let fingerprint = self.fingerprint(secret, stored);
        if self.remembers(&fingerprint) {
            return Ok(true);
        }
        let _place = self.place()?;
        let _turn = self.hashing.acquire().await.expect("the semaphore is never closed");
        // Many connections of one client come at once: all but the first find its result here.
        if self.remembers(&fingerprint) {
            return Ok(true);
        }
        let right = matches(secret, stored).await;
        if right {
            self.remember(fingerprint);
        }
        Ok(right)
    }

    /// Takes as long as `verify` of a wrong password, so that the time does not tell whether a login exists.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub async fn pretend(&self, secret: &str, stored: &str) -> Result<(), TooManyWait> {
        let _place = self.place()?;
        let _turn = self.hashing.acquire().await.expect("the semaphore is never closed");
        matches(secret, stored).await;
        Ok(())
    }

    fn place(&self) -> Result<Place<'_>, TooManyWait> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most_waiting { Ok(place) } else { Err(TooManyWait) }
    }

    /// Salted by the hash, so another password or a changed one has another fingerprint.
    fn fingerprint(&self, secret: &str, stored: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&(stored.len() as u64).to_le_bytes());
        mac.update(stored.as_bytes());
        mac.update(secret.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn remembers(&self, fingerprint: &[u8; 32]) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(fingerprint).is_some_and(|forgotten| self.clock.monotonic() < *forgotten)
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let now = self.clock.monotonic();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.retain(|_, forgotten| now < *forgotten);
        }
        if verified.len() >= REMEMBERED {
            verified.pop_first();
        }
        verified.insert(fingerprint, now + REMEMBERED_MS);
    }
}

/// One of those that wait; gives its place back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn matches(secret: &str, stored: &str) -> bool {
    let (secret, stored) = (Zeroizing::new(secret.to_owned()), stored.to_owned());
    let hashing = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&stored).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
    });
    // Fails only when the runtime stops.
    hashing.await.unwrap_or(false)
}

/// The argon2id hash of a password as a PHC string, with a fresh salt and the recommended cost (19 MiB, 2 passes).
///
/// # Errors
///
/// The operating system gives no random bytes, or the password is longer than argon2 takes.
pub fn hash(secret: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = Argon2::default().hash_password(secret.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether a text is an argon2id hash that a password can be verified against.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_hash(stored: &str) -> Result<(), String> {
    let hash = PasswordHash::new(stored).map_err(|error| error.to_string())?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("the algorithm is {}", hash.algorithm));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("it has no salt or no hash".to_owned());
    }
    argon2::Params::try_from(&hash).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// A real argon2id hash at the lowest cost.
    pub(crate) fn cheap_hash(secret: &str) -> String {
        let params = argon2::Params::new(8, 1, 1, None).expect("the lowest cost");
        let hash: PasswordHash = Argon2::from(params).hash_password(secret.as_bytes()).expect("hashed");
        hash.to_string()
    }

    #[tokio::test]
    async fn only_the_password_matches() {
        let passwords = Passwords::new(Arc::new(ManualClock::default()), 10).expect("random bytes");
        let stored = cheap_hash("secret");
        assert_eq!(passwords.verify("secret", &stored).await, Ok(true));
        assert_eq!(passwords.verify("Secret", &stored).await, Ok(false));
        assert_eq!(passwords.verify("", &stored).await, Ok(false));
        assert_eq!(passwords.verify("secret", "no hash").await, Ok(false));
    }

    #[tokio::test]
    async fn a_verified_login_is_remembered_for_its_time() {
        let clock = Arc::new(ManualClock::default());
        let passwords = Passwords::new(clock.clone(), 10).expect("random bytes");
        let stored = cheap_hash("secret");
        assert_eq!(passwords.verify("secret", &stored).await, Ok(true));
        let fingerprint = passwords.fingerprint("secret", &stored);
        clock.advance(REMEMBERED_MS - 1);
        assert!(passwords.remembers(&fingerprint));
        assert!(!passwords.remembers(&passwords.fingerprint("secret", &cheap_hash("secret"))), "another hash");
        clock.advance(1);
        assert!(!passwords.remembers(&fingerprint));
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let passwords = Passwords::new(Arc::new(ManualClock::default()), 10).expect("random bytes");
        for number in 0..REMEMBERED + 10 {
            passwords.remember(passwords.fingerprint(&number.to_string(), ""));
        }
        assert_eq!(passwords.verified.lock().expect("no panic").len(), REMEMBERED);
    }

    #[tokio::test]
    async fn who_would_wait_beyond_the_limit_is_refused() {
        let passwords = Passwords::new(Arc::new(ManualClock::default()), 1).expect("random bytes");
        let stored = cheap_hash("secret");
        let place = passwords.place().expect("the only place");
        assert_eq!(passwords.verify("secret", &stored).await, Err(TooManyWait));
        assert_eq!(passwords.pretend("secret", &stored).await, Err(TooManyWait));
        drop(place);
        assert_eq!(passwords.verify("secret", &stored).await, Ok(true));
    }

    #[test]
    fn hashes_are_checked() {
        check_hash(&cheap_hash("x")).expect("a good hash");
        for (stored, why) in [
            ("secret", ""),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$KtODlA7z5tNpnMwxZQYZTA", "argon2i"),
            ("$argon2id$v=19$m=8,t=1,p=1", "no salt"),
            ("$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHQ$KtODlA7z5tNpnMwxZQYZTA", ""),
        ] {
            let error = check_hash(stored).expect_err(stored);
            assert!(error.contains(why), "{stored}: {error}");
        }
    }
}
