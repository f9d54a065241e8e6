//! Endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{EndpointId, Labels, MacAddr, Membership, Name, NetworkId};

/// One network namespace's interface in one network, as every node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The network that it is in.
    pub network: NetworkId,
    /// Its name, unique in the network.
    pub name: Name,
    /// The interface's MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address, if the network has an IPv4 subnet.
    pub ip4: Option<Ipv4Addr>,
    /// Its IPv6 address, if the network has an IPv6 subnet.
    pub ip6: Option<Ipv6Addr>,
    /// Further names in the network.
    pub aliases: Vec<Name>,
    /// The user's labels.
    pub labels: Labels,
    /// Whether it forwards for others: its packets' source addresses are not checked then, its MAC address is.
    #[serde(default)]
    pub forward: bool,
    /// The service that it is a backend of.
    #[serde(default)]
    pub service: Option<Membership>,
}

impl Endpoint {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.ip4.map(IpAddr::V4).into_iter().chain(self.ip6.map(IpAddr::V6))
    }
}
