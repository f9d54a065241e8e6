//! Services whose backends see the node that a client came to.

use overlay_harness::client::Sees;
use overlay_harness::{Lab, Node};

use super::{Hook, attach_backend, cluster, create_service_that, lead_as, targets};

const PORT: u16 = 8080;

#[test]
fn backends_see_the_node_that_a_client_came_to_in_tc() {
    backends_see_the_node(Hook::Tc);
}

#[test]
fn backends_see_the_node_that_a_client_came_to_in_xdp() {
    backends_see_the_node(Hook::Xdp);
}

/// By each node, to backends there and elsewhere.
fn backends_see_the_node(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let outside = cluster(lab)?;
        create_service_that(nodes[0], "web", PORT, Sees::Asked)?;
        let _backends = [
            attach_backend(lab, nodes[0], "web", "a", "1")?,
            attach_backend(lab, nodes[1], "web", "b", "1")?,
        ];
        lead_as(&outside, Sees::Asked, &targets(&nodes, PORT), &["a", "b"])
    });
}
