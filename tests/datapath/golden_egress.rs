//! Golden packets for the way out: `tc_endpoint` has what endpoints send to the world outside come from the node's own
//! address, and `tc_underlay` gives them what answers it.

use std::net::IpAddr;

use overlay::config::Idle;
use overlay::model::{PortRange, Vni};
use overlay::reconcile::tables::{Egress, NetworkEntry, NodeEntry, Program, Source, TableAction};
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Bench, Case, Expect, MARK, mac};
use crate::frames::{Ip, frame, icmp, time_exceeded, udp};
use crate::golden_mesh::{arrives, case, node};
use crate::lab::{self, address, ip};

const VNI: u32 = 100;
/// The only port of the node's that may be taken, but where a test says otherwise.
const TAKEN: u16 = 61_000;
/// The endpoints' own.
const OWN: u16 = 1234;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    Echo,
}

const KINDS: [Kind; 3] = [Kind::Tcp, Kind::Udp, Kind::Echo];

impl Kind {
    /// To who is outside.
    pub(crate) fn question(self, from: (IpAddr, u16), to: IpAddr) -> Ip {
        match self {
            Self::Tcp => Ip::segment(from, (to, 443), b"a question", |header| header.ack = true),
            Self::Udp => Ip::datagram(from, (to, 53), b"odd"),
            Self::Echo => echo(if to.is_ipv6() { 128 } else { 8 }, from.0, to, from.1),
        }
    }

    /// From who is outside.
    fn answer(self, from: IpAddr, to: (IpAddr, u16)) -> Ip {
        match self {
            Self::Tcp => Ip::segment((from, 443), to, b"an answer", |header| header.ack = true),
            Self::Udp => Ip::datagram((from, 53), to, b"even"),
            Self::Echo => echo(if from.is_ipv6() { 129 } else { 0 }, from, to.0, to.1),
        }
    }
}

fn echo(kind: u8, from: IpAddr, to: IpAddr, id: u16) -> Ip {
    let [high, low] = id.to_be_bytes();
    icmp(from, to, &[&[kind, 0, 0, 0, high, low, 0, 9], &b"payload"[..]].concat())
}

/// Somebody outside.
pub(crate) fn remote(number: u8, v6: bool) -> IpAddr {
    ip(&if v6 { format!("2001:db8:f::{number}") } else { format!("203.0.113.{number}") })
}

fn kinds() -> impl Iterator<Item = (Kind, bool)> {
    KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)])
}

/// A node that endpoints may leave by, from these ports.
pub(crate) fn leading_out(ports: std::ops::RangeInclusive<u16>) -> Bench {
    let mut bench = Bench::new(false);
    let (IpAddr::V4(ip4), IpAddr::V6(ip6)) = (node(1, false), node(1, true)) else {
        unreachable!("one of each family");
    };
    let ports = PortRange::new(*ports.start(), *ports.end()).unwrap();
    set_egress(&mut bench, Egress { ip4: Some(ip4), ip6: Some(ip6), ports });
    bench
}

fn set_egress(bench: &mut Bench, egress: Egress) {
    let node = bench.data_path.observe().unwrap().node.unwrap();
    bench.data_path.apply(&TableAction::PutNode(NodeEntry { egress: Some(egress), ..node })).unwrap();
}

/// From the endpoint behind a device, for the gateway.
fn sent(device: &'static str, vni: u32, packet: &Ip, expect: Expect) -> Case {
    Case::new("sent", device, frame(mac(0), gateway_mac(vni), packet), expect)
}

/// As it leaves: one router has been passed.
fn out(vni: u32, packet: Ip) -> Expect {
    Expect::Redirect(frame(mac(0), gateway_mac(vni), &packet.with(|ip| ip.hops -= 1)), MARK)
}

/// As it reaches an endpoint.
fn delivered(vni: u32, packet: Ip) -> Expect {
    Expect::Redirect(frame(gateway_mac(vni), mac(0), &packet.with(|ip| ip.hops -= 1)), 0)
}

