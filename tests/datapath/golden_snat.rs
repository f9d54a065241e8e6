//! Golden packets for services whose backends see the node that a client came to: there, at a backend's node, and on the
//! way back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use overlay::model::SourceIp;
use overlay::reconcile::tables::Program;
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Case, Expect, MARK, PASS, mac, vtep};
use crate::frames::{Ip, frame, icmp, udp, vxlan};
use crate::golden_endpoint::encapsulated;
use crate::golden_mesh::{KINDS, Kind, arrives, case, client, node};
use crate::golden_xdp;
use crate::lab::{DATA_PORT, address, ip};
use crate::serving::Serving;

pub(crate) const VNI: u32 = 100;
/// What backends serve on.
const TARGET: u16 = 80;
/// The service of the port is served by one endpoint: 0 and 1 here, 2 and 3 on a peer.
pub(crate) const PORTS: u16 = 8000;

/// Node 1, with the services of all ports.
pub(crate) fn serving(underlay6: bool) -> Serving {
    let mut serving = Serving::new(underlay6);
    serving.source_ip = SourceIp::Snat;
    serving.publish_each(4, PORTS, TARGET);
    for v6 in [false, true] {
        serving.own(node(1, v6));
    }
    serving
}

/// From the network's gateway to an endpoint.
fn to_endpoint(endpoint: usize, packet: &Ip) -> Vec<u8> {
    frame(gateway_mac(VNI), mac(endpoint), packet)
}

/// From an endpoint to the network's gateway.
pub(crate) fn to_gateway(endpoint: usize, packet: &Ip) -> Vec<u8> {
    frame(mac(endpoint), gateway_mac(VNI), packet)
}

/// As a peer sends it here.
pub(crate) fn from_peer(number: u8, vni: u32, inner: &[u8], underlay6: bool) -> Vec<u8> {
    arrives(&outer(number, vni, inner, underlay6))
}

fn outer(number: u8, vni: u32, inner: &[u8], underlay6: bool) -> Ip {
    Ip::udp(vtep(number, underlay6), vtep(1, underlay6), DATA_PORT, &vxlan(8, vni, inner))
}

/// The port that stands for a client who asks for the port of this number, which stays the same from then on.
pub(crate) fn hidden_behind(serving: &mut Serving, question: &Ip, endpoint: usize) -> u16 {
    let asks = case("a client", arrives(question), Expect::Pass);
    let ran = serving.bench.run(Program::TcUnderlay, &asks, &asks.packet);
    let inner =
        if endpoint < 2 { &ran.packet[..] } else { &ran.packet[ran.packet.len() - asks.packet.len()..] };
    let at = if question.source.is_ipv4() { 34 } else { 54 };
    let port = u16::from_be_bytes([inner[at], inner[at + 1]]);
    assert!(port >= 1024, "{port}; dropped: {:?}", ran.dropped);
    port
}

#[test]
fn clients_are_hidden_from_backends_elsewhere_and_get_their_answers() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            let asked = (node(1, v6), PORTS + 2);
            let question = kind.packet(client(v6), asked);
            let own = (asked.0, hidden_behind(&mut serving, &question, 2));
            let leaves = encapsulated(&to_endpoint(2, &kind.packet(own, asked)), 0, underlay6);
            serving.bench.check(Program::TcUnderlay, &[case("again", arrives(&question), leaves)]);

            let answer = |to| kind.packet(asked, to);
            let inner = to_gateway(2, &answer(own));
            let comes = from_peer(2, VNI, &inner, underlay6);
            // One router has been passed.
            let goes = to_gateway(2, &answer(client(v6)).with(|ip| ip.hops -= 1));
            let willing = to_gateway(2, &answer(own).with(|ip| ip.ecn = 2));
            let marked = arrives(&outer(2, VNI, &willing, underlay6).with(|ip| ip.ecn = 3));
            let told = to_gateway(2, &answer(client(v6)).with(|ip| (ip.hops, ip.ecn) = (ip.hops - 1, 3)));
            let refused = |what, packet, reason| case(what, packet, Expect::Drop(reason));
            let unasked = to_gateway(2, &answer((own.0, own.1 ^ 1)));
            let posing = to_gateway(3, &answer(own));
            let outwards = frame(gateway_mac(VNI), gateway_mac(VNI), &answer(own));
            let other = to_gateway(2, &icmp(asked.0, own.0, &[if v6 { 1 } else { 3 }; 40]));
            let spent = to_gateway(2, &answer(own).with(|ip| ip.hops = 1));
            let not = DropReason::NotAnswer;
            serving.bench.check(
                Program::TcUnderlay,
                &[
                    case("the answer", comes.clone(), Expect::Redirect(goes.clone(), MARK)),
                    case("marked by congestion on its way", marked, Expect::Redirect(told, MARK)),
                    case("merged, which the VXLAN device unpacks", comes, Expect::Pass).gso_size(1000),
                    refused("another port", from_peer(2, VNI, &unasked, underlay6), not),
                    refused("from another endpoint's MAC", from_peer(2, VNI, &posing, underlay6), not),
                    refused("from a gateway", from_peer(2, VNI, &outwards, underlay6), not),
                    refused("from another peer", from_peer(3, VNI, &inner, underlay6), not),
                    refused("from no peer", from_peer(9, VNI, &inner, underlay6), DropReason::UnknownVtep),
                    refused("neither TCP nor UDP", from_peer(2, VNI, &other, underlay6), not),
                    refused(
                        "after too many routers",
                        from_peer(2, VNI, &spent, underlay6),
                        DropReason::NoHopsLeft,
                    ),
                ],
            );
        }
    }
}

