//! Keys, certificates and tokens change while the cluster works, and whoever has only an old one is out.

use anyhow::{Context as _, Result};
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Mesh, Node, Topology};

use super::{create_soon, faults, know, of_three_managers};
use crate::steps::{attach_each, create_network, refused, talk};

#[test]
fn keys_and_tokens_rotate_without_a_loss() {
    Lab::run(Topology::of(5), |lab| {
        let [n1, n2, n3, worker, late] = lab.nodes();
        let nodes = [n1, n2, n3, worker];
        of_three_managers(lab)?;
        create_network(n1, "blue", &[], &nodes)?;
        let endpoints = attach_each(lab, "blue", nodes)?;
        let probes = Mesh::start(&endpoints.iter().collect::<Vec<_>>())?;
        late.start()?;

        let before = ["worker", "manager"].map(|role| token(n1, &[role]));
        n1.ctl(&["cluster", "ca", "rotate"]).context("the authority's rotation ends")?;
        for before in before {
            stays_out(late, &before?, n1, "not of the cluster that the token is for")?;
        }
        joins(late, &token(n2, &["worker"])?, n2)?;
        n3.ctl(&["cluster", "key", "rotate"]).context("the key's rotation ends")?;
        probes.flows()?;

        late.ctl(&["cluster", "leave"])?;
        let before = token(n1, &["worker"])?;
        let after = token(n3, &["--rotate", "worker"])?;
        stays_out(late, &before, n2, "does not accept the token")?;
        joins(late, &after, n1)?;

        for node in [n1, n2, n3, worker, late] {
            node.stop()?;
            node.start()?;
            node.wait_ready(FORMING).with_context(|| format!("{} comes back", node.name()))?;
        }
        faults::whole(&[n1, n2, n3])?;
        create_soon(n2, "after")?;
        know(&[n1, n2, n3, worker, late], "after")?;
        let on_late = lab.attach(late, "blue", "late", &[])?;
        endpoints.iter().try_for_each(|endpoint| talk(endpoint, &on_late))?;
        probes.stop_without_loss()
    });
}

fn token(at: &Node, which: &[&str]) -> Result<String> {
    let token = at.ctl(&[&["cluster", "join-token", "-q"], which].concat())?;
    Ok(token.trim().to_owned())
}

/// The node cannot join with that token, and says why.
fn stays_out(node: &Node, token: &str, manager: &Node, word: &str) -> Result<()> {
    refused(node, &["cluster", "join", "--token", token, &manager.addr().to_string()], &[word])
}

fn joins(node: &Node, token: &str, manager: &Node) -> Result<()> {
    node.join_cluster(token, manager)?;
    node.wait_ready(FORMING)
}

/// With the shortest lifetime of certificates, everybody has had several before long.
#[cfg(feature = "long")]
#[test]
fn long_certificates_are_renewed_without_a_loss() {
    use std::time::Duration;

    use overlay_harness::eventually;

    /// Two renewals of certificates that are valid for a minute, on a busy machine.
    const RENEWED_TWICE: Duration = Duration::from_secs(180);

    Lab::run(Topology::of(4), |lab| {
        let nodes: [&Node; 4] = lab.nodes();
        let [n1, managers @ .., worker] = nodes;
        n1.start()?;
        let own = n1.addr().to_string();
        n1.ctl(&["cluster", "init", "--cert-lifetime", "1m", "--advertise-addr", &own])?;
        for node in managers {
            node.start()?;
            joins(node, &token(n1, &["manager"])?, n1)?;
        }
        worker.start()?;
        joins(worker, &token(n1, &["worker"])?, n1)?;
        create_network(n1, "blue", &[], &nodes)?;
        let endpoints = attach_each(lab, "blue", nodes)?;
        let probes = Mesh::start(&endpoints.iter().collect::<Vec<_>>())?;
        for node in nodes {
            // The first one has ended by the time that the third one is there.
            eventually(&format!("{} has its third certificate", node.name()), RENEWED_TWICE, || {
                let renewed = node.log().matches("the certificate was renewed").count();
                anyhow::ensure!(renewed >= 2, "it was renewed {renewed} times");
                Ok(())
            })?;
        }
        create_soon(managers[0], "after")?;
        know(&nodes, "after")?;
        nodes.iter().try_for_each(|node| node.wait_ready(FORMING))?;
        probes.flows()?;
        probes.stop_without_loss()
    });
}
