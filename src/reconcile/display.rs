//! Steps in words for people: logs and `overlayctl status` show them.

use std::fmt;

use super::links::LinkAction;
use super::tables::{BackendEntry, Destination, Place, Program, ServiceAction, TableAction, TableOfFamily};
use crate::lb::{Region, Table};

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

impl fmt::Display for ServiceAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutBackend(slot, backend) => write!(f, "write backend {slot}, {backend}"),
            Self::DeleteBackend(slot) => write!(f, "remove backend {slot}"),
            Self::WriteTable(region, _) => write!(f, "write a table to {region}"),
            Self::PutService(slot, entry) => write!(
                f,
                "write service {slot}, {:?}: {}; in host mode {}",
                entry.service, entry.all, entry.local
            ),
            Self::DeleteService(slot) => write!(f, "remove service {slot}"),
            Self::PutVip(vni, address, entry) => write!(
                f,
                "write that {address} of network {vni} is service {}: {}",
                entry.service,
                InWords(entry.table)
            ),
            Self::DeleteVip(vni, address) => write!(f, "remove the service at {address} of network {vni}"),
            Self::PutPort(protocol, port, entry) => {
                let place = if entry.local_only { " on this node" } else { "" };
                write!(
                    f,
                    "write that {protocol} port {port} leads to port {} of service {}{place}",
                    entry.target, entry.service
                )
            }
            Self::DeletePort(protocol, port) => write!(f, "remove {protocol} port {port}"),
            Self::PutLocal(vni, mac, slot) => {
                write!(f, "write that {mac} of network {vni} is backend {slot}")
            }
            Self::DeleteLocal(vni, mac) => write!(f, "write that {mac} of network {vni} is no backend"),
            Self::PutAddress(address) => write!(f, "answer published ports on {address}"),
            Self::DeleteAddress(address) => write!(f, "answer published ports on {address} no more"),
            Self::SetLookups(lookups) => f.write_str(match (lookups.vips, lookups.ports) {
                (false, false) => "look for no services",
                (true, false) => "look for virtual addresses",
                (false, true) => "look for published ports",
                (true, true) => "look for virtual addresses and published ports",
            }),
        }
    }
}

impl fmt::Display for BackendEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flows = if self.accepts { "" } else { ", for no new flows" };
        write!(f, "{:?} of service {}{flows}, ", self.endpoint, self.service)?;
        match self.place {
            Place::Local { ifindex } => write!(f, "behind device {ifindex}"),
            Place::Remote { vtep, mtu } => write!(f, "on peer {vtep} with MTU {mtu}"),
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "places {} to {}", self.offset(), self.end() - 1)
    }
}

impl fmt::Display for TableOfFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv4 {}, IPv6 {}", InWords(self.v4), InWords(self.v6))
    }
}

/// Where an entry leads.
struct InWords(Option<Table>);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(table) => write!(f, "to {}", table.region),
            None => f.write_str("to nobody"),
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
            Self::TcLocal => "tc_local",
            Self::XdpUnderlay => "xdp_underlay",
        })
    }
}

impl Program {
    /// Its hook on a device in words, as in "tc_guard on the egress of eth0".
    pub fn on(self, ifname: &str) -> String {
        let direction = match self {
            Self::TcEndpoint | Self::TcUnderlay | Self::TcOverlay | Self::TcLocal => "ingress",
            Self::TcGuard => "egress",
            Self::XdpUnderlay => "XDP",
        };
        format!("{self} on the {direction} of {ifname}")
    }
}
