//! Who is who: the cluster's CA, a node's certificate, the join token, and the TLS settings made of them.
//!
//! TLS 1.3 alone, ring alone, and never the process's default provider. No private key or secret appears in a
//! `Debug` output, an error or a log.

mod authority;
mod certificate;
mod credentials;
mod joining;
mod revocation;
mod tls;
mod token;

use std::fmt;

use overlay::api::{ApiError, ErrorCode};
use overlay::model::NodeId;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

pub use authority::{Authority, Signed};
use certificate::node_name;
pub use certificate::{Certified, node_of};
pub use credentials::{Credentials, Papers};
pub use joining::joining_client_config;
pub use tls::{ClientCertificate, manager_name, server_name};
pub use token::{CaDigest, Secret, Token, TokenError};

/// The name that every node's certificate carries, and that whoever connects to a node verifies: addresses
/// change, and which of the nodes answers is told by the other name, see [`node_of`].
pub const SERVER_NAME: &str = "node.overlay";

/// The name that managers' certificates carry besides, and that whoever asks a manager verifies.
pub const MANAGER_NAME: &str = "manager.overlay";

/// Why a certificate, a key or TLS settings could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A certificate, request or key could not be made or read.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A stored or received PEM text is not one.
    #[error("PEM: {0}")]
    Pem(#[from] pem::Error),
    /// Certificate and key do not suit TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The CA's certificate does not suit as a root.
    #[error("the CA's certificate: {0}")]
    Root(#[from] rustls::server::VerifierBuilderError),
    /// A request or certificate that does not name the node that it should.
    #[error("the certificate or request is not node {expected}'s")]
    NotTheNode {
        /// The node that it should name.
        expected: NodeId,
    },
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}

/// A node's own certificate and key, and the CAs that it trusts. Serializes with the key, for the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its certificate and that of the CA which signed it, PEM.
    pub chain: String,
    /// Its private key, PEM (PKCS #8).
    pub key: String,
    /// The certificates of the CAs that it trusts, PEM, one after the other.
    pub ca: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Identity {
    /// Of parts that were received or just made, once they fit together.
    ///
    /// # Errors
    /// A chain that is not `node`'s, or that does not go with the key or the CA.
    pub fn new(node: NodeId, chain: String, key: String, ca: String) -> Result<Self, IdentityError> {
        let identity = Self { node, chain, key, ca };
        identity.certified()?;
        identity.client_config()?;
        Ok(identity)
    }

    /// What its certificate says.
    ///
    /// # Errors
    /// It is not the node's.
    pub fn certified(&self) -> Result<Certified, IdentityError> {
        let leaf = CertificateDer::from_pem_slice(self.chain.as_bytes())?;
        let certified = Certified::of(&leaf).filter(|certified| certified.node == self.node);
        certified.ok_or(IdentityError::NotTheNode { expected: self.node })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        Ok(CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>()?)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        Ok(PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)
    }
}

/// A fresh key and the request to sign it. The key never leaves the node.
pub struct Request {
    node: NodeId,
    key: KeyPair,
    csr: String,
}

impl Request {
    /// For a node, with a key of its own drawn now.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn new(node: NodeId) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, node_name(node));
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(Self { node, key, csr })
    }

    /// The request (PKCS #10), PEM.
    pub fn csr(&self) -> &str {
        &self.csr
    }

    /// Together with what the CA made of it.
    ///
    /// # Errors
    /// As [`Identity::new`].
    pub fn complete(self, chain: String, ca: String) -> Result<Identity, IdentityError> {
        Identity::new(self.node, chain, self.key.serialize_pem(), ca)
    }
}

#[cfg(test)]
mod tests;
