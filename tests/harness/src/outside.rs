//! A client outside of the cluster, as services have them: behind a router, on no link of the nodes'.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::Result;

use crate::lab::Lab;
use crate::netns::Netns;
use crate::node::Node;
use crate::underlay;

/// The router's number on the nodes' link.
const ROUTER: u8 = 254;

/// The client's device, and the router's towards it.
const CLIENT_DEVICE: &str = "eth0";
const ROUTER_DEVICE: &str = "eth1";

/// The client's link (RFC 5737 and RFC 3849: for documentation, in use nowhere).
const CLIENT4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

/// A client and its router. The nodes' default routes lead to the router.
pub struct Outside {
    client: Netns,
    router: Netns,
}

impl Outside {
    /// Adds them to a lab whose nodes have addresses of both families.
    ///
    /// # Errors
    /// What `ip` said; the lab has no switch.
    pub fn of(lab: &Lab) -> Result<Self> {
        let outside = Self { client: lab.namespace("client")?, router: lab.namespace("router")? };
        underlay::join(lab.switch()?, &outside.router, "router", lab.mtu())?;
        let addresses = [false, true].map(|ipv6| underlay::address(ROUTER, ipv6));
        underlay::bring_up(&outside.router, &addresses)?;
        outside.join_client()?;
        outside.router.sysctl("net.ipv4.ip_forward", "1")?;
        outside.router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        for node in lab.all_nodes() {
            for router in addresses {
                node.netns().ip(&format!("route add default via {router}"))?;
            }
        }
        Ok(outside)
    }

    fn join_client(&self) -> Result<()> {
        let Self { client, router } = self;
        router.ip(&format!("link add {ROUTER_DEVICE} type veth peer name {CLIENT_DEVICE} netns {client}"))?;
        for (netns, device, address4, address6) in
            [(router, ROUTER_DEVICE, GATEWAY4, GATEWAY6), (client, CLIENT_DEVICE, CLIENT4, CLIENT6)]
        {
            netns.ip(&format!("address add {address4}/24 dev {device}"))?;
            netns.ip(&format!("address add {address6}/64 dev {device} nodad"))?;
            netns.ip(&format!("link set {device} up"))?;
        }
        client.ip(&format!("route add default via {GATEWAY4}"))?;
        client.ip(&format!("route add default via {GATEWAY6}"))?;
        // As what comes by a wire: cut into packets, with whole checksums.
        client.output(Command::new("ethtool").args(["-K", CLIENT_DEVICE, "tx", "off"]))?;
        Ok(())
    }

    /// The client.
    pub fn client(&self) -> &Netns {
        &self.client
    }

    /// The client's address of a family.
    pub fn address(&self, ipv6: bool) -> IpAddr {
        if ipv6 { CLIENT6.into() } else { CLIENT4.into() }
    }

    /// The router between the client and the nodes.
    pub fn router(&self) -> &Netns {
        &self.router
    }

    /// Has the router send what is for an address to that node, from now on.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn lead(&self, address: IpAddr, to: &Node) -> Result<()> {
        let next_hop = to.address(address.is_ipv6());
        self.router.ip(&format!("route replace {address} via {next_hop}")).map(drop)
    }
}
