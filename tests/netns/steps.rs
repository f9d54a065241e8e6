//! Steps that several tests take.

use std::fmt;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay::api::{Backup, NodeRow, NodeStatus};
use overlay::intent::State;
use overlay_harness::traffic::Ping;
use overlay_harness::{Attached, Lab, Mesh, Netns, Node, eventually};
use overlayd::identity::Authority;

/// What every node must notice, repair or withdraw within.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The subnets of [`create_network`].
pub(crate) const SUBNETS: [&str; 2] = ["10.77.0.0/24", "fd77::/64"];

/// Creates a network with an IPv4 and an IPv6 subnet at one node, and waits until all of these know it.
pub(crate) fn create_network(at: &Node, name: &str, flags: &[&str], nodes: &[&Node]) -> Result<()> {
    let subnets = ["--subnet", SUBNETS[0], "--subnet", SUBNETS[1]];
    at.ctl(&[&["network", "create", name][..], &subnets, flags].concat())?;
    for node in nodes {
        eventually(&format!("{} knows the network {name}", node.name()), SOON, || node.network(name))?;
    }
    Ok(())
}

/// Attaches an endpoint named after its node to a network at each of these nodes, and waits until they talk.
pub(crate) fn attach_each<const N: usize>(
    lab: &Lab,
    network: &str,
    nodes: [&Node; N],
) -> Result<[Attached; N]> {
    let mut attached = Vec::new();
    for node in nodes {
        attached.push(lab.attach(node, network, node.name(), &[])?);
    }
    for (from, to) in pairs(&attached) {
        talk(from, to)?;
    }
    attached.try_into().map_err(|_| anyhow::anyhow!("one endpoint a node"))
}

/// A network with an endpoint on each of three nodes and one more on the first, and probes between all of them.
pub(crate) fn probed_mesh(lab: &Lab, nodes: [&Node; 3]) -> Result<Mesh> {
    create_network(nodes[0], "blue", &[], &nodes)?;
    let [a, b, c] = attach_each(lab, "blue", nodes)?;
    let beside = lab.attach(nodes[0], "blue", "beside", &[])?;
    [&a, &b, &c].into_iter().try_for_each(|other| talk(&beside, other))?;
    Mesh::start(&[&a, &b, &c, &beside])
}

/// Waits until the one reaches the other by both families.
pub(crate) fn talk(from: &Attached, to: &Attached) -> Result<()> {
    for address in [to.ip4(), to.ip6()] {
        eventually(&format!("{} reaches {}", name(from), name(to)), SOON, || {
            Ping::to(address).all_answered(&from.netns)
        })?;
    }
    Ok(())
}

/// Waits until each of these nodes lists exactly these endpoints, as `NETWORK/NAME`.
pub(crate) fn all_list(nodes: &[&Node], endpoints: &[&str]) -> Result<()> {
    for node in nodes {
        eventually(&format!("{} lists {endpoints:?}", node.name()), SOON, || {
            let listed = node.endpoints()?;
            ensure!(listed == endpoints, "it lists {listed:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Waits until a node lists another one as that.
pub(crate) fn is_shown(at: &Node, node: &Node, status: NodeStatus) -> Result<()> {
    eventually(&format!("{} shows {} as {status:?}", at.name(), node.name()), SOON, || {
        let rows: Vec<NodeRow> = at.ctl_json(&["node", "ls"])?;
        let row = rows.iter().find(|row| row.hostname == node.name()).context("it is not listed")?;
        ensure!(row.status == status, "it is {:?}", row.status);
        Ok(())
    })
}

/// Every one with every other, both ways.
pub(crate) fn pairs<T>(all: &[T]) -> impl Iterator<Item = (&T, &T)> {
    all.iter().enumerate().flat_map(move |(index, one)| {
        all.iter().enumerate().filter(move |(other, _)| *other != index).map(move |(_, other)| (one, other))
    })
}

/// An endpoint as people call it.
pub(crate) fn name(endpoint: &Attached) -> String {
    format!("{}/{}", endpoint.row.network_name, endpoint.row.endpoint.name)
}

/// It fails, and says these words and a hint.
pub(crate) fn refused(node: &Node, arguments: &[&str], words: &[&str]) -> Result<()> {
    let said = node.ctl_fails(arguments)?;
    for word in [&["hint: "], words].concat() {
        ensure!(said.contains(word), "overlayctl {} does not say {word:?} but:\n{said}", arguments.join(" "));
    }
    Ok(())
}

/// The agent's own memory in use, in kB (proc_pid_status(5)): not what it maps of BPF arrays, which are the kernel's and are
/// read now and then as a whole.
pub(crate) fn memory(node: &Node) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_owned())
}

/// The cluster's authority, as who holds a backup has it.
pub(crate) fn authority(lab: &Lab, manager: &Node) -> Result<Authority> {
    let file = lab.folder().join("backup");
    manager.ctl(&["cluster", "backup", &file.display().to_string()])?;
    let backup: Backup = serde_json::from_slice(&std::fs::read(file)?)?;
    let state: State = serde_json::from_str(&backup.state)?;
    Ok(state.secrets.ca.context("no CA")?.into())
}

/// A program that has a port open: one of its own, as what this process has open, its children that do not yet run the program
/// that another test starts have too. It is shown as messages name it.
pub(crate) struct Holder(Child);

impl Holder {
    /// With that listening socket, as socat(1) names it, and its only one.
    pub(crate) fn of(netns: &Netns, socket: &str) -> Result<Self> {
        let holder = Self(netns.start(Command::new("socat").args(["-u", socket, "OPEN:/dev/null"]))?);
        let own = format!("pid={},", holder.0.id());
        eventually(&format!("socat holds {socket}"), SOON, || {
            let listening = netns.output(Command::new("ss").arg("-Hltunp"))?;
            ensure!(listening.contains(&own), "{listening}");
            Ok(())
        })?;
        Ok(holder)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (socat)", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
