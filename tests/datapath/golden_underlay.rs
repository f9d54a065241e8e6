//! Golden packets for `tc_underlay`, `tc_overlay` and `tc_guard`.

use overlay::reconcile::tables::Program;
use overlay_abi::DropReason;

use crate::bench::{Bench, Case, Expect, MARK, mac, vtep};
use crate::frames::{self, Ip, Mac, ethernet, frame, vxlan};
use crate::lab::{DATA_PORT, address, ip};

const VNI: u32 = 100;
const US: Mac = [2, 0xaa, 0, 0, 0, 1];
const THEM: Mac = [2, 0xaa, 0, 0, 0, 2];

/// From the peer's endpoint 2 to endpoint 0 here.
fn inner(v6: bool) -> Ip {
    Ip::udp(address(2, v6), address(0, v6), 53, &[0x5a; 60])
}

fn outer(underlay6: bool, payload: &[u8]) -> Ip {
    Ip::udp(vtep(2, underlay6), vtep(1, underlay6), DATA_PORT, payload)
}

fn arrives(packet: &Ip) -> Vec<u8> {
    frame(THEM, US, packet)
}

fn case(what: &'static str, packet: Vec<u8>, expect: Expect) -> Case {
    Case::new(what, "under0", packet, expect)
}

#[test]
fn vxlan_from_a_peer_is_unpacked_and_delivered() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for v6 in [false, true] {
            // RFC 6040, figure 4: outer CE turns inner ECT to CE; else the inner field stays.
            for (outer_ecn, inner_ecn, result) in
                [(0, 0, 0), (1, 2, 2), (2, 2, 2), (3, 1, 3), (3, 2, 3), (3, 3, 3), (0, 3, 3)]
            {
                let marked = |ecn| frame(mac(2), mac(0), &inner(v6).with(|ip| ip.ecn = ecn));
                let packet =
                    outer(underlay6, &vxlan(8, VNI, &marked(inner_ecn))).with(|ip| ip.ecn = outer_ecn);
                cases.push(case("a frame", arrives(&packet), Expect::Redirect(marked(result), 0)).mark(0x77));
            }
            let unmarkable =
                outer(underlay6, &vxlan(8, VNI, &frame(mac(2), mac(0), &inner(v6)))).with(|ip| ip.ecn = 3);
            cases.push(case(
                "congestion, not ECT",
                arrives(&unmarkable),
                Expect::Drop(DropReason::CongestionUnmarked),
            ));
        }
        Bench::new(underlay6).check(Program::TcUnderlay, &cases);
    }
}

#[test]
fn a_peers_forwarder_sends_from_any_address() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for (v6, source) in [(false, "198.51.100.9"), (true, "2001:db8:9::9"), (false, "10.1.0.4")] {
            let inner = frame(mac(5), mac(0), &Ip::udp(ip(source), address(0, v6), 53, b"x"));
            let arrives = |from| {
                arrives(&Ip::udp(
                    vtep(from, underlay6),
                    vtep(1, underlay6),
                    DATA_PORT,
                    &vxlan(8, VNI, &inner),
                ))
            };
            cases.push(case("from its node", arrives(2), Expect::Redirect(inner.clone(), 0)));
            cases.push(case("from another node", arrives(3), Expect::Drop(DropReason::NotOwner)));
        }
        Bench::new(underlay6).check(Program::TcUnderlay, &cases);
    }
}