/// A flow that begins is tc's; from then on it is XDP's.
#[test]
fn flows_that_tc_hides_go_on_in_xdp() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            let asked = (node(1, v6), PORTS + 2);
            let question = kind.packet(client(v6), asked);
            let case = case("a client's packet", arrives(&question), Expect::Pass);
            let ran = serving.bench.run(Program::XdpUnderlay, &case, &case.packet);
            assert_eq!((ran.verdict, &ran.packet), (PASS, &case.packet), "it began in XDP");
            let own = (asked.0, hidden_behind(&mut serving, &question, 2));
            let mut got = golden_xdp::run(&mut serving.bench, &case, underlay6);
            let at = if underlay6 { 54 } else { 34 };
            got[at..at + 2].copy_from_slice(&[0xc0, 0]);
            let inner = to_endpoint(2, &kind.packet(own, asked));
            let want = golden_xdp::sent(&inner, 0, underlay6, golden_xdp::NEXT);
            assert!(got == want, "it becomes\n{got:02x?}, not\n{want:02x?}");
            // Tc sends the answer, and XDP what is asked next.
            let comes = from_peer(2, VNI, &to_gateway(2, &kind.packet(asked, own)), underlay6);
            let goes = to_gateway(2, &kind.packet(asked, client(v6)).with(|ip| ip.hops -= 1));
            serving
                .bench
                .check(Program::TcUnderlay, &[self::case("an answer", comes, Expect::Redirect(goes, MARK))]);
            for length in 14..case.packet.len() {
                let cut = &case.packet[..length];
                let ran = serving.bench.run_uncounted(Program::XdpUnderlay, &case, cut);
                assert_eq!((ran.verdict, &ran.packet[..]), (PASS, cut), "cut to {length} bytes");
            }
        }
        // A datagram without a checksum stays without one.
        let bare = |from, port| Ip::new(from, node(1, false), 17, &udp(port, PORTS + 2, b"bare"));
        let (client, question) = (client(false), bare(client(false).0, client(false).1));
        let own = hidden_behind(&mut serving, &question, 2);
        let case = case("without a checksum", arrives(&question), Expect::Pass);
        let got = golden_xdp::run(&mut serving.bench, &case, underlay6);
        let inner = to_endpoint(2, &bare(node(1, false), own));
        assert!(got.ends_with(&inner), "{client:?}: {got:02x?}");
    }
}

/// A service may begin to hide its clients, or end: flows go on as they began.
#[test]
fn a_flow_stays_hidden_or_not_as_it_began() {
    for (before, after) in [(SourceIp::Preserve, SourceIp::Snat), (SourceIp::Snat, SourceIp::Preserve)] {
        let mut serving = serving(false);
        let asked = (node(1, false), PORTS + 2);
        let question = Kind::Tcp.packet(client(false), asked);
        let case = case("a client's packet", arrives(&question), Expect::Pass);
        serving.source_ip = before;
        serving.publish(3, &[2], asked.1, TARGET);
        let first = serving.bench.run(Program::TcUnderlay, &case, &case.packet).packet;
        serving.source_ip = after;
        serving.publish(3, &[2], asked.1, TARGET);
        let then = serving.bench.run(Program::TcUnderlay, &case, &case.packet).packet;
        let inner = first.len() - case.packet.len();
        assert_eq!(first[inner..], then[inner..], "{before:?} to {after:?}");
        assert_eq!(first.ends_with(&case.packet[14..]), before == SourceIp::Preserve);
    }
}

