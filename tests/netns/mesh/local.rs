//! Processes of the nodes themselves are clients too.

use std::collections::BTreeMap;

use anyhow::ensure;
use overlay_harness::client::{Sees, ask_often_as};
use overlay_harness::{Lab, Node, eventually};

use super::{Hook, MANY, attach_backend, cluster, create_service, targets};
use crate::steps::SOON;

const PORT: u16 = 8080;

/// One of the nodes has a backend, one has none; each asks itself.
#[test]
fn a_nodes_own_processes_reach_published_ports() {
    Lab::run(Hook::Tc.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let _outside = cluster(lab)?;
        create_service(nodes[0], "web", PORT)?;
        let _backends = [
            attach_backend(lab, nodes[0], "web", "a", "1")?,
            attach_backend(lab, nodes[1], "web", "b", "1")?,
        ];
        for client in nodes {
            for (protocol, target) in targets(&[client], PORT) {
                let sees =
                    if target.ip() == client.address(target.is_ipv6()) { Sees::Asked } else { Sees::Client };
                eventually(&format!("{protocol} from {} to {target}", client.name()), SOON, || {
                    let counts: BTreeMap<_, _> = ask_often_as(client.netns(), sees, protocol, target, MANY)?;
                    ensure!(counts.keys().eq(["a", "b"]), "it comes to {counts:?}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    });
}