#[test]
fn vxlan_is_checked() {
    for underlay6 in [false, true] {
        let within = |inner: &[u8]| arrives(&outer(underlay6, &vxlan(8, VNI, inner)));
        let good = frame(mac(2), mac(0), &inner(false));
        let from = |source: Mac, packet: &Ip| within(&frame(source, mac(0), packet));
        let to = |destination: Mac| within(&frame(mac(2), destination, &inner(false)));
        let spoofed = |source| Ip::udp(ip(source), address(0, false), 53, b"x");
        let mut malformed = good.clone();
        malformed[14] = 0x4f;
        malformed[16..18].copy_from_slice(&[0, 20]);
        let mut longer = good.clone();
        longer[17] += 1;
        let stranger = Ip::udp(vtep(7, underlay6), vtep(1, underlay6), DATA_PORT, &vxlan(8, VNI, &good));
        let impostor = Ip::udp(vtep(3, underlay6), vtep(1, underlay6), DATA_PORT, &vxlan(8, VNI, &good));
        let drops = |what, packet, reason| case(what, packet, Expect::Drop(reason));
        let cases = [
            drops("no I flag", arrives(&outer(underlay6, &vxlan(0, VNI, &good))), DropReason::NoVni),
            drops("no VXLAN header", arrives(&outer(underlay6, &[8, 0, 0])), DropReason::Truncated),
            drops("no frame", arrives(&outer(underlay6, &vxlan(8, VNI, &[]))), DropReason::Truncated),
            drops(
                "unknown network",
                arrives(&outer(underlay6, &vxlan(8, 101, &good))),
                DropReason::UnknownNetwork,
            ),
            drops("unknown VTEP", arrives(&stranger), DropReason::UnknownVtep),
            drops("another peer's endpoint", arrives(&impostor), DropReason::NotOwner),
            drops("our own endpoint", from(mac(1), &inner(false)), DropReason::NotOwner),
            drops("nobody's MAC", from(mac(9), &inner(false)), DropReason::NotOwner),
            drops("another's address", from(mac(2), &spoofed("10.1.0.5")), DropReason::SpoofedInner),
            drops("nobody's address", from(mac(2), &spoofed("10.1.0.99")), DropReason::SpoofedInner),
            drops("the gateway's address", from(mac(2), &spoofed("10.1.0.1")), DropReason::SpoofedInner),
            drops("to nobody", to(mac(9)), DropReason::UnknownDestination),
            drops("to a peer's endpoint", to(mac(3)), DropReason::NotHere),
            drops("to all", to([0xff; 6]), DropReason::Multicast),
            drops("inner VLAN", within(&ethernet(mac(2), mac(0), 0x8100, &[0; 40])), DropReason::Vlan),
            drops("inner ARP", within(&ethernet(mac(2), mac(0), 0x0806, &[0; 28])), DropReason::NotIp),
            drops("inner header contradicts itself", within(&malformed), DropReason::Malformed),
            drops("inner packet shorter than it says", within(&longer), DropReason::Truncated),
        ];
        Bench::new(underlay6).check(Program::TcUnderlay, &cases);
    }
}

#[test]
fn all_else_passes_the_underlay() {
    for underlay6 in [false, true] {
        let good = outer(underlay6, &vxlan(8, VNI, &frame(mac(2), mac(0), &inner(false))));
        let mut port = good.clone();
        port.payload[2..4].copy_from_slice(&53u16.to_be_bytes());
        let passes = |what, packet: Vec<u8>| case(what, packet, Expect::Pass).mark(5);
        let mut cases = vec![
            passes("another port", arrives(&port)),
            passes("TCP", arrives(&good.clone().with(|ip| ip.protocol = 6))),
            passes(
                "on its way to another VTEP",
                arrives(&good.clone().with(|ip| ip.destination = vtep(8, underlay6))),
            ),
            passes("merged by GRO", arrives(&good)).gso_size(40),
            passes("ARP", ethernet(THEM, [0xff; 6], 0x0806, &[0; 28])),
            passes("tagged", ethernet(THEM, US, 0x8100, &[&[0, 5, 8, 0][..], &good.bytes()].concat())),
        ];
        if !underlay6 {
            let part = |more, offset| {
                arrives(&good.clone().with(|ip| {
                    ip.dont_fragment = false;
                    ip.more_fragments = more;
                    ip.fragment_offset = offset;
                }))
            };
            cases.push(passes("a first fragment", part(true, 0)));
            cases.push(passes("a last fragment", part(false, 10)));
            cases.push(passes("options", arrives(&good.clone().with(|ip| ip.options = vec![1; 4]))));
        }
        Bench::new(underlay6).check(Program::TcUnderlay, &cases);
    }
    let packet = arrives(&outer(false, &vxlan(8, VNI, &frame(mac(2), mac(0), &inner(false)))));
    Bench::empty().check(Program::TcUnderlay, &[case("before the node is known", packet, Expect::Pass)]);
}

