//! TLS on the clients' listener: a certificate that may change under open connections, and HTTP/1.1 only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::socket::Socket;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The only protocol of the clients' listener, as TLS names it (RFC 7301): a part of an answer is a chunk of HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first file has no certificate in PEM form.
    #[error("{}: expected certificates in PEM form, the server's first: {why}", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The second file has no private key in PEM form.
    #[error("{}: expected a private key in PEM form: {why}", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
        /// What is wrong; nothing of the key.
        why: String,
    },
    /// They do not belong together, or are of a kind that is not known.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A certificate with its key, read again when one of the files changes. Connections keep what they began with.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    /// What was in the files when they were last looked at, be it good or not; none: they could not be read.
    seen: Option<Seen>,
}

type Seen = [u8; 32];

impl Tls {
    /// Reads both files: certificates, the server's first, and its private key, in PEM form.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Tls, TlsError> {
        let files = Files::read(&certificate, &key)?;
        let state = State { seen: Some(files.digest()), config: files.config()? };
        Ok(Tls { certificate, key, state: Mutex::new(state) })
    }

    /// Reads the files again whenever they change, for ever. What cannot be used is said once, and what was used goes on.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let this = self.clone();
            // Fails only when the runtime stops.
            let _ = tokio::task::spawn_blocking(move || this.look()).await;
        }
    }

    /// Reads the files again if one has changed, and says so in the log. Blocks while it reads.
    pub fn look(&self) {
        match self.reload() {
            Ok(false) => {}
            Ok(true) => tracing::info!(file = %self.certificate.display(), "the certificate was read again"),
            Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
        }
    }

    /// Whether there is something new. A mistake is reported once.
    fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.certificate, &self.key);
        let now = files.as_ref().ok().map(Files::digest);
        if std::mem::replace(&mut self.state().seen, now) == now {
            return Ok(false);
        }
        let config = files?.config()?;
        self.state().config = config;
        Ok(true)
    }

    /// Does the server's part of a handshake, with what is current now.
    ///
    /// # Errors
    ///
    /// The client does not speak TLS, wants another protocol, or is gone.
    pub async fn accept(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        let config = self.state().config.clone();
        TlsAcceptor::from(config).accept(socket).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of both files.
struct Files<'a> {
    certificate: (&'a Path, Vec<u8>),
    key: (&'a Path, Zeroizing<Vec<u8>>),
}

impl<'a> Files<'a> {
    fn read(certificate: &'a Path, key: &'a Path) -> Result<Files<'a>, TlsError> {
        let read =
            |file: &Path| std::fs::read(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source });
        Ok(Files { certificate: (certificate, read(certificate)?), key: (key, Zeroizing::new(read(key)?)) })
    }

    fn digest(&self) -> Seen {
        let mut digest = Sha256::new();
        digest.update((self.certificate.1.len() as u64).to_le_bytes());
        digest.update(&self.certificate.1);
        digest.update(self.key.1.as_slice());
        digest.finalize().into()
    }

    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.certificates()?, self.private_key()?)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let (file, text) = &self.certificate;
        let wrong = |why: pem::Error| TlsError::NoCertificate { file: file.into(), why: why.to_string() };
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match all.map_err(wrong)? {
            none if none.is_empty() => Err(wrong(pem::Error::NoItemsFound)),
            all => Ok(all),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let (file, text) = &self.key;
        // The reason may quote a line of the file.
        let why = |error: &pem::Error| match error {
            pem::Error::NoItemsFound => "there is none".to_owned(),
            _ => "the file is damaged".to_owned(),
        };
        PrivateKeyDer::from_pem_slice(text).map_err(|error| TlsError::NoKey { file: file.into(), why: why(&error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn write(folder: &TempDir, (certificate, key): &(String, String)) -> (PathBuf, PathBuf) {
        let files = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        std::fs::write(&files.0, certificate).expect("written");
        std::fs::write(&files.1, key).expect("written");
        files
    }

    #[test]
    fn what_changed_is_read_again_and_what_is_wrong_is_said_once() {
        let (folder, first, second) = (tempfile::tempdir().expect("a folder"), pair(), pair());
        let (certificate, key) = write(&folder, &first);
        let tls = Tls::load(certificate.clone(), key.clone()).expect("a pair");
        assert!(!tls.reload().expect("unchanged"));
        let before = tls.state().config.clone();

        std::fs::write(&certificate, &second.0).expect("written");
        assert!(matches!(tls.reload(), Err(TlsError::Unusable(_))), "half of a change");
        assert!(!tls.reload().expect("it was said"));
        assert!(Arc::ptr_eq(&before, &tls.state().config));

        std::fs::remove_file(&key).expect("removed");
        assert!(matches!(tls.reload(), Err(TlsError::Unreadable { .. })));
        assert!(!tls.reload().expect("it was said"));

        std::fs::write(&key, &second.1).expect("written");
        assert!(tls.reload().expect("the other half"));
        assert!(!Arc::ptr_eq(&before, &tls.state().config));
    }

    #[test]
    fn what_is_no_certificate_or_key_is_named() {
        let (folder, (certificate, key)) = (tempfile::tempdir().expect("a folder"), pair());
        let check = |certificate: &str, key: &str, expected: &str| {
            let (certificate, key) = write(&folder, &(certificate.to_owned(), key.to_owned()));
            let error = Tls::load(certificate, key).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", &key, "certificate.pem: expected certificates in PEM form");
        check(&key, &key, "certificate.pem: expected certificates in PEM form");
        check(&certificate, "", "key.pem: expected a private key in PEM form: there is none");
        check(&certificate, &certificate, "key.pem: expected a private key in PEM form: there is none");
        check(&certificate, &pair().1, "cannot be used");
    }
}
