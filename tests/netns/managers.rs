//! Three managers: one of them may be away, whichever it is, and nothing that was answered is lost.

mod clients;
mod disk;
mod faults;
mod history;
mod linear;
mod recovery;
mod rotation;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::{Attached, Lab, Node, Topology, eventually};

use crate::steps::{SOON, attach_each, create_network, talk};

fn promote(leader: &Node, others: &[&Node]) -> Result<()> {
    let names: Vec<&str> = others.iter().map(|node| node.name()).collect();
    leader.ctl(&[&["node", "promote"][..], &names].concat()).map(drop)
}

/// Makes the first four nodes a cluster, three of them its managers, the last one a worker.
fn of_three_managers(lab: &Lab) -> Result<()> {
    let [n1, n2, n3, worker] = lab.all_nodes().first_chunk().context("four nodes")?;
    lab.form_cluster_of(&[n1, n2, n3, worker])?;
    promote(n1, &[n2, n3])?;
    faults::whole(&[n1, n2, n3])
}

/// Creates a network, however long the managers take to find a leader.
fn create_soon(at: &Node, name: &str) -> Result<()> {
    // A try without a majority takes seconds.
    eventually(&format!("{} creates {name}", at.name()), SOON * 3, || {
        if at.network(name).is_ok() {
            return Ok(());
        }
        at.ctl(&["network", "create", name]).map(drop)
    })
}

fn know(nodes: &[&Node], name: &str) -> Result<()> {
    for node in nodes {
        eventually(&format!("{} knows {name}", node.name()), SOON, || node.network(name).map(drop))?;
    }
    Ok(())
}

/// Makes three nodes a cluster's managers, with an endpoint on each.
fn three_on_blue(lab: &Lab, nodes: [&Node; 3]) -> Result<[Attached; 3]> {
    let [n1, n2, n3] = nodes;
    lab.form_cluster()?;
    promote(n1, &[n2, n3])?;
    create_network(n1, "blue", &[], &nodes)?;
    attach_each(lab, "blue", nodes)
}

#[test]
fn commands_go_on_without_the_leader_which_catches_up() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let [on_n1, on_n2, on_n3] = three_on_blue(lab, nodes)?;

        n1.kill()?;
        create_soon(n2, "without-n1")?;
        create_soon(n3, "without-n1-again")?;
        talk(&on_n1, &on_n2)?;
        talk(&on_n2, &on_n3)?;

        n1.start()?;
        know(&[n1], "without-n1-again")?;
        n1.ctl(&["network", "create", "with-n1"])?;
        know(&nodes, "with-n1")
    });
}

#[test]
fn without_a_majority_nothing_changes_and_packets_flow() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let [on_n1, on_n2, on_n3] = three_on_blue(lab, nodes)?;

        // Agents that were killed would be taken for dead, and their endpoints withdrawn.
        faults::ignore(n1, &[n2, n3])?;
        faults::ignore(n2, &[n1, n3])?;
        faults::ignore(n3, &[n1, n2])?;
        let refusal = eventually("the loss is noticed", SOON * 2, || {
            let refusal = n1.ctl_fails(&["network", "create", "lost"])?;
            ensure!(refusal.contains("no majority"), "it says: {refusal}");
            Ok(refusal)
        })?;
        for word in ["n2", "n3", "hint:"] {
            ensure!(refusal.contains(word), "it says: {refusal}");
        }
        n1.network("blue").context("what is known is shown")?;
        talk(&on_n1, &on_n2)?;
        talk(&on_n2, &on_n3)?;

        nodes.iter().try_for_each(|node| faults::listen(node))?;
        create_soon(n1, "found")?;
        know(&nodes, "found")
    });
}

/// A name that has become another network's meanwhile is not looked up in what a node last knew.
#[test]
fn who_was_away_takes_a_name_for_what_it_is_now() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        promote(n1, &[n2, n3])?;
        n1.ctl(&["network", "create", "again"])?;
        know(&nodes, "again")?;

        lab.cut(n3)?;
        n1.ctl(&["network", "rm", "again"])?;
        n1.ctl(&["network", "create", "again"])?;
        lab.mend(n3)?;
        // What comes of it before it hears of the others again is no answer.
        let said = eventually("an answer", SOON * 2, || {
            let output = n3.ctl_output(&["network", "rm", "again"])?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success() || said.contains("no network"), "it says: {said}");
            Ok(said)
        })?;
        ensure!(said.is_empty(), "it says: {said}");
        n2.ctl(&["network", "create", "again"]).map(drop)
    });
}
