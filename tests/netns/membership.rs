//! Nodes come, die and return, and nobody holds on to what they no longer have.

use anyhow::ensure;
use overlay::api::NodeStatus;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology};

use crate::steps::{all_list, attach_each, create_network, is_shown, talk};

#[test]
fn a_dead_nodes_endpoints_are_withdrawn_and_return_with_it() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [on_n1, _, on_n3] = attach_each(lab, "blue", nodes)?;

        n3.kill()?;
        lab.cut(n3)?;
        all_list(&[n1, n2], &["blue/n1", "blue/n2"])?;
        is_shown(n1, n3, NodeStatus::Down)?;

        lab.mend(n3)?;
        n3.start()?;
        n3.wait_ready(FORMING)?;
        all_list(&nodes, &["blue/n1", "blue/n2", "blue/n3"])?;
        is_shown(n1, n3, NodeStatus::Ready)?;
        talk(&on_n1, &on_n3)
    });
}

/// What a node gave up while nobody could hear it is gone everywhere once it is heard again.
#[test]
fn a_returning_node_leaves_no_ghosts() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, _, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [on_n1, _, on_n3] = attach_each(lab, "blue", nodes)?;
        for name in ["silent", "restarted"] {
            lab.attach(n3, "blue", name, &[])?;
        }
        all_list(&nodes, &["blue/n1", "blue/n2", "blue/n3", "blue/restarted", "blue/silent"])?;

        // Without a restart, so that it is the same boot which now has less.
        lab.cut(n3)?;
        n3.ctl(&["endpoint", "detach", "blue/silent"])?;
        lab.mend(n3)?;
        all_list(&nodes, &["blue/n1", "blue/n2", "blue/n3", "blue/restarted"])?;

        // And with one.
        lab.cut(n3)?;
        n3.ctl(&["endpoint", "detach", "blue/restarted"])?;
        n3.kill()?;
        lab.mend(n3)?;
        n3.start()?;
        n3.wait_ready(FORMING)?;
        all_list(&nodes, &["blue/n1", "blue/n2", "blue/n3"])?;
        talk(&on_n1, &on_n3)
    });
}

/// Ready means: it knows everything. So nothing is waited for after that.
#[test]
fn a_late_joiner_knows_everything_once_it_is_ready() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, late] = lab.nodes();
        let token = lab.form_cluster_of(&[n1, n2])?;
        create_network(n1, "blue", &["--allow-overlap"], &[n1, n2])?;
        create_network(n1, "green", &["--allow-overlap"], &[n1, n2])?;
        let [on_n1, _] = attach_each(lab, "blue", [n1, n2])?;
        attach_each(lab, "green", [n1, n2])?;

        late.start()?;
        late.join_cluster(&token, n1)?;
        late.wait_ready(FORMING)?;
        let listed = late.endpoints()?;
        ensure!(listed == ["blue/n1", "blue/n2", "green/n1", "green/n2"], "once Ready, it lists {listed:?}");
        ensure!(late.status()?.networks == 2, "once Ready, it has {:?}", late.status()?);
        let on_late = lab.attach(late, "blue", "late", &[])?;
        talk(&on_late, &on_n1)?;
        talk(&on_n1, &on_late)
    });
}
