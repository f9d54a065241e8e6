//! The manager may be away: what is there works on, and what needs it says so.

use anyhow::ensure;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology};

use crate::mesh::{Hook, attach_backend, cluster, create_service, lead_to, targets};
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

#[test]
fn a_worker_that_restarts_without_a_manager_serves_from_its_copy() {
    const WEB: u16 = 8080;

    Lab::run(Hook::Tc.three_nodes(), |lab| {
        let [manager, n2, n3] = lab.nodes();
        let outside = cluster(lab)?;
        create_service(manager, "web", WEB)?;
        let backend = attach_backend(lab, n2, "web", "a", "1")?;
        let on_n3 = lab.attach(n3, "blue", "n3", &[])?;
        talk(&on_n3, &backend.endpoint)?;
        let workers = targets(&[n2, n3], WEB);
        lead_to(&outside, &workers, &["a"])?;

        manager.kill()?;
        for node in [n2, n3] {
            node.kill()?;
            node.start()?;
            node.wait_ready(FORMING)?;
        }
        let status = n3.status()?;
        ensure!(status.manager.as_ref().is_some_and(|manager| !manager.reachable), "{status:?}");
        n3.network("blue")?;
        lead_to(&outside, &workers, &["a"])?;
        let late = lab.attach(n3, "blue", "late", &[])?;
        talk(&late, &backend.endpoint)?;
        talk(&late, &on_n3)
    });
}
