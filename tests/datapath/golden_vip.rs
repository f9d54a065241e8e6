//! Golden packets for services' virtual addresses: `tc_endpoint` balances what endpoints send there, and all programs that
//! deliver have the answers come from there.

mod flows;
mod idle;

use std::net::IpAddr;

use overlay::model::Affinity;
use overlay::reconcile::tables::{Lookups, Program, ServiceAction};
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Case, Expect, REDIRECT, mac, vtep};
use crate::frames::{self, Ip, Mac, echo, frame, vxlan};
use crate::golden_endpoint::encapsulated;
use crate::lab::{self, DATA_PORT, address};
use crate::serving::{Serving, vip};

const VNI: u32 = 100;
/// What services answer on.
const SERVED: u16 = 80;

/// The services: what is sent to one ends at the endpoint that is its only backend.
const SELF: u8 = 1;
const HERE: u8 = 2;
const AWAY: u8 = 3;
const NARROW: u8 = 4;
/// One that nobody serves.
const NOBODY: u8 = 5;
/// One without an entry.
const NONE: u8 = 6;

/// What carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    /// Without a checksum, which IPv4 allows.
    Unsummed,
}

const KINDS: [(Kind, bool); 5] =
    [(Kind::Tcp, false), (Kind::Tcp, true), (Kind::Udp, false), (Kind::Udp, true), (Kind::Unsummed, false)];

impl Kind {
    fn packet(self, from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Ip {
        match self {
            Self::Tcp => Ip::segment(from, to, payload, |header| header.ack = true),
            Self::Udp => Ip::datagram(from, to, payload),
            Self::Unsummed => Ip::new(from.0, to.0, 17, &frames::udp(from.1, to.1, payload)),
        }
    }

    /// What endpoint 0 is told, for that reason, of a packet that it sent.
    fn refused(self, reason: DropReason, packet: &Ip) -> Expect {
        let answer = if self == Self::Tcp { frames::reset(packet) } else { frames::port_unreachable(packet) };
        Expect::Told(reason, frame(gateway_mac(VNI), mac(0), &answer))
    }
}

/// Has endpoint 0 send the packet, and gives what becomes of it.
fn redirected(serving: &mut Serving, packet: &Ip) -> Vec<u8> {
    let case = ask("a question", packet, Expect::Pass);
    let ran = serving.bench.run(Program::TcEndpoint, &case, &case.packet);
    assert_eq!(ran.verdict, REDIRECT, "dropped: {:?}", ran.dropped);
    ran.packet
}

fn services(underlay6: bool) -> Serving {
    let mut serving = Serving::new(underlay6);
    for (service, endpoints) in [(SELF, &[0][..]), (HERE, &[1]), (AWAY, &[2]), (NARROW, &[3]), (NOBODY, &[])]
    {
        serving.serve(service, endpoints, Affinity::None);
    }
    serving
}

fn client(v6: bool, port: u16) -> (IpAddr, u16) {
    (address(0, v6), port)
}

/// From endpoint 0 to whatever its gateway's MAC address stands for.
fn asks(packet: &Ip) -> Vec<u8> {
    frame(mac(0), gateway_mac(VNI), packet)
}

fn ask(what: &'static str, packet: &Ip, expect: Expect) -> Case {
    Case::new(what, "ep0", asks(packet), expect)
}

fn delivered(source: Mac, destination: Mac, packet: &Ip) -> Expect {
    Expect::Redirect(frame(source, destination, packet), 0)
}

#[test]
fn what_is_sent_to_a_virtual_address_goes_to_its_backend() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for (kind, v6) in KINDS {
            for payload in [&b""[..], b"odd", &[0x5a; 600]] {
                let to = |address| kind.packet(client(v6, 40_000), (address, SERVED), payload);
                let away = frame(mac(0), mac(2), &to(address(2, v6)));
                cases.push(ask("on a peer", &to(vip(AWAY, v6)), encapsulated(&away, 0, underlay6)));
                let here = delivered(mac(0), mac(1), &to(address(1, v6)));
                cases.push(ask("here", &to(vip(HERE, v6)), here).mark(0x77));
                let own = kind.packet((vip(SELF, v6), 40_000), (address(0, v6), SERVED), payload);
                let own = delivered(gateway_mac(VNI), mac(0), &own);
                cases.push(ask("itself", &to(vip(SELF, v6)), own).mark(0x77));
            }
            let to = |service| kind.packet(client(v6, 40_000), (vip(service, v6), SERVED), b"x");
            cases.push(ask(
                "without a backend",
                &to(NOBODY),
                kind.refused(DropReason::NoBackend, &to(NOBODY)),
            ));
            cases.push(ask("nobody's", &to(NONE), Expect::Drop(DropReason::NoEgress)));
        }
        services(underlay6).bench.check(Program::TcEndpoint, &cases);
    }
}

#[test]
fn a_backend_that_asks_itself_is_answered() {
    let mut cases = Vec::new();
    for (kind, v6) in KINDS {
        let (own, vip) = (address(0, v6), vip(SELF, v6));
        let turned = |from: u16, to: u16| {
            let sent = kind.packet((own, from), (vip, to), b"either way");
            let comes = kind.packet((vip, from), (own, to), b"either way");
            ask("itself", &sent, delivered(gateway_mac(VNI), mac(0), &comes))
        };
        cases.extend([turned(40_000, SERVED), turned(SERVED, 40_000), turned(40_000, SERVED)]);
    }
    let mut serving = services(false);
    serving.bench.check(Program::TcEndpoint, &cases);
    // Even if new flows go elsewhere by now, both ways.
    serving.balance(SELF, &[2]);
    serving.back(SELF, 2);
    serving.bench.check(Program::TcEndpoint, &cases);
    let new = |to| Kind::Udp.packet(client(false, 40_001), (to, SERVED), b"x");
    let away = frame(mac(0), mac(2), &new(address(2, false)));
    let new = ask("a new flow", &new(vip(SELF, false)), encapsulated(&away, 0, false));
    serving.bench.check(Program::TcEndpoint, &[new]);
}

