//! Golden packets for the routing mesh in tc: `tc_underlay` sends what clients outside send to published ports to
//! backends, and gives them what other nodes send on; `tc_endpoint` sends the answers.

mod anew;
mod told;

use std::net::IpAddr;

use overlay::model::Affinity;
use overlay::reconcile::tables::Program;
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Case, Expect, MARK, mac, vtep};
use crate::frames::{self, Ip, Mac, frame, vxlan};
use crate::golden_endpoint::encapsulated;
use crate::lab::{DATA_PORT, address, ip};
use crate::serving::Serving;

pub(crate) const VNI: u32 = 100;
pub(crate) const US: Mac = [2, 0xaa, 0, 0, 0, 1];
pub(crate) const ROUTER: Mac = [2, 0xaa, 0, 0, 0, 2];
/// What backends serve on.
pub(crate) const TARGET: u16 = 80;
/// A port's service has the endpoint as its only backend that is added to this; 8004's has none.
pub(crate) const PORTS: u16 = 8000;
pub(crate) const NOBODY: u16 = 8004;
pub(crate) const UNPUBLISHED: u16 = 8009;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Tcp,
    Udp,
}

pub(crate) const KINDS: [(Kind, bool); 4] =
    [(Kind::Tcp, false), (Kind::Tcp, true), (Kind::Udp, false), (Kind::Udp, true)];

impl Kind {
    pub(crate) fn packet(self, from: (IpAddr, u16), to: (IpAddr, u16)) -> Ip {
        match self {
            Self::Tcp => Ip::segment(from, to, b"a question", |header| header.ack = true),
            Self::Udp => Ip::datagram(from, to, b"odd"),
        }
    }

    fn refusal(self, packet: &Ip) -> Ip {
        match self {
            Self::Tcp => frames::reset(packet),
            Self::Udp => frames::port_unreachable(packet),
        }
    }
}

/// A client outside, and an address of node `number`; this one is 1.
pub(crate) fn client(v6: bool) -> (IpAddr, u16) {
    (ip(if v6 { "2001:db8:f::9" } else { "203.0.113.9" }), 40_000)
}

pub(crate) fn node(number: u8, v6: bool) -> IpAddr {
    ip(&if v6 { format!("2001:db8:1::{number}") } else { format!("198.51.100.{number}") })
}

/// Node 1, with the services of all ports.
pub(crate) fn serving(underlay6: bool) -> Serving {
    let mut serving = Serving::new(underlay6);
    for (service, endpoints) in [(1, &[0][..]), (2, &[1]), (3, &[2]), (4, &[3]), (5, &[])] {
        serving.serve(service, endpoints, Affinity::None);
        let port = PORTS + u16::from(service) - 1;
        serving.publish(service, endpoints, port, TARGET);
    }
    for v6 in [false, true] {
        serving.own(node(1, v6));
    }
    serving
}

pub(crate) fn arrives(packet: &Ip) -> Vec<u8> {
    frame(ROUTER, US, packet)
}

pub(crate) fn case(what: &'static str, packet: Vec<u8>, expect: Expect) -> Case {
    Case::new(what, "under0", packet, expect)
}

/// What node 2 sends on: as the client sent it, in the network, from its gateway to an endpoint.
fn sent_on(endpoint: usize, packet: &Ip, from: u8, underlay6: bool) -> Vec<u8> {
    arrives(&outer(endpoint, packet, from, underlay6))
}

fn outer(endpoint: usize, packet: &Ip, from: u8, underlay6: bool) -> Ip {
    let inner = frame(gateway_mac(VNI), mac(endpoint), packet);
    Ip::udp(vtep(from, underlay6), vtep(1, underlay6), DATA_PORT, &vxlan(8, VNI, &inner))
}

fn delivered(endpoint: usize, packet: &Ip) -> Expect {
    Expect::Redirect(frame(gateway_mac(VNI), mac(endpoint), packet), 0)
}

/// From other machines, and from the host's own processes.
const INGRESSES: [Program; 2] = [Program::TcUnderlay, Program::TcLocal];

