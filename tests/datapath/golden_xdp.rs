//! Golden packets for the routing mesh in XDP: what clients send to services on peers is sent on, all else passes to tc as it
//! came. The next hops are read off what `tc_guard` lets pass.

use overlay::reconcile::tables::{Program, TableAction, VtepEntry};
use overlay_abi::gateway_mac;
use overlay_abi::services::Counter;

use crate::bench::{Bench, Case, Expect, MARK, PASS, REDIRECT, mac, vtep};
use crate::cut;
use crate::frames::{self, Ip, Mac, frame, vxlan};
use crate::golden_mesh::{
    KINDS, Kind, NOBODY, PORTS, UNPUBLISHED, VNI, arrives, case, client, node, serving,
};
use crate::lab::{DATA_PORT, ip};
use crate::netns::eventually;
use crate::serving::{Serving, backend};

/// The device's address, and that of the next hop to VTEP 2.
pub(crate) const OURS: Mac = [2, 0xbb, 0, 0, 0, 1];
pub(crate) const NEXT: Mac = [2, 0xbb, 0, 0, 0, 2];

/// The service whose backend is on VTEP 2.
const AWAY: u16 = PORTS + 2;

/// What is sent to that VTEP.
pub(crate) fn sent(inner: &[u8], ecn: u8, underlay6: bool, next: Mac) -> Vec<u8> {
    let udp = frames::udp(0xc000, DATA_PORT, &vxlan(8, VNI, inner));
    let outer = Ip::new(vtep(1, underlay6), vtep(2, underlay6), 17, &udp);
    frame(OURS, next, &outer.with(|ip| ip.ecn = ecn))
}

/// Has the kernel send something there, through the guard.
fn send_by_tc(bench: &mut Bench, underlay6: bool, next: Mac, mark: u32) {
    leaves(bench, sent(&[0; 60], 0, underlay6, next), mark);
}

/// Has a packet of that mark leave, through the guard.
pub(crate) fn leaves(bench: &mut Bench, packet: Vec<u8>, mark: u32) {
    let leaves = case("ours", packet, Expect::Pass).mark(mark);
    bench.run_uncounted(Program::TcGuard, &leaves, &leaves.packet);
}

/// What becomes of the packet once the next hop is known, if that helps. tc renews it in time.
pub(crate) fn run(bench: &mut Bench, case: &Case, underlay6: bool) -> Vec<u8> {
    let mut out = Vec::new();
    eventually(case.what, || {
        let ran = bench.run(Program::XdpUnderlay, case, &case.packet);
        send_by_tc(bench, underlay6, NEXT, MARK);
        out = ran.packet;
        ran.verdict == REDIRECT
    });
    out
}

/// Checks that it is sent on, and that none of it is if the end is missing, unless it says so.
fn check(serving: &mut Serving, packet: &Ip, underlay6: bool) {
    let case = case("a client's packet", arrives(packet), Expect::Pass);
    let inner = frame(gateway_mac(VNI), mac(2), packet);
    let mut got = run(&mut serving.bench, &case, underlay6);
    let port = if underlay6 { 54 } else { 34 };
    assert!(got[port] >= 0xc0, "source port {:?}", &got[port..port + 2]);
    got[port..port + 2].copy_from_slice(&[0xc0, 0]);
    assert!(got == sent(&inner, packet.ecn, underlay6, NEXT), "it becomes {got:02x?}");
    for length in cut::lengths(14, case.packet.len()) {
        let cut = &case.packet[..length];
        let ran = serving.bench.run_uncounted(Program::XdpUnderlay, &case, cut);
        assert_eq!((ran.verdict, &ran.packet[..]), (PASS, cut), "cut to {length} bytes");
    }
    for packet in cut::each(&case.packet) {
        send_by_tc(&mut serving.bench, underlay6, NEXT, MARK);
        let ran = serving.bench.run_uncounted(Program::XdpUnderlay, &case, &packet);
        if ran.verdict == REDIRECT {
            assert_eq!(cut::fault(&packet, &ran.packet), None, "{} bytes", packet.len());
        } else {
            assert_eq!((ran.verdict, &ran.packet), (PASS, &packet), "{} bytes", packet.len());
        }
    }
}

#[test]
fn clients_are_sent_on_to_peers() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            for ecn in 0..4 {
                let packet = kind.packet(client(v6), (node(1, v6), AWAY)).with(|ip| ip.ecn = ecn);
                check(&mut serving, &packet, underlay6);
            }
        }
    }
}

#[test]
fn flows_go_on_at_a_node_that_never_saw_them_begin() {
    let mut serving = serving(false);
    for flags in [0x02, 0x10, 0x18, 0x11, 0x04] {
        let packet = Ip::segment(client(false), (node(1, false), AWAY), b"", |header| {
            (header.syn, header.ack) = (flags & 2 != 0, flags & 16 != 0);
            (header.psh, header.fin, header.rst) = (flags & 8 != 0, flags & 1 != 0, flags & 4 != 0);
        });
        check(&mut serving, &packet, false);
    }
}

