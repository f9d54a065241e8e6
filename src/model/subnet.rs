//! A network's subnet with its gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// Addresses that interfaces on a network cannot have, or that mean something to every host: "this network",
/// loopback, link-local, multicast and broadcast, and IPv6's low addresses, among them the mapped IPv4 ones
/// (RFC 6890, RFC 4291). IPv6's multicast range ends the address space, so a network's last address plus one is
/// a number of 128 bits.
const SPECIAL: [IpNet; 8] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([255, 255, 255, 255], 32),
    v6(0, 8),
    v6(0xfe80, 10),
    v6(0xff00, 8),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(first: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), prefix))
}

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
        if let Some(special) = SPECIAL.iter().find(|special| special.contains(&net) || net.contains(*special))
        {
            return Err(Invalid::new(format!("{net} overlaps {special}, which no network can use")));
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
            ("64.0.0.0/2", None),
            ("169.254.7.0/24", None),
            ("::ffff:0:0/96", None),
            ("fe80::/64", None),
            ("8000::/1", None),
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
