//! Nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::NodeId;

/// A member of the cluster, as it described itself when it joined or last changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its host name, for people.
    pub hostname: String,
    /// Its address on the underlay: the VTEP's, and where gossip and the manager API listen.
    pub addr: IpAddr,
    /// The gossip port, UDP and TCP.
    pub gossip_port: u16,
    /// The manager API's port, TCP.
    pub api_port: u16,
    /// Whether it holds intent.
    pub manager: bool,
    /// The subnets that the node's own interfaces are in; no overlay network may overlap one.
    pub underlay: Vec<IpNet>,
    /// The underlay device's MTU in bytes.
    pub underlay_mtu: u16,
    /// The version of its agent.
    pub version: String,
}

impl Node {
    /// The family that the node's VXLAN packets travel in.
    pub const fn family(&self) -> UnderlayFamily {
        match self.addr {
            IpAddr::V4(_) => UnderlayFamily::V4,
            IpAddr::V6(_) => UnderlayFamily::V6,
        }
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
    /// What VXLAN takes from the underlay's MTU, in bytes: the outer IP, UDP and VXLAN headers and the inner
    /// Ethernet header (RFC 7348, section 5).
    pub const fn overhead(self) -> u16 {
        match self {
            Self::V4 => 20 + 8 + 8 + 14,
            Self::V6 => 40 + 8 + 8 + 14,
        }
    }
}
