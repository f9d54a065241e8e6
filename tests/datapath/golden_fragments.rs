//! Golden packets for fragments of services' flows: later ones follow the first, wherever it goes.

use std::net::IpAddr;

use overlay::model::SourceIp;
use overlay::reconcile::tables::Program;
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Case, Expect, MARK, mac, vtep};
use crate::frames::{Ip, frame, vxlan};
use crate::golden_endpoint::encapsulated;
use crate::golden_mesh::{KINDS, Kind, arrives, case, client, node};
use crate::lab::{DATA_PORT, address};
use crate::serving::{Serving, vip};

const VNI: u32 = 100;
const TARGET: u16 = 80;
/// A port's service has the endpoint as its only backend that is added to this: 0 and 1 here, 2 on a peer.
const PORTS: u16 = 8000;

/// Of the packets in these tests.
const IDENTIFICATION: u16 = 0x1234;
const OTHER: u16 = 0x1235;

fn serving(source_ip: SourceIp) -> Serving {
    let mut serving = Serving::new(false);
    serving.source_ip = source_ip;
    serving.publish_each(3, PORTS, TARGET);
    for v6 in [false, true] {
        serving.own(node(1, v6));
    }
    serving
}

/// Both fragments of a packet of a flow.
fn parts(kind: Kind, from: (IpAddr, u16), to: (IpAddr, u16)) -> [Ip; 2] {
    parts_of(kind, from, to, IDENTIFICATION)
}

fn parts_of(kind: Kind, from: (IpAddr, u16), to: (IpAddr, u16), identification: u16) -> [Ip; 2] {
    let whole = match kind {
        Kind::Tcp => Ip::segment(from, to, &[0x5a; 61], |header| header.ack = true),
        Kind::Udp => Ip::datagram(from, to, &[0x5a; 61]),
    };
    whole.fragments(identification, 4)
}

/// As VTEP 2 sends it in the network.
fn from_peer(source: [u8; 6], destination: [u8; 6], packet: &Ip) -> Vec<u8> {
    let inner = frame(source, destination, packet);
    arrives(&Ip::udp(vtep(2, false), vtep(1, false), DATA_PORT, &vxlan(8, VNI, &inner)))
}

fn sent(endpoint: usize, packet: &Ip) -> Vec<u8> {
    frame(mac(endpoint), gateway_mac(VNI), packet)
}

fn delivered(source: [u8; 6], destination: usize, packet: &Ip) -> Expect {
    Expect::Redirect(frame(source, mac(destination), packet), 0)
}

#[test]
fn a_clients_fragments_follow_the_first_to_the_backend() {
    let mut cases = Vec::new();
    for (kind, v6) in KINDS {
        let asks = |endpoint: u16| parts(kind, client(v6), (node(1, v6), PORTS + endpoint));
        let early = parts_of(kind, client(v6), (node(1, v6), PORTS), OTHER);
        cases.push(case("before the first", arrives(&early[1]), Expect::Pass));
        for packet in asks(2) {
            let away = encapsulated(&frame(gateway_mac(VNI), mac(2), &packet), 0, false);
            cases.push(case("to a peer", arrives(&packet), away));
        }
        let comes = parts(kind, client(v6), (address(1, v6), TARGET));
        for (packet, comes) in asks(1).iter().zip(&comes) {
            cases.push(case("to one here", arrives(packet), delivered(gateway_mac(VNI), 1, comes)));
        }
    }
    serving(SourceIp::Preserve).bench.check(Program::TcUnderlay, &cases);
}

#[test]
fn fragments_land_and_those_of_the_answer_come_from_where_the_client_asked() {
    let mut serving = serving(SourceIp::Preserve);
    for (kind, v6) in KINDS {
        let (asked, own) = ((node(2, v6), PORTS), (address(0, v6), TARGET));
        let early = parts_of(kind, client(v6), asked, OTHER);
        let early = from_peer(gateway_mac(VNI), mac(0), &early[1]);
        let mut cases = vec![case("before the first", early, Expect::Drop(DropReason::UnknownFragment))];
        for (packet, comes) in parts(kind, client(v6), asked).iter().zip(&parts(kind, client(v6), own)) {
            let landing = from_peer(gateway_mac(VNI), mac(0), packet);
            cases.push(case("lands", landing, delivered(gateway_mac(VNI), 0, comes)));
        }
        serving.bench.check(Program::TcUnderlay, &cases);

        let early = parts_of(kind, own, client(v6), OTHER);
        let unknown = Expect::Drop(DropReason::UnknownFragment);
        let early = Case::new("before the first", "ep0", sent(0, &early[1]), unknown);
        let mut cases = vec![early];
        for (packet, leaves) in parts(kind, own, client(v6)).iter().zip(parts(kind, asked, client(v6))) {
            let leaves = sent(0, &leaves.with(|ip| ip.hops -= 1));
            cases.push(Case::new("answers", "ep0", sent(0, packet), Expect::Redirect(leaves, MARK)));
        }
        serving.bench.check(Program::TcEndpoint, &cases);
    }
}

