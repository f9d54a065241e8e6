//! What the programs count for services, by backend and by reason.

use std::net::IpAddr;

use overlay::model::Affinity;
use overlay::reconcile::tables::{Program, ServiceAction};
use overlay_abi::DropReason;
use overlay_abi::services::Counter;

use crate::bench::{Case, Expect, mac};
use crate::frames::{Ip, frame};
use crate::lab::{address, ip};
use crate::serving::{self, Serving, backend, vip};

/// Published, with the endpoint as its backend that is on a peer; and one without a backend.
const SERVICE: u8 = 1;
const BACKEND: usize = 3;
/// A service's port is its number more.
const PORTS: u16 = 8000;
const NOBODY: u8 = 2;
/// IPv4's header and UDP's.
const HEADERS: usize = 28;

fn serving() -> Serving {
    let mut serving = Serving::new(false);
    for (service, endpoints) in [(SERVICE, &[BACKEND][..]), (NOBODY, &[])] {
        serving.serve(service, endpoints, Affinity::None);
        serving.publish(service, endpoints, PORTS + u16::from(service), 80);
    }
    serving.own(host());
    serving
}

fn host() -> IpAddr {
    ip("198.51.100.1")
}

/// What a client sends to the ports of the service, IP header and all so many bytes.
fn question(from: u16, service: u8, length: usize) -> Ip {
    let to = (host(), PORTS + u16::from(service));
    Ip::datagram((ip("203.0.113.9"), from), to, &vec![0; length - HEADERS])
}

fn arrive(serving: &mut Serving, packet: &Ip, merged: u32) {
    let mut case = Case::new("a question", "under0", frame(mac(8), mac(9), packet), Expect::Pass);
    case = case.gso_segs(merged);
    serving.bench.run(Program::TcUnderlay, &case, &case.packet);
}

fn counted(serving: &Serving) -> Counter {
    let slot = backend(BACKEND);
    serving.bench.data_path.observer().counters([slot]).unwrap()[&slot]
}

fn refused(serving: &Serving) -> Vec<(u8, DropReason, u64)> {
    let refusals = serving.bench.data_path.observer().refusals().unwrap();
    let known = [SERVICE, NOBODY].map(|service| (serving::slot(service), service));
    let number = |slot| known.iter().find(|(known, _)| *known == slot).unwrap().1;
    refusals.into_iter().map(|((slot, reason), count)| (number(slot), reason, count)).collect()
}

#[test]
fn what_clients_send_is_counted_for_its_backend() {
    let mut serving = serving();
    arrive(&mut serving, &question(40_000, SERVICE, 100), 0);
    arrive(&mut serving, &question(40_000, SERVICE, 200), 0);
    assert_eq!(counted(&serving), Counter { flows: 1, packets: 2, bytes: 300 });
    arrive(&mut serving, &question(40_001, SERVICE, 300), 3);
    assert_eq!(counted(&serving), Counter { flows: 2, packets: 5, bytes: 600 });

    let asked = Ip::datagram((address(0, false), 40_000), (vip(SERVICE, false), 80), b"12");
    let gateway = overlay_abi::gateway_mac(100);
    let case = Case::new("a question", "ep0", frame(mac(0), gateway, &asked), Expect::Pass);
    serving.bench.run(Program::TcEndpoint, &case, &case.packet);
    assert_eq!(counted(&serving), Counter { flows: 3, packets: 6, bytes: 630 });
    assert!(refused(&serving).is_empty());
}

#[test]
fn what_is_dropped_is_counted_for_its_service() {
    let mut serving = serving();
    for _ in 0..2 {
        arrive(&mut serving, &question(40_000, NOBODY, 100), 0);
    }
    assert_eq!(refused(&serving), [(NOBODY, DropReason::NoBackend, 2)]);
    let stream = Ip::new(address(0, false), vip(SERVICE, false), 132, &[0; 20]);
    let stream = frame(mac(0), overlay_abi::gateway_mac(100), &stream);
    let case = Case::new("another protocol", "ep0", stream, Expect::Pass);
    serving.bench.run(Program::TcEndpoint, &case, &case.packet);
    let both = [(SERVICE, DropReason::NotServed, 1), (NOBODY, DropReason::NoBackend, 2)];
    assert_eq!(refused(&serving), both);
}

#[test]
fn who_gets_a_slot_begins_at_nothing() {
    let mut serving = serving();
    arrive(&mut serving, &question(40_000, SERVICE, 100), 0);
    arrive(&mut serving, &question(40_000, NOBODY, 100), 0);
    serving.back(SERVICE, BACKEND);
    serving.serve(NOBODY, &[], Affinity::None);
    assert_eq!(counted(&serving).packets, 1, "it is the same backend");
    assert_eq!(refused(&serving).len(), 1, "it is the same service");

    serving.back(NOBODY, BACKEND);
    assert_eq!(counted(&serving), Counter::default());
    serving.apply(&ServiceAction::DeleteService(serving::slot(NOBODY)));
    serving.serve(NOBODY, &[], Affinity::None);
    assert!(refused(&serving).is_empty());
}
