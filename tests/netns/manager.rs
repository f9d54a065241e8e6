//! The manager may be away: what is there works on, and what needs it says so.

use anyhow::ensure;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology};

use crate::steps::{all_list, attach_each, create_network, pairs, talk};

#[test]
fn nodes_work_on_without_the_manager() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [manager, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(manager, "blue", &["--allow-overlap"], &nodes)?;
        let [on_manager, on_n2, on_n3] = attach_each(lab, "blue", nodes)?;
        let brief = lab.attach(n3, "blue", "brief", &[])?;
        talk(&brief, &on_manager)?;

        manager.kill()?;
        talk(&on_n2, &on_n3)?;
        talk(&on_n3, &on_n2)?;
        let new = lab.attach(n2, "blue", "new", &[])?;
        talk(&new, &brief)?;
        n3.ctl(&["endpoint", "detach", "blue/brief"])?;
        let newer = lab.attach(n3, "blue", "newer", &[])?;
        talk(&newer, &new)?;
        n2.ctl(&["endpoint", "detach", "blue/n2"])?;
        let refusal = n3.ctl_fails(&["network", "create", "green"])?;
        ensure!(refusal.contains("manager") && refusal.contains("hint:"), "it says: {refusal}");

        // What it did not see, it learns; and what needed it works again.
        manager.start()?;
        nodes.iter().try_for_each(|node| node.wait_ready(FORMING))?;
        all_list(&nodes, &["blue/n1", "blue/n3", "blue/new", "blue/newer"])?;
        pairs(&[on_manager, on_n3, new.clone(), newer]).try_for_each(|(from, to)| talk(from, to))?;
        create_network(manager, "green", &["--allow-overlap"], &nodes)?;
        let back = lab.attach(manager, "blue", "back", &[])?;
        talk(&back, &new)
    });
}