#[test]
fn nothing_comes_up_the_vxlan_device_without_a_tunnel() {
    let packet = frame(mac(2), mac(0), &inner(false));
    for underlay6 in [false, true] {
        let expect = Expect::Drop(DropReason::NoTunnelKey);
        Bench::new(underlay6).check(Program::TcOverlay, &[case("injected", packet.clone(), expect)]);
    }
    let expect = Expect::Drop(DropReason::NoNode);
    Bench::empty().check(Program::TcOverlay, &[case("before the node is known", packet, expect)]);
}

/// UDP to the data port behind these extension headers, each empty but for a fragment header's offset.
fn behind(extensions: &[u8], offset: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    for next in extensions.iter().skip(1).chain(&[17]) {
        let [high, low] = (offset << 3).to_be_bytes();
        payload.extend([*next, 0, high, low, 0, 0, 0, 0]);
    }
    payload.extend(frames::udp(40000, DATA_PORT, b"forged"));
    frame(US, THEM, &Ip::new(vtep(1, true), vtep(2, true), extensions[0], &payload))
}

#[test]
fn only_our_own_data_path_sends_to_the_data_port() {
    let mut cases = vec![
        case(
            "every extension header",
            behind(&[0, 60, 43, 44, 60], 0),
            Expect::Drop(DropReason::ForeignSender),
        ),
        case("six extension headers", behind(&[60; 6], 0), Expect::Drop(DropReason::ForeignSender)),
        case("seven extension headers", behind(&[60; 7], 0), Expect::Drop(DropReason::Unreadable)),
        case("a later IPv6 fragment", behind(&[44], 9), Expect::Pass),
        case("no extension header", behind(&[59], 0), Expect::Pass),
        case("ARP", ethernet(US, [0xff; 6], 0x0806, &[0; 28]), Expect::Pass),
    ];
    for v6 in [false, true] {
        let forged = Ip::udp(vtep(1, v6), vtep(2, v6), DATA_PORT, b"forged");
        let leaves = |packet: &Ip| frame(US, THEM, packet);
        let other = Ip::udp(vtep(1, v6), vtep(2, v6), 53, b"query");
        let dropped = Expect::Drop(DropReason::ForeignSender);
        cases.extend([
            case("forged", leaves(&forged), dropped.clone()),
            case("forged with another mark", leaves(&forged), dropped).mark(MARK + 1),
            case("ours", leaves(&forged), Expect::Pass).mark(MARK),
            case("another port", leaves(&other), Expect::Pass).mark(9),
            case("TCP to the data port", leaves(&forged.clone().with(|ip| ip.protocol = 6)), Expect::Pass),
        ]);
    }
    let forged = Ip::udp(vtep(1, false), vtep(2, false), DATA_PORT, b"forged");
    let changed =
        |what, change: fn(&mut Ip), expect| case(what, frame(US, THEM, &forged.clone().with(change)), expect);
    cases.extend([
        changed("behind options", |ip| ip.options = vec![1; 40], Expect::Drop(DropReason::ForeignSender)),
        changed("a first fragment", |ip| ip.more_fragments = true, Expect::Drop(DropReason::ForeignSender)),
        changed("a later fragment", |ip| ip.fragment_offset = 9, Expect::Pass),
    ]);
    let mut bench = Bench::new(false);
    bench.check(Program::TcGuard, &cases);
    for (mark, left) in [(MARK, 0), (9, 9)] {
        let ours = case(
            "the mark",
            frame(US, THEM, &Ip::udp(vtep(1, false), vtep(2, false), 53, b"x")),
            Expect::Pass,
        )
        .mark(mark);
        assert_eq!(bench.run(Program::TcGuard, &ours, &ours.packet).mark, left, "{mark}");
    }
}
