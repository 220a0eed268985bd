//! Zimbra's preauth: a login that a trusted third party vouches for, with a key that it shares with the tenant.
//!
//! The digest is the HMAC-SHA1, in hexadecimal, of the values joined by `|` in the order of their names: account,
//! (admin,) by, expires, timestamp. The key of the HMAC is the text of the preauth key, not the bytes that it writes in
//! hexadecimal. Source: Zimbra's wiki, page "Preauth", whose example is the test below.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::contract::requests::{AccountName, Preauth};

/// How far the timestamp may be from now, either way, in milliseconds.
pub const TOLERANCE_MS: u64 = 300_000;

/// Whether a digest is right: compared in constant time.
pub fn verify(key: &str, preauth: &Preauth) -> bool {
    let Some((by, account)) = named(&preauth.account) else { return false };
    let Some(digest) = from_hex(&preauth.digest) else { return false };
    let administrator = if preauth.administrator { "1|" } else { "" };
    let vouched = format!("{account}|{administrator}{by}|{}|{}", preauth.expires, preauth.timestamp);
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(vouched.as_bytes());
    mac.verify_slice(&digest).is_ok()
}

/// Whether the timestamp is near enough to now (both in milliseconds since the Unix epoch).
pub fn is_fresh(preauth: &Preauth, now: u64) -> bool {
    preauth.timestamp.abs_diff(now) <= TOLERANCE_MS
}

/// The words of Zimbra's `by` for the ways to name an account.
fn named(name: &AccountName) -> Option<(&'static str, &str)> {
    match name {
        AccountName::Name(name) | AccountName::Address(name) => Some(("name", name)),
        AccountName::Id(id) => Some(("id", id)),
        AccountName::PrincipalName(name) => Some(("foreignPrincipal", name)),
        AccountName::Sid(_) => None,
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    Some(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "6b7ead4bd425836e8cf0079cd6c1a05acc127acd07c8ee4b61023e19250e929c";

    fn example() -> Preauth {
        Preauth {
            account: AccountName::Name("john.doe@domain.com".to_owned()),
            timestamp: 1_135_280_708_088,
            expires: 0,
            digest: "b248f6cfd027edd45c5369f8490125204772f844".to_owned(),
            administrator: false,
        }
    }

    #[test]
    fn the_published_example_is_right() {
        assert!(verify(KEY, &example()));
        assert!(verify(KEY, &Preauth { digest: example().digest.to_uppercase(), ..example() }));
    }

    #[test]
    fn anything_altered_is_wrong() {
        assert!(!verify("another key", &example()));
        for altered in [
            Preauth { account: AccountName::Name("jane.doe@domain.com".to_owned()), ..example() },
            Preauth { account: AccountName::Id("john.doe@domain.com".to_owned()), ..example() },
            Preauth { account: AccountName::Sid("john.doe@domain.com".to_owned()), ..example() },
            Preauth { timestamp: 1, ..example() },
            Preauth { expires: 1, ..example() },
            Preauth { administrator: true, ..example() },
            Preauth { digest: String::new(), ..example() },
            Preauth { digest: "b24".to_owned(), ..example() },
            Preauth { digest: "zz".to_owned(), ..example() },
            Preauth { digest: "+1".to_owned(), ..example() },
        ] {
            assert!(!verify(KEY, &altered), "{altered:?}");
        }
    }

    #[test]
    fn a_timestamp_is_good_for_five_minutes_either_way() {
        let stamp = example().timestamp;
        for (now, fresh) in [
            (stamp, true),
            (stamp + TOLERANCE_MS, true),
            (stamp + TOLERANCE_MS + 1, false),
            (stamp - TOLERANCE_MS, true),
            (stamp - TOLERANCE_MS - 1, false),
        ] {
            assert_eq!(is_fresh(&example(), now), fresh, "{now}");
        }
    }
}