#[test]
fn what_leaves_comes_from_the_node_and_its_answers_come_back() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    for (kind, v6) in kinds() {
        let (own, seen) = ((address(0, v6), OWN), (node(1, v6), TAKEN));
        let leaves = |number| {
            let expect = out(VNI, kind.question(seen, remote(number, v6)));
            sent("ep0", VNI, &kind.question(own, remote(number, v6)), expect)
        };
        let early = kind.answer(remote(1, v6), seen);
        bench
            .check(Program::TcUnderlay, &[case("asked by nobody", arrives(&early), Expect::Pass).mark(0x77)]);
        let other = kind.question((own.0, OWN + 1), remote(1, v6));
        bench.check(
            Program::TcEndpoint,
            &[
                leaves(1),
                leaves(1),
                sent("ep0", VNI, &other, Expect::Drop(DropReason::NoPort)),
                leaves(2),
                sent(
                    "ep0",
                    VNI,
                    &kind.question(own, remote(2, v6)).with(|ip| ip.hops = 1),
                    Expect::Drop(DropReason::NoHopsLeft),
                ),
            ],
        );
        let comes = |number| {
            let expect = delivered(VNI, kind.answer(remote(number, v6), own));
            case("an answer", arrives(&kind.answer(remote(number, v6), seen)), expect).mark(0x77)
        };
        let passes = |what, packet: Ip| case(what, arrives(&packet), Expect::Pass).mark(0x77);
        bench.check(
            Program::TcUnderlay,
            &[
                comes(1),
                comes(2).gso_size(1000),
                passes("from somebody else", kind.answer(remote(3, v6), seen)),
                passes("to another port", kind.answer(remote(1, v6), (seen.0, TAKEN + 1))),
                passes("to another host", kind.answer(remote(1, v6), (node(3, v6), TAKEN))),
                case(
                    "after too many routers",
                    arrives(&kind.answer(remote(1, v6), seen).with(|ip| ip.hops = 1)),
                    Expect::Drop(DropReason::NoHopsLeft),
                ),
            ],
        );
        let asks = echo(if v6 { 128 } else { 8 }, remote(1, v6), seen.0, seen.1);
        bench.check(Program::TcUnderlay, &[passes("a ping of the host itself", asks)]);
    }
}

#[test]
fn what_has_no_way_out_is_dropped() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    let own = |v6| (address(0, v6), OWN);
    let mut cases = Vec::new();
    for (kind, v6) in kinds() {
        let confined = if v6 { ["::1", "fe80::1"] } else { ["127.0.0.1", "0.0.0.1"] };
        for to in [node(1, v6), ip(confined[0]), ip(confined[1])] {
            cases.push(sent("ep0", VNI, &kind.question(own(v6), to), Expect::Drop(DropReason::NoEgress)));
        }
    }
    for v6 in [false, true] {
        let (from, to) = (own(v6).0, remote(1, v6));
        for packet in [
            Ip::new(from, to, 132, &[0; 20]),
            icmp(from, to, &[if v6 { 1 } else { 3 }; 40]),
            echo(if v6 { 129 } else { 0 }, from, to, OWN),
            // An echo's code is 0.
            icmp(from, to, &[if v6 { 128 } else { 8 }, 1, 0, 0, 0, 1, 0, 1]),
        ] {
            cases.push(sent("ep0", VNI, &packet, Expect::Drop(DropReason::NoEgress)));
        }
    }
    let other_family = icmp(own(false).0, remote(1, false), &[128, 0, 0, 0, 0, 1, 0, 1]);
    let other_family = other_family.with(|ip| ip.protocol = 58);
    cases.push(sent("ep0", VNI, &other_family, Expect::Drop(DropReason::NoEgress)));
    let fragment = Kind::Echo.question(own(false), remote(1, false));
    let fragment = fragment.with(|ip| (ip.more_fragments, ip.dont_fragment) = (true, false));
    cases.push(sent("ep0", VNI, &fragment, Expect::Drop(DropReason::NoEgress)));
    bench.check(Program::TcEndpoint, &cases);

    let ports = PortRange::new(TAKEN, TAKEN).unwrap();
    set_egress(&mut bench, Egress { ip4: None, ip6: None, ports });
    let network = bench.data_path.observe().unwrap().networks[&lab::vni()];
    for (internal, reason) in [(false, DropReason::NoEgress), (true, DropReason::Internal)] {
        bench
            .data_path
            .apply(&TableAction::PutNetwork(lab::vni(), NetworkEntry { internal, ..network }))
            .unwrap();
        let cases = kinds()
            .map(|(kind, v6)| sent("ep0", VNI, &kind.question(own(v6), remote(1, v6)), Expect::Drop(reason)));
        bench.check(Program::TcEndpoint, &cases.collect::<Vec<_>>());
    }
}

