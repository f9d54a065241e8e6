//! The network between the nodes: a bridge in a namespace of its own, a veth pair to each node; or one veth pair
//! between two nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};

use crate::netns::Netns;

/// The node's end of its veth pair.
pub(crate) const DEVICE: &str = "eth0";

/// The bridge.
pub(crate) const BRIDGE: &str = "br0";

/// The program of the switch's ports, built by `build.rs`.
static WIRE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/overlay-wire"));

/// The address of the `number`th node (RFC 5737 and RFC 3849: for documentation, in use nowhere).
pub(crate) fn address(number: u8, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(198, 51, 100, number).into()
    }
}

/// Puts the bridge into its namespace.
pub(crate) fn bridge(switch: &Netns, mtu: u16) -> Result<()> {
    switch.ip(&format!(
        "link add {BRIDGE} mtu {mtu} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
    ))?;
    switch.ip(&format!("link set {BRIDGE} up"))?;
    Ok(())
}

/// Joins a node to it.
pub(crate) fn join(switch: &Netns, node: &Netns, port: &str, mtu: u16) -> Result<()> {
    switch.ip(&format!("link add {port} mtu {mtu} type veth peer name {DEVICE} mtu {mtu} netns {node}"))?;
    switch.ip(&format!("link set {port} master {BRIDGE} up"))?;
    Ok(())
}

/// Makes a port of the switch send as a wire does, and take what XDP sends at its other end, for as long as what it hands
/// back is there.
pub(crate) fn wire(switch: &Netns, port: &str) -> Result<Ebpf> {
    switch.output(Command::new("ethtool").args(["-K", port, "tx", "off"]))?;
    let mut ebpf = Ebpf::load(WIRE)?;
    let program: &mut Xdp =
        ebpf.program_mut("wire").context("the switch's program is missing")?.try_into()?;
    program.load()?;
    switch.run(|| program.attach(port, XdpMode::Driver).context("attaching the switch's program"))?;
    Ok(ebpf)
}

/// Joins two nodes back to back.
pub(crate) fn cable(one: &Netns, two: &Netns, mtu: u16) -> Result<()> {
    one.ip(&format!("link add {DEVICE} mtu {mtu} type veth peer name {DEVICE} mtu {mtu} netns {two}"))?;
    Ok(())
}

/// Brings a joined node's end up, with an address of each family that it shall have.
pub(crate) fn bring_up(node: &Netns, addresses: &[IpAddr]) -> Result<()> {
    for address in addresses {
        let (length, flags) = if address.is_ipv6() { (64, "nodad") } else { (24, "") };
        node.ip(&format!("address add {address}/{length} dev {DEVICE} {flags}"))?;
    }
    node.ip(&format!("link set {DEVICE} up"))?;
    Ok(())
}
