//! Who has logged in to the console: a cookie for a key, so that the key itself is neither in a page nor in a browser.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use zeroize::Zeroizing;

use crate::serve::tokens::random_name;

/// The cookie's name.
const NAME: &str = "postbell-console";

/// How long a session lives without a request, in milliseconds. A page that is open asks all the time.
const IDLE_MILLISECONDS: u64 = 3_600_000;

/// How many sessions there are at most; with one more the one that was idle longest ends.
const MOST: usize = 64;

/// All sessions, by the secret in their cookies. Each has the key that it began with: what that may do is judged anew for
/// every request, so a key that is no good any more ends them.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, Session>>);

struct Session {
    key: Zeroizing<String>,
    used: u64,
}

impl Sessions {
    /// Begins one for this key, at this time of a clock that never goes back; gives the value of `Set-Cookie`.
    pub fn begin(&self, key: &str, now: u64) -> Result<String, getrandom::Error> {
        let secret = random_name()?;
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.used + IDLE_MILLISECONDS > now);
        while sessions.len() >= MOST {
            let idlest = sessions.iter().min_by_key(|(_, session)| session.used).map(|(secret, _)| secret.clone());
            idlest.map(|secret| sessions.remove(&secret));
        }
        sessions.insert(secret.clone(), Session { key: Zeroizing::new(key.to_owned()), used: now });
        Ok(format!("{NAME}={secret}; Path=/console; HttpOnly; SameSite=Strict"))
    }

    /// The key of the session that a request belongs to, which is used now.
    pub fn key(&self, headers: &HeaderMap, now: u64) -> Option<Zeroizing<String>> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(secret(headers)?)?;
        if session.used + IDLE_MILLISECONDS <= now {
            return None;
        }
        session.used = now;
        Some(session.key.clone())
    }

    /// Ends the session of a request; gives the value of `Set-Cookie`.
    pub fn end(&self, headers: &HeaderMap) -> String {
        if let Some(secret) = secret(headers) {
            self.lock().remove(secret);
        }
        format!("{NAME}=; Path=/console; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.0.lock().expect("nothing panics while this lock is held")
    }
}

fn secret(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == NAME).map(|(_, secret)| secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, format!("other=1; {}", cookie.split(';').next().unwrap()).parse().unwrap())])
    }

    #[test]
    fn a_session_lives_as_long_as_it_is_used() {
        let sessions = Sessions::default();
        let cookie = sessions.begin("the key", 0).expect("chance");
        assert!(!cookie.contains("the key"));
        let headers = with(&cookie);
        for hour in 0..3 {
            let key = sessions.key(&headers, hour * (IDLE_MILLISECONDS - 1));
            assert_eq!(key.as_deref().map(String::as_str), Some("the key"));
        }
        assert_eq!(sessions.key(&headers, 3 * IDLE_MILLISECONDS), None);
        let headers = with(&sessions.begin("the key", 0).expect("chance"));
        sessions.end(&headers);
        assert_eq!(sessions.key(&headers, 1), None);
        assert_eq!(sessions.key(&HeaderMap::new(), 1), None);
    }

    #[test]
    fn there_are_never_too_many() {
        let sessions = Sessions::default();
        let cookies: Vec<_> = (0..=MOST as u64).map(|now| sessions.begin("k", now).expect("chance")).collect();
        let alive = |cookie: &String| sessions.key(&with(cookie), MOST as u64).is_some();
        assert_eq!(cookies.iter().filter(|cookie| alive(cookie)).count(), MOST);
        assert!(!alive(&cookies[0]));
    }
}
