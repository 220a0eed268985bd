//! Where the clients' side meets the internet: its certificate, and the proxies before it.

use std::sync::Arc;

use super::ServerTable;
use crate::program::toml_file::{Mistake, TomlFile};
use crate::serve::proxies::Proxies;
use crate::serve::tls::Tls;

impl ServerTable {
    /// The certificate, read once to see that it can be used.
    pub(super) fn tls(&self, file: &TomlFile) -> Result<Option<Arc<Tls>>, Mistake> {
        let other = |span, missing: &str| Err(file.mistake(span, format!("expected `{missing}` too")));
        let (certificate, key) = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(certificate), None) => return other(certificate.span(), "tls-key"),
            (None, Some(key)) => return other(key.span(), "tls-certificate"),
            (None, None) => return Ok(None),
        };
        let tls = Tls::load(file.resolve(certificate.get_ref()), file.resolve(key.get_ref()));
        tls.map(|tls| Some(Arc::new(tls))).map_err(|error| file.mistake(certificate.span(), error.to_string()))
    }

    /// The networks whose word about clients counts.
    pub(super) fn proxies(&self) -> Proxies {
        Proxies::new(self.trusted_proxies.iter().map(|network| network.0).collect())
    }
}
