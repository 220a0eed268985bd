//! Tokens that stand for a login: made by the host, signed, good until they expire or are revoked.
//!
//! A token is `claims.signature`, both in base64url: the claims are readable, the signature is an HMAC-SHA256 with a
//! key of this process. Each day another key signs, and one that signed is kept until its last token has expired. A
//! restart ends every login; clients log in again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a user's token lives, in milliseconds: two days, as with Zimbra.
pub const LIFETIME_MS: u64 = 172_800_000;
/// How long an administrator's token lives, in milliseconds: twelve hours, as with Zimbra.
pub const ADMINISTRATOR_LIFETIME_MS: u64 = 43_200_000;
/// How long a key signs, in milliseconds.
pub const KEY_LIFETIME_MS: u64 = 86_400_000;
/// How many revoked tokens are remembered. Beyond it every token issued before is void.
const REVOKED: usize = 100_000;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The account's id.
    pub account: String,
    /// Names the login; random.
    pub visit: String,
    /// Whether the login was one as administrator.
    pub administrator: bool,
    /// When it was issued, in milliseconds since the Unix epoch.
    pub issued: u64,
    /// When it expires, likewise.
    pub expires: u64,
}

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// No token of this process, or altered.
    #[error("no token of this server's")]
    Unknown,
    /// Its time is over, or it was revoked.
    #[error("expired")]
    Expired,
}

/// Issues, verifies and revokes tokens.
pub struct Tokens {
    /// In the order of their making; the last one signs.
    keys: Mutex<VecDeque<Key>>,
    revoked: Mutex<Revoked>,
}

struct Key {
    number: u64,
    secret: [u8; 32],
    /// When it was made, in milliseconds since the Unix epoch.
    made: u64,
}

#[derive(Default)]
struct Revoked {
    /// Visits, and when the token of each would expire anyway.
    visits: BTreeMap<String, u64>,
    /// Accounts' ids, and the earliest time that a token of each may bear.
    accounts: BTreeMap<String, u64>,
    /// The earliest time that a token of any account may bear.
    all: u64,
    /// The latest time that a token bears. What is revoked is revoked by it, not by the clock, which may go back.
    latest: u64,
}

impl Revoked {
    /// Tokens of this account that bear an earlier time are void.
    fn before(&self, account: &str) -> u64 {
        self.accounts.get(account).copied().unwrap_or_default().max(self.all)
    }

    /// The first time that no token bears yet.
    fn next(&self) -> u64 {
        self.latest.saturating_add(1)
    }
}

impl Tokens {
    /// With a random key, made now (in milliseconds since the Unix epoch).
    ///
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn new(now: u64) -> Result<Tokens, getrandom::Error> {
        Ok(Tokens { keys: Mutex::new([Key::new(1, now)?].into()), revoked: Mutex::default() })
    }

    /// The token that says this. Issued in the millisecond in which others were revoked, or by a clock that went back, it
    /// bears the first time after those.
    pub fn issue(&self, claims: &Claims) -> String {
        let Claims { account, visit, administrator, issued, expires } = claims;
        let issued = {
            let mut revoked = self.revoked();
            let issued = (*issued).max(revoked.before(account));
            revoked.latest = revoked.latest.max(issued);
            issued
        };
        let keys = self.rotated(issued);
        let key = keys.back().expect("there is always one that signs");
        let text = format!("{} {expires} {issued} {} {visit} {account}", key.number, u8::from(*administrator));
        let signature = key.mac(text.as_bytes()).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a token says, if it was issued here and still counts at `now`.
    ///
    /// # Errors
    ///
    /// See [`Untaken`].
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Untaken> {
        let claims = self.read(token).ok_or(Untaken::Unknown)?;
        let revoked = self.revoked();
        let with_others = claims.issued < revoked.before(&claims.account);
        let void = with_others || revoked.visits.contains_key(&claims.visit);
        if void || claims.expires <= now { Err(Untaken::Expired) } else { Ok(claims) }
    }

    fn read(&self, token: &str) -> Option<Claims> {
        let (text, signature) = token.split_once('.')?;
        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let text = String::from_utf8(text).ok()?;
        let mut words = text.splitn(6, ' ');
        let number: u64 = words.next()?.parse().ok()?;
        let keys = self.keys();
        let key = keys.iter().find(|key| key.number == number)?;
        key.mac(text.as_bytes()).verify_slice(&signature).ok()?;
        Some(Claims {
            expires: words.next()?.parse().ok()?,
            issued: words.next()?.parse().ok()?,
            administrator: words.next()? == "1",
            visit: words.next()?.to_owned(),
            account: words.next()?.to_owned(),
        })
    }

    /// Every token of this login stops to count.
    pub fn revoke(&self, claims: &Claims, now: u64) {
        let mut revoked = self.revoked();
        if revoked.visits.len() >= REVOKED {
            revoked.visits.retain(|_, expires| now < *expires);
        }
        if revoked.visits.len() >= REVOKED {
            revoked.visits.clear();
            revoked.all = revoked.next();
        }
        revoked.visits.insert(claims.visit.clone(), claims.expires);
    }

    /// Every token that was issued for an account (its id) stops to count; none: for any account.
    pub fn revoke_all_of(&self, account: Option<&str>, now: u64) {
        let mut revoked = self.revoked();
        revoked.accounts.retain(|_, before| now < before.saturating_add(LIFETIME_MS));
        let next = revoked.next();
        match account {
            Some(account) if revoked.accounts.len() < REVOKED => {
                revoked.accounts.insert(account.to_owned(), next);
            }
            _ => revoked.all = next,
        }
    }

    /// The keys, of which the last one may sign at `now`. Without random bytes the one before goes on.
    fn rotated(&self, now: u64) -> MutexGuard<'_, VecDeque<Key>> {
        let mut keys = self.keys();
        let (number, made) = keys.back().map_or((0, 0), |key| (key.number, key.made));
        if made.saturating_add(KEY_LIFETIME_MS) <= now {
            match Key::new(number + 1, now) {
                Ok(key) => keys.push_back(key),
                Err(error) => tracing::warn!(%error, "there is no new key for tokens; the one before goes on"),
            }
        }
        while keys.get(1).is_some_and(|next| next.made.saturating_add(LIFETIME_MS) <= now) {
            keys.pop_front();
        }
        keys
    }

