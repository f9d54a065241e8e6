//! Golden packets for ICMP errors about services' flows: they find who sent what they quote, and seem to be about it.

use std::net::IpAddr;

use overlay::model::{Affinity, SourceIp};
use overlay::reconcile::tables::Program;
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Case, Expect, MARK, mac, vtep};
use crate::frames::{self, Ip, Mac, echo, frame, time_exceeded, vxlan};
use crate::golden_endpoint::encapsulated;
use crate::golden_mesh::{KINDS, Kind, arrives, case, client, node};
use crate::lab::{DATA_PORT, address, ip};
use crate::serving::{Serving, vip};

const VNI: u32 = 100;
const TARGET: u16 = 80;
/// A port's service has the endpoint as its only backend that is added to this: 0 and 1 here, 2 on a peer; one has none.
const PORTS: u16 = 8000;
const NOBODY: u16 = 8003;

type End = (IpAddr, u16);

fn serving(source_ip: SourceIp) -> Serving {
    let mut serving = Serving::new(false);
    serving.source_ip = source_ip;
    for (service, endpoints) in [(1, &[0][..]), (2, &[1]), (3, &[2]), (4, &[])] {
        serving.serve(service, endpoints, Affinity::None);
        serving.publish(service, endpoints, PORTS + u16::from(service) - 1, TARGET);
    }
    for v6 in [false, true] {
        serving.own(node(1, v6));
    }
    serving
}

/// Somebody on the way.
fn router(v6: bool) -> IpAddr {
    ip(if v6 { "2001:db8:e::1" } else { "203.0.113.254" })
}

/// A packet of a flow, as an error quotes it: without a checksum in what is quoted.
fn about(kind: Kind, from: End, to: End) -> Ip {
    match kind {
        Kind::Tcp => kind.packet(from, to),
        Kind::Udp => Ip::new(from.0, to.0, 17, &frames::udp(from.1, to.1, b"lost")),
    }
}

fn from_peer(source: Mac, destination: Mac, packet: &Ip) -> Vec<u8> {
    let inner = frame(source, destination, packet);
    arrives(&Ip::udp(vtep(2, false), vtep(1, false), DATA_PORT, &vxlan(8, VNI, &inner)))
}

fn sent(endpoint: usize, packet: &Ip) -> Vec<u8> {
    frame(mac(endpoint), gateway_mac(VNI), packet)
}

fn delivered(source: Mac, destination: usize, packet: &Ip) -> Expect {
    Expect::Redirect(frame(source, mac(destination), packet), 0)
}

/// Has a packet go its way, and gives what becomes of it.
fn goes(serving: &mut Serving, program: Program, device: &'static str, packet: Vec<u8>) -> Vec<u8> {
    let case = Case::new("goes before", device, packet, Expect::Pass);
    serving.bench.run(program, &case, &case.packet).packet
}

#[test]
fn an_error_from_outside_reaches_the_backend_whose_answer_it_is_about() {
    let mut serving = serving(SourceIp::Preserve);
    let mut cases = Vec::new();
    for (kind, v6) in KINDS {
        let of = |endpoint: u16| (node(1, v6), PORTS + endpoint);
        for from in [router(v6), client(v6).0] {
            let error = |endpoint| time_exceeded(from, &about(kind, of(endpoint), client(v6)));
            let away = encapsulated(&frame(gateway_mac(VNI), mac(2), &error(2)), 0, false);
            cases.push(case("of one on a peer", arrives(&error(2)), away));
            let own = (address(1, v6), TARGET);
            let comes = time_exceeded(from, &about(kind, own, client(v6)));
            cases.push(case("of one here", arrives(&error(1)), delivered(gateway_mac(VNI), 1, &comes)));

            let unknown = Expect::Drop(DropReason::UnknownError);
            cases.push(case("of nobody", arrives(&error(NOBODY - PORTS)), unknown.clone()));
            let other = time_exceeded(from, &about(kind, of(1), (client(v6).0, 9)));
            cases.push(case("of no flow", arrives(&other), unknown));

            let passes = |what, packet: &Ip| case(what, arrives(packet), Expect::Pass);
            let unpublished = about(kind, (node(1, v6), 9), client(v6));
            cases.push(passes("of the host's own", &time_exceeded(from, &unpublished)));
            let of_other = about(kind, (node(3, v6), PORTS + 1), client(v6));
            let other = time_exceeded(from, &of_other).with(|ip| ip.destination = node(1, v6));
            cases.push(passes("of another host's", &other));
        }
        cases.push(case("an echo", arrives(&echo(client(v6).0, node(1, v6), false)), Expect::Pass));
        let question = kind.packet(client(v6), of(1));
        goes(&mut serving, Program::TcUnderlay, "under0", arrives(&question));
    }
    let later =
        about(Kind::Udp, (node(1, false), PORTS + 1), client(false)).with(|ip| ip.fragment_offset = 4);
    cases.push(case("of a later fragment", arrives(&time_exceeded(router(false), &later)), Expect::Pass));
    serving.bench.check(Program::TcUnderlay, &cases);
}

