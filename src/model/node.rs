//! Nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{NodeId, words};

/// A member of the cluster, as it described itself when it joined.
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
    /// Whether it holds intent.
    pub manager: bool,
    /// The subnets that the node's own interfaces are in; no overlay network may overlap one.
    pub underlay: Vec<IpNet>,
    /// The version of its agent.
    pub version: String,
    /// What users want of it now. A node that describes itself anew does not change it.
    pub availability: Availability,
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
        /// It takes no new endpoint, and its backends take no new flow.
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
