//! Endpoints of one network talk, whatever node they are on; those of different networks never do, not even
//! where the networks have the same addresses.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket};
use overlay_harness::capture::{self, Vxlan};
use overlay_harness::traffic::{Ping, Responder, tcp_transfer, who_answers};
use overlay_harness::{Attached, Capture, Lab, Node, Topology};

use crate::steps::{all_list, create_network, name, pairs, talk};

const DATA_PORT: u16 = 4789;

/// The two networks, with the same subnets.
const NETWORKS: [&str; 2] = ["blue", "green"];

/// More than a GSO packet holds, and not a multiple of anything.
const TRANSFER: usize = 1_000_003;

#[test]
fn three_nodes_over_ipv4() {
    Lab::run(Topology::of(3), |lab| every_pair(lab, 1500 - 50));
}

#[test]
fn three_nodes_over_ipv6() {
    // Not the usual MTU, so that no constant can stand in for it.
    Lab::run(Topology::of(3).over_ipv6().mtu(1600), |lab| every_pair(lab, 1600 - 70));
}

fn every_pair(lab: &Lab, mtu: u16) -> Result<()> {
    let nodes: [&Node; 3] = lab.nodes();
    lab.form_cluster()?;
    for network in NETWORKS {
        // At a worker, not at the manager.
        create_network(nodes[0], network, &["--allow-overlap"], &nodes)?;
    }
    let [blue, green] = [attach(lab, NETWORKS[0])?, attach(lab, NETWORKS[1])?];
    all_list(
        &nodes,
        &["blue/a", "blue/b", "blue/c", "blue/d", "green/a", "green/b", "green/c", "green/d", "green/only"],
    )?;
    for (network, node) in NETWORKS.iter().flat_map(|network| nodes.map(|node| (network, node))) {
        let effective = node.network(network)?.effective_mtu;
        ensure!(effective == mtu, "{network} has an MTU of {effective} instead of {mtu} on {}", node.name());
    }
    let _responders = blue.iter().chain(&green).map(respond).collect::<Result<Vec<_>>>()?;
    for (from, to) in pairs(&blue).chain(pairs(&green)) {
        exchange(from, to, mtu)?;
    }
    nothing_crosses(&blue, &green)?;
    the_wire_shows_vxlan(lab, &blue)
}

/// Two endpoints on the first node, one on each other; and in green alone, one more on the last.
fn attach(lab: &Lab, network: &str) -> Result<Vec<Attached>> {
    let [n1, n2, n3] = lab.nodes();
    let mut wanted = vec![(n1, "a", 11), (n1, "b", 12), (n2, "c", 13), (n3, "d", 14)];
    if network == NETWORKS[1] {
        wanted.push((n3, "only", 99));
    }
    wanted
        .into_iter()
        .map(|(node, name, host)| {
            let (ip, ip6) = (format!("10.77.0.{host}"), format!("fd77::{host}"));
            lab.attach(node, network, name, &["--ip", &ip, "--ip6", &ip6])
        })
        .collect()
}

fn respond(endpoint: &Attached) -> Result<Responder> {
    Responder::start(&endpoint.netns, &name(endpoint))
}

fn exchange(from: &Attached, to: &Attached, mtu: u16) -> Result<()> {
    talk(from, to)?;
    for address in [to.ip4(), to.ip6()] {
        Ping::to(address).filling(mtu).all_answered(&from.netns)?;
        for bytes in [0, 1200] {
            let who = who_answers(&from.netns, address, bytes)?;
            ensure!(who == name(to), "{} is {who}, seen from {}, and not {}", address, name(from), name(to));
        }
        tcp_transfer(&from.netns, &to.netns, address, TRANSFER)?;
    }
    Ok(())
}

/// An address of green's alone answers in green, and nowhere else; `exchange` has shown that an address in both
/// leads to one's own network.
fn nothing_crosses(blue: &[Attached], green: &[Attached]) -> Result<()> {
    let only = green.last().context("green's endpoints")?;
    for address in [only.ip4(), only.ip6()] {
        Ping::to(address).all_answered(&green[0].netns)?;
        for from in blue {
            Ping::to(address).none_answered(&from.netns)?;
        }
        ensure!(
            who_answers(&blue[0].netns, address, 1).is_err(),
            "UDP to {address} crosses from blue to green"
        );
    }
    Ok(())
}

fn the_wire_shows_vxlan(lab: &Lab, blue: &[Attached]) -> Result<()> {
    let [n1, n2, _] = lab.nodes();
    let (from, to) = (&blue[0], &blue[2]);
    let vni = n1.network(NETWORKS[0])?.network.vni.get();
    let filter = format!("udp port {DATA_PORT}");
    let capture = Capture::start(lab.switch()?, n2.name(), &filter, &lab.folder().join("wire.pcap"))?;
    Ping::to(to.ip4()).all_answered(&from.netns)?;
    Ping::to(to.ip6()).all_answered(&from.netns)?;
    let packets: Vec<_> =
        capture.stop()?.iter().filter_map(|frame| capture::vxlan(frame, DATA_PORT)).collect();
    for (inner_from, inner_to) in [(from.ip4(), to.ip4()), (from.ip6(), to.ip6())] {
        for (outer, inner) in [
            ((n1.addr(), n2.addr()), (inner_from, inner_to)),
            ((n2.addr(), n1.addr()), (inner_to, inner_from)),
        ] {
            let seen = packets.iter().filter(|packet| {
                (packet.source, packet.destination) == outer
                    && packet.vni == vni
                    && inner_addresses(packet) == Some(inner)
            });
            let seen = seen.count();
            ensure!(
                seen >= 3,
                "{seen} packets with VNI {vni} and {inner:?} inside {outer:?}, among {packets:#?}"
            );
        }
    }
    Ok(())
}

fn inner_addresses(packet: &Vxlan) -> Option<(IpAddr, IpAddr)> {
    match SlicedPacket::from_ethernet(&packet.frame).ok()?.net? {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}
