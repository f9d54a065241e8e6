//! Which backend a flow to a virtual address has, and for how long.

use std::net::IpAddr;
use std::ops::Range;

use etherparse::TcpHeader;
use overlay::model::Affinity;
use overlay::reconcile::tables::{Program, ServiceAction};
use overlay_abi::DropReason;

use super::{HERE, Kind, SERVED, ask, client, delivered, redirected};
use crate::bench::{Case, mac};
use crate::frames::{Ip, frame};
use crate::lab::address;
use crate::serving::{Serving, backend, vip};

/// The service of these tests.
const SERVICE: u8 = 1;
/// Its backends, one here and one on a peer.
const BACKENDS: [usize; 2] = [1, 2];
const PORTS: Range<u16> = 40_000..40_032;
/// Of flows that begin later.
const LATER: Range<u16> = 41_000..41_032;

/// What makes a segment of a header.
type Change = fn(&mut TcpHeader);

fn serving(affinity: Affinity) -> Serving {
    let mut serving = Serving::new(false);
    serving.serve(SERVICE, &BACKENDS, affinity);
    serving
}

fn question(kind: Kind, v6: bool, port: u16) -> Ip {
    kind.packet(client(v6, port), (vip(SERVICE, v6), SERVED), b"question")
}

fn segment(v6: bool, change: impl FnOnce(&mut TcpHeader)) -> Ip {
    Ip::segment(client(v6, 40_000), (vip(SERVICE, v6), SERVED), b"", change)
}

/// Who gets what endpoint 0 sends.
fn backend_of(serving: &mut Serving, packet: &Ip) -> IpAddr {
    let out = redirected(serving, packet);
    // Here as it is, elsewhere behind the outer headers.
    let inner = if out[..6] == mac(1) { &out[..] } else { &out[50..] };
    match packet.source {
        IpAddr::V4(_) => IpAddr::from(<[u8; 4]>::try_from(&inner[30..34]).unwrap()),
        IpAddr::V6(_) => IpAddr::from(<[u8; 16]>::try_from(&inner[38..54]).unwrap()),
    }
}

fn backends_of(serving: &mut Serving, kind: Kind, v6: bool, ports: Range<u16>) -> Vec<IpAddr> {
    ports.map(|port| backend_of(serving, &question(kind, v6, port))).collect()
}

fn all_of(endpoint: usize, v6: bool) -> Vec<IpAddr> {
    vec![address(endpoint, v6); PORTS.len()]
}

#[test]
fn flows_are_spread_and_go_on_where_they_began() {
    for (kind, v6) in super::KINDS {
        let mut serving = serving(Affinity::None);
        let began = backends_of(&mut serving, kind, v6, PORTS);
        for endpoint in BACKENDS {
            let share = began.iter().filter(|address| **address == self::address(endpoint, v6)).count();
            assert!((6..=26).contains(&share), "{share} of {} to endpoint {endpoint}", PORTS.len());
        }
        serving.balance(SERVICE, &[1]);
        assert_eq!(backends_of(&mut serving, kind, v6, PORTS), began, "{kind:?}");
        assert_eq!(backends_of(&mut serving, kind, v6, LATER), all_of(1, v6), "{kind:?}");
        // Nobody takes new flows any more.
        serving.balance(SERVICE, &[]);
        assert_eq!(backends_of(&mut serving, kind, v6, PORTS), began, "{kind:?}");
        let new = question(kind, v6, 42_000);
        let new = ask("a new flow", &new, kind.refused(DropReason::NoBackend, &new));
        serving.bench.check(Program::TcEndpoint, &[new]);
    }
}

#[test]
fn a_client_stays_with_its_backend_where_it_should() {
    let mut serving = serving("client-ip:60".parse().unwrap());
    for v6 in [false, true] {
        let mut backends: Vec<_> = super::KINDS
            .iter()
            .filter(|(_, family)| *family == v6)
            .flat_map(|(kind, _)| backends_of(&mut serving, *kind, v6, PORTS))
            .collect();
        backends.dedup();
        assert_eq!(backends.len(), 1, "{backends:?}");
    }
}

/// Of connections that began with these backends, those of the second one are broken off, once; what opens them anew
/// goes to the first.
fn is_broken_off(serving: &mut Serving, v6: bool, began: &[IpAddr]) {
    for (port, first) in PORTS.zip(began) {
        let packet = question(Kind::Tcp, v6, port);
        if *first == address(2, v6) {
            let gone = Kind::Tcp.refused(DropReason::BackendGone, &packet);
            serving.bench.check_once(Program::TcEndpoint, &ask("goes on", &packet, gone));
        }
        let opens =
            Ip::segment(client(v6, port), (vip(SERVICE, v6), SERVED), b"", |header| header.syn = true);
        for packet in [opens, packet] {
            assert_eq!(backend_of(serving, &packet), address(1, v6));
        }
    }
}

