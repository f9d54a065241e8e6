//! TLS settings of a member.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::revocation::{Revoked, Unless};
use super::{Identity, IdentityError, MANAGER_NAME, SERVER_NAME};

/// Whether a server lets clients in that show no certificate. One that is shown must be the cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// For gossip: members alone.
    Required,
    /// For the manager API, where a node asks to become a member; all else there must check for itself.
    Optional,
}

impl Identity {
    /// For a server that shows this node's certificate and knows of nobody who was removed; see [`super::Credentials`].
    ///
    /// # Errors
    /// Certificate, key and CAs do not go together.
    pub fn server_config(&self, clients: ClientCertificate) -> Result<Arc<ServerConfig>, IdentityError> {
        self.server(clients, &Revoked::default())
    }

    /// For a client that shows this node's certificate; it connects to [`server_name`] or [`manager_name`].
    ///
    /// # Errors
    /// As [`Identity::server_config`].
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        self.client(&Revoked::default())
    }

    pub(super) fn server(
        &self,
        clients: ClientCertificate,
        revoked: &Revoked,
    ) -> Result<Arc<ServerConfig>, IdentityError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider());
        let verifier = match clients {
            ClientCertificate::Required => verifier,
            ClientCertificate::Optional => verifier.allow_unauthenticated(),
        };
        let inner: Arc<dyn ClientCertVerifier> = verifier.build()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Unless { revoked: revoked.clone(), inner }))
            .with_single_cert(self.certificates()?, self.private_key()?)?;
        // A session that is resumed shows no certificate: what it said then may have ended since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    pub(super) fn client(&self, revoked: &Revoked) -> Result<Arc<ClientConfig>, IdentityError> {
        let inner: Arc<dyn ServerCertVerifier> =
            WebPkiServerVerifier::builder_with_provider(self.roots()?, provider()).build()?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unless { revoked: revoked.clone(), inner }))
            .with_client_auth_cert(self.certificates()?, self.private_key()?)?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(ca?)?;
        }
        Ok(Arc::new(roots))
    }
}

/// The name to verify on a connection to any node.
pub fn server_name() -> ServerName<'static> {
    constant(SERVER_NAME)
}

/// The name to verify on a connection to a manager.
pub fn manager_name() -> ServerName<'static> {
    constant(MANAGER_NAME)
}

fn constant(name: &'static str) -> ServerName<'static> {
    // Constant and a valid DNS name, as every test that connects would find.
    #[allow(clippy::expect_used, reason = "the text is constant")]
    ServerName::try_from(name).expect("a DNS name")
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
