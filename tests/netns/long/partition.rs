//! Nodes that do not hear each other for a while agree once they do.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use overlay::api::{EndpointRow, NodeRow, NodeStatus};
use overlay_harness::lab::FORMING;
use overlay_harness::{Attached, Lab, Mesh, Node, Topology, eventually};

use crate::steps::{SOON, all_list, attach_each, create_network, pairs, talk};

/// Much longer than it takes to declare a node dead.
const CUT: Duration = Duration::from_secs(15);

#[test]
fn a_node_cut_off_for_a_while_comes_back_whole() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let endpoints @ [a, b, _] = &attach_each(lab, "blue", nodes)?;
        let gone = lab.attach(n3, "blue", "gone", &[])?;
        talk(&gone, a)?;
        // Whom it does not concern must not notice.
        let others = Mesh::start(&[a, b])?;
        lab.cut(n3)?;
        std::thread::sleep(CUT);
        all_list(&[n1, n2], &["blue/n1", "blue/n2"])?;
        n3.ctl(&["endpoint", "detach", "gone"])?;
        n1.ctl(&["network", "create", "green"])?;
        lab.mend(n3)?;
        agree(&nodes, &["blue/n1", "blue/n2", "blue/n3"], endpoints)?;
        eventually("the network made meanwhile is known", SOON, || n3.network("green"))?;
        others.stop_without_loss()
    });
}

#[test]
fn both_sides_of_a_partition_work_on_and_agree_afterwards() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let first = attach_each(lab, "blue", nodes)?;

        // The manager with the others' majority, then without it.
        partition(lab, n3, &[n1, n2])?;
        let left =
            [lab.attach(n1, "blue", "left", &["--ip", "10.77.0.50"])?, lab.attach(n2, "blue", "left2", &[])?];
        talk(&left[0], &left[1])?;
        let right = lab.attach(n3, "blue", "right", &[])?;
        talk(&right, &first[2])?;
        // An address of the other side's is not to be had, nor is any that only a manager can grant.
        let other = lab.namespace("other")?;
        let wish = ["--netns", other.name(), "--network", "blue", "--name", "twice", "--ip", "10.77.0.50"];
        let refusal = n3.ctl_fails(&[&["endpoint", "attach"][..], &wish].concat())?;
        ensure!(refusal.contains("manager") && refusal.contains("hint:"), "{refusal}");
        n3.ctl(&["endpoint", "detach", "n3"])?;
        heal(lab, n3)?;
        let all = [&first[0], &first[1], &left[0], &left[1], &right].map(Attached::clone);
        agree(&nodes, &["blue/left", "blue/left2", "blue/n1", "blue/n2", "blue/right"], &all)?;
        let refusal = n3.ctl_fails(&[&["endpoint", "attach"][..], &wish].concat())?;
        ensure!(refusal.contains("10.77.0.50"), "{refusal}");

        partition(lab, n1, &[n2, n3])?;
        let alone = lab.attach(n1, "blue", "alone", &[])?;
        let together = lab.attach(n3, "blue", "together", &[])?;
        talk(&together, &first[1])?;
        n2.ctl(&["endpoint", "detach", "left2"])?;
        n1.ctl(&["endpoint", "detach", "left"])?;
        heal(lab, n1)?;
        let all = [&first[0], &first[1], &right, &alone, &together].map(Attached::clone);
        agree(&nodes, &["blue/alone", "blue/n1", "blue/n2", "blue/right", "blue/together"], &all)
    });
}

/// Takes a node from the others' link, without its noticing, and waits until each side has given the other up.
fn partition(lab: &Lab, one: &Node, others: &[&Node]) -> Result<()> {
    lab.switch()?.ip(&format!("link set {} nomaster", one.name()))?;
    for node in others {
        alive(node, others.len())?;
    }
    alive(one, 1)
}

fn heal(lab: &Lab, one: &Node) -> Result<()> {
    lab.switch()?.ip(&format!("link set {} master br0", one.name())).map(drop)
}

fn alive(at: &Node, count: usize) -> Result<()> {
    eventually(&format!("{} knows {count} nodes alive", at.name()), SOON * 2, || {
        let rows: Vec<NodeRow> = at.ctl_json(&["node", "ls"])?;
        let alive = rows.iter().filter(|row| row.status == NodeStatus::Ready).count();
        ensure!(alive == count, "{rows:?}");
        Ok(())
    })
}

/// Every node is Ready and lists exactly these, each address once; and all of them talk.
fn agree(nodes: &[&Node; 3], names: &[&str], endpoints: &[Attached]) -> Result<()> {
    nodes.iter().try_for_each(|node| node.wait_ready(FORMING))?;
    all_list(nodes, names)?;
    for node in nodes {
        let rows: Vec<EndpointRow> = node.ctl_json(&["endpoint", "ls"])?;
        let addresses: BTreeSet<_> = rows.iter().flat_map(|row| row.endpoint.addresses()).collect();
        let macs: BTreeSet<_> = rows.iter().map(|row| row.endpoint.mac).collect();
        ensure!(addresses.len() == 2 * rows.len() && macs.len() == rows.len(), "twice the same: {rows:#?}");
    }
    pairs(endpoints).try_for_each(|(from, to)| talk(from, to))
}
