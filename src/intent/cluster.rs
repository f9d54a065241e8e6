//! What makes the cluster this one: its CA's certificates and the keys of gossip.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Seconds;

/// What makes the cluster this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// Raised when the cluster begins anew from one node or from a backup: intent of a higher epoch is newer,
    /// whatever its version.
    pub epoch: u64,
    /// The certificate of the CA that signs now, PEM.
    pub ca_cert: String,
    /// The certificate of the CA that will sign next, PEM, while the CA is being rotated: trusted already.
    pub next_ca_cert: Option<String>,
    /// The certificate of the CA that signed before, PEM, while the CA is being rotated: trusted yet.
    pub old_ca_cert: Option<String>,
    /// How many CAs have signed, the one that signs now included. [`crate::model::Node::ca_generation`] counts alike.
    pub ca_generation: u64,
    /// The keys that gossip is sealed with.
    pub gossip: GossipKeys,
    /// How long a node's certificate is valid.
    pub cert_lifetime: Seconds,
}

impl Cluster {
    /// How long a node's certificate is valid where nobody says: 90 days.
    pub const CERT_LIFETIME: Seconds = Seconds(90 * 24 * 60 * 60);
    /// The shortest that it can be.
    pub const SHORTEST_CERT_LIFETIME: Seconds = Seconds(60);

    /// The certificates of all CAs that are trusted, PEM; the one that signs now comes first.
    pub fn trusted(&self) -> impl Iterator<Item = &str> {
        let others = [&self.next_ca_cert, &self.old_ca_cert];
        std::iter::once(self.ca_cert.as_str()).chain(others.into_iter().flatten().map(String::as_str))
    }

    /// Which CA a trusted certificate (PEM) is of, as [`Cluster::ca_generation`] counts.
    pub fn generation_of(&self, cert: &str) -> Option<u64> {
        match cert {
            _ if cert == self.ca_cert => Some(self.ca_generation),
            _ if Some(cert) == self.next_ca_cert.as_deref() => Some(self.ca_generation + 1),
            _ if Some(cert) == self.old_ca_cert.as_deref() => self.ca_generation.checked_sub(1),
            _ => None,
        }
    }
}

/// The keys that gossip's keys are derived from. Whoever holds one opens what any of them sealed. `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipKeys {
    /// The one to seal with.
    pub current: u8,
    /// All of them by id, each 32 bytes, hexadecimal.
    pub keys: BTreeMap<u8, String>,
    /// When the newest one was added, in seconds since 1970, as who proposed it saw the time.
    pub rotated_at: u64,
    /// Whether a new one is wanted at once: a node that knows these was removed, or a user asked.
    pub wanted: bool,
}

impl fmt::Debug for GossipKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipKeys")
            .field("current", &self.current)
            .field("ids", &self.keys.keys())
            .field("rotated_at", &self.rotated_at)
            .field("wanted", &self.wanted)
            .finish()
    }
}
