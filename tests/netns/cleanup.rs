//! What goes away, goes away whole.

use anyhow::{Result, ensure};
use overlay::api::NodeRow;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology};

use crate::steps::{all_list, attach_each, create_network, talk};

#[test]
fn cleanup_leaves_nothing() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        let untouched = [traces(n1)?, traces(n2)?];
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let endpoints = attach_each(lab, "blue", nodes)?;
        // Once after the agent has ended well, once after it was killed.
        n1.stop()?;
        n2.kill()?;
        for ((node, endpoint), untouched) in nodes.into_iter().zip(&endpoints).zip(&untouched) {
            ensure!(
                traces(node)? != *untouched,
                "the agent left no trace to begin with, so this shows nothing"
            );
            let (succeeded, said) = node.run_agent(&["cleanup"])?;
            ensure!(succeeded, "cleanup on {}: {said}", node.name());
            let left = endpoint.netns.interfaces()?;
            ensure!(left == ["lo"], "the endpoint on {} has {left:?}", node.name());
            let left = traces(node)?;
            ensure!(left == *untouched, "before: {untouched:#?}\nafter: {left:#?}");
        }
        // Nothing to do is no failure, and the node starts as a new one.
        let (succeeded, said) = n1.run_agent(&["cleanup"])?;
        ensure!(succeeded, "a second cleanup: {said}");
        n1.start()?;
        ensure!(n1.status()?.node.is_none(), "after the cleanup, it is still a member: {:?}", n1.status()?);
        Ok(())
    });
}

#[test]
fn a_wiped_node_joins_again_in_its_own_place() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        let token = lab.form_cluster_of(&nodes)?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, _] = attach_each(lab, "blue", nodes)?;
        n2.stop()?;
        let (succeeded, said) = n2.run_agent(&["cleanup"])?;
        ensure!(succeeded, "cleanup: {said}");
        // It was stopped in good order, but is not waited for any more.
        all_list(&[n1], &["blue/n1"])?;
        n2.start()?;
        n2.join_cluster(&token, n1)?;
        n2.wait_ready(FORMING)?;
        let members: Vec<NodeRow> = n1.ctl_json(&["node", "ls"])?;
        ensure!(members.len() == 2, "{members:?}");
        let again = lab.attach(n2, "blue", "again", &[])?;
        all_list(&nodes, &["blue/again", "blue/n1"])?;
        talk(&a, &again)
    });
}

#[test]
fn an_address_may_move_to_another_endpoint_at_once() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, _] = attach_each(lab, "blue", nodes)?;
        let address = ["--ip", "10.77.0.50", "--ip6", "fd77::50"];
        // The one that talks to it keeps its neighbour entry for half a minute, wherever the address went.
        for (round, node) in [n2, n2, n1].into_iter().enumerate() {
            let name = format!("mover{round}");
            let mover = lab.attach(node, "blue", &name, &address)?;
            talk(&a, &mover)?;
            node.ctl(&["endpoint", "detach", &name])?;
            all_list(&nodes, &["blue/n1", "blue/n2"])?;
        }
        Ok(())
    });
}

#[test]
fn an_endpoint_goes_with_its_namespace() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        let without = nodes[1].netns().interfaces()?;
        let gone = lab.attach(nodes[1], "blue", "gone", &[])?;
        all_list(&nodes, &["blue/gone", "blue/n1", "blue/n2"])?;
        gone.netns.delete()?;
        all_list(&nodes, &["blue/n1", "blue/n2"])?;
        let left = nodes[1].netns().interfaces()?;
        ensure!(left == without, "{left:?} instead of {without:?}");
        talk(&a, &b)
    });
}

/// What an agent could leave on a node, in its own namespace and in its files.
fn traces(node: &Node) -> Result<Vec<String>> {
    let mut traces = node.netns().interfaces()?;
    for question in ["rule show", "route show table main", "-6 route show table main"] {
        traces.extend(node.netns().ip(question)?.lines().map(str::to_owned));
    }
    for folder in [node.bpf_dir(), node.state_dir()] {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            traces.push(entry?.path().display().to_string());
        }
    }
    Ok(traces)
}
