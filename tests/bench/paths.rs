//! The three ways between the same two nodes that are compared.
//!
//! The overlay has a veth pair of its own between the nodes; the other two share a second one, so that none of
//! the overlay's programs runs for them.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::{Attached, Lab, Netns, Node};

/// The underlay devices, on both nodes.
const OVERLAY_DEVICE: &str = "eth0";
const BARE_DEVICE: &str = "bare0";
/// The classic layout's VXLAN port: Linux's own default, since the overlay has 4789.
const CLASSIC_PORT: u16 = 8472;

/// Two namespaces, and the address of the second.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) from: Netns,
    pub(crate) to: Netns,
    pub(crate) address: IpAddr,
}

pub(crate) struct Paths {
    paths: [Path; 3],
    /// The nodes, with what is in them.
    nodes: [Netns; 2],
    /// The host's end of the endpoint's veth pair, by node.
    pub(crate) host_ends: [String; 2],
}

impl Paths {
    /// Forms a cluster of the two nodes, and builds the paths.
    pub(crate) fn build(lab: &Lab) -> Result<Self> {
        crate::report::progress("making the lab");
        lab.form_cluster()?;
        let nodes = lab.nodes::<2>();
        let netns = nodes.map(|node| node.netns().clone());
        let (overlay, host_ends) = overlay(lab, nodes)?;
        let bare = bare(&netns)?;
        let classic = classic(lab, &netns)?;
        Ok(Self { paths: [bare, overlay, classic], nodes: netns, host_ends })
    }

    /// In the order of a [`crate::report::Row`]'s rounds.
    pub(crate) fn all(&self) -> [&Path; 3] {
        self.paths.each_ref()
    }

    pub(crate) fn overlay(&self) -> &Path {
        &self.paths[crate::report::OVERLAY]
    }

    pub(crate) fn nodes(&self) -> &[Netns; 2] {
        &self.nodes
    }

    /// The underlay's device that a program of the overlay runs on.
    pub(crate) const fn device(&self) -> &'static str {
        OVERLAY_DEVICE
    }

    /// From here on at most 1500 B cross the underlay: segments are cut before it and merged behind it.
    pub(crate) fn as_on_a_wire(&self) -> Result<()> {
        self.offloads("tso off gro on")?;
        for path in self.all() {
            let device = if path.name == "overlay" { OVERLAY_DEVICE } else { BARE_DEVICE };
            let before = self.received(device)?;
            crate::measure::streams(path, 1, std::time::Duration::from_millis(50))?;
            let after = self.received(device)?;
            let average = (after.1 - before.1) / (after.0 - before.0).max(1);
            ensure!(average <= 1514, "frames of {average} B cross the underlay over the {} path", path.name);
        }
        Ok(())
    }

    /// The underlay as veth pairs are made.
    pub(crate) fn as_made(&self) -> Result<()> {
        self.offloads("tso on gro off")
    }

    fn offloads(&self, features: &str) -> Result<()> {
        for node in &self.nodes {
            for device in [OVERLAY_DEVICE, BARE_DEVICE] {
                let mut ethtool = Command::new("ethtool");
                node.output(ethtool.args(["-K", device]).args(features.split_whitespace()))?;
            }
        }
        Ok(())
    }

    /// Packets and bytes that the second node received on a device.
    fn received(&self, device: &str) -> Result<(u64, u64)> {
        let text = self.nodes[1].output(Command::new("cat").arg("/proc/net/dev"))?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
        let mut numbers = line.context("no such device")?.split_whitespace().map(str::parse);
        let (Some(bytes), Some(packets)) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("/proc/net/dev has too few columns");
        };
        Ok((packets?, bytes?))
    }
}

fn overlay(lab: &Lab, nodes: [&Node; 2]) -> Result<(Path, [String; 2])> {
    nodes[0].ctl(&["network", "create", "bench"])?;
    let ends = [lab.attach(nodes[0], "bench", "near", &[])?, lab.attach(nodes[1], "bench", "far", &[])?];
    let host_ends = [host_end(nodes[0], &ends[0])?, host_end(nodes[1], &ends[1])?];
    let address = ends[1].ip4();
    let [from, to] = ends.map(|end| end.netns);
    Ok((Path { name: "overlay", from, to, address }, host_ends))
}

/// The node's device whose peer is the endpoint's: the one with the index that the endpoint's device names.
fn host_end(node: &Node, endpoint: &Attached) -> Result<String> {
    let shown = endpoint.netns.ip("-o link show type veth")?;
    let (_, peer) = shown.split_once("@if").context("the endpoint's device has no peer")?;
    let peer: String = peer.chars().take_while(char::is_ascii_digit).collect();
    let devices = node.netns().ip("-o link show type veth")?;
    let line = devices.lines().find_map(|line| line.strip_prefix(&format!("{peer}: ")));
    let name = line.and_then(|line| line.split('@').next()).context("the node lacks the peer")?;
    Ok(name.to_owned())
}

fn bare(nodes: &[Netns; 2]) -> Result<Path> {
    let [one, two] = nodes;
    one.ip(&format!("link add {BARE_DEVICE} type veth peer name {BARE_DEVICE} netns {two}"))?;
    for (index, node) in nodes.iter().enumerate() {
        node.ip(&format!("address add {}/24 dev {BARE_DEVICE}", underlay_address(index)))?;
        node.ip(&format!("link set {BARE_DEVICE} up"))?;
    }
    let address = underlay_address(1).into();
    Ok(Path { name: "bare", from: one.clone(), to: two.clone(), address })
}

/// What Docker's overlay and Flannel make, with nothing left to learn: a veth pair, a bridge, a VXLAN device,
/// the other's MAC in the FDB and in the neighbour table.
fn classic(lab: &Lab, nodes: &[Netns; 2]) -> Result<Path> {
    let containers = [lab.namespace("classic-1")?, lab.namespace("classic-2")?];
    for (index, (node, container)) in nodes.iter().zip(&containers).enumerate() {
        let (own, other) = (index + 1, 2 - index);
        node.ip("link add cbr0 type bridge")?;
        node.ip(&format!(
            "link add cvx0 type vxlan id 7 dstport {CLASSIC_PORT} local {} dev {BARE_DEVICE} nolearning",
            underlay_address(index)
        ))?;
        node.ip(&format!("link add cveth0 mtu 1450 type veth peer name eth0 mtu 1450 netns {container}"))?;
        for device in ["cvx0", "cveth0"] {
            node.ip(&format!("link set {device} master cbr0 up"))?;
        }
        node.ip("link set cbr0 up")?;
        let fdb = format!("02:00:00:00:01:0{other} dev cvx0 dst {}", underlay_address(1 - index));
        node.output(Command::new("bridge").args(["fdb", "append"]).args(fdb.split_whitespace()))?;
        container.ip(&format!("link set eth0 address 02:00:00:00:01:0{own} up"))?;
        container.ip(&format!("address add 10.99.0.{own}/24 dev eth0"))?;
        container.ip(&format!(
            "neighbour add 10.99.0.{other} lladdr 02:00:00:00:01:0{other} nud permanent dev eth0"
        ))?;
    }
    let [from, to] = containers;
    Ok(Path { name: "classic", from, to, address: Ipv4Addr::new(10, 99, 0, 2).into() })
}

/// RFC 5737: for documentation, in use nowhere.
fn underlay_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + u8::from(index == 1))
}