#[test]
fn clients_are_sent_on_to_backends() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for (kind, v6) in KINDS {
            let to = |port| kind.packet(client(v6), (node(1, v6), port));
            let as_it_came = frame(gateway_mac(VNI), mac(2), &to(PORTS + 2));
            let away = encapsulated(&as_it_came, 0, underlay6);
            cases.push(case("on a peer", arrives(&to(PORTS + 2)), away.clone()));
            cases.push(case("the same flow again", arrives(&to(PORTS + 2)), away));
            let here = delivered(1, &kind.packet(client(v6), (address(1, v6), TARGET)));
            cases.push(case("here", arrives(&to(PORTS + 1)), here).mark(0x77));
        }
        INGRESSES.into_iter().for_each(|program| serving(underlay6).bench.check(program, &cases));
    }
}

#[test]
fn what_is_not_for_a_published_port_of_this_host_passes() {
    let mut cases = Vec::new();
    for (kind, v6) in KINDS {
        let other_port = kind.packet(client(v6), (node(1, v6), UNPUBLISHED));
        let other_host = kind.packet(client(v6), (node(3, v6), PORTS));
        let other_protocol = Ip::new(client(v6).0, node(1, v6), 132, &[0; 20]);
        for packet in [other_port, other_host, other_protocol] {
            cases.push(case("not a service's", arrives(&packet), Expect::Pass).mark(0x77));
        }
    }
    INGRESSES.into_iter().for_each(|program| serving(false).bench.check(program, &cases));
}

#[test]
fn what_a_peer_sends_on_reaches_the_backend_and_the_answer_seems_to_come_from_there() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            let asked = (node(2, v6), PORTS);
            let answer = |from| kind.packet(from, client(v6));
            let sent = |packet: &Ip| frame(mac(0), gateway_mac(VNI), packet);
            let unasked = Expect::Drop(DropReason::NoEgress);
            let own = (address(0, v6), TARGET);
            let early = Case::new("an answer that nobody waits for", "ep0", sent(&answer(own)), unasked);
            serving.bench.check(Program::TcEndpoint, &[early]);

            let question = kind.packet(client(v6), asked);
            let comes = delivered(0, &kind.packet(client(v6), own));
            let landing = case("a question", sent_on(0, &question, 2, underlay6), comes);
            let willing = question.clone().with(|ip| ip.ecn = 2);
            let marked = arrives(&outer(0, &willing, 2, underlay6).with(|ip| ip.ecn = 3));
            let told = delivered(0, &kind.packet(client(v6), own).with(|ip| ip.ecn = 3));
            let told = case("marked by congestion on its way", marked, told);
            serving.bench.check(Program::TcUnderlay, &[landing.mark(0x77), told]);

            // One router has been passed.
            let leaves = sent(&answer(asked).with(|ip| ip.hops -= 1));
            let leaves = Expect::Redirect(leaves, MARK);
            serving
                .bench
                .check(Program::TcEndpoint, &[Case::new("the answer", "ep0", sent(&answer(own)), leaves)]);
        }
    }
}

#[test]
fn what_claims_to_be_a_clients_is_checked() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for (kind, v6) in KINDS {
            let to = |port| kind.packet(client(v6), (node(2, v6), port));
            for (what, packet, reason) in [
                ("from no peer", sent_on(0, &to(PORTS), 9, underlay6), DropReason::UnknownVtep),
                (
                    "another service's port",
                    sent_on(0, &to(PORTS + 1), 2, underlay6),
                    DropReason::NotPublished,
                ),
                ("nobody's port", sent_on(0, &to(UNPUBLISHED), 2, underlay6), DropReason::NotPublished),
                ("not here", sent_on(2, &to(PORTS + 2), 2, underlay6), DropReason::NotHere),
                ("nobody", sent_on(8, &to(PORTS), 2, underlay6), DropReason::UnknownDestination),
            ] {
                cases.push(case(what, packet, Expect::Drop(reason)));
            }
            let echo = Ip::new(client(v6).0, node(2, v6), if v6 { 58 } else { 1 }, &[8; 16]);
            let echo = sent_on(0, &echo, 2, underlay6);
            cases.push(case("no service's protocol", echo, Expect::Drop(DropReason::NotPublished)));
        }
        serving(underlay6).bench.check(Program::TcUnderlay, &cases);
    }
}
