//! Steps in words for people: logs and `overlayctl status` show them.

use std::fmt;

use super::links::LinkAction;
use super::tables::{Destination, Program, TableAction};

impl fmt::Display for LinkAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateVxlan(vxlan) => {
                write!(f, "create the VXLAN device {} on port {}", vxlan.name, vxlan.port)
            }
            Self::CreateVeth(veth) => {
                write!(
                    f,
                    "create veth {} with {} in {}",
                    veth.host_ifname,
                    veth.ifname,
                    veth.netns.path.display()
                )
            }
            Self::SetMtu(veth) => write!(
                f,
                "set the MTU of {} and of {} in {} to {}",
                veth.host_ifname,
                veth.ifname,
                veth.netns.path.display(),
                veth.mtu
            ),
            Self::SetUp(name) => write!(f, "take {name} up"),
            Self::Delete(name) => write!(f, "remove the device {name}"),
        }
    }
}

impl fmt::Display for TableAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutNode(node) => write!(
                f,
                "write this node's VTEP {} on device {} with data port {}",
                node.vtep, node.underlay_ifindex, node.data_port
            ),
            Self::PutNetwork(vni, entry) => write!(f, "write network {vni} with MTU {}", entry.mtu),
            Self::DeleteNetwork(vni) => write!(f, "remove network {vni}"),
            Self::PutFdb(vni, mac, to) => write!(f, "write that {mac} of network {vni} is {to}"),
            Self::DeleteFdb(vni, mac) => write!(f, "remove {mac} of network {vni}"),
            Self::PutNeighbour(vni, address, mac) => {
                write!(f, "write that {address} of network {vni} is at {mac}")
            }
            Self::DeleteNeighbour(vni, address) => write!(f, "remove {address} of network {vni}"),
            Self::PutVtep(vtep, entry) => write!(f, "write peer {vtep} with MTU {}", entry.mtu),
            Self::DeleteVtep(vtep) => write!(f, "remove peer {vtep}"),
            Self::PutSource(ifindex, source) => {
                write!(f, "let device {ifindex} send as {} in network {}", source.mac, source.vni)
            }
            Self::DeleteSource(ifindex) => write!(f, "let device {ifindex} send nothing"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { ifindex } => write!(f, "behind device {ifindex}"),
            Self::Remote { vtep, forward: false } => write!(f, "on peer {vtep}"),
            Self::Remote { vtep, forward: true } => write!(f, "on peer {vtep}, forwards"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcEndpoint => "tc_endpoint",
            Self::TcUnderlay => "tc_underlay",
            Self::TcOverlay => "tc_overlay",
            Self::TcGuard => "tc_guard",
            Self::XdpUnderlay => "xdp_underlay",
        })
    }
}

impl Program {
    /// Its hook on a device in words, as in "tc_guard on the egress of eth0".
    pub fn on(self, ifname: &str) -> String {
        let direction = match self {
            Self::TcEndpoint | Self::TcUnderlay | Self::TcOverlay => "ingress",
            Self::TcGuard => "egress",
            Self::XdpUnderlay => "XDP",
        };
        format!("{self} on the {direction} of {ifname}")
    }
}
