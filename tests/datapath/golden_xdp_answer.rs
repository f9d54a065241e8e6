//! Golden packets for the way back through XDP: what a backend's node answers to a hidden client is unpacked and sent out, all
//! else passes to tc as it came.

use std::net::IpAddr;

use overlay::reconcile::tables::Program;
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Bench, Case, Expect, MARK, PASS, REDIRECT, mac, vtep};
use crate::cut;
use crate::frames::{Ip, frame, udp, vxlan};
use crate::golden_mesh::{KINDS, Kind, arrives, case, client, node};
use crate::golden_snat::{PORTS, VNI, from_peer, hidden_behind, serving, to_gateway};
use crate::golden_xdp::{NEXT, OURS, leaves};
use crate::lab::DATA_PORT;
use crate::netns::eventually;
use crate::serving::Serving;

/// A client's flow at a node.
struct Asked {
    kind: Kind,
    client: (IpAddr, u16),
    /// Where the client came to.
    node: (IpAddr, u16),
    /// What stands for the client.
    own: (IpAddr, u16),
}

/// Has a client ask for the service whose backend is on VTEP 2.
fn ask(serving: &mut Serving, kind: Kind, client: (IpAddr, u16)) -> Asked {
    let asked = (node(1, client.0.is_ipv6()), PORTS + 2);
    let own = hidden_behind(serving, &kind.packet(client, asked), 2);
    Asked { kind, client, node: asked, own: (asked.0, own) }
}

impl Asked {
    /// The answer as the backend's node sends it.
    fn answer(&self) -> Ip {
        self.kind.packet(self.node, self.own)
    }

    /// As it goes to the client: one router has been passed.
    fn given(&self) -> Vec<u8> {
        frame(OURS, NEXT, &self.kind.packet(self.node, self.client).with(|ip| ip.hops -= 1))
    }

    fn comes(&self, underlay6: bool) -> Vec<u8> {
        from_peer(2, VNI, &to_gateway(2, &self.answer()), underlay6)
    }

    /// Has the kernel send an answer to the client, through the guard.
    fn leaves_by_tc(&self, bench: &mut Bench, mark: u32) {
        leaves(bench, self.given(), mark);
    }
}

fn run(bench: &mut Bench, packet: &[u8]) -> (i32, Vec<u8>) {
    let case = Case::new("an answer", "under0", Vec::new(), Expect::Pass);
    let ran = bench.run_uncounted(Program::XdpUnderlay, &case, packet);
    (ran.verdict, ran.packet)
}

/// What becomes of the packet once the next hop to the client is known.
fn given_back(bench: &mut Bench, asked: &Asked, packet: &[u8]) -> Vec<u8> {
    let mut given = Vec::new();
    eventually("an answer that XDP sends", || {
        asked.leaves_by_tc(bench, MARK);
        let (verdict, packet) = run(bench, packet);
        given = packet;
        verdict == REDIRECT
    });
    given
}

fn passes(bench: &mut Bench, what: &str, packet: &[u8]) {
    let (verdict, after) = run(bench, packet);
    assert_eq!((verdict, &after[..]), (PASS, packet), "{what}");
}

#[test]
fn answers_go_to_their_clients() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            let asked = ask(&mut serving, kind, client(v6));
            let (comes, bench) = (asked.comes(underlay6), &mut serving.bench);
            assert_eq!(given_back(bench, &asked, &comes), asked.given());
            for length in 14..comes.len() {
                passes(bench, &format!("cut to {length} bytes"), &comes[..length]);
            }
            // Behind what the packet says it has, there is what fills the frame.
            let filled = given_back(bench, &asked, &[&comes[..], &[0; 9]].concat());
            assert_eq!(filled, [&asked.given()[..], &[0; 9]].concat());
            let mut sent = 0;
            for packet in cut::each(&comes) {
                asked.leaves_by_tc(bench, MARK);
                let (verdict, after) = run(bench, &packet);
                if verdict == REDIRECT {
                    assert_eq!(cut::fault(&packet, &after), None, "{} bytes", packet.len());
                    sent += 1;
                } else {
                    assert_eq!((verdict, &after), (PASS, &packet), "{} bytes", packet.len());
                }
            }
            assert!(sent > 0, "what is short and says so is an answer too");
        }
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_without_one() {
    let mut serving = serving(false);
    let asked = ask(&mut serving, Kind::Udp, client(false));
    let bare = |to: (IpAddr, u16), hops| {
        let bytes = udp(asked.node.1, to.1, b"bare");
        Ip::new(asked.node.0, to.0, 17, &bytes).with(|ip| ip.hops = hops)
    };
    let comes = from_peer(2, VNI, &to_gateway(2, &bare(asked.own, 64)), false);
    let given = given_back(&mut serving.bench, &asked, &comes);
    assert_eq!(given, frame(OURS, NEXT, &bare(asked.client, 63)));
}

/// What fills several fragments of the driver's buffers.
#[test]
fn long_answers_go_to_their_clients() {
    let mut serving = serving(false);
    let asked = ask(&mut serving, Kind::Udp, client(false));
    let long = |to| Ip::datagram(asked.node, to, &[7; 8800]);
    let comes = from_peer(2, VNI, &to_gateway(2, &long(asked.own)), false);
    let given = given_back(&mut serving.bench, &asked, &comes);
    assert_eq!(given, frame(OURS, NEXT, &long(asked.client).with(|ip| ip.hops -= 1)));
}

