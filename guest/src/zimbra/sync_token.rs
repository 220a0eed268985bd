//! Sync tokens: how far a client has followed an account.

/// The change number that a token says: `N`, `N-M`, `N:dN`, `N-M:dN-M`. Only the first number counts here; none where it
/// is no token.
pub fn read(token: &str) -> Option<u64> {
    let (changes, deletions) = match token.split_once(':') {
        Some((changes, deletions)) => (changes, Some(deletions.strip_prefix('d')?)),
        None => (token, None),
    };
    deletions.map_or(Some(0), pair)?;
    pair(changes)
}

/// A number, perhaps followed by an offset.
fn pair(text: &str) -> Option<u64> {
    match text.split_once('-') {
        Some((number, offset)) => digits(offset).and(digits(number)),
        None => digits(text),
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_are_read_or_refused() {
        for (token, expected) in [
            ("5012", Some(5012)),
            ("5012-7", Some(5012)),
            ("5012:d4711", Some(5012)),
            ("5012-7:d4711-2", Some(5012)),
            ("", None),
            ("x", None),
            ("-1", None),
            ("+1", None),
            ("1:2", None),
            ("1:d", None),
            ("1-", None),
            ("1-2-3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(super::read(token), expected, "{token}");
        }
    }
}
