//! The way out: endpoints reach the world outside through their node, which is all that the world sees, unless their
//! network is internal.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use overlay::model::Protocol;
use overlay_harness::client::{Sees, ask_often_as};
use overlay_harness::server::Server;
use overlay_harness::traffic::{Ping, tcp_transfer};
use overlay_harness::{Attached, Lab, Node, Outside, Topology, eventually};

use crate::steps::{SOON, SUBNETS, create_network};

/// Where the world listens.
const PORT: u16 = 80;

/// Conversations by each protocol and family.
const MANY: usize = 100;

/// More than GSO packets hold, and not a multiple of anything.
const TRANSFER: usize = 3_000_017;

/// Of two networks with the same subnets, endpoints with the same addresses, and of one that is elsewhere.
#[test]
fn endpoints_reach_the_world() {
    Lab::run(Topology::of(2), |lab| {
        let [n1, n2] = lab.nodes();
        let outside = Outside::of(lab)?;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &[n1, n2])?;
        create_network(n1, "green", &["--allow-overlap"], &[n1, n2])?;
        let addresses = ["--ip", "10.77.0.9", "--ip6", "fd77::9"];
        let endpoints = [
            (lab.attach(n1, "blue", "a", &addresses)?, n1),
            (lab.attach(n1, "green", "a", &addresses)?, n1),
            (lab.attach(n2, "blue", "b", &[])?, n2),
        ];
        let _world = Server::start(outside.client(), "world", PORT)?;
        for ipv6 in [false, true] {
            let world = outside.address(ipv6);
            for (endpoint, node) in &endpoints {
                eventually("the world answers", SOON, || Ping::to(world).all_answered(&endpoint.netns))?;
                Ping::to(world).filling(1400).all_answered(&endpoint.netns)?;
                let sees = Sees::Address(node.address(ipv6));
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let target = SocketAddr::new(world, PORT);
                    ask_often_as(&endpoint.netns, sees, protocol, target, MANY)?;
                }
                tcp_transfer(&endpoint.netns, outside.client(), world, TRANSFER)?;
                // What the host itself asks is nobody else's.
                Ping::to(world).all_answered(node.netns())?;
                tcp_transfer(node.netns(), outside.client(), world, TRANSFER)?;
            }
        }
        Ok(())
    });
}

#[test]
fn nothing_leaves_an_internal_network() {
    Lab::run(Topology::of(1), |lab| {
        let [n1] = lab.nodes();
        let outside = Outside::of(lab)?;
        lab.form_cluster()?;
        create_network(n1, "blue", &["--internal"], &[n1])?;
        let endpoint = lab.attach(n1, "blue", "a", &[])?;
        for (ipv6, subnet) in [(false, SUBNETS[0]), (true, SUBNETS[1])] {
            Ping::to(outside.address(ipv6)).none_answered(&endpoint.netns)?;
            // Not even by a route of its own.
            lead_out(&endpoint, n1, subnet)?;
            let before = dropped(n1)?;
            Ping::to(outside.address(ipv6)).none_answered(&endpoint.netns)?;
            ensure!(dropped(n1)? > before, "{:?}", n1.status()?.drops);
        }
        Ok(())
    });
}

/// Has an endpoint send to its gateway what is for others.
fn lead_out(endpoint: &Attached, node: &Node, subnet: &str) -> Result<()> {
    let network = node.network("blue")?.network;
    let subnet = network.subnets.iter().find(|known| known.net.to_string() == subnet);
    let gateway = subnet.context("the subnet is not the network's")?.gateway;
    endpoint.netns.ip(&format!("route add default via {gateway}")).map(drop)
}

fn dropped(node: &Node) -> Result<u64> {
    Ok(node.status()?.drops.get("internal").map_or(0, |count| count.packets))
}
