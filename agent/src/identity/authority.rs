//! The cluster's certificate authority.

use std::time::{Duration, SystemTime};

use overlay::hex;
use overlay::intent::CaKeys;
use overlay::model::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::token::sha256;
use super::{CaDigest, IdentityError, SERVER_NAME, node_name, node_of_name};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the CA's certificate is valid: as long as a cluster may live.
const CA_VALIDITY: Duration = DAY.saturating_mul(3652);
/// How long a node's certificate is valid.
const NODE_VALIDITY: Duration = DAY.saturating_mul(365);
/// How far another node's clock may be behind.
const CLOCK_SKEW: Duration = DAY;

/// A CA of the cluster, which signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(CaKeys);

impl From<CaKeys> for Authority {
    fn from(keys: CaKeys) -> Self {
        Self(keys)
    }
}

impl Authority {
    /// A new one for the cluster of that id: ECDSA P-256, valid for ten years.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn new(cluster: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = valid_for(CA_VALIDITY, &format!("Overlay cluster {cluster}"));
        // Nothing but nodes' certificates stands below it (RFC 5280, section 4.2.1.9).
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key)?.pem();
        Ok(Self(CaKeys { cert, key: key.serialize_pem().into() }))
    }

    /// The certificate, PEM.
    pub fn cert(&self) -> &str {
        &self.0.cert
    }

    /// Its certificate and private key, for the managers' secrets.
    pub fn keys(&self) -> &CaKeys {
        &self.0
    }

    /// What join tokens name it by.
    ///
    /// # Errors
    /// The stored certificate is no PEM.
    pub fn digest(&self) -> Result<CaDigest, IdentityError> {
        Ok(CaDigest::of(&CertificateDer::from_pem_slice(self.0.cert.as_bytes())?))
    }

    /// Signs a node's request (PEM) for a year: the node's certificate and the CA's, PEM; and SHA-256 of the
    /// node's public key, hexadecimal. Of the request only the key is taken, and the name checked; all else in the
    /// certificate is ours.
    ///
    /// # Errors
    /// A request that is malformed, not signed with its own key, or another node's.
    pub fn sign(&self, csr: &str, node: NodeId) -> Result<(String, String), IdentityError> {
        let request = CertificateSigningRequestParams::from_pem(csr)?;
        if requested_node(&request.params.distinguished_name) != Some(node) {
            return Err(IdentityError::NotTheNode { expected: node });
        }
        let name = node_name(node);
        let mut params = valid_for(NODE_VALIDITY, &name);
        params.subject_alt_names = CertificateParams::new([name, SERVER_NAME.to_owned()])?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.0.cert, KeyPair::from_pem(&self.0.key.0)?)?;
        let certificate = params.signed_by(&request.public_key, &issuer)?;
        let key = hex::encode(&sha256(request.public_key.der_bytes()));
        Ok((certificate.pem() + &self.0.cert, key))
    }
}

fn requested_node(subject: &DistinguishedName) -> Option<NodeId> {
    match subject.get(&DnType::CommonName)? {
        DnValue::Utf8String(name) => node_of_name(name),
        _ => None,
    }
}

fn valid_for(validity: Duration, common_name: &str) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + validity).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

#[cfg(test)]
mod tests {
    use super::super::{Request, node_of};
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([7; 16]);

    #[test]
    fn a_nodes_certificate_names_it_and_fits_its_key() {
        let authority = Authority::new("test").unwrap();
        let request = Request::new(NODE).unwrap();
        let (chain, _) = authority.sign(request.csr(), NODE).unwrap();
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        assert_eq!(node_of(&leaf), Some(NODE));
        let identity = request.complete(chain, authority.cert().to_owned()).unwrap();
        assert!(!format!("{identity:?}{authority:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_certificate_of_the_ca_is_no_nodes() {
        let authority = Authority::new("test").unwrap();
        assert_eq!(node_of(&CertificateDer::from_pem_slice(authority.cert().as_bytes()).unwrap()), None);
    }

    #[test]
    fn requests_for_another_node_or_of_nonsense_are_refused() {
        let authority = Authority::new("test").unwrap();
        let request = Request::new(NodeId::from_bytes([8; 16])).unwrap();
        let outcome = authority.sign(request.csr(), NODE);
        assert!(matches!(outcome, Err(IdentityError::NotTheNode { expected: NODE })));
        for nonsense in [
            "",
            "x",
            authority.cert(),
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(authority.sign(nonsense, NODE).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_certificate_does_not_complete_another_request() {
        let authority = Authority::new("test").unwrap();
        let (chain, _) = authority.sign(Request::new(NODE).unwrap().csr(), NODE).unwrap();
        let other = Request::new(NODE).unwrap();
        assert!(other.complete(chain, authority.cert().to_owned()).is_err());
    }
}
