//! TLS settings of a member.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{Identity, IdentityError, SERVER_NAME};

/// Whether a server lets clients in that show no certificate. One that is shown must be the cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// For gossip: members alone.
    Required,
    /// For the manager API, where a node asks to become a member; all else there must check for itself.
    Optional,
}

impl Identity {
    /// For a server that shows this node's certificate.
    ///
    /// # Errors
    /// Certificate, key and CA do not go together.
    pub fn server_config(&self, clients: ClientCertificate) -> Result<Arc<ServerConfig>, IdentityError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider());
        let verifier = match clients {
            ClientCertificate::Required => verifier,
            ClientCertificate::Optional => verifier.allow_unauthenticated(),
        };
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(self.certificates()?, self.private_key()?)?;
        Ok(Arc::new(config))
    }

    /// For a client that shows this node's certificate; it connects to [`server_name`].
    ///
    /// # Errors
    /// As [`Identity::server_config`].
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots()?, provider()).build()?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(self.certificates()?, self.private_key()?)?;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        Ok(Arc::new(roots))
    }
}

/// The name to verify on every connection to a node.
pub fn server_name() -> ServerName<'static> {
    // Constant and a valid DNS name, as every test that connects would find.
    #[allow(clippy::expect_used, reason = "the text is constant")]
    ServerName::try_from(SERVER_NAME).expect("a DNS name")
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
