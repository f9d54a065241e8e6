//! The network devices that a node should have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{MacAddr, NetnsRef};

/// The devices that Overlay owns on a node, by name: wanted, or found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// The VXLAN device, if there is one.
    pub vxlan: Option<Vxlan>,
    /// The host's ends of the endpoints' veth pairs, by name.
    pub veths: BTreeMap<String, Veth>,
}

/// The VXLAN device in collect-metadata mode (`external`), without learning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Its name.
    pub name: String,
    /// The data port, UDP.
    pub port: u16,
    /// Whether it is up.
    pub up: bool,
}

/// The host's end of an endpoint's veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// Its MTU in bytes, the same at both ends.
    pub mtu: u16,
    /// Whether it is up.
    pub up: bool,
}

/// What it takes to make a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethSpec {
    /// The host's end.
    pub host_ifname: String,
    /// The namespace of the other end.
    pub netns: NetnsRef,
    /// The other end's name there.
    pub ifname: String,
    /// The other end's MAC address.
    pub mac: MacAddr,
    /// Its addresses, each with its subnet's prefix length.
    pub addresses: Vec<IpNet>,
    /// The gateways of its default routes: one of each family, none where its network is internal.
    pub gateways: Vec<IpAddr>,
    /// The MTU of both ends, in bytes.
    pub mtu: u16,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAction {
    /// Makes the VXLAN device and takes it up.
    CreateVxlan(Vxlan),
    /// Makes a veth pair, configures the far end and takes both up.
    CreateVeth(VethSpec),
    /// Sets the MTU of both ends of a veth pair.
    SetMtu(VethSpec),
    /// Takes a device up.
    SetUp(String),
    /// Removes a device.
    Delete(String),
}

/// Where a node's packets to `address` leave, as the kernel's routing says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// The device's name.
    pub device: String,
    /// Its index.
    pub ifindex: u32,
    /// What kind of virtual device it is, as in `ip -details link`; none for a physical one.
    pub kind: Option<String>,
    /// The VTEP's own address on it.
    pub vtep: IpAddr,
    /// The device's MTU in bytes.
    pub mtu: u16,
    /// Its IPv4 address that endpoints seem to come from outside.
    pub egress4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub egress6: Option<Ipv6Addr>,
}