/// A wire's smallest frame has room behind a small packet.
#[test]
fn what_only_fills_the_frame_is_in_no_length() {
    for (underlay6, room) in [(false, 50), (true, 70)] {
        let mut serving = serving(underlay6);
        let packet = Kind::Udp.packet(client(false), (node(1, false), AWAY));
        let whole = frame(gateway_mac(VNI), mac(2), &packet);
        let filled = case("a filled frame", [arrives(&packet), vec![0; 15]].concat(), Expect::Pass);
        let got = run(&mut serving.bench, &filled, underlay6);
        assert_eq!(got[room..], [&whole[..], &[0; 15]].concat());
        let want = sent(&whole, 0, underlay6, NEXT);
        let udp = room - 16;
        assert_eq!((&got[14..udp], &got[udp + 2..room]), (&want[14..udp], &want[udp + 2..room]));
    }
}

/// What fills several fragments of the driver's buffers.
#[test]
fn packets_in_fragments_are_sent_on() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        let action = TableAction::PutVtep(vtep(2, underlay6), VtepEntry { mtu: 8930 });
        serving.bench.data_path.apply(&action).unwrap();
        serving.back(3, 2);
        for v6 in [false, true] {
            let to = (node(1, v6), AWAY);
            check(&mut serving, &Ip::datagram(client(v6), to, &[7; 8800]), underlay6);
        }
    }
}

#[test]
fn what_is_not_for_a_service_on_a_peer_passes() {
    let mut serving = serving(false);
    let mut packets = Vec::new();
    for (kind, v6) in KINDS {
        for port in [PORTS, PORTS + 1, NOBODY, UNPUBLISHED] {
            packets.push(kind.packet(client(v6), (node(1, v6), port)));
        }
        packets.push(kind.packet(client(v6), (node(3, v6), AWAY)));
        packets.push(Ip::new(client(v6).0, node(1, v6), 132, &[0; 20]));
    }
    let plain = Kind::Udp.packet(client(false), (node(1, false), AWAY));
    packets.push(plain.clone().with(|ip| ip.options = vec![1; 4]));
    packets.push(plain.clone().with(|ip| (ip.more_fragments, ip.dont_fragment) = (true, false)));
    packets.push(plain.with(|ip| (ip.fragment_offset, ip.dont_fragment) = (9, false)));
    // One byte more than reaches the peer.
    packets.push(Ip::udp(client(false).0, node(1, false), AWAY, &[0; 1451 - 28]));
    let mut frames: Vec<_> = packets.iter().map(arrives).collect();
    frames.push(frames::arp(mac(8), 1, (mac(8), ip("198.51.100.9")), (mac(0), node(1, false))));
    let cases = frames.into_iter().map(|frame| case("not XDP's", frame, Expect::Pass));
    let cases: Vec<_> = cases.collect();
    // The next hop is known.
    run(&mut serving.bench, &question(), false);
    send_by_tc(&mut serving.bench, false, NEXT, MARK);
    for case in cases {
        let ran = serving.bench.run(Program::XdpUnderlay, &case, &case.packet);
        assert_eq!((ran.verdict, ran.packet), (PASS, case.packet), "{}", case.what);
    }
}

fn question() -> Case {
    let packet = Kind::Udp.packet(client(false), (node(1, false), AWAY));
    case("a question", arrives(&packet), Expect::Pass)
}

fn is_sent_to(bench: &mut Bench, next: Mac) -> bool {
    let (case, mut sent) = (question(), false);
    eventually("an answer", || {
        let ran = bench.run(Program::XdpUnderlay, &case, &case.packet);
        sent = ran.packet[..6] == next;
        sent || ran.verdict == PASS
    });
    sent
}

#[test]
fn next_hops_are_learnt_from_our_own_packets_alone() {
    let mut bench = serving(false).bench;
    assert!(!is_sent_to(&mut bench, NEXT), "none is known yet");
    send_by_tc(&mut bench, false, NEXT, 0);
    send_by_tc(&mut bench, false, NEXT, MARK + 1);
    assert!(!is_sent_to(&mut bench, NEXT), "anybody may have sent it");
    send_by_tc(&mut bench, false, NEXT, MARK);
    assert!(is_sent_to(&mut bench, NEXT));
}

#[test]
fn another_next_hop_is_followed_and_none_is_used_for_long() {
    let mut bench = serving(false).bench;
    let other = [2, 0xbb, 0, 0, 0, 3];
    for next in [NEXT, other] {
        let learns = |bench: &mut Bench| {
            send_by_tc(bench, false, next, MARK);
            is_sent_to(bench, next)
        };
        is_sent_to(&mut bench, next);
        eventually("the new next hop", || learns(&mut bench));
    }
    eventually("it is asked for again", || !is_sent_to(&mut bench, other));
}

#[test]
fn what_xdp_sends_on_is_counted_for_its_backend() {
    let mut serving = serving(false);
    run(&mut serving.bench, &question(), false);
    let counted = serving.bench.data_path.observer().counters([backend(2)]).unwrap()[&backend(2)];
    let bytes = question().packet.len() as u64 - 14;
    assert_eq!(counted, Counter { flows: 1, packets: 1, bytes });
}
