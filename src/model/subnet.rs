//! A network's subnet with its gateway.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// One subnet of a network, IPv4 or IPv6, and the gateway's address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet; its host bits are zero.
    pub net: IpNet,
    /// The gateway's address, inside `net`.
    pub gateway: IpAddr,
}

impl Subnet {
    /// With the gateway at its first host address, unless one is given.
    ///
    /// # Errors
    /// A subnet with host bits set or too small for a gateway and an endpoint, one that is no unicast range,
    /// and a gateway that lies outside or is no host address.
    pub fn new(net: IpNet, gateway: Option<IpAddr>) -> Result<Self, Invalid> {
        if net != net.trunc() {
            return Err(Invalid::new(format!("{net} has host bits set; the subnet is {}", net.trunc())));
        }
        if net.max_prefix_len() - net.prefix_len() < 2 {
            return Err(Invalid::new(format!(
                "{net} is too small: a gateway and an endpoint need at least a /{}",
                net.max_prefix_len() - 2
            )));
        }
        let first = net.network();
        if first.is_multicast() || first.is_loopback() || first.is_unspecified() {
            return Err(Invalid::new(format!("{net} is not a range of unicast addresses")));
        }
        let gateway = match gateway {
            Some(gateway) => gateway,
            None => net
                .hosts()
                .next()
                .filter(|host| *host != first)
                .or_else(|| net.hosts().nth(1))
                .unwrap_or(first),
        };
        let subnet = Self { net, gateway };
        if !subnet.is_host(gateway) {
            return Err(Invalid::new(format!("the gateway {gateway} is not a host address of {net}")));
        }
        Ok(subnet)
    }

    /// Whether `address` can be an interface's: inside, and neither the first address nor IPv4's broadcast.
    pub fn is_host(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
            && address != self.net.network()
            && (address.is_ipv6() || address != self.net.broadcast())
    }

    /// Whether an endpoint can have `address`: a host address, and not the gateway's.
    pub fn is_endpoint(&self, address: IpAddr) -> bool {
        self.is_host(address) && address != self.gateway
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &IpNet) -> bool {
        self.net.contains(other) || other.contains(&self.net)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_first_host() {
        let gateway = |net: &str| Subnet::new(net.parse().unwrap(), None).unwrap().gateway.to_string();
        assert_eq!(gateway("10.1.0.0/24"), "10.1.0.1");
        assert_eq!(gateway("fd00:1::/64"), "fd00:1::1");
        assert_eq!(gateway("10.1.0.0/30"), "10.1.0.1");
    }

    #[test]
    fn what_cannot_serve_is_refused() {
        for (net, gateway) in [
            ("10.1.0.5/24", None),
            ("10.1.0.0/31", None),
            ("224.0.0.0/24", None),
            ("10.1.0.0/24", Some("10.2.0.1")),
            ("10.1.0.0/24", Some("10.1.0.0")),
            ("10.1.0.0/24", Some("10.1.0.255")),
            ("10.1.0.0/24", Some("fd00::1")),
        ] {
            let gateway = gateway.map(|text| text.parse().unwrap());
            assert!(Subnet::new(net.parse().unwrap(), gateway).is_err(), "{net} {gateway:?}");
        }
    }
}
