//! An agent may end and start again at any time: the data path goes on without it.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use anyhow::Result;
use overlay_harness::lab::FORMING;
use overlay_harness::traffic::{Ping, tcp_transfer};
use overlay_harness::{Lab, Mesh, Node, Topology};

use crate::steps::{attach_each, create_network, probed_mesh};

#[test]
fn nothing_is_lost_when_agents_restart() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        lab.form_cluster()?;
        let mesh = probed_mesh(lab, nodes)?;
        for end in [Node::kill as fn(&Node) -> Result<()>, Node::stop] {
            for node in nodes {
                end(node)?;
                mesh.flows()?;
                node.start()?;
                node.wait_ready(FORMING)?;
                mesh.flows()?;
            }
        }
        mesh.stop_without_loss()
    });
}

#[test]
fn nothing_is_lost_when_all_agents_restart_at_once() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b, c] = attach_each(lab, "blue", nodes)?;
        let mesh = Mesh::start(&[&a, &b, &c])?;
        nodes.iter().try_for_each(|node| node.kill())?;
        mesh.flows()?;
        // One after the other: the first hears of no other for a while.
        for node in nodes {
            node.start()?;
            mesh.flows()?;
        }
        nodes.iter().try_for_each(|node| node.wait_ready(FORMING))?;
        mesh.flows()?;
        mesh.stop_without_loss()
    });
}

#[test]
fn traffic_flows_while_no_agent_runs() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        nodes.iter().try_for_each(|node| node.stop())?;
        for (from, to) in [(&a, &b), (&b, &a)] {
            for address in [to.ip4(), to.ip6()] {
                Ping::to(address).all_answered(&from.netns)?;
                // A new connection, not one that was there.
                tcp_transfer(&from.netns, &to.netns, address, 500_000)?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_agent_ends_whatever_a_client_does() {
    Lab::run(Topology::of(1), |lab| {
        let [node]: [&Node; 1] = lab.nodes();
        node.start()?;
        let mut stuck = UnixStream::connect(node.socket())?;
        stuck.write_all(b"GET /v1/status HTTP/1.1\r\nHost: overlay\r\n")?;
        node.status()?;
        node.stop()
    });
}
