//! The three ways between two nodes that are compared.
//!
//! Each has two nodes of its own, joined by a veth pair, so that none pays for what another has made: programs on the
//! underlay device, a bridge with its hooks, or a second VXLAN port (with just one, the kernel's GRO finds it faster).

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::{Attached, Lab, Netns, Node};

/// The underlay's device, on every node.
const UNDERLAY: &str = "eth0";

/// Two namespaces, and the address of the second.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// The nodes, which the underlay joins.
    pub(crate) nodes: [Netns; 2],
    pub(crate) from: Netns,
    pub(crate) to: Netns,
    pub(crate) address: IpAddr,
}

impl Path {
    /// Packets and bytes that the second node received by the underlay.
    fn received(&self) -> Result<(u64, u64)> {
        let text = self.nodes[1].output(Command::new("cat").arg("/proc/net/dev"))?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{UNDERLAY}:")));
        let mut numbers = line.context("no such device")?.split_whitespace().map(str::parse);
        let (Some(bytes), Some(packets)) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("/proc/net/dev has too few columns");
        };
        Ok((packets?, bytes?))
    }
}

pub(crate) struct Paths {
    paths: [Path; 3],
    /// The host's end of the endpoint's veth pair, by node.
    pub(crate) host_ends: [String; 2],
}

impl Paths {
    /// Forms a cluster of the lab's two nodes, and builds the paths.
    pub(crate) fn build(lab: &Lab) -> Result<Self> {
        crate::report::progress("making the lab");
        lab.form_cluster()?;
        let (overlay, host_ends) = overlay(lab)?;
        Ok(Self { paths: [bare(lab)?, overlay, classic(lab)?], host_ends })
    }

    /// In the order of a [`crate::report::Row`]'s rounds.
    pub(crate) fn all(&self) -> [&Path; 3] {
        self.paths.each_ref()
    }

    pub(crate) fn overlay(&self) -> &Path {
        &self.paths[crate::report::OVERLAY]
    }

    /// The underlay's device that a program of the overlay runs on.
    pub(crate) const fn device(&self) -> &'static str {
        UNDERLAY
    }

    /// From here on at most 1500 B cross the underlay: segments are cut before it and merged behind it.
    pub(crate) fn as_on_a_wire(&self) -> Result<()> {
        self.offloads("tso off gro on")?;
        for path in self.all() {
            let before = path.received()?;
            crate::measure::streams(path, 1, std::time::Duration::from_millis(50))?;
            let after = path.received()?;
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
        for node in self.paths.iter().flat_map(|path| &path.nodes) {
            let mut ethtool = Command::new("ethtool");
            node.output(ethtool.args(["-K", UNDERLAY]).args(features.split_whitespace()))?;
        }
        Ok(())
    }
}

fn overlay(lab: &Lab) -> Result<(Path, [String; 2])> {
    let nodes = lab.nodes::<2>();
    nodes[0].ctl(&["network", "create", "bench"])?;
    let ends = [lab.attach(nodes[0], "bench", "near", &[])?, lab.attach(nodes[1], "bench", "far", &[])?];
    let host_ends = [host_end(nodes[0], &ends[0])?, host_end(nodes[1], &ends[1])?];
    let address = ends[1].ip4();
    let [from, to] = ends.map(|end| end.netns);
    let nodes = nodes.map(|node| node.netns().clone());
    Ok((Path { name: "overlay", nodes, from, to, address }, host_ends))
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

/// Two plain nodes, joined as the lab's are.
fn joined(lab: &Lab, name: &str) -> Result<[Netns; 2]> {
    let nodes = [lab.namespace(&format!("{name}-1"))?, lab.namespace(&format!("{name}-2"))?];
    let [one, two] = &nodes;
    one.ip(&format!("link add {UNDERLAY} type veth peer name {UNDERLAY} netns {two}"))?;
    for (index, node) in nodes.iter().enumerate() {
        node.ip(&format!("address add {}/24 dev {UNDERLAY}", underlay_address(index)))?;
        node.ip(&format!("link set {UNDERLAY} up"))?;
    }
    Ok(nodes)
}

fn bare(lab: &Lab) -> Result<Path> {
    let nodes = joined(lab, "bare")?;
    let [from, to] = nodes.clone();
    Ok(Path { name: "bare", nodes, from, to, address: underlay_address(1).into() })
}

/// What Docker's overlay and Flannel make, with nothing left to learn: a veth pair, a bridge, a VXLAN device,
/// the other's MAC in the FDB and in the neighbour table.
fn classic(lab: &Lab) -> Result<Path> {
    let nodes = joined(lab, "classic")?;
    let containers = [lab.namespace("container-1")?, lab.namespace("container-2")?];
    for (index, (node, container)) in nodes.iter().zip(&containers).enumerate() {
        let (own, other) = (index + 1, 2 - index);
        node.ip("link add cbr0 type bridge")?;
        node.ip(&format!(
            "link add cvx0 type vxlan id 7 dstport 4789 local {} dev {UNDERLAY} nolearning",
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
    Ok(Path { name: "classic", nodes, from, to, address: Ipv4Addr::new(10, 99, 0, 2).into() })
}

/// RFC 5737: for documentation, in use nowhere.
fn underlay_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + u8::from(index == 1))
}
