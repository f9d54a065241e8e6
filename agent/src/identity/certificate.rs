//! What a node's certificate says. Nothing here asks who signed it: for certificates that TLS verified, and for one's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overlay::model::NodeId;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::{MANAGER_NAME, SERVER_NAME};

/// What a node's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Whose it is.
    pub node: NodeId,
    /// Whether it is a manager's.
    pub manager: bool,
    /// When it ends.
    pub until: SystemTime,
    /// By which the CA that signed it names its key.
    issuer: KeyIdentifier,
}

impl Certified {
    /// Of a certificate; `None` for one that no node of a cluster has.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let names = dns_names(&certificate);
        let issuer =
            certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
                _ => None,
            });
        let until = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        Some(Self {
            node: names.iter().find_map(|name| node_of_name(name))?,
            manager: names.contains(&MANAGER_NAME),
            until: UNIX_EPOCH + Duration::from_secs(until),
            issuer: KeyIdentifier(issuer?.0.to_vec()),
        })
    }

    /// The one of these CAs' certificates (PEM) whose CA signed this one.
    pub fn issuer_among<'a>(&self, mut authorities: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        authorities.find(|authority| KeyIdentifier::of(authority).as_ref() == Some(&self.issuer))
    }
}

/// How a CA's key is named in its own certificate, and in those that it signed (RFC 5280, section 4.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyIdentifier(Vec<u8>);

impl KeyIdentifier {
    fn of(authority: &str) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(Self(id.0.to_vec())),
            _ => None,
        })
    }
}

/// The node that a certificate is of.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    Certified::of(certificate).map(|certified| certified.node)
}

fn dns_names<'a>(certificate: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &'a GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

/// The name by which a certificate or request tells whose it is.
pub(super) fn node_name(node: NodeId) -> String {
    format!("{node}.{SERVER_NAME}")
}

pub(super) fn node_of_name(name: &str) -> Option<NodeId> {
    name.strip_suffix(SERVER_NAME)?.strip_suffix('.')?.parse().ok()
}