/// What tc refuses, or does another way.
#[test]
fn what_is_no_plain_answer_passes() {
    for underlay6 in [false, true] {
        let mut serving = serving(underlay6);
        for (kind, v6) in KINDS {
            let asked = ask(&mut serving, kind, client(v6));
            let answer = asked.answer();
            let inner = to_gateway(2, &answer);
            let marked = |ip: &Ip| to_gateway(2, ip);
            let other_port = kind.packet(asked.node, (asked.own.0, asked.own.1 ^ 1));
            let spent = answer.clone().with(|ip| ip.hops = 1);
            let other = Ip::new(asked.node.0, asked.own.0, 132, &[0; 20]);
            let outer = Ip::udp(vtep(2, underlay6), vtep(1, underlay6), DATA_PORT, &vxlan(8, VNI, &inner));
            let mut packets = vec![
                ("another port", from_peer(2, VNI, &marked(&other_port), underlay6)),
                ("from another endpoint", from_peer(2, VNI, &to_gateway(3, &answer), underlay6)),
                (
                    "to no gateway",
                    from_peer(2, VNI, &frame(mac(2), gateway_mac(VNI + 1), &answer), underlay6),
                ),
                (
                    "in another network",
                    from_peer(2, VNI + 1, &frame(mac(2), gateway_mac(VNI + 1), &answer), underlay6),
                ),
                ("from another peer", from_peer(3, VNI, &inner, underlay6)),
                ("from no peer", from_peer(9, VNI, &inner, underlay6)),
                ("spent", from_peer(2, VNI, &marked(&spent), underlay6)),
                ("neither TCP nor UDP", from_peer(2, VNI, &marked(&other), underlay6)),
                ("marked by congestion", arrives(&outer.clone().with(|ip| ip.ecn = 3))),
                ("to another VTEP", arrives(&Ip { destination: vtep(7, underlay6), ..outer.clone() })),
                (
                    "without a VNI",
                    arrives(&Ip::udp(
                        vtep(2, underlay6),
                        vtep(1, underlay6),
                        DATA_PORT,
                        &vxlan(0, VNI, &inner),
                    )),
                ),
            ];
            if !v6 {
                let optional = answer.clone().with(|ip| ip.options = vec![1; 4]);
                packets.push(("with options", from_peer(2, VNI, &marked(&optional), underlay6)));
                let first = answer.clone().with(|ip| (ip.more_fragments, ip.dont_fragment) = (true, false));
                packets.push(("a fragment", from_peer(2, VNI, &marked(&first), underlay6)));
            }
            if !underlay6 {
                packets.push(("outer options", arrives(&outer.clone().with(|ip| ip.options = vec![1; 4]))));
                let cut = outer.with(|ip| (ip.more_fragments, ip.dont_fragment) = (true, false));
                packets.push(("an outer fragment", arrives(&cut)));
            }
            // The next hop is known.
            given_back(&mut serving.bench, &asked, &asked.comes(underlay6));
            asked.leaves_by_tc(&mut serving.bench, MARK);
            for (what, packet) in packets {
                passes(&mut serving.bench, what, &packet);
            }
        }
    }
}

#[test]
fn a_process_of_the_host_gets_its_answers_from_tc() {
    let mut serving = serving(false);
    let asked = ask(&mut serving, Kind::Udp, client(false));
    let comes = asked.comes(false);
    serving.own(asked.client.0);
    passes(&mut serving.bench, "to the host itself", &comes);
    let given = frame([0; 6], [0; 6], &asked.kind.packet(asked.node, asked.client));
    let answer = case("by tc", comes, Expect::Redirect(given, 0));
    serving.bench.check(Program::TcUnderlay, &[answer]);
}

/// Else a backend could send as a VTEP to whoever seems to have asked.
#[test]
fn nothing_that_seems_to_be_vxlan_is_sent_to_a_client() {
    let mut serving = serving(false);
    let asked = ask(&mut serving, Kind::Udp, (client(false).0, DATA_PORT));
    let comes = asked.comes(false);
    // Another client's next hop, which is the same.
    let other = ask(&mut serving, Kind::Udp, client(false));
    given_back(&mut serving.bench, &other, &other.comes(false));
    passes(&mut serving.bench, "to the data port", &comes);
    let dropped = case("by tc", comes, Expect::Drop(DropReason::ForeignSender));
    serving.bench.check(Program::TcUnderlay, &[dropped]);
}

#[test]
fn next_hops_to_clients_are_learnt_from_our_own_packets_between_the_same_addresses() {
    let mut serving = serving(false);
    let asked = ask(&mut serving, Kind::Tcp, client(false));
    let (comes, bench) = (asked.comes(false), &mut serving.bench);
    passes(bench, "none is known yet", &comes);
    asked.leaves_by_tc(bench, 0);
    asked.leaves_by_tc(bench, MARK + 1);
    passes(bench, "anybody may have sent it", &comes);
    let elsewhere = [(asked.node.0, node(3, false)), (node(3, false), asked.client.0)];
    for (from, to) in elsewhere {
        leaves(
            bench,
            frame(OURS, NEXT, &asked.kind.packet((from, asked.node.1), (to, asked.client.1))),
            MARK,
        );
    }
    passes(bench, "it went from elsewhere, or to somebody else", &comes);
    asked.leaves_by_tc(bench, MARK);
    assert_eq!(run(bench, &comes), (REDIRECT, asked.given()));
}
