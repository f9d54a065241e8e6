//! Connections that begin between the ports of an earlier one: once that has ended, they are balanced anew from their first
//! packet on, and hidden or not as the service is by then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::TcpHeader;
use overlay::model::SourceIp;
use overlay::reconcile::tables::{Program, ServiceAction};

use super::{PORTS, TARGET, arrives, case, client, node, serving};
use crate::bench::{Expect, MARK, PASS, REDIRECT, mac};
use crate::frames::Ip;
use crate::golden_xdp::{self, NEXT, leaves};
use crate::serving::{Serving, backend};

/// The service of these tests, and its port.
const SERVICE: u8 = 3;
const PORT: u16 = PORTS + 2;
/// Its backend, and who takes over from it. Both are on VTEP 2.
const EARLIER: usize = 2;
const LATER: usize = 5;
/// The length of the outer headers over IPv4.
const OUTER: usize = 50;

type Change = fn(&mut TcpHeader);

const SYN: Change = |header| header.syn = true;
const ACK: Change = |header| header.ack = true;
const FIN: Change = |header| (header.ack, header.fin) = (true, true);
const RST: Change = |header| header.rst = true;

/// What happens to the earlier connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The node sees nothing of it.
    Unseen,
    Closed,
    BrokenOff,
    /// Its backend is removed.
    BackendGone,
}

/// How a packet is sent on.
#[derive(Debug, PartialEq)]
struct Way {
    backend: usize,
    source_ip: SourceIp,
}

/// The node that clients come to, with XDP or without.
struct Ingress {
    serving: Serving,
    xdp: bool,
    /// How many packets XDP sent on.
    by_xdp: u32,
}

impl Ingress {
    fn new(xdp: bool) -> Self {
        let mut serving = serving(false);
        serving.back(SERVICE, LATER);
        Self { serving, xdp, by_xdp: 0 }
    }

    /// Has new flows go to that backend.
    fn publish(&mut self, endpoint: usize, source_ip: SourceIp) {
        self.serving.source_ip = source_ip;
        self.serving.back(SERVICE, endpoint);
        self.serving.publish(SERVICE, &[endpoint], PORT, TARGET);
    }

    /// What becomes of that client's next packet.
    fn takes(&mut self, client: (IpAddr, u16), change: Change) -> Way {
        let packet = Ip::segment(client, (node(1, client.0.is_ipv6()), PORT), b"", change);
        let sent = self.sends_on(&arrives(&packet));
        let inner = &sent[OUTER..];
        let backend = [EARLIER, LATER].into_iter().find(|endpoint| inner[..6] == mac(*endpoint)).unwrap();
        let as_it_came = inner[14..] == packet.bytes();
        Way { backend, source_ip: if as_it_came { SourceIp::Preserve } else { SourceIp::Snat } }
    }

    /// By XDP where that runs and does not leave it to tc.
    fn sends_on(&mut self, packet: &[u8]) -> Vec<u8> {
        let bench = &mut self.serving.bench;
        let case = case("a client's packet", packet.to_vec(), Expect::Pass);
        if self.xdp {
            // The next hop is known, as far as it may be.
            leaves(bench, golden_xdp::sent(&[0; 60], 0, false, NEXT), MARK);
            let ran = bench.run(Program::XdpUnderlay, &case, packet);
            if ran.verdict != PASS {
                self.by_xdp += 1;
                return ran.packet;
            }
        }
        let ran = bench.run(Program::TcUnderlay, &case, packet);
        assert_eq!((ran.verdict, ran.dropped), (REDIRECT, BTreeMap::new()));
        ran.packet
    }

    /// Has a client open a connection and, after its end, another between the same ports.
    fn check(&mut self, client: (IpAddr, u16), end: End, [before, after]: [SourceIp; 2]) {
        let what = format!("XDP: {}, {end:?}, {before:?}, then {after:?}", self.xdp);
        self.publish(EARLIER, before);
        let earlier = Way { backend: EARLIER, source_ip: before };
        for change in [SYN, ACK, ACK] {
            assert_eq!(self.takes(client, change), earlier, "{what}");
        }
        self.publish(LATER, after);
        match end {
            End::Unseen => {}
            End::Closed => assert_eq!(self.takes(client, FIN), earlier, "{what}"),
            End::BrokenOff => assert_eq!(self.takes(client, RST), earlier, "{what}"),
            End::BackendGone => self.serving.apply(&ServiceAction::DeleteBackend(backend(EARLIER))),
        }
        if end != End::BackendGone {
            assert_eq!(self.takes(client, ACK), earlier, "{what}");
        }
        let later = Way { backend: LATER, source_ip: after };
        let expected = if end == End::Unseen { earlier } else { later };
        for change in [SYN, SYN, ACK, ACK] {
            assert_eq!(self.takes(client, change), expected, "{what}");
        }
    }
}

#[test]
fn what_begins_where_a_connection_has_ended_is_balanced_anew() {
    use SourceIp::{Preserve, Snat};
    for xdp in [false, true] {
        let mut ingress = Ingress::new(xdp);
        let mut port = 40_000;
        for end in [End::Unseen, End::Closed, End::BrokenOff, End::BackendGone] {
            for changes in [[Preserve, Preserve], [Preserve, Snat], [Snat, Preserve], [Snat, Snat]] {
                for v6 in [false, true] {
                    port += 1;
                    ingress.check((client(v6).0, port), end, changes);
                }
            }
        }
        assert_eq!(ingress.by_xdp > 0, xdp);
    }
}
