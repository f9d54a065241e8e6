//! An agent may end and start again at any time: the data path goes on without it.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use overlay_harness::lab::FORMING;
use overlay_harness::probe::{TcpProbe, UdpProbe};
use overlay_harness::traffic::Responder;
use overlay_harness::{Lab, Node, Topology};

use crate::steps::{attach_each, create_network};

/// Enough of each to span what happens at a start.
const ANSWERS: u64 = 300;
const BYTES: u64 = 1 << 20;

#[test]
fn nothing_is_lost_when_agents_restart() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        let _responder = Responder::start(&b.netns, "b")?;
        let (udp4, udp6) = (UdpProbe::start(&a.netns, b.ip4())?, UdpProbe::start(&a.netns, b.ip6())?);
        let tcp = TcpProbe::start(&a.netns, &b.netns, b.ip4())?;
        let flows = || {
            udp4.wait_for_more(ANSWERS)?;
            udp6.wait_for_more(ANSWERS)?;
            tcp.wait_for_more(BYTES)
        };
        for end in [Node::kill as fn(&Node) -> Result<()>, Node::stop] {
            for node in nodes {
                end(node)?;
                flows()?;
                node.start()?;
                node.wait_ready(FORMING)?;
                flows()?;
            }
        }
        for (udp, family) in [(udp4, "IPv4"), (udp6, "IPv6")] {
            let report = udp.stop()?;
            ensure!(report.lost == 0, "over {family}: {report:?}");
        }
        tcp.stop()?;
        Ok(())
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
                overlay_harness::traffic::Ping::to(address).all_answered(&from.netns)?;
                // A new connection, not one that was there.
                overlay_harness::traffic::tcp_transfer(&from.netns, &to.netns, address, 500_000)?;
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
