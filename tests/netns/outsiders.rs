//! Nodes that their cluster lets in no more: each says why and what to do, and its packets go on until somebody does it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use overlay::model::Seconds;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Mesh, Node, Topology, eventually};
use overlayd::identity::{Authority, Identity, Request};
use overlayd::store::{Key, Store};

use crate::steps::{SOON, attach_each, authority, create_network, talk};

#[test]
fn who_was_removed_while_it_was_away_is_told() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        let token = lab.form_cluster_of(&nodes)?;
        create_network(n1, "blue", &[], &nodes)?;
        let [on_n1, on_n2] = attach_each(lab, "blue", nodes)?;
        let beside = lab.attach(n2, "blue", "beside", &[])?;
        let probes = Mesh::start(&[&on_n2, &beside])?;

        n2.stop()?;
        n1.ctl(&["node", "rm", "--force", n2.name()])?;
        n2.start()?;
        is_told(n2, "removed from the cluster")?;
        probes.flows()?;
        probes.stop_without_loss()?;

        joins_again(n2, &token, n1)?;
        let again = lab.attach(n2, "blue", "again", &[])?;
        talk(&again, &on_n1)
    });
}

#[test]
fn who_joined_after_the_backup_was_taken_is_told() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, late] = nodes;
        let token = lab.form_cluster_of(&[n1, n2])?;
        create_network(n1, "blue", &[], &[n1, n2])?;
        let [_, on_n2] = attach_each(lab, "blue", [n1, n2])?;
        let backup = lab.folder().join("backup.json").display().to_string();
        n1.ctl(&["cluster", "backup", &backup])?;
        late.start()?;
        late.join_cluster(&token, n1)?;
        late.wait_ready(FORMING)?;
        let on_late = lab.attach(late, "blue", "late", &[])?;
        let beside = lab.attach(late, "blue", "beside", &[])?;
        talk(&on_late, &on_n2)?;
        let probes = Mesh::start(&[&on_late, &beside])?;

        n1.stop()?;
        let (succeeded, said) = n1.run_agent(&["cleanup"])?;
        ensure!(succeeded, "cleanup: {said}");
        n1.start()?;
        n1.ctl(&["cluster", "restore", &backup, "--advertise-addr", &n1.addr().to_string()])?;
        n1.wait_ready(FORMING)?;
        is_told(late, "the managers do not know this node")?;
        probes.flows()?;
        probes.stop_without_loss()?;

        let token = n1.ctl(&["cluster", "join-token", "-q", "worker"])?;
        joins_again(late, token.trim(), n1)?;
        let again = lab.attach(late, "blue", "again", &[])?;
        talk(&again, &on_n2)
    });
}

#[test]
fn whose_certificate_ended_while_it_was_away_is_told() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        let token = lab.form_cluster_of(&nodes)?;
        create_network(n1, "blue", &[], &nodes)?;
        let [on_n1, on_n2] = attach_each(lab, "blue", nodes)?;
        let beside = lab.attach(n2, "blue", "beside", &[])?;
        talk(&beside, &on_n1)?;
        let probes = Mesh::start(&[&on_n1, &on_n2, &beside])?;

        n2.stop()?;
        let ended = end_certificate(n2, &authority(lab, n1)?)?;
        eventually("it has ended", SOON, || {
            ensure!(ended.elapsed() > Duration::from_secs(1), "certificates end with a second");
            Ok(())
        })?;
        n2.start()?;
        is_told(n2, "certificate ended")?;
        probes.flows()?;
        probes.stop_without_loss()?;

        joins_again(n2, &token, n1)?;
        let again = lab.attach(n2, "blue", "again", &[])?;
        talk(&again, &on_n1)
    });
}

/// Gives a node whose agent does not run a certificate that ends as it is made, and tells when that was.
fn end_certificate(node: &Node, authority: &Authority) -> Result<Instant> {
    let store = Store::open(&node.state_dir())?;
    let identity: Identity = store.get(Key::Identity)?.context("no identity")?;
    let request = Request::new(identity.node)?;
    let signed = authority.sign(request.csr(), identity.node, false, Seconds(0))?;
    store.put(Key::Identity, &request.complete(signed.chain, identity.ca)?)?;
    Ok(Instant::now())
}

/// Its status says that, and what to do, whether it is waited for or not.
fn is_told(node: &Node, word: &str) -> Result<()> {
    let told = |said: &str| {
        for word in [word, "overlayctl cluster leave --force"] {
            ensure!(said.contains(word), "it says: {said}");
        }
        Ok(())
    };
    eventually(&format!("{} is told", node.name()), SOON * 2, || told(&node.ctl(&["status"])?))?;
    told(&node.ctl_fails(&["status", "--wait", "--timeout", "1"])?)
}

fn joins_again(node: &Node, token: &str, manager: &Node) -> Result<()> {
    node.ctl(&["cluster", "leave", "--force"])?;
    node.join_cluster(token, manager)?;
    node.wait_ready(FORMING)
}
