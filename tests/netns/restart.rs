//! An agent may end and start again at any time: the data path goes on without it.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Result, ensure};
use overlay::api::NodeStatus;
use overlay_harness::lab::FORMING;
use overlay_harness::traffic::{Ping, tcp_transfer};
use overlay_harness::{Lab, Mesh, Node, Topology, eventually};

use crate::steps::{SOON, all_list, attach_each, create_network, is_shown, probed_mesh};

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

/// Stopped in good order, as for an upgrade, an agent may stay away for longer than one that died.
#[test]
fn nothing_is_lost_while_an_agent_is_stopped() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        let mesh = probed_mesh(lab, nodes)?;
        let deaths = |node: &Node| node.log().matches("member is down").count();
        let before = [deaths(n1), deaths(n2)];
        n3.stop()?;
        for (peer, before) in [n1, n2].into_iter().zip(before) {
            is_shown(peer, n3, NodeStatus::Restarting)?;
            eventually(&format!("{} has n3 down", peer.name()), SOON * 2, || {
                ensure!(deaths(peer) > before, "its membership has it up");
                Ok(())
            })?;
        }
        // For longer than a node that died is kept after that.
        (0..6).try_for_each(|_| mesh.flows())?;
        is_shown(n1, n3, NodeStatus::Restarting)?;
        all_list(&[n1, n2], &["blue/beside", "blue/n1", "blue/n2", "blue/n3"])?;

        n3.start()?;
        n3.wait_ready(FORMING)?;
        is_shown(n1, n3, NodeStatus::Ready)?;
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

/// Or containers that keep the machine busy would have it taken for dead.
#[test]
fn an_agent_goes_before_what_runs_beside_it() {
    Lab::run(Topology::of(1), |lab| {
        let [node]: [&Node; 1] = lab.nodes();
        node.start()?;
        let threads =
            node.netns().output(Command::new("ps").args(["-L", "-o", "ni=", &node.pid()?.to_string()]))?;
        let nice: Vec<i32> = threads.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(nice.len() > 1 && nice.iter().all(|nice| *nice < 0), "of its threads: {nice:?}");
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
