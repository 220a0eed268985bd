//! Which components may become plugins of this program: those with a good signature, where keys are trusted, whose routes
//! ask for logins that it knows.

use std::path::Path;

use super::signatures::TrustedKeys;
use crate::Host;
use crate::plugin::{Plugin, PluginError};

/// What stands in place of a signature of the component that is built in.
const BUILT_IN: &str = "built into the program\n";

/// Why a component is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// It is no plugin for this program.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// No trusted key signed it.
    #[error("{0}")]
    Untrusted(String),
}

/// Loads components.
#[derive(Clone, Debug)]
pub struct Admission {
    host: Host,
    trusted: TrustedKeys,
}

impl Admission {
    /// For plugins of this host.
    pub fn new(host: Host, trusted: TrustedKeys) -> Admission {
        Admission { host, trusted }
    }

    /// A component that somebody sent, with its signature if that came with it. Blocks.
    ///
    /// # Errors
    ///
    /// See [`AdmissionError`].
    pub fn uploaded(&self, component: &[u8], signature: Option<&str>) -> Result<Plugin, AdmissionError> {
        self.trusted.verify_text(component, signature).map_err(AdmissionError::Untrusted)?;
        Ok(self.load(component, signature)?)
    }

    /// A component that was read from a file, whose signature was verified. Blocks.
    ///
    /// # Errors
    ///
    /// It is no plugin for this program.
    pub fn file(&self, file: &Path, component: &[u8]) -> Result<Plugin, PluginError> {
        let signature = std::fs::read_to_string(super::signatures::signature_of(file)).ok();
        self.load(component, signature.as_deref())
    }

    /// The component that is built in. Blocks.
    ///
    /// # Errors
    ///
    /// It is no plugin for this program.
    pub fn built_in(&self, component: &[u8]) -> Result<Plugin, PluginError> {
        self.load(component, Some(BUILT_IN))
    }

    fn load(&self, component: &[u8], signature: Option<&str>) -> Result<Plugin, PluginError> {
        let plugin = match signature {
            Some(signature) => self.host.load_signed(component, signature)?,
            None => self.host.load(component)?,
        };
        for route in &plugin.manifest().routes {
            if !route.schemes.is_empty() && !route.schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                let schemes = route.schemes.join(", ");
                return Err(PluginError::Describe(format!(
                    "route {} wants logins by {schemes}; this program knows only basic",
                    route.prefix
                )));
            }
        }
        Ok(plugin)
    }
}

/// Judges a component that an earlier run has kept.
///
/// # Errors
///
/// It has no signature of a key that is trusted now.
pub fn verify_kept(trusted: &TrustedKeys, component: &[u8], signature: Option<&str>) -> Result<(), String> {
    match signature {
        Some(BUILT_IN) => Ok(()),
        signature => trusted.verify_text(component, signature),
    }
}