    fn keys(&self) -> MutexGuard<'_, VecDeque<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> MutexGuard<'_, Revoked> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn new(number: u64, made: u64) -> Result<Key, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Key { number, secret, made })
    }

    fn mac(&self, text: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(text);
        mac
    }
}

/// 32 random hexadecimal digits: the name of a login, or of a place that a token goes to.
///
/// # Errors
///
/// The operating system gives no random bytes.
pub fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(visit: &str) -> Claims {
        Claims { account: "an id".to_owned(), visit: visit.to_owned(), administrator: true, issued: 100, expires: 200 }
    }

    #[test]
    fn a_token_says_what_was_put_into_it_until_it_expires() {
        let tokens = Tokens::new(0).expect("random bytes");
        let token = tokens.issue(&claims("v"));
        assert_eq!(tokens.verify(&token, 199), Ok(claims("v")));
        assert_eq!(tokens.verify(&token, 200), Err(Untaken::Expired));
    }

    #[test]
    fn what_was_not_issued_here_is_unknown() {
        let tokens = Tokens::new(0).expect("random bytes");
        let token = tokens.issue(&claims("v"));
        let foreign = Tokens::new(0).expect("random bytes").issue(&claims("v"));
        let longer_life = format!("{}{}", URL_SAFE_NO_PAD.encode("1 9000"), &token[8..]);
        for bad in
            ["", ".", "a.b", &token[1..], &token[..token.len() - 1], &foreign, &longer_life, &format!("{token}A")]
        {
            assert_eq!(tokens.verify(bad, 150), Err(Untaken::Unknown), "{bad}");
        }
    }

    #[test]
    fn a_revoked_token_is_void_and_others_stay() {
        let tokens = Tokens::new(0).expect("random bytes");
        tokens.revoke(&claims("v"), 150);
        assert_eq!(tokens.verify(&tokens.issue(&claims("v")), 150), Err(Untaken::Expired));
        assert_eq!(tokens.verify(&tokens.issue(&claims("w")), 150), Ok(claims("w")));
    }

    #[test]
    fn keys_rotate_and_live_as_long_as_their_tokens() {
        let tokens = Tokens::new(0).expect("random bytes");
        let at = |issued: u64| tokens.issue(&Claims { issued, expires: issued + LIFETIME_MS, ..claims("v") });
        let (first, last) = (at(0), at(KEY_LIFETIME_MS - 1));
        let next = at(KEY_LIFETIME_MS);
        assert_eq!(tokens.keys().len(), 2);
        for token in [&first, &last, &next] {
            assert!(tokens.verify(token, KEY_LIFETIME_MS).is_ok());
        }
        at(KEY_LIFETIME_MS + LIFETIME_MS - 1);
        assert!(tokens.verify(&last, KEY_LIFETIME_MS + LIFETIME_MS - 2).is_ok(), "the last that the first key signed");
        at(KEY_LIFETIME_MS + LIFETIME_MS);
        assert_eq!(tokens.verify(&last, 0), Err(Untaken::Unknown), "the first key is gone");
        assert!(tokens.verify(&next, KEY_LIFETIME_MS).is_ok());
    }

    #[test]
    fn all_tokens_of_an_account_are_revoked_at_once() {
        let tokens = Tokens::new(0).expect("random bytes");
        let (token, other) =
            (tokens.issue(&claims("v")), tokens.issue(&Claims { account: "other".to_owned(), ..claims("w") }));
        tokens.revoke_all_of(Some("an id"), 150);
        assert_eq!(tokens.verify(&token, 150), Err(Untaken::Expired));
        assert!(tokens.verify(&other, 150).is_ok());
        let later = tokens.issue(&Claims { issued: 100, ..claims("x") });
        assert!(tokens.verify(&later, 150).is_ok(), "in the same millisecond, but afterwards");
        tokens.revoke_all_of(None, 151);
        for token in [&other, &later] {
            assert_eq!(tokens.verify(token, 152), Err(Untaken::Expired));
        }
    }

    #[test]
    fn a_clock_that_goes_back_brings_no_token_back() {
        let tokens = Tokens::new(0).expect("random bytes");
        for account in [Some("an id"), None] {
            let token = tokens.issue(&claims("v"));
            tokens.revoke_all_of(account, 50);
            assert_eq!(tokens.verify(&token, 51), Err(Untaken::Expired));
            let later = tokens.issue(&Claims { issued: 60, ..claims("w") });
            assert!(tokens.verify(&later, 60).is_ok());
            tokens.revoke_all_of(account, 61);
            assert_eq!(tokens.verify(&later, 62), Err(Untaken::Expired));
        }
    }

    #[test]
    fn with_too_many_revoked_ones_every_earlier_token_is_void() {
        let tokens = Tokens::new(0).expect("random bytes");
        let token = tokens.issue(&claims("w"));
        for number in 0..=REVOKED {
            tokens.revoke(&claims(&number.to_string()), 150);
        }
        assert_eq!(tokens.verify(&token, 150), Err(Untaken::Expired));
        let later = Claims { issued: 150, ..claims("w") };
        assert_eq!(tokens.verify(&tokens.issue(&later), 150), Ok(later));
    }
}
