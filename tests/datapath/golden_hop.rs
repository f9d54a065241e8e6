//! Golden packets for what tc sends: by the next hop that the guard has learnt, where there is one, and otherwise as the kernel
//! finds it.

use overlay::reconcile::tables::Program;
use overlay_abi::gateway_mac;

use crate::bench::{Bench, Case, Expect, MARK, PASS, mac};
use crate::frames::{Ip, Mac, frame};
use crate::golden_egress::{Kind, leading_out, remote};
use crate::golden_mesh::{KINDS, PORTS, TARGET, VNI, arrives, case, client, node, serving};
use crate::golden_xdp::{NEXT, OURS, leaves, sent};
use crate::lab::address;
use crate::netns::eventually;

/// What marks a packet that begins with its next hop's addresses.
const ADDRESSED: u32 = !MARK;

/// What the packet becomes once the guard has seen `shown`, which goes the same way: by that way, and not by the kernel's.
fn sent_at_once(bench: &mut Bench, program: Program, case: &Case, shown: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    eventually(case.what, || {
        leaves(bench, shown.to_vec(), MARK);
        let ran = bench.run(program, case, &case.packet);
        packet = ran.packet;
        ran.mark == ADDRESSED
    });
    packet
}

/// All but the outer source port, which is any.
fn without_port(mut packet: Vec<u8>, underlay6: bool) -> Vec<u8> {
    let port = if underlay6 { 54 } else { 34 };
    packet[port..port + 2].copy_from_slice(&[0xc0, 0]);
    packet
}

#[test]
fn what_goes_to_a_peer_takes_the_next_hop_that_is_known() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        let shown = sent(&[0; 60], 0, underlay6, NEXT);
        for (kind, v6) in KINDS {
            let question = kind.packet(client(v6), (node(1, v6), PORTS + 2)).with(|ip| ip.ecn = 2);
            let clients = case("a client's", arrives(&question), Expect::Pass);
            let inside = frame(mac(0), mac(2), &kind.packet((address(0, v6), 5), (address(2, v6), 6)));
            let endpoints = Case::new("an endpoint's", "ep0", inside.clone(), Expect::Pass);
            for (program, case, inner, ecn) in [
                (Program::TcUnderlay, clients, frame(gateway_mac(VNI), mac(2), &question), 2),
                (Program::TcEndpoint, endpoints, inside, 0),
            ] {
                let got = sent_at_once(&mut serving.bench, program, &case, &shown);
                assert!(
                    without_port(got.clone(), underlay6) == sent(&inner, ecn, underlay6, NEXT),
                    "{}: {got:02x?}",
                    case.what
                );
            }
        }
    }
}

#[test]
fn what_goes_to_a_client_takes_the_next_hop_that_is_known() {
    let mut serving = serving(false);
    for (kind, v6) in KINDS {
        let asked = (node(1, v6), PORTS);
        let question = case("a question", arrives(&kind.packet(client(v6), asked)), Expect::Pass);
        serving.bench.run(Program::TcUnderlay, &question, &question.packet);
        let answer = frame(mac(0), gateway_mac(VNI), &kind.packet((address(0, v6), TARGET), client(v6)));
        let answer = Case::new("an answer", "ep0", answer, Expect::Pass);
        let goes = frame(OURS, NEXT, &kind.packet(asked, client(v6)).with(|ip| ip.hops -= 1));
        assert_eq!(sent_at_once(&mut serving.bench, Program::TcEndpoint, &answer, &goes), goes);
    }
}

#[test]
fn the_kernel_is_asked_for_the_next_hop_again_and_again() {
    let mut bench = serving(false).bench;
    let packet = frame(mac(0), mac(2), &Ip::udp(address(0, false), address(2, false), 6, b"x"));
    let case = Case::new("an endpoint's", "ep0", packet, Expect::Pass);
    for next in [NEXT, [2, 0xbb, 0, 0, 0, 3]] {
        let got = |bench: &mut Bench| bench.run(Program::TcEndpoint, &case, &case.packet);
        sent_at_once(&mut bench, Program::TcEndpoint, &case, &sent(&[0; 60], 0, false, next));
        eventually("the new next hop", || {
            leaves(&mut bench, sent(&[0; 60], 0, false, next), MARK);
            got(&mut bench).packet[..6] == next
        });
        eventually("it is asked for again", || got(&mut bench).mark == MARK);
    }
}

#[test]
fn a_pings_next_hop_is_asked_for_again_too() {
    const PORT: u16 = 61_000;
    let mut bench = leading_out(PORT..=PORT);
    for v6 in [false, true] {
        let ping = |from| Kind::Echo.question(from, remote(1, v6));
        let packet = frame(mac(0), gateway_mac(VNI), &ping((address(0, v6), 1)));
        let case = Case::new("a ping", "ep0", packet, Expect::Pass);
        let goes = frame(OURS, NEXT, &ping((node(1, v6), PORT)).with(|ip| ip.hops -= 1));
        assert_eq!(sent_at_once(&mut bench, Program::TcEndpoint, &case, &goes), goes);
        eventually("it is asked for again", || {
            bench.run(Program::TcEndpoint, &case, &case.packet).mark == MARK
        });
    }
}

#[test]
fn nothing_is_learnt_from_what_was_sent_by_a_next_hop() {
    let mut bench = serving(false).bench;
    let packet = frame(mac(0), mac(2), &Ip::udp(address(0, false), address(2, false), 6, b"x"));
    let case = Case::new("an endpoint's", "ep0", packet, Expect::Pass);
    let elsewhere: Mac = [2, 0xbb, 0, 0, 0, 3];
    sent_at_once(&mut bench, Program::TcEndpoint, &case, &sent(&[0; 60], 0, false, NEXT));
    let again = self::case("addressed", sent(&[0; 60], 0, false, elsewhere), Expect::Pass).mark(ADDRESSED);
    let ran = bench.run(Program::TcGuard, &again, &again.packet);
    assert_eq!((ran.verdict, ran.mark), (PASS, 0), "it is ours, and nobody else's mark");
    let got = sent_at_once(&mut bench, Program::TcEndpoint, &case, &sent(&[0; 60], 0, false, NEXT));
    assert_eq!(got[..6], NEXT);
}
