//! Nodes that were removed are refused in the handshake, on either side of it, though their certificates have not ended.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use overlay::model::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::node_of;

/// The nodes that were removed, as far as this one knows; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Revoked(Arc<RwLock<BTreeSet<NodeId>>>);

impl Revoked {
    pub(super) fn set(&self, nodes: &BTreeSet<NodeId>) {
        let mut revoked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if *revoked != *nodes {
            revoked.clone_from(nodes);
        }
    }

    fn refuse(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let node = node_of(certificate).ok_or(CertificateError::ApplicationVerificationFailure)?;
        let revoked = self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&node);
        if revoked { Err(CertificateError::Revoked.into()) } else { Ok(()) }
    }
}

/// What `inner` accepts, but for nodes that were removed.
#[derive(Debug)]
pub(super) struct Unless<V: ?Sized> {
    pub(super) revoked: Revoked,
    pub(super) inner: Arc<V>,
}

impl ServerCertVerifier for Unless<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.revoked.refuse(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Unless<dyn ClientCertVerifier> {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        self.revoked.refuse(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
