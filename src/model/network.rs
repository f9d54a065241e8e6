//! Networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Name, NetworkId, Subnet, Vni};

/// Free key-value pairs that users hang on a thing; Overlay only keeps them.
pub type Labels = BTreeMap<String, String>;

/// A network: one VNI, one or more subnets, present on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name, unique in the cluster.
    pub name: Name,
    /// Its VXLAN network identifier, unique in the cluster.
    pub vni: Vni,
    /// At most one of each family, IPv4 first.
    pub subnets: Vec<Subnet>,
    /// The endpoints' MTU in bytes, where the user fixed it; otherwise it follows the underlay.
    pub mtu: Option<u16>,
    /// Whether its endpoints are kept from the world outside.
    pub internal: bool,
    /// Whether its subnets may overlap another network's.
    pub allow_overlap: bool,
    /// The user's labels.
    pub labels: Labels,
}

impl Network {
    /// The subnet that `address` belongs to.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.net.contains(&address))
    }

    /// Whether any subnet of the two shares an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.subnets.iter().any(|mine| other.subnets.iter().any(|theirs| mine.overlaps(&theirs.net)))
    }
}