#[test]
fn a_virtual_address_answers_pings_alone() {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        for service in [AWAY, NOBODY] {
            let vip = vip(service, v6);
            let reply = delivered(gateway_mac(VNI), mac(0), &echo(vip, address(0, v6), true));
            cases.push(ask("an echo", &echo(address(0, v6), vip, false), reply));
            let refused = |what, packet: &Ip| ask(what, packet, Expect::Drop(DropReason::NotServed));
            cases.push(refused("an echo's answer", &echo(address(0, v6), vip, true)));
            cases.push(refused("SCTP", &Ip::new(address(0, v6), vip, 132, &[0; 12])));
            let options = [&[17, 0, 0, 0, 0, 0, 0, 0][..], &frames::udp(1, 2, b"x")].concat();
            if v6 {
                cases.push(refused("behind options", &Ip::new(address(0, v6), vip, 60, &options)));
            }
        }
    }
    services(false).bench.check(Program::TcEndpoint, &cases);
}

#[test]
fn a_packet_too_big_for_the_way_to_the_backend_is_answered() {
    let mut cases = Vec::new();
    for (kind, v6) in KINDS {
        let headers = if v6 { 40 } else { 20 } + if kind == Kind::Tcp { 20 } else { 8 };
        let packet = kind.packet(client(v6, 40_000), (vip(NARROW, v6), SERVED), &vec![0; 1281 - headers]);
        let head = if v6 { [2, 0, 0, 0, 0, 0, 5, 0] } else { [3, 4, 0, 0, 0, 0, 5, 0] };
        let gateway = lab::ip(if v6 { "fd00:1::1" } else { "10.1.0.1" });
        let told = frames::icmp(gateway, address(0, v6), &[&head[..], &packet.bytes()[..512]].concat());
        cases.push(ask("one byte too big", &packet, delivered(gateway_mac(VNI), mac(0), &told)));
    }
    services(false).bench.check(Program::TcEndpoint, &cases);
}

/// A frame of network 100 as VTEP 2 sends it.
fn arrives(underlay6: bool, inner: &[u8]) -> Vec<u8> {
    let outer = Ip::udp(vtep(2, underlay6), vtep(1, underlay6), DATA_PORT, &vxlan(8, VNI, inner));
    frame([2, 0xaa, 0, 0, 0, 2], [2, 0xaa, 0, 0, 0, 1], &outer)
}

#[test]
fn answers_come_from_the_virtual_address() {
    for underlay6 in [false, true] {
        let mut serving = services(underlay6);
        for (kind, v6) in KINDS {
            let to = client(v6, 40_000 + kind as u16);
            let from = |address| kind.packet((address, SERVED), to, b"answer");
            let (here, away) = (from(address(1, v6)), from(address(2, v6)));
            let outer = arrives(underlay6, &frame(mac(2), mac(0), &away));
            let by_peer = |what, packet: &Ip| {
                Case::new(what, "under0", outer.clone(), delivered(mac(2), mac(0), packet))
            };
            let by_neighbour = |what, packet: &Ip| {
                Case::new(what, "ep1", frame(mac(1), mac(0), &here), delivered(mac(1), mac(0), packet))
            };
            serving.bench.check(Program::TcUnderlay, &[by_peer("nothing was asked", &away)]);
            serving.bench.check(Program::TcEndpoint, &[by_neighbour("nothing was asked", &here)]);
            for service in [HERE, AWAY] {
                let question = kind.packet(to, (vip(service, v6), SERVED), b"question");
                redirected(&mut serving, &question);
            }
            let whole = by_peer("from a peer", &from(vip(AWAY, v6)));
            serving.bench.check(Program::TcUnderlay, &[whole]);
            serving.bench.check(Program::TcEndpoint, &[by_neighbour("from here", &from(vip(HERE, v6)))]);
            // The same ports to another endpoint, and another port of the same.
            let other = kind.packet((address(1, v6), SERVED + 1), to, b"answer");
            let other = Case::new(
                "another port",
                "ep1",
                frame(mac(1), mac(0), &other),
                delivered(mac(1), mac(0), &other),
            );
            serving.bench.check(Program::TcEndpoint, &[other]);
        }
        serving.apply(&ServiceAction::SetLookups(Lookups::default()));
        let from = |address| Kind::Udp.packet((address, SERVED), client(false, 40_000), b"answer");
        let sent = frame(mac(1), mac(0), &from(address(1, false)));
        let left = Case::new("no virtual addresses", "ep1", sent.clone(), Expect::Redirect(sent, 0));
        serving.bench.check(Program::TcEndpoint, &[left]);
        let question = Kind::Udp.packet(client(false, 40_000), (vip(HERE, false), SERVED), b"x");
        let left = ask("no virtual addresses", &question, Expect::Drop(DropReason::NoEgress));
        serving.bench.check(Program::TcEndpoint, &[left]);
    }
}