#[test]
fn an_answer_by_another_network_or_of_a_backend_that_is_gone_is_refused() {
    let mut serving = serving(false);
    let (kind, asked) = (Kind::Udp, (node(1, false), PORTS + 2));
    let own = (asked.0, hidden_behind(&mut serving, &kind.packet(client(false), asked), 2));
    let answer = kind.packet(asked, own);
    let other = frame(mac(2), gateway_mac(300), &answer);
    let refused = Expect::Drop(DropReason::NotAnswer);
    serving
        .bench
        .check(Program::TcUnderlay, &[case("another", from_peer(2, 300, &other, false), refused.clone())]);
    // In the slot there is a backend of another service by now, and so of another generation.
    serving.back(1, 2);
    let late = from_peer(2, VNI, &to_gateway(2, &answer), false);
    serving.bench.check(Program::TcUnderlay, &[case("late", late, refused)]);
}

#[test]
fn clients_are_hidden_from_backends_here_and_get_their_answers() {
    let mut serving = serving(false);
    for (kind, v6) in KINDS {
        let asked = (node(1, v6), PORTS);
        let question = kind.packet(client(v6), asked);
        let own = (asked.0, hidden_behind(&mut serving, &question, 0));
        let backend = (address(0, v6), TARGET);
        let comes = Expect::Redirect(to_endpoint(0, &kind.packet(own, backend)), 0);
        serving.bench.check(Program::TcUnderlay, &[case("again", arrives(&question), comes)]);
        let answer = to_gateway(0, &kind.packet(backend, own));
        let goes = to_gateway(0, &kind.packet(asked, client(v6)).with(|ip| ip.hops -= 1));
        let case = Case::new("the answer", "ep0", answer, Expect::Redirect(goes, MARK));
        serving.bench.check(Program::TcEndpoint, &[case]);
    }
}

#[test]
fn a_backend_answers_to_the_node_that_the_client_came_to() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            let (asked, backend) = ((node(2, v6), PORTS), (address(0, v6), TARGET));
            let hidden = (asked.0, 5000);
            let question = to_endpoint(0, &kind.packet(hidden, asked));
            let comes = Expect::Redirect(to_endpoint(0, &kind.packet(hidden, backend)), 0);
            let lands = case("a question", from_peer(2, VNI, &question, underlay6), comes);
            serving.bench.check(Program::TcUnderlay, &[lands]);
            let goes = encapsulated(&to_gateway(0, &kind.packet(asked, hidden)), 0, underlay6);
            let answer = Case::new("the answer", "ep0", to_gateway(0, &kind.packet(backend, hidden)), goes);
            serving.bench.check(Program::TcEndpoint, &[answer]);
        }
    }
}

/// Clients with the same port of their own: it stands for the first of them, and others for the others.
#[test]
fn a_port_stands_for_one_client_alone() {
    let mut serving = serving(false);
    let asked = (node(1, false), PORTS + 2);
    let clients: Vec<_> = (0..200_u8).map(|n| (ip(&format!("203.0.113.{n}")), 40_000)).collect();
    let mut ports = BTreeSet::new();
    for (n, from) in clients.iter().enumerate() {
        let port = hidden_behind(&mut serving, &Kind::Tcp.packet(*from, asked), 2);
        assert_eq!(port == from.1, n == 0, "{from:?} has {port}");
        assert!(ports.insert(port), "{from:?} has another one's {port}");
        let case = case("it goes on", arrives(&Kind::Tcp.packet(*from, asked)), Expect::Pass);
        let sent = golden_xdp::run(&mut serving.bench, &case, false);
        assert!(sent.ends_with(&Kind::Tcp.packet((asked.0, port), asked).bytes()), "{from:?}");
    }
}

/// What a process of the host could not have, either.
#[test]
fn a_low_port_stands_for_nobody() {
    let mut serving = serving(false);
    let asked = (node(1, false), PORTS + 2);
    for low in [1, 1023] {
        let question = Kind::Udp.packet((client(false).0, low), asked);
        let port = hidden_behind(&mut serving, &question, 2);
        assert_eq!(port, hidden_behind(&mut serving, &question, 2));
    }
}

/// Two clients at one node never share a port, and each keeps its own.
#[test]
fn every_client_has_a_port_of_its_own() {
    let mut serving = serving(false);
    let asked = (node(1, false), PORTS + 2);
    let clients = || (0..500_u16).map(|n| (ip("203.0.113.9"), 40_000 + n));
    let mut ports = |from: (IpAddr, u16)| hidden_behind(&mut serving, &Kind::Udp.packet(from, asked), 2);
    let first: Vec<_> = clients().map(&mut ports).collect();
    let again: Vec<_> = clients().map(&mut ports).collect();
    assert_eq!(first, again);
    let distinct: BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), first.len());
}
