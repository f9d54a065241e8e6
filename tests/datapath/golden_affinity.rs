//! Clients that stay with their backend for a while, though new clients go to another by now.

use std::net::IpAddr;

use aya::maps::{HashMap, MapData};
use etherparse::TcpHeader;
use overlay::model::Affinity;
use overlay::reconcile::tables::{BackendEntry, Program, ServiceAction, ServiceEntry};
use overlay_abi::services::{self, AffinityKey};
use overlay_abi::{gateway_mac, map};

use crate::bench::{Case, Expect, REDIRECT, mac};
use crate::frames::{Ip, frame};
use crate::lab::{address, ip};
use crate::serving::{Serving, backend, slot, vip};

const SERVICE: u8 = 1;
const PORT: u16 = 8000;
/// The backend that the client stays with is on a peer, the one that new clients go to is here.
const STAYS: usize = 2;
const OTHER: usize = 1;
const SECONDS: u64 = 1000;
/// More than a run of this test takes, in seconds.
const SLACK: u64 = 500;

/// How a client comes to the service.
#[derive(Clone, Copy, Debug)]
enum By {
    Port,
    Vip,
}

const WAYS: [(By, bool); 4] = [(By::Port, false), (By::Port, true), (By::Vip, false), (By::Vip, true)];

/// A node where the client of that way was sent to its backend, and new ones would go to the other.
fn staying(by: By, v6: bool) -> Serving {
    let affinity: Affinity = format!("client-ip:{SECONDS}").parse().unwrap();
    let mut serving = Serving::new(false);
    serving.serve(SERVICE, &[OTHER, STAYS], affinity);
    serving.own(ip("198.51.100.1"));
    serving.own(ip("2001:db8:1::1"));
    lead_to(&mut serving, STAYS, affinity);
    assert_eq!(chosen(&mut serving, by, v6, 40_000), STAYS);
    lead_to(&mut serving, OTHER, affinity);
    serving
}

/// Has new clients go to a backend.
fn lead_to(serving: &mut Serving, endpoint: usize, affinity: Affinity) {
    serving.balance(SERVICE, &[endpoint]);
    serving.publish(SERVICE, &[endpoint], PORT, 80);
    let entry = serving.bench.data_path.observe_services().unwrap().services[&slot(SERVICE)];
    let entry = ServiceEntry { affinity, ..entry };
    serving.apply(&ServiceAction::PutService(slot(SERVICE), entry));
}

/// The backend that a new flow of the client gets.
fn chosen(serving: &mut Serving, by: By, v6: bool, port: u16) -> usize {
    send(serving, by, v6, |from, to| Ip::datagram((from, port), to, b"x"))
}

fn send(serving: &mut Serving, by: By, v6: bool, packet: impl Fn(IpAddr, (IpAddr, u16)) -> Ip) -> usize {
    let (program, case) = match by {
        By::Port => {
            let from = ip(if v6 { "2001:db8:f::9" } else { "203.0.113.9" });
            let to = ip(if v6 { "2001:db8:1::1" } else { "198.51.100.1" });
            let sent = frame(mac(8), mac(9), &packet(from, (to, PORT)));
            (Program::TcUnderlay, Case::new("a client's", "under0", sent, Expect::Pass))
        }
        By::Vip => {
            let sent = packet(address(0, v6), (vip(SERVICE, v6), 80));
            let sent = frame(mac(0), gateway_mac(100), &sent);
            (Program::TcEndpoint, Case::new("an endpoint's", "ep0", sent, Expect::Pass))
        }
    };
    let ran = serving.bench.run(program, &case, &case.packet);
    assert_eq!(ran.verdict, REDIRECT, "dropped: {:?}", ran.dropped);
    if ran.packet[..6] == mac(OTHER) { OTHER } else { STAYS }
}

#[test]
fn a_client_stays_for_as_long_as_the_service_says() {
    for (by, v6) in WAYS {
        let mut serving = staying(by, v6);
        assert_eq!(chosen(&mut serving, by, v6, 40_001), STAYS, "{by:?}");
        grow_older(&serving, SECONDS - SLACK);
        assert_eq!(chosen(&mut serving, by, v6, 40_002), STAYS, "{by:?}");
        // That flow began the time anew.
        grow_older(&serving, SECONDS - SLACK);
        assert_eq!(chosen(&mut serving, by, v6, 40_003), STAYS, "{by:?}");
        grow_older(&serving, SECONDS);
        assert_eq!(chosen(&mut serving, by, v6, 40_004), OTHER, "{by:?}");
        assert_eq!(chosen(&mut serving, by, v6, 40_005), OTHER, "{by:?}");
    }
}

#[test]
fn a_client_stays_with_no_backend_that_takes_no_new_flows() {
    for (by, v6) in WAYS {
        let ways: [fn(&mut Serving); 3] = [
            |serving| serving.apply(&ServiceAction::DeleteBackend(backend(STAYS))),
            // Another service's by now.
            |serving| serving.back(SERVICE + 1, STAYS),
            |serving| {
                let entry = serving.bench.data_path.observe_services().unwrap().backends[&backend(STAYS)];
                let drained = BackendEntry { accepts: false, ..entry };
                serving.apply(&ServiceAction::PutBackend(backend(STAYS), drained));
            },
        ];
        for leaves in ways {
            let mut serving = staying(by, v6);
            leaves(&mut serving);
            assert_eq!(chosen(&mut serving, by, v6, 40_001), OTHER, "{by:?}");
        }
    }
}

#[test]
fn without_affinity_nothing_is_kept() {
    for (by, v6) in WAYS {
        let mut serving = staying(by, v6);
        lead_to(&mut serving, OTHER, Affinity::None);
        assert_eq!(chosen(&mut serving, by, v6, 40_001), OTHER, "{by:?}");
    }
}

#[test]
fn what_only_opens_a_connection_keeps_no_client() {
    for v6 in [false, true] {
        let mut serving = staying(By::Port, v6);
        let known: Vec<_> = clients(&serving).keys().map(Result::unwrap).collect();
        known.iter().for_each(|client| clients(&serving).remove(client).unwrap());
        let segment =
            |change: fn(&mut TcpHeader)| move |from, to| Ip::segment((from, 40_001), to, b"", change);
        send(&mut serving, By::Port, v6, segment(|header| header.syn = true));
        assert_eq!(clients(&serving).keys().count(), 0);
        send(&mut serving, By::Port, v6, segment(|header| header.ack = true));
        assert_eq!(clients(&serving).keys().count(), 1);
    }
}

fn clients(serving: &Serving) -> HashMap<MapData, AffinityKey, services::Affinity> {
    serving.bench.pinned(map::AFFINITY)
}

/// As if all clients' latest flows had begun that many seconds earlier.
fn grow_older(serving: &Serving, seconds: u64) {
    let mut clients = clients(serving);
    let now: Vec<_> = clients.iter().map(Result::unwrap).collect();
    for (key, affinity) in now {
        let seen = affinity.seen.wrapping_sub(seconds * 1_000_000_000);
        clients.insert(key, services::Affinity { seen, ..affinity }, 0).unwrap();
    }
}
