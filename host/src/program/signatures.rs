//! Which components may be loaded: where keys are trusted, those with a good signature beside them.
//!
//! Signatures are minisign's (<https://jedisct1.github.io/minisign/>), detached, in the file that `minisign -S` writes:
//! the component's name with `.minisig` behind it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};

/// Public keys, any of which may have signed.
#[derive(Clone, Default)]
pub struct TrustedKeys(Vec<PublicKey>);

/// Why a component is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is none, or it cannot be read.
    #[error("its signature {}: {source}; [plugins] trusted-keys asks for one", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is none of minisign's.
    #[error("its signature {}: it is not minisign's: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is another component's, or of a key that is not trusted.
    #[error("its signature {}: no trusted key made it for this component", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
    },
}

impl TrustedKeys {
    /// Trusts these keys. None trusted means that signatures are not asked for.
    pub fn new(keys: Vec<PublicKey>) -> TrustedKeys {
        TrustedKeys(keys)
    }

    /// Verifies the component that was read from this file.
    ///
    /// # Errors
    ///
    /// See [`SignatureError`].
    pub fn verify(&self, file: &Path, component: &[u8]) -> Result<(), SignatureError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let path = signature_of(file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(SignatureError::Missing { path, source }),
        };
        match self.judge(component, &text) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SignatureError::Wrong { path }),
            Err(reason) => Err(SignatureError::Malformed { path, reason }),
        }
    }

    /// Verifies a component that came with the text of its signature, or without.
    ///
    /// # Errors
    ///
    /// It may not be loaded, because.
    pub fn verify_text(&self, component: &[u8], signature: Option<&str>) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let text = signature.ok_or("it has no signature; [plugins] trusted-keys asks for one")?;
        match self.judge(component, text) {
            Ok(true) => Ok(()),
            Ok(false) => Err("its signature: no trusted key made it for this component".into()),
            Err(reason) => Err(format!("its signature: it is not minisign's: {reason}")),
        }
    }

    /// Whether a trusted key made this signature; an error: it is none.
    fn judge(&self, component: &[u8], text: &str) -> Result<bool, String> {
        let signature = Signature::decode(text).map_err(|error| error.to_string())?;
        Ok(self.0.iter().any(|key| key.verify(component, &signature, false).is_ok()))
    }
}

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TrustedKeys({})", self.0.len())
    }
}

/// Where the signature of a component's file is.
pub fn signature_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".minisig");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use minisign::KeyPair;

    use super::*;

    fn signed(keys: &KeyPair, component: &[u8]) -> String {
        let signature = minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(component), None, None);
        signature.expect("it can be signed").to_string()
    }

    fn trusted(keys: &[&KeyPair]) -> TrustedKeys {
        let key = |keys: &&KeyPair| PublicKey::from_base64(&keys.pk.to_base64()).expect("a key");
        TrustedKeys::new(keys.iter().map(key).collect())
    }

    #[test]
    fn a_component_is_trusted_by_a_signature_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, component) = (folder.path().join("p.wasm"), b"a component");
        let [ours, others, strangers] =
            [(); 3].map(|()| KeyPair::generate_unencrypted_keypair().expect("the system has randomness"));
        let keys = trusted(&[&others, &ours]);
        let sign = |text: &str| std::fs::write(folder.path().join("p.wasm.minisig"), text).expect("written");

        assert!(matches!(keys.verify(&file, component), Err(SignatureError::Missing { .. })));
        sign("untrusted comment: nothing");
        assert!(matches!(keys.verify(&file, component), Err(SignatureError::Malformed { .. })));
        sign(&signed(&strangers, component));
        assert!(matches!(keys.verify(&file, component), Err(SignatureError::Wrong { .. })));
        sign(&signed(&ours, b"another component"));
        assert!(matches!(keys.verify(&file, component), Err(SignatureError::Wrong { .. })));
        sign(&signed(&ours, component));
        keys.verify(&file, component).expect("it is signed");
        assert!(keys.verify(&file, b"a component, altered").is_err());
        TrustedKeys::default().verify(&folder.path().join("other.wasm"), component).expect("nobody asks");
    }
}