#[test]
fn flows_of_a_backend_that_is_gone_end_or_go_to_another_at_once() {
    // For good, or to another service.
    let ways: [fn(&mut Serving); 2] =
        [|serving| serving.apply(&ServiceAction::DeleteBackend(backend(2))), |serving| serving.back(HERE, 2)];
    for (kind, v6) in super::KINDS {
        for goes in ways {
            let mut serving = serving(Affinity::None);
            let began = backends_of(&mut serving, kind, v6, PORTS);
            serving.balance(SERVICE, &[1]);
            goes(&mut serving);
            if kind == Kind::Tcp {
                is_broken_off(&mut serving, v6, &began);
                continue;
            }
            assert_eq!(backends_of(&mut serving, kind, v6, PORTS), all_of(1, v6), "{kind:?}");
        }
    }
}

#[test]
fn what_a_table_should_not_lead_to_is_not_reached() {
    let mut serving = serving(Affinity::None);
    serving.balance(SERVICE, &[2]);
    let refused = |what, port| {
        let packet = question(Kind::Udp, false, port);
        ask(what, &packet, Kind::Udp.refused(DropReason::NoBackend, &packet))
    };
    serving.back(HERE, 2);
    serving.bench.check(Program::TcEndpoint, &[refused("another service's backend", 40_000)]);
    serving.apply(&ServiceAction::DeleteBackend(backend(2)));
    serving.bench.check(Program::TcEndpoint, &[refused("an empty slot", 40_000)]);
}

#[test]
fn a_connection_that_begins_where_one_has_ended_is_balanced_anew() {
    let ends: [(_, Change, _); 3] = [
        ("goes on", |header| header.ack = true, 2),
        ("is closed", |header| (header.ack, header.fin) = (true, true), 1),
        ("is broken off", |header| header.rst = true, 1),
    ];
    for (what, end, next) in ends {
        for v6 in [false, true] {
            let mut serving = serving(Affinity::None);
            serving.balance(SERVICE, &[2]);
            let acknowledges = |header: &mut TcpHeader| header.ack = true;
            for step in [|header: &mut TcpHeader| header.syn = true, acknowledges, end] {
                assert_eq!(backend_of(&mut serving, &segment(v6, step)), address(2, v6));
                serving.balance(SERVICE, &[1]);
            }
            assert_eq!(backend_of(&mut serving, &segment(v6, acknowledges)), address(2, v6), "{what}");
            let begins = segment(v6, |header| header.syn = true);
            for packet in [&begins, &begins, &segment(v6, acknowledges)] {
                assert_eq!(backend_of(&mut serving, packet), address(next, v6), "{what}");
            }
        }
    }
}

#[test]
fn an_endpoint_may_ask_the_backend_itself_once_the_connection_has_ended() {
    for v6 in [false, true] {
        let mut serving = serving(Affinity::None);
        serving.balance(SERVICE, &[1]);
        let answer = |from, change: Change| Ip::segment((from, SERVED), client(v6, 40_000), b"", change);
        let check = |serving: &mut Serving, what, from, change: Change| {
            let sent = frame(mac(1), mac(0), &answer(address(1, v6), change));
            let expect = delivered(mac(1), mac(0), &answer(from, change));
            serving.bench.check(Program::TcEndpoint, &[Case::new(what, "ep1", sent, expect)]);
        };
        let accepts: Change = |header| (header.syn, header.ack) = (true, true);
        let goes_on: Change = |header| header.ack = true;
        let (vip, own) = (vip(SERVICE, v6), address(1, v6));
        for end in [|header: &mut TcpHeader| header.fin = true, |header: &mut TcpHeader| header.rst = true] {
            redirected(&mut serving, &segment(v6, |header| header.syn = true));
            check(&mut serving, "accepts", vip, accepts);
            check(&mut serving, "accepts once more", vip, accepts);
            redirected(&mut serving, &segment(v6, goes_on));
            check(&mut serving, "goes on", vip, goes_on);
            redirected(&mut serving, &segment(v6, end));
            check(&mut serving, "ends", vip, goes_on);
            check(&mut serving, "accepts the endpoint's own", own, accepts);
            check(&mut serving, "answers it", own, goes_on);
        }
    }
}
