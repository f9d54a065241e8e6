//! The four ways between two nodes that are compared.
//!
//! Each has two nodes of its own, joined by a veth pair, so that none pays for what another has made: programs on the
//! underlay device, a bridge with its hooks, or a second VXLAN port (with just one, the kernel's GRO finds it faster).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use overlay_harness::{Attached, Lab, Netns, Node};

use crate::floors;
use crate::measure::Ends;

/// The underlay's device, on every node.
pub(crate) const UNDERLAY: &str = "eth0";

/// The classic layout's bridge, on every node.
pub(crate) const BRIDGE: &str = "cbr0";

/// Two namespaces, and what lies between them.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// The nodes, which the underlay joins.
    pub(crate) nodes: [Netns; 2],
    pub(crate) ends: Ends,
}

impl Path {
    /// From the first of these to the second at its address.
    fn new(name: &'static str, nodes: [Netns; 2], [from, to]: [Netns; 2], address: IpAddr) -> Self {
        let ends = Ends { from, to, listens: SocketAddr::new(address, 0), published: None };
        Self { name, nodes, ends }
    }
}

/// No frame that a node receives from such ends may be larger than a wire's.
pub(crate) fn ensure_as_on_a_wire(ends: &Ends, node: &Netns) -> Result<()> {
    let before = received(node)?;
    crate::measure::streams(ends, 1, std::time::Duration::from_millis(50))?;
    let after = received(node)?;
    let average = (after.1 - before.1) / (after.0 - before.0).max(1);
    ensure!(average <= 1514, "frames of {average} B cross the underlay");
    Ok(())
}

/// Packets and bytes that a node received by the underlay.
fn received(node: &Netns) -> Result<(u64, u64)> {
    let text = node.output(Command::new("cat").arg("/proc/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{UNDERLAY}:")));
    let mut numbers = line.context("no such device")?.split_whitespace().map(str::parse);
    let (Some(bytes), Some(packets)) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("/proc/net/dev has too few columns");
    };
    Ok((packets?, bytes?))
}

pub(crate) struct Paths {
    paths: [Path; 4],
    /// The host's end of the endpoint's veth pair, by node.
    pub(crate) host_ends: [String; 2],
    /// The floor's programs, attached for as long as these are there.
    _floor: [Ebpf; 2],
}

impl Paths {
    /// Forms a cluster of the lab's two nodes, and builds the paths.
    pub(crate) fn build(lab: &Lab) -> Result<Self> {
        crate::report::progress("making the lab");
        lab.form_cluster()?;
        let (overlay, host_ends) = overlay(lab)?;
        let (floor, programs) = floor(lab)?;
        Ok(Self { paths: [bare(lab)?, floor, overlay, classic(lab)?], host_ends, _floor: programs })
    }

    /// In the order of a [`crate::report::Row`]'s rounds.
    pub(crate) fn all(&self) -> [&Path; 4] {
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
            ensure_as_on_a_wire(&path.ends, &path.nodes[1])
                .with_context(|| format!("over the {} path", path.name))?;
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
    let nodes = nodes.map(|node| node.netns().clone());
    Ok((Path::new("overlay", nodes, ends.map(|end| end.netns), address), host_ends))
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
    Ok(Path::new("bare", nodes.clone(), nodes, underlay_address(1).into()))
}

/// The least that tc programs can do: see `floor/main.rs`.
fn floor(lab: &Lab) -> Result<(Path, [Ebpf; 2])> {
    let nodes = joined(lab, "floor")?;
    let endpoints = [lab.namespace("floor-near")?, lab.namespace("floor-far")?];
    let attached = |index: usize| {
        floors::vxlan_port(&nodes[index])?;
        floors::joined(&nodes[index], &endpoints[index], index)?;
        nodes[index].run(|| {
            let known = floors::Known::to(index, [index, 1 - index].map(underlay_address))?;
            let mut programs = known.loader().load(floors::PROGRAMS)?;
            floors::attach(&mut programs, &[("floor_send", floors::HOST_END), ("floor_receive", UNDERLAY)])?;
            Ok(programs)
        })
    };
    let programs = [attached(0)?, attached(1)?];
    Ok((Path::new("floor", nodes, endpoints, endpoint_address(1).into()), programs))
}

/// What Docker's overlay and Flannel make, with nothing left to learn: a veth pair, a bridge, a VXLAN device,
/// the other's MAC in the FDB and in the neighbour table.
fn classic(lab: &Lab) -> Result<Path> {
    let nodes = joined(lab, "classic")?;
    let containers = [lab.namespace("container-1")?, lab.namespace("container-2")?];
    for (index, (node, container)) in nodes.iter().zip(&containers).enumerate() {
        bridge_and_vxlan(node, index, [underlay_address(index), underlay_address(1 - index)])?;
        bridged(node, container, index)?;
    }
    Ok(Path::new("classic", nodes, containers, endpoint_address(1).into()))
}

/// A node's bridge, and a VXLAN device in it towards the other node; by their own VTEP and the other's.
pub(crate) fn bridge_and_vxlan(node: &Netns, index: usize, [own, other]: [Ipv4Addr; 2]) -> Result<()> {
    node.ip(&format!("link add {BRIDGE} type bridge"))?;
    node.ip(&format!("link add cvx0 type vxlan id 7 dstport 4789 local {own} dev {UNDERLAY} nolearning"))?;
    node.ip(&format!("link set cvx0 master {BRIDGE} up"))?;
    node.ip(&format!("link set {BRIDGE} up"))?;
    let fdb = format!("{} dev cvx0 dst {other}", written(endpoint_mac(1 - index)));
    node.output(Command::new("bridge").args(["fdb", "append"]).args(fdb.split_whitespace())).map(drop)
}

/// Joins a container to its node's bridge.
pub(crate) fn bridged(node: &Netns, container: &Netns, index: usize) -> Result<()> {
    node.ip(&format!("link add cveth0 mtu 1450 type veth peer name eth0 mtu 1450 netns {container}"))?;
    node.ip(&format!("link set cveth0 master {BRIDGE} up"))?;
    configure(container, "eth0", index)
}

/// Addresses an endpoint of the floor or the classic layout; it knows the other one already.
pub(crate) fn configure(endpoint: &Netns, device: &str, index: usize) -> Result<()> {
    let (own, other) = (endpoint_address(index), endpoint_address(1 - index));
    endpoint.ip(&format!("link set {device} address {} up", written(endpoint_mac(index))))?;
    endpoint.ip(&format!("address add {own}/24 dev {device}"))?;
    let mac = written(endpoint_mac(1 - index));
    endpoint.ip(&format!("neighbour add {other} lladdr {mac} nud permanent dev {device}")).map(drop)
}

pub(crate) fn endpoint_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 1 + u8::from(index == 1))
}

pub(crate) fn endpoint_mac(index: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, 1 + u8::from(index == 1)]
}

fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// RFC 5737: for documentation, in use nowhere.
fn underlay_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + u8::from(index == 1))
}
