//! TLS as clients speak it, and certificates for servers under test.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::{Connection, socket};

/// A certificate for `localhost` that vouches for itself, and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    certificate: String,
    key: String,
}

/// A connection after its handshake.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

impl Pair {
    /// A new one.
    pub fn new() -> Result<Pair> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        Ok(Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// Puts both files into a folder, as `certificate.pem` and `key.pem`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("certificate.pem"), &self.certificate)?;
        Ok(std::fs::write(folder.join("key.pem"), &self.key)?)
    }

    /// Connects to a server that has this certificate, and no other; `protocols`: what the client says it speaks.
    pub fn handshake(&self, address: SocketAddr, protocols: &[&str]) -> Result<Secured> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (mut session, mut stream) =
            (ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?, socket(address)?);
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    /// As [`Pair::handshake`], for HTTP/1.1.
    pub fn connect(&self, address: SocketAddr) -> Result<Connection> {
        Ok(Connection::over(self.handshake(address, &["http/1.1"])?))
    }
}
