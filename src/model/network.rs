//! Networks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Name, NetworkId, Subnet, UnderlayFamily, Vni};

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

    /// The MTUs that it can have, in bytes: at least what every host must take (IPv4: RFC 791, section 3.1;
    /// IPv6: RFC 8200, section 5), at most what VXLAN over IPv4 leaves of the largest packet.
    pub fn mtu_range(&self) -> RangeInclusive<u16> {
        let ipv6 = self.subnets.iter().any(|subnet| subnet.gateway.is_ipv6());
        let lowest = if ipv6 { 1280 } else { 576 };
        lowest..=u16::MAX - UnderlayFamily::V4.overhead()
    }
}
