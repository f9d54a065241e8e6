//! Nodes that are labelled, that leave, and that are removed.

use anyhow::{Result, ensure};
use overlay::api::{NodeDetail, NodeRow};
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology, eventually};

use crate::steps::{SOON, all_list, attach_each, create_network, talk};

#[test]
fn a_node_leaves_and_joins_anew() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        n1.start()?;
        n2.start()?;
        let before = n2.netns().interfaces()?;
        let token = n1.init_cluster()?;
        n2.join_cluster(&token, n1)?;
        nodes.iter().try_for_each(|node| node.wait_ready(FORMING))?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        talk(&a, &b)?;

        let refusal = n2.ctl_fails(&["cluster", "leave"])?;
        ensure!(refusal.contains("1 endpoints") && refusal.contains("hint:"), "{refusal}");
        let refusal = n1.ctl_fails(&["cluster", "leave"])?;
        ensure!(refusal.contains("is a manager") && refusal.contains("hint:"), "{refusal}");
        talk(&a, &b)?;

        n2.ctl(&["cluster", "leave", "--force"])?;
        ensure!(n2.netns().interfaces()? == before, "{:?}", n2.netns().interfaces()?);
        ensure!(b.netns.interfaces()? == ["lo"], "{:?}", b.netns.interfaces()?);
        ensure!(n2.status()?.node.is_none(), "{:?}", n2.status()?);
        all_list(&[n1], &["blue/n1"])?;
        ensure!(rows(n1)?.len() == 1, "{:?}", rows(n1)?);

        // Neither agent was restarted.
        n2.join_cluster(&token, n1)?;
        n2.wait_ready(FORMING)?;
        let again = lab.attach(n2, "blue", "again", &[])?;
        talk(&a, &again)
    });
}

#[test]
fn a_removed_node_is_out() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, b, _] = attach_each(lab, "blue", nodes)?;

        let refusal = n1.ctl_fails(&["node", "rm", "n3"])?;
        ensure!(refusal.contains("n3 is alive") && refusal.contains("--force"), "{refusal}");
        let refusal = n1.ctl_fails(&["node", "rm", "--force", "n1"])?;
        ensure!(refusal.contains("cannot remove itself") && refusal.contains("leave"), "{refusal}");
        n1.ctl(&["node", "rm", "--force", "n3"])?;
        eventually("n3 knows", SOON, || {
            let waiting_for = n3.status()?.waiting_for.join("\n");
            for words in ["removed from the cluster", "overlayctl cluster leave --force"] {
                ensure!(waiting_for.contains(words), "it waits for: {waiting_for}");
            }
            Ok(())
        })?;
        for node in [n1, n2] {
            eventually(&format!("{} has keys that n3 has not", node.name()), SOON * 2, || {
                let refused = node.status()?.gossip.refused;
                ensure!(refused.contains_key("unknown_key"), "{refused:?}");
                Ok(())
            })?;
        }
        all_list(&[n1, n2], &["blue/n1", "blue/n2"])?;
        ensure!(rows(n2)?.iter().all(|row| row.hostname != "n3"), "{:?}", rows(n2)?);
        talk(&a, &b)?;
        n2.kill()?;
        eventually("n2 is down", SOON, || n1.ctl(&["node", "rm", "n2"]))?;
        ensure!(rows(n1)?.len() == 1, "{:?}", rows(n1)?);
        Ok(())
    });
}

#[test]
fn labels_are_kept() {
    Lab::run(Topology::of(1), |lab| {
        let [n1] = lab.nodes();
        lab.form_cluster()?;
        n1.ctl(&["node", "update", "n1", "--label-add", "rack=b4", "--label-add", "disk=ssd"])?;
        n1.ctl(&["node", "update", "n1", "--label-rm", "disk", "--availability", "pause"])?;
        n1.stop()?;
        n1.start()?;
        let detail: Vec<NodeDetail> = serde_json::from_str(&n1.ctl(&["node", "inspect", "n1"])?)?;
        let labels: Vec<_> = detail[0].labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        ensure!(labels == ["rack=b4"], "{detail:?}");
        Ok(())
    });
}

fn rows(node: &Node) -> Result<Vec<NodeRow>> {
    node.ctl_json(&["node", "ls"])
}