#[test]
fn an_error_lands_and_a_backends_own_seems_to_come_from_where_the_client_asked() {
    let mut serving = serving(SourceIp::Preserve);
    for (kind, v6) in KINDS {
        let (asked, own) = ((node(2, v6), PORTS), (address(0, v6), TARGET));
        let land = |from: End| {
            from_peer(gateway_mac(VNI), mac(0), &time_exceeded(router(v6), &about(kind, from, client(v6))))
        };
        let early = case("of no flow", land(asked), Expect::Drop(DropReason::UnknownError));
        serving.bench.check(Program::TcUnderlay, &[early]);

        let question = from_peer(gateway_mac(VNI), mac(0), &kind.packet(client(v6), asked));
        goes(&mut serving, Program::TcUnderlay, "under0", question);
        let comes = time_exceeded(router(v6), &about(kind, own, client(v6)));
        let unpublished = (asked.0, 9);
        let cases = [
            case("lands", land(asked), delivered(gateway_mac(VNI), 0, &comes)),
            case("of nobody's port", land(unpublished), Expect::Drop(DropReason::NotPublished)),
        ];
        serving.bench.check(Program::TcUnderlay, &cases);

        let says = time_exceeded(own.0, &about(kind, client(v6), own));
        let leaves = time_exceeded(asked.0, &about(kind, client(v6), asked)).with(|ip| ip.hops -= 1);
        let leaves = Expect::Redirect(sent(0, &leaves), MARK);
        let other = time_exceeded(own.0, &about(kind, (client(v6).0, 9), own));
        let cases = [
            Case::new("the backend's own", "ep0", sent(0, &says), leaves),
            Case::new("of no flow", "ep0", sent(0, &other), Expect::Drop(DropReason::NoEgress)),
        ];
        serving.bench.check(Program::TcEndpoint, &cases);
    }
}