#[test]
fn fragments_for_a_virtual_address_follow_the_first_and_so_do_those_of_the_answer() {
    let mut serving = serving(SourceIp::Preserve);
    for (kind, v6) in KINDS {
        let own = (address(0, v6), 40_000);
        let asks = |service: u8| parts(kind, own, (vip(service, v6), TARGET));
        let early = parts_of(kind, own, (vip(3, v6), TARGET), OTHER);
        let unknown = Expect::Drop(DropReason::UnknownFragment);
        let mut cases = vec![Case::new("before the first", "ep0", sent(0, &early[1]), unknown)];
        for (packet, comes) in asks(3).iter().zip(&parts(kind, own, (address(2, v6), TARGET))) {
            let away = encapsulated(&frame(mac(0), mac(2), comes), 0, false);
            cases.push(Case::new("to a peer", "ep0", sent(0, packet), away));
        }
        for (packet, comes) in asks(2).iter().zip(&parts(kind, own, (address(1, v6), TARGET))) {
            cases.push(Case::new("to one here", "ep0", sent(0, packet), delivered(mac(0), 1, comes)));
        }
        let turned = parts(kind, (vip(1, v6), 40_000), (address(0, v6), TARGET));
        for (packet, comes) in asks(1).iter().zip(&turned) {
            let comes = delivered(gateway_mac(VNI), 0, comes);
            cases.push(Case::new("to itself", "ep0", sent(0, packet), comes));
        }
        serving.bench.check(Program::TcEndpoint, &cases);

        let answer = parts(kind, (address(2, v6), TARGET), own);
        let comes = parts(kind, (vip(3, v6), TARGET), own);
        let by_peer = answer.iter().zip(&comes).map(|(packet, comes)| {
            case("a peer's answer", from_peer(mac(2), mac(0), packet), delivered(mac(2), 0, comes))
        });
        serving.bench.check(Program::TcUnderlay, &by_peer.collect::<Vec<_>>());
        let answer = parts(kind, (address(1, v6), TARGET), own);
        let comes = parts(kind, (vip(2, v6), TARGET), own);
        let from_here = answer.iter().zip(&comes).map(|(packet, comes)| {
            Case::new(
                "an answer from here",
                "ep1",
                frame(mac(1), mac(0), packet),
                delivered(mac(1), 0, comes),
            )
        });
        serving.bench.check(Program::TcEndpoint, &from_here.collect::<Vec<_>>());
    }
}

#[test]
fn fragments_of_hidden_clients_have_the_port_of_their_flow() {
    let mut serving = serving(SourceIp::Snat);
    for (kind, v6) in KINDS {
        // First a whole packet, to learn the port.
        let asked = (node(1, v6), PORTS + 1);
        let question = case("a question", arrives(&kind.packet(client(v6), asked)), Expect::Pass);
        let ran = serving.bench.run(Program::TcUnderlay, &question, &question.packet);
        let at = if v6 { 54 } else { 34 };
        let hidden = (asked.0, u16::from_be_bytes([ran.packet[at], ran.packet[at + 1]]));
        let own = (address(1, v6), TARGET);
        let comes = parts(kind, hidden, own);
        let cases = parts(kind, client(v6), asked).into_iter().zip(&comes).map(|(packet, comes)| {
            case("to one here", arrives(&packet), delivered(gateway_mac(VNI), 1, comes))
        });
        serving.bench.check(Program::TcUnderlay, &cases.collect::<Vec<_>>());

        let leaves = parts(kind, asked, client(v6));
        let cases = parts(kind, own, hidden).into_iter().zip(leaves).map(|(packet, leaves)| {
            let leaves = sent(1, &leaves.with(|ip| ip.hops -= 1));
            Case::new("the answer", "ep1", sent(1, &packet), Expect::Redirect(leaves, MARK))
        });
        serving.bench.check(Program::TcEndpoint, &cases.collect::<Vec<_>>());
    }
}
