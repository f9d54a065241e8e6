//! The join token: `OVL1-<SHA-256 of the CA's certificate, hexadecimal>-<secret, hexadecimal>`.
//!
//! The first part lets the joining node know the cluster, the second lets the cluster know the node.

use std::fmt;
use std::str::FromStr;

use overlay::hex;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

const PREFIX: &str = "OVL1";

/// SHA-256 of a CA certificate's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaDigest([u8; 32]);

impl CaDigest {
    /// Of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }
}

impl fmt::Display for CaDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

/// The 128 random bits that let a node join.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Drawn now.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Whether `text` writes it; takes the same time whichever byte differs.
    pub fn is(&self, text: &str) -> bool {
        let own = self.to_string();
        own.len() == text.len()
            && own.bytes().zip(text.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Secret {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        hex::decode(text).map(Self).ok_or(TokenError::Malformed)
    }
}

/// What a node needs to join. `Display` writes it out, secret and all; `Debug` does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The cluster's CA.
    pub ca: CaDigest,
    /// What lets the node in.
    pub secret: Secret,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}-{}-{}", self.ca, self.secret)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (prefix, rest) = text.trim().split_once('-').ok_or(TokenError::Malformed)?;
        if prefix != PREFIX {
            return Err(TokenError::Malformed);
        }
        let (ca, secret) = rest.split_once('-').ok_or(TokenError::Malformed)?;
        Ok(Self { ca: hex::decode(ca).map(CaDigest).ok_or(TokenError::Malformed)?, secret: secret.parse()? })
    }
}

/// Why a text is no join token. It never quotes the text, which holds a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not read `OVL1-…-…`.
    #[error("this is not a join token: one reads OVL1-, 64 hexadecimal digits, - and 32 more")]
    Malformed,
}

impl TokenError {
    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        "copy the whole token that `overlayctl cluster init` printed"
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let token = Token { ca: CaDigest([0xab; 32]), secret: Secret::random() };
        let text = token.to_string();
        assert!(text.starts_with("OVL1-abab"), "{text}");
        assert_eq!(text.len(), 4 + 1 + 64 + 1 + 32);
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret.to_string()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = Token { ca: CaDigest([1; 32]), secret: Secret([2; 16]) }.to_string();
        let signed = good.replacen("01", "+1", 1);
        for bad in ["", "OVL1", "OVL1--", &good[1..], &good[..101], &format!("{good}0"), &signed] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_itself_alone() {
        let secret = Secret([2; 16]);
        assert!(secret.is(&secret.to_string()));
        assert!(!secret.is(&Secret([3; 16]).to_string()));
        assert!(!secret.is(""));
    }
}
