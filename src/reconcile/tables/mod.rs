//! The data path's tables: what the BPF programs should know.

mod services;

pub use services::{
    BackendEntry, Lookups, Place, PortEntry, ServiceAction, ServiceEntry, ServiceTables, TableOfFamily,
    VipEntry,
};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use crate::config::Idle;
use crate::model::{MacAddr, PortRange, Vni};

/// The tables: wanted, or found in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// This node, once its underlay is known.
    pub node: Option<NodeEntry>,
    /// The networks that have an endpoint here.
    pub networks: BTreeMap<Vni, NetworkEntry>,
    /// Where an endpoint's frames go.
    pub fdb: BTreeMap<(Vni, MacAddr), Destination>,
    /// Who has an address, for ARP and ND, the networks' gateways included.
    pub neighbours: BTreeMap<(Vni, IpAddr), MacAddr>,
    /// The peers.
    pub vteps: BTreeMap<IpAddr, VtepEntry>,
    /// The local endpoints, by the index of their veth pair's host end: what may come from there.
    pub sources: BTreeMap<u32, Source>,
}

impl Tables {
    /// Takes a step of a plan, as the kernel does.
    pub fn apply(&mut self, action: &TableAction) {
        match *action {
            TableAction::PutNode(entry) => self.node = Some(entry),
            TableAction::PutNetwork(vni, entry) => drop(self.networks.insert(vni, entry)),
            TableAction::DeleteNetwork(vni) => drop(self.networks.remove(&vni)),
            TableAction::PutFdb(vni, mac, destination) => drop(self.fdb.insert((vni, mac), destination)),
            TableAction::DeleteFdb(vni, mac) => drop(self.fdb.remove(&(vni, mac))),
            TableAction::PutNeighbour(vni, address, mac) => drop(self.neighbours.insert((vni, address), mac)),
            TableAction::DeleteNeighbour(vni, address) => drop(self.neighbours.remove(&(vni, address))),
            TableAction::PutVtep(vtep, entry) => drop(self.vteps.insert(vtep, entry)),
            TableAction::DeleteVtep(vtep) => drop(self.vteps.remove(&vtep)),
            TableAction::PutSource(ifindex, source) => drop(self.sources.insert(ifindex, source)),
            TableAction::DeleteSource(ifindex) => drop(self.sources.remove(&ifindex)),
        }
    }
}

/// This node, as its programs need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEntry {
    /// The underlay device's index.
    pub underlay_ifindex: u32,
    /// The VXLAN device's index, if it is there.
    pub vxlan_ifindex: Option<NonZeroU32>,
    /// The VTEP's address: the outer source.
    pub vtep: IpAddr,
    /// The data port, UDP, host byte order.
    pub data_port: u16,
    /// What marks packets that come from our own data path, for the guard.
    pub mark: u32,
    /// How long flows are kept.
    pub idle: Idle,
    /// How endpoints reach the world outside; none while no network here leads there.
    pub egress: Option<Egress>,
}

/// What endpoints seem to come from, outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Egress {
    /// This IPv4 address; without one they have no way there.
    pub ip4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub ip6: Option<Ipv6Addr>,
    /// One of these ports.
    pub ports: PortRange,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkEntry {
    /// The MTU of its endpoints, in bytes.
    pub mtu: u16,
    /// The gateway's IPv4 address.
    pub gateway4: Option<Ipv4Addr>,
    /// The gateway's IPv6 address.
    pub gateway6: Option<Ipv6Addr>,
    /// Whether nothing leads out of it.
    pub internal: bool,
}

/// Where an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Behind a veth pair here, whose host end has this index.
    Local {
        /// The index.
        ifindex: u32,
    },
    /// On a peer.
    Remote {
        /// The peer's VTEP.
        vtep: IpAddr,
        /// Whether the endpoint forwards for others, and so sends from any address.
        forward: bool,
    },
}

/// A peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VtepEntry {
    /// The largest inner IP packet that reaches it, in bytes: the smaller of the two underlay MTUs less what
    /// VXLAN takes.
    pub mtu: u16,
}

/// What a local endpoint may send as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Its network.
    pub vni: Vni,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub ip4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Whether it forwards for others, and so may send from any address.
    pub forward: bool,
    /// Whether it is a service's backend, and so may have clients outside.
    pub serves: bool,
}

/// One step of a plan: an entry to write (insert or replace) or to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableAction {
    /// Writes this node's entry.
    PutNode(NodeEntry),
    /// Writes a network.
    PutNetwork(Vni, NetworkEntry),
    /// Removes a network.
    DeleteNetwork(Vni),
    /// Writes where an endpoint is.
    PutFdb(Vni, MacAddr, Destination),
    /// Removes an endpoint.
    DeleteFdb(Vni, MacAddr),
    /// Writes who has an address.
    PutNeighbour(Vni, IpAddr, MacAddr),
    /// Removes an address.
    DeleteNeighbour(Vni, IpAddr),
    /// Writes a peer.
    PutVtep(IpAddr, VtepEntry),
    /// Removes a peer.
    DeleteVtep(IpAddr),
    /// Writes a local endpoint.
    PutSource(u32, Source),
    /// Removes a local endpoint.
    DeleteSource(u32),
}

/// The programs of the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// Ingress of an endpoint's veth pair, host end.
    TcEndpoint,
    /// Ingress of the underlay device.
    TcUnderlay,
    /// Ingress of the VXLAN device.
    TcOverlay,
    /// Egress of the underlay device: only our own data path sends to the data port.
    TcGuard,
    /// Ingress of loopback: the mesh for processes of the host.
    TcLocal,
    /// XDP on the underlay device: the mesh.
    XdpUnderlay,
}
