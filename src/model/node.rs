//! Nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Labels, NodeId, words};

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its host name, for people.
    pub hostname: String,
    /// Its advertised address: where gossip and the manager API listen.
    pub addr: IpAddr,
    /// The gossip port, UDP and TCP.
    pub gossip_port: u16,
    /// The manager API's port, TCP.
    pub api_port: u16,
    /// The port that VXLAN packets go to, UDP.
    pub data_port: u16,
    /// The subnets that the node's own interfaces are in; no overlay network may overlap one.
    pub underlay: Vec<IpNet>,
    /// The version of its agent.
    pub version: String,
    /// The key that proves its facts, an Ed25519 public key of 32 bytes, hexadecimal.
    pub facts_key: String,
    /// Whether it is to be a manager, and hold the intent. This and what follows is not the node's to say.
    pub manager: bool,
    /// What users want of it now.
    pub availability: Availability,
    /// When its availability became [`Availability::Drain`] last, in seconds since the Unix epoch; 0 if it never did.
    pub drained_at: u64,
    /// The user's labels.
    pub labels: Labels,
    /// Which of the cluster's CAs signed its certificate; see [`crate::intent::Cluster::ca_generation`].
    pub ca_generation: u64,
    /// SHA-256 of the public key that it joined with, hexadecimal; empty for the first node of a cluster.
    pub key: String,
}

impl Node {
    /// Its host name and address, for a person.
    pub fn in_words(&self) -> String {
        format!("{} ({})", self.hostname, self.addr)
    }

    /// As it describes itself, with what others say of it as in `known`.
    pub fn kept_by(self, known: &Self) -> Self {
        Self {
            manager: known.manager,
            availability: known.availability,
            drained_at: known.drained_at,
            labels: known.labels.clone(),
            ca_generation: known.ca_generation,
            key: known.key.clone(),
            ..self
        }
    }
}

words! {
    /// What users want of a node.
    "availability",
    pub enum Availability {
        /// It takes endpoints, and its backends take flows.
        #[default]
        Active = "active",
        /// It takes no new endpoint.
        Pause = "pause",
        /// It takes no new endpoint, its backends take no new flow, and those that they have end with the grace period of
        /// each service.
        Drain = "drain",
    }
}

/// The underlay's address family, which decides what encapsulation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderlayFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl UnderlayFamily {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// What VXLAN takes from the underlay's MTU, in bytes: the outer IP, UDP and VXLAN headers and the inner
    /// Ethernet header (RFC 7348, section 5).
    pub const fn overhead(self) -> u16 {
        match self {
            Self::V4 => 20 + 8 + 8 + 14,
            Self::V6 => 40 + 8 + 8 + 14,
        }
    }
}
