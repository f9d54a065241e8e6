//! XDP is on the underlay device while a port is published and the mesh runs there, and at no other time.

use anyhow::{Context as _, Result, ensure};
use overlay_harness::{Lab, Node, Topology, eventually};

use super::{Hook, cluster, create_service};
use crate::steps::SOON;

#[test]
fn xdp_comes_with_the_first_published_port_and_goes_with_the_last() {
    Lab::run(Hook::Xdp.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, ..] = nodes;
        cluster(lab)?;
        is_attached(&nodes, false)?;
        n1.ctl(&["service", "create", "inside", "--network", "blue"])?;
        create_service(n1, "first", 8080)?;
        is_attached(&nodes, true)?;
        create_service(n1, "second", 8081)?;
        n1.ctl(&["service", "rm", "first"])?;
        is_attached(&nodes, true)?;
        n1.ctl(&["service", "update", "second", "--publish-rm", "8081/tcp", "--publish-rm", "8081/udp"])?;
        is_attached(&nodes, false)?;
        create_service(n1, "third", 8082)?;
        is_attached(&nodes, true)?;
        n1.ctl(&["service", "rm", "third"])?;
        is_attached(&nodes, false)
    });
}

#[test]
fn tc_is_chosen_where_xdp_would_cost_more() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        cluster(lab)?;
        create_service(nodes[0], "web", 8080)?;
        for node in nodes {
            eventually("the mesh runs in tc, and it is said why", SOON, || {
                let mesh = node.status()?.mesh.context("no mesh, in the status")?;
                ensure!(mesh.hook == "tc" && mesh.why.contains("eth0 is a veth device"), "{mesh:?}");
                Ok(())
            })?;
        }
        is_attached(&nodes, false)
    });
}

/// On all of them, and `status` says the same.
fn is_attached(nodes: &[&Node], expected: bool) -> Result<()> {
    for node in nodes {
        eventually(&format!("XDP is attached: {expected}"), SOON, || {
            let attached = node.netns().ip("link show dev eth0")?.contains(" xdp ");
            let said = node.status()?.mesh.is_some_and(|mesh| mesh.hook == "xdp");
            ensure!(
                (attached, said) == (expected, expected),
                "attached: {attached}, as `status` says: {said}"
            );
            Ok(())
        })?;
    }
    Ok(())
}