#[test]
fn errors_about_a_virtual_address_reach_who_asked_and_who_answered() {
    let mut serving = serving(SourceIp::Preserve);
    for (kind, v6) in KINDS {
        let own = (address(0, v6), 40_000);
        let [away, here] = [2, 1].map(|endpoint| (address(endpoint, v6), TARGET));
        let [vip_away, vip_here, vip_own] = [3, 2, 1].map(|service| (vip(service, v6), TARGET));
        let error = |from: IpAddr, to| time_exceeded(from, &about(kind, own, to));
        let untouched = error(away.0, away);
        let early =
            case("nothing asked", from_peer(mac(2), mac(0), &untouched), delivered(mac(2), 0, &untouched));
        serving.bench.check(Program::TcUnderlay, &[early]);
        let says = |to: End| time_exceeded(own.0, &about(kind, to, own));
        let unknown = Expect::Drop(DropReason::UnknownError);
        let early = Case::new("nothing asked", "ep0", sent(0, &says(vip_away)), unknown);
        serving.bench.check(Program::TcEndpoint, &[early]);

        for asked in [vip_away, vip_here, vip_own] {
            goes(&mut serving, Program::TcEndpoint, "ep0", sent(0, &kind.packet(own, asked)));
        }
        let by_peer = from_peer(mac(2), mac(0), &error(away.0, away));
        let comes = delivered(mac(2), 0, &error(vip_away.0, vip_away));
        serving.bench.check(Program::TcUnderlay, &[case("a peer's backend's", by_peer, comes)]);
        let from_here = frame(mac(1), mac(0), &error(here.0, here));
        let comes = delivered(mac(1), 0, &error(vip_here.0, vip_here));
        let goes = encapsulated(&frame(mac(0), mac(2), &says(away)), 0, false);
        // Who asked itself was sent what seems to come from the virtual address.
        let turned = (vip_own.0, own.1);
        let itself = time_exceeded(own.0, &about(kind, turned, (own.0, TARGET)));
        let turned = time_exceeded(vip_own.0, &about(kind, own, vip_own));
        let cases = [
            Case::new("a backend's here", "ep1", from_here, comes),
            Case::new("of an answer", "ep0", sent(0, &says(vip_away)), goes),
            Case::new("one's own", "ep0", sent(0, &itself), delivered(gateway_mac(VNI), 0, &turned)),
        ];
        serving.bench.check(Program::TcEndpoint, &cases);
    }
}

#[test]
fn errors_about_hidden_clients_find_both_ends() {
    let mut serving = serving(SourceIp::Snat);
    for (kind, v6) in KINDS {
        let port_of = |frame: &[u8]| {
            let at = if v6 { 54 } else { 34 };
            u16::from_be_bytes([frame[at], frame[at + 1]])
        };
        let (asked, own) = ((node(1, v6), PORTS + 1), (address(1, v6), TARGET));
        let error = time_exceeded(router(v6), &about(kind, asked, client(v6)));
        let early = case("of no flow", arrives(&error), Expect::Drop(DropReason::UnknownError));
        serving.bench.check(Program::TcUnderlay, &[early]);
        let out = goes(&mut serving, Program::TcUnderlay, "under0", arrives(&kind.packet(client(v6), asked)));
        let hidden = (asked.0, port_of(&out));
        let comes = time_exceeded(router(v6), &about(kind, own, hidden));
        let comes = case("of one here", arrives(&error), delivered(gateway_mac(VNI), 1, &comes));
        serving.bench.check(Program::TcUnderlay, &[comes]);
        let says = time_exceeded(own.0, &about(kind, hidden, own));
        let leaves = time_exceeded(asked.0, &about(kind, client(v6), asked)).with(|ip| ip.hops -= 1);
        let leaves = Expect::Redirect(sent(1, &leaves), MARK);
        serving
            .bench
            .check(Program::TcEndpoint, &[Case::new("the backend's own", "ep1", sent(1, &says), leaves)]);

        // The same with the backend elsewhere; its node has changed what it says as this one did above.
        let asked = (node(1, v6), PORTS + 2);
        let out = goes(&mut serving, Program::TcUnderlay, "under0", arrives(&kind.packet(client(v6), asked)));
        let hidden = (asked.0, port_of(&out[50..]));
        let error = |to| time_exceeded(router(v6), &about(kind, asked, to));
        let away = encapsulated(&frame(gateway_mac(VNI), mac(2), &error(hidden)), 0, false);
        let says = time_exceeded(asked.0, &about(kind, hidden, asked));
        let leaves = time_exceeded(asked.0, &about(kind, client(v6), asked)).with(|ip| ip.hops -= 1);
        let leaves = Expect::Redirect(frame(mac(2), gateway_mac(VNI), &leaves), MARK);
        let cases = [
            case("of one elsewhere", arrives(&error(client(v6))), away),
            case("a backend's elsewhere", from_peer(mac(2), gateway_mac(VNI), &says), leaves),
        ];
        serving.bench.check(Program::TcUnderlay, &cases);
    }
}
