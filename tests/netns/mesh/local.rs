//! Processes of the nodes themselves are clients too.

use std::collections::BTreeMap;

use anyhow::ensure;
use overlay_harness::client::{Sees, ask_often_as};
use overlay_harness::{Lab, Node, eventually};

use super::{Hook, attach_backend, cluster, create_service, targets};
use crate::steps::SOON;

const PORT: u16 = 8080;

/// So many conversations that they come to both backends.
const SOME: usize = 24;

/// One of the nodes has a backend, one has none; each asks itself and the other two.
#[test]
fn a_nodes_own_processes_reach_published_ports_on_every_node() {
    Lab::run(Hook::Tc.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let _outside = cluster(lab)?;
        create_service(nodes[0], "web", PORT)?;
        let _backends = [
            attach_backend(lab, nodes[0], "web", "a", "1")?,
            attach_backend(lab, nodes[1], "web", "b", "1")?,
        ];
        for client in nodes {
            for (protocol, target) in targets(&nodes, PORT) {
                let sees =
                    if target.ip() == client.address(target.is_ipv6()) { Sees::Asked } else { Sees::Client };
                eventually(&format!("{protocol} from {} to {target}", client.name()), SOON, || {
                    let counts: BTreeMap<_, _> = ask_often_as(client.netns(), sees, protocol, target, SOME)?;
                    ensure!(counts.keys().eq(["a", "b"]), "it comes to {counts:?}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    });
}
