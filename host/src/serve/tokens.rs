//! Tokens that stand for a login: made by the host, signed, good until they expire or are revoked.
//!
//! A token is `claims.signature`, both in base64url: the claims are readable, the signature is an HMAC-SHA256 with a
//! key of this process. A restart therefore ends every login; clients log in again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a user's token lives, in milliseconds: two days, as with Zimbra.
pub const LIFETIME_MS: u64 = 172_800_000;
/// How long an administrator's token lives, in milliseconds: twelve hours, as with Zimbra.
pub const ADMINISTRATOR_LIFETIME_MS: u64 = 43_200_000;
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
    key: [u8; 32],
    revoked: Mutex<Revoked>,
}

#[derive(Default)]
struct Revoked {
    /// Visits, and when the token of each would expire anyway.
    visits: BTreeMap<String, u64>,
    /// Tokens issued before this are void.
    all_before: u64,
}

impl Tokens {
    /// With a random key.
    ///
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn new() -> Result<Tokens, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Tokens { key, revoked: Mutex::default() })
    }

    /// The token that says this.
    pub fn issue(&self, claims: &Claims) -> String {
        let Claims { account, visit, administrator, issued, expires } = claims;
        let text = format!("{expires} {issued} {} {visit} {account}", u8::from(*administrator));
        let signature = self.mac(text.as_bytes()).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a token says, if it was issued here and still counts at `now`.
    ///
    /// # Errors
    ///
    /// See [`Untaken`].
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Untaken> {
        let claims = self.read(token).ok_or(Untaken::Unknown)?;
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let void = claims.issued < revoked.all_before || revoked.visits.contains_key(&claims.visit);
        if void || claims.expires <= now { Err(Untaken::Expired) } else { Ok(claims) }
    }

    fn read(&self, token: &str) -> Option<Claims> {
        let (text, signature) = token.split_once('.')?;
        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(&text).verify_slice(&signature).ok()?;
        let text = String::from_utf8(text).ok()?;
        let mut words = text.splitn(5, ' ');
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
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if revoked.visits.len() >= REVOKED {
            revoked.visits.retain(|_, expires| now < *expires);
        }
        if revoked.visits.len() >= REVOKED {
            revoked.visits.clear();
            revoked.all_before = now;
        }
        revoked.visits.insert(claims.visit.clone(), claims.expires);
    }

    fn mac(&self, text: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).expect("HMAC takes keys of any length");
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
        let tokens = Tokens::new().expect("random bytes");
        let token = tokens.issue(&claims("v"));
        assert_eq!(tokens.verify(&token, 199), Ok(claims("v")));
        assert_eq!(tokens.verify(&token, 200), Err(Untaken::Expired));
    }

    #[test]
    fn what_was_not_issued_here_is_unknown() {
        let tokens = Tokens::new().expect("random bytes");
        let token = tokens.issue(&claims("v"));
        let foreign = Tokens::new().expect("random bytes").issue(&claims("v"));
        let longer_life = format!("{}{}", URL_SAFE_NO_PAD.encode("900"), &token[4..]);
        for bad in
            ["", ".", "a.b", &token[1..], &token[..token.len() - 1], &foreign, &longer_life, &format!("{token}A")]
        {
            assert_eq!(tokens.verify(bad, 150), Err(Untaken::Unknown), "{bad}");
        }
    }

    #[test]
    fn a_revoked_token_is_void_and_others_stay() {
        let tokens = Tokens::new().expect("random bytes");
        tokens.revoke(&claims("v"), 150);
        assert_eq!(tokens.verify(&tokens.issue(&claims("v")), 150), Err(Untaken::Expired));
        assert_eq!(tokens.verify(&tokens.issue(&claims("w")), 150), Ok(claims("w")));
    }

    #[test]
    fn with_too_many_revoked_ones_every_earlier_token_is_void() {
        let tokens = Tokens::new().expect("random bytes");
        for number in 0..=REVOKED {
            tokens.revoke(&claims(&number.to_string()), 150);
        }
        assert_eq!(tokens.verify(&tokens.issue(&claims("w")), 150), Err(Untaken::Expired));
        let later = Claims { issued: 150, ..claims("w") };
        assert_eq!(tokens.verify(&tokens.issue(&later), 150), Ok(later));
    }
}
