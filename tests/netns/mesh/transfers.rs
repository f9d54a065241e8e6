//! Large transfers through a node that has no backend.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result};
use overlay::model::Protocol;
use overlay_harness::client::Sees;
use overlay_harness::traffic::tcp_transfer_by;
use overlay_harness::{Lab, Netns, Node};

use super::{Hook, TARGET, attach_backend, cluster, create_service_that, lead_as};

const PORT: u16 = 8080;

/// How the underlay's devices may merge and cut packets: as they are made, merging, and neither.
const OFFLOADS: [&[&str]; 3] =
    [&[], &["gro", "on", "tso", "off", "gso", "off"], &["gro", "off", "tso", "off", "gso", "off"]];

#[test]
fn a_large_transfer_arrives_whole_in_tc() {
    transfers(Hook::Tc, Sees::Client, &OFFLOADS, 64 << 20);
}

#[test]
fn a_large_transfer_arrives_whole_where_clients_are_hidden_in_tc() {
    transfers(Hook::Tc, Sees::Asked, &OFFLOADS, 64 << 20);
}

#[test]
fn a_large_transfer_arrives_whole_where_clients_are_hidden_in_xdp() {
    transfers(Hook::Xdp, Sees::Asked, &OFFLOADS, 64 << 20);
}

#[test]
fn a_large_transfer_arrives_whole_in_xdp() {
    transfers(Hook::Xdp, Sees::Client, &OFFLOADS, 64 << 20);
}

/// A gigabyte each way, by both families.
#[cfg(feature = "long")]
pub(crate) fn a_gigabyte(hook: Hook, sees: Sees) {
    transfers(hook, sees, &OFFLOADS, 1 << 30);
}

/// Both ways, by both families, with each of these offloads on the underlay.
fn transfers(hook: Hook, sees: Sees, offloads: &[&[&str]], bytes: usize) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, _, n3] = nodes;
        let outside = cluster(lab)?;
        create_service_that(n1, "bulk", PORT, sees)?;
        let backend = attach_backend(lab, n1, "bulk", "store", "1")?;
        let targets = [false, true].map(|ipv6| SocketAddr::new(n3.address(ipv6), PORT));
        lead_as(&outside, sees, &targets.map(|target| (Protocol::Tcp, target)), &["store"])?;
        let netns = backend.endpoint.netns.clone();
        drop(backend);
        for offloads in offloads {
            set_offloads(nodes.map(Node::netns).into_iter().chain([outside.router()]), offloads)?;
            for target in targets {
                tcp_transfer_by(outside.client(), target, (&netns, TARGET), bytes)
                    .with_context(|| format!("with {offloads:?} on the underlay"))?;
            }
        }
        hook.has_served(n3)
    });
}

fn set_offloads<'a>(nodes: impl Iterator<Item = &'a Netns>, offloads: &[&str]) -> Result<()> {
    if offloads.is_empty() {
        return Ok(());
    }
    for node in nodes {
        node.output(Command::new("ethtool").args(["-K", "eth0"]).args(offloads))?;
    }
    Ok(())
}
