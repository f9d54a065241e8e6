//! A client is led to another node in the middle of a connection.

use std::net::{IpAddr, SocketAddr};

use anyhow::ensure;
use overlay_harness::load::Load;
use overlay_harness::{Lab, Node};

use super::{Hook, PROTOCOLS, attach_backend, cluster, create_service, lead_to};

const PORT: u16 = 8080;

/// How often the client moves.
const MOVES: usize = 6;

/// Answers to each conversation from one move to the next.
const BETWEEN: u64 = 15;

#[test]
fn nothing_is_lost_when_a_client_comes_to_another_node_in_tc() {
    a_client_comes_to_another_node(Hook::Tc);
}

#[test]
fn nothing_is_lost_when_a_client_comes_to_another_node_in_xdp() {
    a_client_comes_to_another_node(Hook::Xdp);
}

/// Two nodes have the same address, one of them without a backend; the router decides which of them the client comes to.
fn a_client_comes_to_another_node(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        let anycast: [IpAddr; 2] = ["203.0.113.53".parse()?, "2001:db8:2::53".parse()?];
        for address in anycast {
            for node in [n1, n3] {
                node.netns().ip(&format!("address add {address} dev lo"))?;
            }
            outside.lead(address, n1)?;
        }
        create_service(n1, "web", PORT)?;
        let _backends =
            [attach_backend(lab, n1, "web", "a", "1")?, attach_backend(lab, n2, "web", "b", "1")?];
        let targets: Vec<_> = PROTOCOLS
            .into_iter()
            .flat_map(|protocol| anycast.map(|address| (protocol, SocketAddr::new(address, PORT))))
            .collect();
        for node in [n3, n1] {
            anycast.into_iter().try_for_each(|address| outside.lead(address, node))?;
            lead_to(&outside, &targets, &["a", "b"])?;
        }
        let load = Load::start(outside.client(), &targets, 8)?;
        for node in [n3, n1].into_iter().cycle().take(MOVES) {
            anycast.into_iter().try_for_each(|address| outside.lead(address, node))?;
            load.goes_on(BETWEEN)?;
        }
        let reports = load.stop();
        for server in ["a", "b"] {
            ensure!(reports.iter().any(|report| report.touches(server)), "nobody came to {server}");
        }
        let broken: Vec<_> = reports.iter().filter(|report| !report.is_whole()).collect();
        ensure!(broken.is_empty(), "{broken:#?}");
        hook.has_served(n3)
    });
}
