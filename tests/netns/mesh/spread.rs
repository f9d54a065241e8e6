//! Every node serves, and the backends share the work by their weights.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use overlay::model::Protocol;
use overlay_harness::client::{Sees, ask_often_as};
use overlay_harness::{Lab, Node, Outside};

use super::{Hook, attach_backend, cluster, create_service_that, lead_as, sent_by_xdp, targets};

/// Conversations through each node, by each protocol and family.
const EACH: usize = 1000;

const EQUAL: u16 = 8080;
const WEIGHTED: u16 = 8081;

#[test]
fn every_node_serves_and_backends_share_by_their_weights_in_tc() {
    every_node_serves(Hook::Tc, Sees::Client);
}

#[test]
fn every_node_serves_and_backends_share_by_their_weights_in_xdp() {
    every_node_serves(Hook::Xdp, Sees::Client);
}

#[test]
fn every_node_serves_where_clients_are_hidden_in_tc() {
    every_node_serves(Hook::Tc, Sees::Asked);
}

#[test]
fn every_node_serves_where_clients_are_hidden_in_xdp() {
    every_node_serves(Hook::Xdp, Sees::Asked);
}

fn every_node_serves(hook: Hook, sees: Sees) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let outside = cluster(lab)?;
        create_service_that(nodes[0], "equal", EQUAL, sees)?;
        create_service_that(nodes[0], "weighted", WEIGHTED, sees)?;
        // The third node has no backend at all.
        let _backends = [
            attach_backend(lab, nodes[0], "equal", "a", "1")?,
            attach_backend(lab, nodes[1], "equal", "b", "1")?,
            attach_backend(lab, nodes[0], "weighted", "light", "1")?,
            attach_backend(lab, nodes[1], "weighted", "heavy", "3")?,
        ];
        for (port, shares) in [(EQUAL, [("a", 1), ("b", 1)]), (WEIGHTED, [("heavy", 3), ("light", 1)])] {
            let targets = targets(&nodes, port);
            lead_as(&outside, sees, &targets, &shares.map(|(name, _)| name))?;
            are_shared(&converse(hook, &outside, sees, &targets, nodes[2])?, &shares)?;
        }
        hook.has_served(nodes[2])
    });
}

/// How many conversations each backend had, of all. Where the mesh runs in XDP, that sends them on by the node that has no
/// backend, whatever protocol and family they are of.
fn converse(
    hook: Hook,
    outside: &Outside,
    sees: Sees,
    targets: &[(Protocol, SocketAddr)],
    passing: &Node,
) -> Result<BTreeMap<String, usize>> {
    let mut sum = BTreeMap::new();
    for (protocol, target) in targets {
        let before = sent_by_xdp(passing)?;
        for (server, count) in ask_often_as(outside.client(), sees, *protocol, *target, EACH)? {
            *sum.entry(server).or_default() += count;
        }
        let sent = sent_by_xdp(passing)? - before;
        let passes = hook == Hook::Xdp && target.ip() == passing.address(target.is_ipv6());
        ensure!(
            !passes || sent >= EACH as u64,
            "XDP sent {sent} packets of {EACH} over {protocol} to {target}"
        );
    }
    Ok(sum)
}

/// Within a tenth of the weights, which chance alone exceeds once in a hundred million times for so many.
fn are_shared(counts: &BTreeMap<String, usize>, shares: &[(&str, usize)]) -> Result<()> {
    let (all, weights) =
        (counts.values().sum::<usize>(), shares.iter().map(|(_, weight)| weight).sum::<usize>());
    for (name, weight) in shares {
        let (count, fair) = (counts.get(*name).copied().unwrap_or_default(), all * weight / weights);
        ensure!(count.abs_diff(fair) * 10 <= fair, "{name} had {count}, and its share is {fair}: {counts:?}");
    }
    Ok(())
}