/// Two networks with one subnet, an endpoint of each with the same address, who ask the same from the same port.
#[test]
fn networks_with_the_same_subnet_are_told_apart() {
    const OTHER: u32 = 200;
    let mut bench = leading_out(TAKEN..=TAKEN + 1);
    let vni = Vni::new(OTHER).unwrap();
    let mut tables = bench.data_path.observe().unwrap();
    bench.data_path.apply(&TableAction::PutNetwork(vni, tables.networks[&lab::vni()])).unwrap();
    let (first, second) = (bench.netns.ifindex("ep0"), bench.netns.ifindex("ep2"));
    let source = Source { vni, ..tables.sources.remove(&first).unwrap() };
    bench.data_path.apply(&TableAction::PutSource(second, source)).unwrap();
    for (kind, v6) in kinds() {
        let own = (address(0, v6), OWN);
        let question = kind.question(own, remote(1, v6));
        let mut taken = Vec::new();
        for (device, vni) in [("ep0", VNI), ("ep2", OTHER)] {
            let case = sent(device, vni, &question, Expect::Pass);
            let ran = bench.run(Program::TcEndpoint, &case, &case.packet);
            let port = (TAKEN..=TAKEN + 1).find(|port| {
                let packet = kind.question((node(1, v6), *port), remote(1, v6)).with(|ip| ip.hops -= 1);
                ran.packet == frame(mac(0), gateway_mac(vni), &packet)
            });
            let port = port.unwrap_or_else(|| panic!("{:?}", ran.dropped));
            taken.push(port);
            let answer = kind.answer(remote(1, v6), (node(1, v6), port));
            let expect = delivered(vni, kind.answer(remote(1, v6), own));
            bench.check(Program::TcUnderlay, &[case_of(&answer, expect)]);
        }
        assert_ne!(taken[0], taken[1]);
    }
    // By now the device is an endpoint's of another network, or nobody's.
    let source = Source { vni: lab::vni(), ..source };
    for action in [TableAction::PutSource(second, source), TableAction::DeleteSource(second)] {
        bench.data_path.apply(&action).unwrap();
        let answers = (TAKEN..=TAKEN + 1).map(|port| {
            let answer = Kind::Udp.answer(remote(1, false), (node(1, false), port));
            let case = case_of(&answer, Expect::Pass);
            bench.run(Program::TcUnderlay, &case, &case.packet).verdict == crate::bench::PASS
        });
        assert_eq!(answers.filter(|passed| *passed).count(), 1);
    }
}

fn case_of(answer: &Ip, expect: Expect) -> Case {
    case("an answer", arrives(answer), expect)
}

#[test]
fn an_endpoint_that_forwards_leaves_from_any_address() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    for (kind, v6) in kinds() {
        let behind = (ip(if v6 { "fd00:9::9" } else { "10.9.0.9" }), OWN);
        let seen = (node(1, v6), TAKEN);
        let leaves = out(VNI, kind.question(seen, remote(1, v6)));
        let question = kind.question(behind, remote(1, v6));
        bench.check(Program::TcEndpoint, &[sent("ep4", VNI, &question, leaves)]);
        let comes = delivered(VNI, kind.answer(remote(1, v6), behind));
        bench.check(Program::TcUnderlay, &[case_of(&kind.answer(remote(1, v6), seen), comes)]);
    }
}

/// Later fragments have no port, and go where the first one went.
#[test]
fn fragments_leave_and_come_back() {
    const IDENTIFICATION: u16 = 0x4321;
    let mut bench = leading_out(TAKEN..=TAKEN);
    for v6 in [false, true] {
        let (own, seen, to) = ((address(0, v6), OWN), (node(1, v6), TAKEN), (remote(1, v6), 53));
        let parts = |from, to| Ip::datagram(from, to, &[0x5a; 61]).fragments(IDENTIFICATION, 4);
        let [_, early] = parts(own, to);
        bench.check(
            Program::TcEndpoint,
            &[sent("ep0", VNI, &early, Expect::Drop(DropReason::UnknownFragment))],
        );
        for (packet, leaves) in parts(own, to).iter().zip(parts(seen, to)) {
            bench.check(Program::TcEndpoint, &[sent("ep0", VNI, packet, out(VNI, leaves))]);
        }
        let [_, early] = parts(to, seen);
        bench.check(Program::TcUnderlay, &[case_of(&early, Expect::Pass)]);
        for (packet, comes) in parts(to, seen).iter().zip(parts(to, own)) {
            bench.check(Program::TcUnderlay, &[case_of(packet, delivered(VNI, comes))]);
        }
    }
}

