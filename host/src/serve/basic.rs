//! `Authorization: Basic` (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use zeroize::Zeroizing;

use crate::contract::requests::Denial;

/// What the header says.
pub struct Basic {
    /// As the client gave it.
    pub login: String,
    /// Likewise.
    pub secret: Zeroizing<String>,
}

impl Basic {
    /// Reads the header. Passwords are UTF-8, or Latin-1 where they are not.
    ///
    /// # Errors
    ///
    /// `missing`: no header, or one of another scheme; `malformed`: anything else than one well-formed header.
    pub fn read(headers: &HeaderMap) -> Result<Basic, Denial> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Err(Denial::Missing),
            (Some(value), None) => value.to_str().map_err(|_| Denial::Malformed)?,
            (Some(_), Some(_)) => return Err(Denial::Malformed),
        };
        let (scheme, encoded) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(Denial::Missing);
        }
        let decoded = Zeroizing::new(lenient_base64().decode(encoded.trim()).map_err(|_| Denial::Malformed)?);
        let text = Zeroizing::new(match std::str::from_utf8(&decoded) {
            Ok(text) => text.to_owned(),
            Err(_) => decoded.iter().copied().map(char::from).collect(),
        });
        let (login, secret) = text.split_once(':').ok_or(Denial::Malformed)?;
        Ok(Basic { login: login.to_owned(), secret: Zeroizing::new(secret.to_owned()) })
    }

    /// The domain of the login, if it has one.
    pub fn domain(&self) -> Option<&str> {
        self.login.rsplit_once('@').map(|(_, domain)| domain)
    }
}

/// Base64 with or without padding.
fn lenient_base64() -> GeneralPurpose {
    let lenient = base64::engine::DecodePaddingMode::Indifferent;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(lenient);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().expect("a header value"))])
    }

    #[test]
    fn a_basic_header_is_read_leniently_but_exactly_once() {
        for value in ["Basic YTpiOmM=", "basic YTpiOmM", "BASIC   YTpiOmM= "] {
            let basic = Basic::read(&header(value)).unwrap_or_else(|denial| panic!("{value}: {denial:?}"));
            assert_eq!((basic.login.as_str(), basic.secret.as_str()), ("a", "b:c"));
        }
        let latin =
            Basic::read(&header(&format!("Basic {}", lenient_base64().encode(b"a:\xe9")))).unwrap_or_else(|_| panic!());
        assert_eq!(latin.secret.as_str(), "é");
        for (value, denial) in [
            ("Bearer x", Denial::Missing),
            ("Negotiate", Denial::Missing),
            ("Basic", Denial::Malformed),
            ("Basic !!", Denial::Malformed),
            ("Basic YQ==", Denial::Malformed),
        ] {
            assert_eq!(Basic::read(&header(value)).err(), Some(denial), "{value}");
        }
        assert_eq!(Basic::read(&HeaderMap::new()).err(), Some(Denial::Missing));
        let mut twice = header("Basic YTpi");
        twice.append(AUTHORIZATION, "Basic YTpi".parse().expect("a header value"));
        assert_eq!(Basic::read(&twice).err(), Some(Denial::Malformed));
    }

    #[test]
    fn the_domain_is_what_follows_the_last_at() {
        for (login, domain) in [("alice", None), ("alice@example.org", Some("example.org")), ("a@b@c", Some("c"))] {
            let basic = Basic { login: login.to_owned(), secret: Zeroizing::default() };
            assert_eq!(basic.domain(), domain);
        }
    }
}
