//! What stands between a password and whoever verifies it: what was verified is remembered for a short while, failures are
//! throttled, and few are verified at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;

use super::authenticator::{Attempt, Authenticator};
use super::counters::{Counters, Limit, LoginOutcome};
use super::throttle::{Concerned, FailureLimits, Throttle};
use crate::clock::Clock;
use crate::contract::requests::Denial;

/// How long a login that was verified is taken without asking again, in milliseconds. A changed password is asked for
/// again after this time at the latest.
pub const REMEMBERED_MS: u64 = 60_000;
/// How many verified logins are remembered.
const REMEMBERED: usize = 10_000;

/// What logins may take.
#[derive(Clone, Copy, Debug)]
pub struct LoginLimits {
    /// How many may be in verification at a time, those that wait for their turn included.
    pub waiting: usize,
    /// How many may fail.
    pub failures: FailureLimits,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What a plugin is told.
    pub denial: Denial,
    /// The limit that was reached, if that is the reason.
    pub limit: Option<Limit>,
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Refused {
        Refused { denial, limit: None }
    }
}

impl From<Limit> for Refused {
    fn from(limit: Limit) -> Refused {
        Refused { denial: Denial::Throttled, limit: Some(limit) }
    }
}

/// Lets logins through; one for all tenants of a process, because all share its processors and its clients' addresses.
pub struct Gate {
    /// The key of the fingerprints: random, of this process only, so that they say nothing outside of it.
    key: [u8; 32],
    verified: Mutex<BTreeMap<Fingerprint, Remembered>>,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    throttle: Throttle,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

type Fingerprint = [u8; 32];

/// A login that was verified.
struct Remembered {
    tenant: String,
    user: String,
    /// When it is forgotten, in monotonic milliseconds.
    until: u64,
}

impl Gate {
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn new(limits: LoginLimits, counters: Arc<Counters>, clock: Arc<dyn Clock>) -> Result<Gate, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Gate {
            key,
            verified: Mutex::default(),
            hashing: Arc::new(Semaphore::new(processors())),
            waiting: AtomicUsize::new(0),
            most_waiting: limits.waiting,
            throttle: Throttle::new(limits.failures, clock.clone())?,
            counters,
            clock,
        })
    }

    /// The turns of those who verify by computing: as many as there are processors.
    pub fn hashing(&self) -> Arc<Semaphore> {
        self.hashing.clone()
    }

    /// The name of the user whose password this is.
    ///
    /// # Errors
    ///
    /// It is nobody's, or cannot be verified now.
    pub async fn verify(
        &self,
        tenant: &str,
        attempt: Attempt<'_>,
        (authenticator, turns): (&dyn Authenticator, &Semaphore),
    ) -> Result<String, Refused> {
        let fingerprint = self.fingerprint(tenant, attempt, authenticator.version(attempt.login));
        if let Some(user) = self.remembered(&fingerprint) {
            return Ok(user);
        }
        let _place = self.place()?;
        let _turn = turns.acquire().await.expect("the semaphore is never closed");
        // Many connections of one client come at once: all but the first find its result here.
        if let Some(user) = self.remembered(&fingerprint) {
            return Ok(user);
        }
        let concerned = Concerned { tenant, login: attempt.login, address: attempt.address };
        self.throttle.check(concerned).map_err(|limit| self.refused(limit))?;
        let verified = authenticator.verify(attempt).await;
        self.counters.logged_in(outcome(&verified));
        match &verified {
            Ok(user) => self.remember(fingerprint, tenant, user),
            Err(Denial::Unavailable | Denial::Throttled) => {}
            Err(_) => self.throttle.failed(concerned),
        }
        Ok(verified?)
    }

    /// Forgets what was verified of a tenant's user, or of all of them.
    pub fn forget(&self, tenant: &str, user: Option<&str>) {
        let is_meant =
            |of: &Remembered| of.tenant == tenant && user.is_none_or(|user| of.user.eq_ignore_ascii_case(user));
        self.verified().retain(|_, remembered| !is_meant(remembered));
    }

    fn place(&self) -> Result<Place<'_>, Refused> {
        let place = Place(&self.waiting);
        match self.waiting.fetch_add(1, Ordering::Relaxed) < self.most_waiting {
            true => Ok(place),
            false => Err(self.refused(Limit::LoginsWaiting)),
        }
    }

    fn refused(&self, limit: Limit) -> Refused {
        self.counters.refused(limit);
        limit.into()
    }

    /// Each part with its length before it, so that no two attempts have the same.
    fn fingerprint(&self, tenant: &str, attempt: Attempt<'_>, version: Option<&str>) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        for part in [tenant, &attempt.login.to_lowercase(), version.unwrap_or_default(), attempt.secret] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn remembered(&self, fingerprint: &Fingerprint) -> Option<String> {
        let verified = self.verified();
        let remembered = verified.get(fingerprint).filter(|remembered| self.clock.monotonic() < remembered.until);
        remembered.map(|remembered| remembered.user.clone())
    }

    fn remember(&self, fingerprint: Fingerprint, tenant: &str, user: &str) {
        let now = self.clock.monotonic();
        let mut verified = self.verified();
        if verified.len() >= REMEMBERED {
            verified.retain(|_, remembered| now < remembered.until);
        }
        if verified.len() >= REMEMBERED {
            verified.pop_first();
        }
        let until = now + REMEMBERED_MS;
        verified.insert(fingerprint, Remembered { tenant: tenant.to_owned(), user: user.to_owned(), until });
    }

    fn verified(&self) -> MutexGuard<'_, BTreeMap<Fingerprint, Remembered>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many passwords are hashed at a time.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn outcome(verified: &Result<String, Denial>) -> LoginOutcome {
    match verified {
        Ok(_) => LoginOutcome::Right,
        Err(Denial::Unavailable | Denial::Throttled) => LoginOutcome::Unavailable,
        Err(_) => LoginOutcome::Wrong,
    }
}

