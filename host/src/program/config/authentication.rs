//! Who verifies a tenant's passwords, where its file of users does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use super::values::{self, Count};
use crate::program::toml_file::{Mistake, TomlFile};
use crate::serve::authenticator::Authenticator;
use crate::serve::dovecot::Dovecot;
use crate::serve::forward::Forward;

/// Somebody else who verifies passwords.
#[derive(Clone, Debug, PartialEq)]
pub struct Authentication {
    /// Who.
    pub by: Verifier,
    /// How long an answer may take.
    pub time: Duration,
}

/// Where passwords are verified.
#[derive(Clone, Debug, PartialEq)]
pub enum Verifier {
    /// An HTTP server, by a sub-request to this URL.
    Forward(Url),
    /// Dovecot, at this socket.
    Dovecot(PathBuf),
}

impl Authentication {
    /// Made ready.
    ///
    /// # Errors
    ///
    /// TLS cannot be had.
    pub fn authenticator(&self) -> Result<Arc<dyn Authenticator>, reqwest::Error> {
        Ok(match &self.by {
            Verifier::Forward(url) => Arc::new(Forward::new(url.clone(), self.time)?),
            Verifier::Dovecot(socket) => Arc::new(Dovecot::new(socket.clone(), self.time)),
        })
    }
}

/// `authentication` of a tenant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AuthenticationTable {
    forward: Option<HttpUrl>,
    dovecot: Option<PathBuf>,
    seconds: Option<Count<1, 60>>,
}

impl AuthenticationTable {
    pub(super) fn read(file: &TomlFile, table: Spanned<AuthenticationTable>) -> Result<Authentication, Mistake> {
        let span = table.span();
        let AuthenticationTable { forward, dovecot, seconds } = table.into_inner();
        let by = match (forward, dovecot) {
            (Some(HttpUrl(url)), None) => Verifier::Forward(url),
            (None, Some(socket)) => Verifier::Dovecot(file.resolve(&socket)),
            (None, None) | (Some(_), Some(_)) => {
                return Err(file.mistake(span, "expected either `forward` or `dovecot`".to_owned()));
            }
        };
        Ok(Authentication { by, time: Duration::from_secs(values::or(&seconds, 10)) })
    }
}

struct HttpUrl(Url);

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HttpUrl, D::Error> {
        // Without the text: it may have a secret in it.
        let expected = || D::Error::custom("expected a URL that begins with http:// or https://");
        let url = Url::parse(&String::deserialize(deserializer)?).map_err(|_| expected())?;
        if ["http", "https"].contains(&url.scheme()) && url.has_host() { Ok(HttpUrl(url)) } else { Err(expected()) }
    }
}
