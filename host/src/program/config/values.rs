//! The values of a configuration: each says what it expects.

use std::fmt;
use std::net::SocketAddr;

use minisign_verify::PublicKey;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use zeroize::Zeroizing;

use crate::journal::SyncMode;
use crate::outbound::addresses::Network;

/// A socket address with its port.
pub(super) struct Address(pub(super) SocketAddr);

/// An integer from `LEAST` to `MOST`.
pub(super) struct Count<const LEAST: u64, const MOST: u64>(pub(super) u64);

/// A tenant's name: letters, digits, `.`, `-` and `_`, because it stands in URLs.
pub(super) struct TenantName(pub(super) String);

/// A mail domain, in lower case.
pub(super) struct Domain(pub(super) String);

/// The host of a URL without its port, in lower case.
pub(super) struct HostName(pub(super) String);

/// A secret; never printed.
pub(super) struct Key(pub(super) Zeroizing<String>);

/// A range of addresses.
pub(super) struct AllowedNetwork(pub(super) Network);

/// Who may sign components.
pub(super) struct TrustedKey(pub(super) PublicKey);

/// Where a NATS server takes clients.
pub(super) struct ServerUrl(pub(super) String);

/// Where an HTTP server is: a URL without a path.
pub(super) struct BaseUrl(pub(super) String);

/// What names in NATS begin with.
pub(super) struct ClusterName(pub(super) String);

/// The text of a plugin's setting.
pub(super) struct SettingValue(pub(super) String);

/// When inputs are synced.
pub(super) struct Synced(pub(super) SyncMode);

/// The count, or what holds where there is none.
pub(super) fn or<const LEAST: u64, const MOST: u64>(count: &Option<Count<LEAST, MOST>>, default: u64) -> u64 {
    count.as_ref().map_or(default, |count| count.0)
}

impl AsRef<str> for TenantName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Domain {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

/// A text of which `make` makes something, or nothing: then it is not what was expected.
struct Text<T> {
    expected: &'static str,
    make: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        // Without the text: it may be a secret.
        (self.make)(text).ok_or_else(|| E::custom(format!("expected {}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        let expected = "ADDRESS:PORT with a numeric address, such as 127.0.0.1:8080 or [::1]:8080";
        deserializer.deserialize_str(Text { expected, make: |text| text.parse().ok().map(Address) })
    }
}

impl<'de> Deserialize<'de> for AllowedNetwork {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AllowedNetwork, D::Error> {
        let expected = "a network, such as 192.0.2.0/24 or 2001:db8::/32, without bits beyond its length";
        deserializer.deserialize_str(Text { expected, make: |text| text.parse().ok().map(AllowedNetwork) })
    }
}

impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TrustedKey, D::Error> {
        let expected = "a public key of minisign, the second line of its file";
        deserializer.deserialize_str(Text { expected, make: |text| PublicKey::from_base64(text).ok().map(TrustedKey) })
    }
}

impl<'de> Deserialize<'de> for TenantName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TenantName, D::Error> {
        let expected = "a name of at most 128 letters, digits, dots, hyphens and underscores";
        let make = |text: &str| is_tenant_name(text).then(|| TenantName(text.to_owned()));
        deserializer.deserialize_str(Text { expected, make })
    }
}

fn is_tenant_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(good) && text != "." && text != ".."
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Domain, D::Error> {
        let expected = "a domain, such as example.org";
        let make = |text: &str| is_host(text).then(|| Domain(text.to_lowercase()));
        deserializer.deserialize_str(Text { expected, make })
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostName, D::Error> {
        let expected = "a host without port, such as mail.example.org, 127.0.0.1 or [::1]";
        let make = |text: &str| {
            let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let is_address = address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
            (is_address || is_host(text)).then(|| HostName(text.to_lowercase()))
        };
        deserializer.deserialize_str(Text { expected, make })
    }
}

/// Whether a text can be a domain: letters (of any script), digits, hyphens and underscores between single dots.
fn is_host(text: &str) -> bool {
    let good = |character: char| character.is_alphanumeric() || "-_".contains(character);
    text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && label.chars().all(good))
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServerUrl, D::Error> {
        let expected = "a URL such as nats://127.0.0.1:4222 or tls://user:password@nats.example.org";
        let make = |text: &str| has_host(text, &["nats://", "tls://"]).then(|| ServerUrl(text.to_owned()));
        deserializer.deserialize_str(Text { expected, make })
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BaseUrl, D::Error> {
        let expected = "a URL such as http://127.0.0.1:8222";
        let make = |text: &str| {
            has_host(text, &["http://", "https://"]).then(|| BaseUrl(text.trim_end_matches('/').to_owned()))
        };
        deserializer.deserialize_str(Text { expected, make })
    }
}

fn has_host(url: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

impl<'de> Deserialize<'de> for ClusterName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClusterName, D::Error> {
        let expected = "a name of letters, digits, hyphens and underscores";
        let make = |text: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            (!text.is_empty() && text.bytes().all(good)).then(|| ClusterName(text.to_owned()))
        };
        deserializer.deserialize_str(Text { expected, make })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let expected = "a key: text without blanks that is not empty";
        let make = |text: &str| {
            let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| Key(Zeroizing::new(text.to_owned())))
        };
        deserializer.deserialize_str(Text { expected, make })
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Count<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count<LEAST, MOST>, D::Error> {
        struct Integer<const LEAST: u64, const MOST: u64>;

        impl<const LEAST: u64, const MOST: u64> Visitor<'_> for Integer<LEAST, MOST> {
            type Value = Count<LEAST, MOST>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "an integer from {LEAST} to {MOST}")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Count<LEAST, MOST>, E> {
                match u64::try_from(value) {
                    Ok(value) if (LEAST..=MOST).contains(&value) => Ok(Count(value)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Signed(value), &self)),
                }
            }
        }

        deserializer.deserialize_i64(Integer)
    }
}

impl<'de> Deserialize<'de> for Synced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Synced, D::Error> {
        struct When;

        impl Visitor<'_> for When {
            type Value = Synced;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"always\", or an interval from 1 to 60000 in milliseconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Synced, E> {
                match text {
                    "always" => Ok(Synced(SyncMode::Always)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Synced, E> {
                match u64::try_from(value) {
                    Ok(interval @ 1..=60_000) => Ok(Synced(SyncMode::Every(interval))),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Signed(value), &self)),
                }
            }
        }

        deserializer.deserialize_any(When)
    }
}

impl<'de> Deserialize<'de> for SettingValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SettingValue, D::Error> {
        struct Plain;

        impl Visitor<'_> for Plain {
            type Value = SettingValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text, an integer, or true or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SettingValue, E> {
                Ok(SettingValue(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<SettingValue, E> {
                Ok(SettingValue(value.to_string()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<SettingValue, E> {
                Ok(SettingValue(value.to_string()))
            }
        }

        deserializer.deserialize_any(Plain)
    }
}
