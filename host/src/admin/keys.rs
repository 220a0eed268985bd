//! Keys of the admin API. Only their digests are kept, and compared in constant time.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The digest of a key.
pub(super) struct Key([u8; 32]);

impl Key {
    pub fn of(key: &str) -> Key {
        Key(Sha256::digest(key.as_bytes()).into())
    }

    /// Takes as long for every key of one length, whatever part of it is right.
    pub fn matches(&self, presented: &str) -> bool {
        self.0.ct_eq(&Key::of(presented).0).into()
    }
}

/// The key in `Authorization: Bearer KEY` (RFC 6750 section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_matches() {
        let key = Key::of("demo");
        assert!(key.matches("demo"));
        for wrong in ["", "dem", "demo2", "Demo"] {
            assert!(!key.matches(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_header() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer k"), Some("k".into()));
        assert_eq!(read("bearer  k "), Some("k".into()));
        for none in ["", "Bearer", "Bearer ", "Basic k", "k"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
