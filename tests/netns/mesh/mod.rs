//! The routing mesh: a client outside of the cluster reaches a service on every node, and the backends see the client's
//! own address, or that of the node where they were asked for it.

mod affinity;
mod arrivals;
pub(crate) mod grace;
mod hooks;
mod host_mode;
mod local;
mod made_anew;
mod moves;
mod ranges;
mod refusals;
mod sizes;
mod spread;
mod transfers;

#[cfg(feature = "long")]
pub(crate) use transfers::a_gigabyte;

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay::model::Protocol;
use overlay_harness::client::{Sees, ask_often_as};
use overlay_harness::{Attached, Lab, Node, Outside, Server, Topology, eventually};

use crate::steps::{SOON, create_network};

/// Where the backends listen.
pub(crate) const TARGET: u16 = 80;

/// Both protocols.
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// So many conversations that they come to every one of a few backends.
const MANY: usize = 64;

/// Where the mesh runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Tc,
    Xdp,
}

impl Hook {
    /// Three nodes whose mesh runs there.
    pub(crate) fn three_nodes(self) -> Topology {
        match self {
            Self::Tc => Topology::of(3).config("mesh_hook = \"tc\"\n"),
            Self::Xdp => Topology::of(3).config("mesh_hook = \"xdp\"\n").wired(),
        }
    }

    /// It has run there, on a node without backends that clients came to.
    pub(crate) fn has_served(self, node: &Node) -> Result<()> {
        let mesh = node.status()?.mesh.context("no mesh, in the status")?;
        ensure!(mesh.hook.eq_ignore_ascii_case(&format!("{self:?}")), "{mesh:?}");
        let sent = sent_by_xdp(node)?;
        ensure!((sent > 0) == (self == Self::Xdp), "XDP sent {sent} packets");
        Ok(())
    }
}

/// How many packets XDP sent on by the node's underlay device; those that the receiver's full ring did not take count too.
fn sent_by_xdp(node: &Node) -> Result<u64> {
    let counters = node.netns().output(Command::new("ethtool").args(["-S", "eth0"]))?;
    let numbers = counters.lines().filter_map(|line| line.trim().split_once(": "));
    let sent = numbers.filter(|(name, _)| name.ends_with("_xdp_redirect"));
    Ok(sent.filter_map(|(_, number)| number.parse::<u64>().ok()).sum())
}

/// A client, and a cluster with a network of both families.
pub(crate) fn cluster(lab: &Lab) -> Result<Outside> {
    let outside = Outside::of(lab)?;
    lab.form_cluster()?;
    let nodes: Vec<_> = lab.all_nodes().iter().collect();
    create_network(nodes[0], "blue", &[], &nodes)?;
    Ok(outside)
}

/// Creates a service in that network, published by both protocols on `port`.
pub(crate) fn create_service(at: &Node, name: &str, port: u16) -> Result<()> {
    create_service_that(at, name, port, Sees::Client)
}

/// One whose backends see that.
pub(crate) fn create_service_that(at: &Node, name: &str, port: u16, sees: Sees) -> Result<()> {
    let [tcp, udp] = PROTOCOLS.map(|protocol| format!("{port}:{TARGET}/{protocol}"));
    let source_ip = match sees {
        Sees::Client => "preserve",
        Sees::Asked | Sees::Address(_) => "snat",
    };
    let publish = ["--publish", &tcp, "--publish", &udp, "--source-ip", source_ip];
    at.ctl(&[&["service", "create", name, "--network", "blue"], &publish[..]].concat()).map(drop)
}

/// A backend, and what runs there.
pub(crate) struct Backend {
    pub(crate) endpoint: Attached,
    #[cfg_attr(not(feature = "long"), expect(dead_code, reason = "it runs for as long as it is kept"))]
    server: Server,
}

impl Backend {
    /// Its container dies, and nobody detaches it: first all that runs there, then the namespace.
    #[cfg(feature = "long")]
    pub(crate) fn die(self) -> Result<()> {
        drop(self.server);
        self.endpoint.netns.delete()
    }
}

/// Attaches a backend of a service, with a server of the same name that listens before anybody may come.
pub(crate) fn attach_backend(
    lab: &Lab,
    node: &Node,
    service: &str,
    name: &str,
    weight: &str,
) -> Result<Backend> {
    let netns = lab.namespace(&format!("blue-{name}"))?;
    let server = Server::start(&netns, name, TARGET)?;
    let row = node.attach(&netns, "blue", name, &["--service", service, "--weight", weight])?;
    Ok(Backend { endpoint: Attached { netns, row }, server })
}

/// The port on every node, by both protocols and families.
pub(crate) fn targets(nodes: &[&Node], port: u16) -> Vec<(Protocol, SocketAddr)> {
    let mut targets = Vec::new();
    for protocol in PROTOCOLS {
        for ipv6 in [false, true] {
            let addresses = nodes.iter().map(|node| node.address(ipv6));
            targets.extend(addresses.map(|address| (protocol, SocketAddr::new(address, port))));
        }
    }
    targets
}

/// Waits until every one of these targets leads to exactly these backends.
pub(crate) fn lead_to(
    outside: &Outside,
    targets: &[(Protocol, SocketAddr)],
    backends: &[&str],
) -> Result<()> {
    lead_as(outside, Sees::Client, targets, backends)
}

/// The same, where the backends must see that.
pub(crate) fn lead_as(
    outside: &Outside,
    sees: Sees,
    targets: &[(Protocol, SocketAddr)],
    backends: &[&str],
) -> Result<()> {
    for (protocol, target) in targets {
        eventually(&format!("{protocol} to {target} comes to {backends:?}"), SOON, || {
            let counts = ask_often_as(outside.client(), sees, *protocol, *target, MANY)?;
            ensure!(counts.keys().eq(backends), "it comes to {counts:?}");
            Ok(())
        })?;
    }
    Ok(())
}