/// Where all ports are taken, one whose connection has ended is taken again at once.
#[test]
fn a_port_is_free_again_once_its_connection_has_ended() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    let (to, seen) = ((remote(1, false), 443), (node(1, false), TAKEN));
    let segment = |from, fin| Ip::segment(from, to, b"", |header| (header.ack, header.fin) = (true, fin));
    let ends = |from, fin| sent("ep0", VNI, &segment(from, fin), out(VNI, segment(seen, fin)));
    let [first, second] = [OWN, OWN + 1].map(|port| (address(0, false), port));
    let refused = sent("ep0", VNI, &segment(second, false), Expect::Drop(DropReason::NoPort));
    bench.check(
        Program::TcEndpoint,
        &[ends(first, false), refused, ends(first, true), ends(second, false), ends(second, false)],
    );
    let answer = Kind::Tcp.answer(to.0, seen);
    let comes = delivered(VNI, Kind::Tcp.answer(to.0, second));
    bench.check(Program::TcUnderlay, &[case_of(&answer, comes)]);
}

/// And one whose connection nobody goes on with, after a second: a flood leaves ports to others.
#[test]
fn a_port_is_free_again_where_a_connection_stays_half_open() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    let (to, seen) = ((remote(1, false), 443), (node(1, false), TAKEN));
    let segment =
        |from, syn: bool| Ip::segment(from, to, b"", |header| (header.syn, header.ack) = (syn, !syn));
    let goes = |from, syn| sent("ep0", VNI, &segment(from, syn), out(VNI, segment(seen, syn)));
    let refused = |from| sent("ep0", VNI, &segment(from, true), Expect::Drop(DropReason::NoPort));
    let [first, second, third] = [OWN, OWN + 1, OWN + 2].map(|port| (address(0, false), port));
    bench.check(Program::TcEndpoint, &[goes(first, true), refused(second)]);
    bench.age_flows(2);
    bench.check(Program::TcEndpoint, &[goes(second, true), goes(second, false)]);
    bench.age_flows(2);
    bench.check(Program::TcEndpoint, &[refused(third), goes(second, false)]);
}

/// And one whose flow has been silent for too long.
#[test]
fn a_port_is_free_again_once_its_flow_was_silent() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    let idle = Idle::default();
    for (kind, v6) in kinds() {
        let silent = if matches!(kind, Kind::Tcp) { idle.tcp_established } else { idle.udp_stream };
        let question = |port| kind.question((address(0, v6), port), remote(1, v6));
        let leaves = out(VNI, kind.question((node(1, v6), TAKEN), remote(1, v6)));
        let refused = sent("ep0", VNI, &question(OWN + 1), Expect::Drop(DropReason::NoPort));
        bench.check(Program::TcEndpoint, &[sent("ep0", VNI, &question(OWN), leaves.clone()), refused]);
        bench.age_flows(silent.into());
        let answer = arrives(&kind.answer(remote(1, v6), (node(1, v6), TAKEN)));
        bench.check(Program::TcUnderlay, &[case("nobody waits for it", answer, Expect::Pass)]);
        bench.check(Program::TcEndpoint, &[sent("ep0", VNI, &question(OWN + 1), leaves)]);
    }
}

#[test]
fn errors_about_what_left_reach_who_sent_it() {
    let mut bench = leading_out(TAKEN..=TAKEN);
    for (protocol, v6) in [(6, false), (6, true), (17, false), (17, true)] {
        let (own, seen, to) = ((address(0, v6), OWN), (node(1, v6), TAKEN), (remote(1, v6), 443));
        let router = remote(9, v6);
        // Nothing that an error quotes of it is a checksum.
        let packet = |from: (IpAddr, u16), to: (IpAddr, u16)| match protocol {
            6 => Ip::segment(from, to, b"lost", |header| header.ack = true),
            _ => Ip::new(from.0, to.0, 17, &udp(from.1, to.1, b"lost")),
        };
        let unknown = time_exceeded(own.0, &packet(to, own));
        let early = sent("ep0", VNI, &unknown, Expect::Drop(DropReason::UnknownError));
        bench.check(
            Program::TcEndpoint,
            &[early, sent("ep0", VNI, &packet(own, to), out(VNI, packet(seen, to)))],
        );

        let comes = delivered(VNI, time_exceeded(router, &packet(own, to)));
        let other = time_exceeded(router, &packet(seen, (remote(2, v6), 443)));
        let cases = [
            case("about it", arrives(&time_exceeded(router, &packet(seen, to))), comes),
            case("about what nobody sent", arrives(&other), Expect::Pass),
        ];
        bench.check(Program::TcUnderlay, &cases);
        let leaves = out(VNI, time_exceeded(seen.0, &packet(to, seen)));
        bench
            .check(Program::TcEndpoint, &[sent("ep0", VNI, &time_exceeded(own.0, &packet(to, own)), leaves)]);
    }
}