/// One of those that wait; gives its place back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::authenticator::Verified;
    use super::*;
    use crate::clock::ManualClock;

    /// Enough for tests that are about something else.
    pub(crate) fn limits() -> LoginLimits {
        LoginLimits { waiting: 10, failures: FailureLimits { per_account: 3, per_address: 100, window_ms: 60_000 } }
    }

    /// Knows one password, and counts how often it was asked.
    #[derive(Default)]
    struct Knows {
        version: Option<&'static str>,
        denial: Option<Denial>,
        asked: AtomicUsize,
    }

    impl Authenticator for Knows {
        fn at_once(&self) -> usize {
            1
        }

        fn verify<'a>(&'a self, attempt: Attempt<'a>) -> Verified<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let wrong = self.denial.unwrap_or(Denial::WrongSecret);
            Box::pin(async move { if attempt.secret == "right" { Ok("alice".to_owned()) } else { Err(wrong) } })
        }

        fn version(&self, _: &str) -> Option<&str> {
            self.version
        }
    }

    struct Scene {
        gate: Gate,
        knows: Knows,
        counters: Arc<Counters>,
        clock: Arc<ManualClock>,
    }

    fn scene(limits: LoginLimits) -> Scene {
        let (counters, clock) = (Arc::<Counters>::default(), Arc::<ManualClock>::default());
        let gate = Gate::new(limits, counters.clone(), clock.clone()).expect("random bytes");
        Scene { gate, knows: Knows::default(), counters, clock }
    }

    impl Scene {
        async fn try_in(&self, tenant: &str, secret: &str) -> Result<String, Refused> {
            let attempt = Attempt { login: "Alice", secret, address: [192, 0, 2, 1].into(), secure: true };
            self.gate.verify(tenant, attempt, (&self.knows, &self.gate.hashing())).await
        }

        async fn check(&self, secret: &str, asked: usize) {
            assert_eq!(self.try_in("t", secret).await, Ok("alice".to_owned()));
            assert_eq!(self.knows.asked.swap(0, Ordering::Relaxed), asked);
        }
    }

    #[tokio::test]
    async fn a_verified_login_is_remembered_for_its_time() {
        let scene = scene(limits());
        scene.check("right", 1).await;
        scene.clock.advance(REMEMBERED_MS - 1);
        scene.check("right", 0).await;
        assert_eq!(scene.try_in("t", "Right").await, Err(Denial::WrongSecret.into()));
        scene.clock.advance(1);
        scene.check("right", 2).await;
    }

    #[tokio::test]
    async fn a_change_that_is_known_counts_at_once() {
        let mut scene = scene(limits());
        scene.check("right", 1).await;
        scene.knows.version = Some("another hash");
        scene.check("right", 1).await;
        for (tenant, user, asked) in [("u", None, 0), ("t", Some("bob"), 0), ("t", Some("ALICE"), 1), ("t", None, 1)] {
            scene.gate.forget(tenant, user);
            scene.check("right", asked).await;
        }
        assert!(scene.try_in("u", "right").await.is_ok());
        assert_eq!(scene.knows.asked.load(Ordering::Relaxed), 1, "another tenant's logins are its own");
    }

    #[tokio::test]
    async fn who_fails_too_often_waits_and_who_is_remembered_does_not() {
        let scene = scene(limits());
        scene.check("right", 1).await;
        for _ in 0..3 {
            assert_eq!(scene.try_in("t", "wrong").await, Err(Denial::WrongSecret.into()));
        }
        let throttled = Limit::FailedLoginsPerAccount.into();
        assert_eq!(scene.try_in("t", "wrong").await, Err(throttled));
        assert_eq!(scene.knows.asked.swap(0, Ordering::Relaxed), 3);
        scene.check("right", 0).await;
        scene.gate.forget("t", None);
        assert_eq!(scene.try_in("t", "right").await, Err(throttled), "nobody learns whether it is right");
        scene.clock.advance(120_000);
        scene.check("right", 1).await;
        assert_eq!(scene.counters.refusals()["failed-logins-per-account"], 2);
        let logins = scene.counters.logins();
        assert_eq!((logins["right"], logins["wrong"], logins["unavailable"]), (2, 3, 0));
    }

    #[tokio::test]
    async fn what_cannot_be_verified_is_no_failure() {
        let mut scene = scene(limits());
        scene.knows.denial = Some(Denial::Unavailable);
        for _ in 0..10 {
            assert_eq!(scene.try_in("t", "wrong").await, Err(Denial::Unavailable.into()));
        }
        scene.check("right", 11).await;
    }

    #[tokio::test]
    async fn who_would_wait_beyond_the_limit_is_refused() {
        let scene = scene(LoginLimits { waiting: 1, ..limits() });
        let place = scene.gate.place().unwrap_or_else(|_| panic!("the only place"));
        assert_eq!(scene.try_in("t", "right").await, Err(Limit::LoginsWaiting.into()));
        drop(place);
        scene.check("right", 1).await;
        assert_eq!(scene.counters.refusals()["logins-waiting"], 1);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let scene = scene(limits());
        for number in 0..REMEMBERED + 10 {
            let fingerprint: Fingerprint = Sha256Of(number).into();
            scene.gate.remember(fingerprint, "t", "alice");
        }
        assert_eq!(scene.gate.verified().len(), REMEMBERED);
    }

    struct Sha256Of(usize);

    impl From<Sha256Of> for Fingerprint {
        fn from(Sha256Of(number): Sha256Of) -> Fingerprint {
            use sha2::Digest;
            Sha256::digest(number.to_le_bytes()).into()
        }
    }
}
