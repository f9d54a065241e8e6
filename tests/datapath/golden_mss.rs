//! Golden packets for TCP's maximum segment size: lowered in what opens a connection wherever the packets that it invites
//! are wrapped.

use std::net::IpAddr;

use etherparse::TcpHeader;
use overlay::model::Affinity;
use overlay::reconcile::tables::Program;
use overlay_abi::gateway_mac;

use crate::bench::{Case, Expect, MARK, mac};
use crate::frames::{Ip, frame};
use crate::golden_endpoint::encapsulated_for;
use crate::golden_mesh::{arrives, client, node};
use crate::lab::address;
use crate::serving::{Serving, vip};

const VNI: u32 = 100;
const SERVICE: u8 = 1;
const PORT: u16 = 8000;
const TARGET: u16 = 80;

/// What fits the way to the backend of these tests, and what the network's endpoints send, in bytes.
const WAY: u16 = 1280;
const NETWORK: u16 = 1450;

/// TCP options with a maximum segment size, in all places where it may be.
fn options(mss: u16) -> [Vec<u8>; 4] {
    let [high, low] = mss.to_be_bytes();
    [
        vec![2, 4, high, low],
        vec![1, 2, 4, high, low, 1, 1, 0],
        vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 4, high, low, 0],
        vec![4, 2, 3, 3, 7, 2, 4, high, low, 0, 0, 0],
    ]
}

/// Options without one, or with none that can be believed.
fn without() -> [Vec<u8>; 5] {
    let hidden = [&[1; 8][..], &[2, 4, 0xff, 0xff]].concat();
    [
        vec![],
        vec![0, 2, 4, 0xff, 0xff, 0, 0, 0],
        vec![2, 3, 0xff, 0],
        vec![3, 0, 2, 4, 0xff, 0xff, 0, 0],
        hidden,
    ]
}

fn opens(header: &mut TcpHeader) {
    header.syn = true;
}

fn accepts(header: &mut TcpHeader) {
    (header.syn, header.ack) = (true, true);
}

fn goes_on(header: &mut TcpHeader) {
    header.ack = true;
}

fn segment(from: (IpAddr, u16), to: (IpAddr, u16), options: &[u8], flags: fn(&mut TcpHeader)) -> Ip {
    Ip::segment(from, to, b"", |header| {
        flags(header);
        header.set_options_raw(options).unwrap();
    })
}

/// The largest segment whose packet fits.
fn most(mtu: u16, v6: bool) -> u16 {
    mtu - if v6 { 60 } else { 40 }
}

/// A service whose backend is on the node that packets of [`WAY`] bytes reach, and one here.
fn serving() -> Serving {
    let mut serving = Serving::new(false);
    serving.serve(SERVICE, &[3], Affinity::None);
    serving.serve(SERVICE + 1, &[0], Affinity::None);
    serving.publish(SERVICE + 1, &[0], PORT, TARGET);
    for v6 in [false, true] {
        serving.own(node(1, v6));
    }
    serving
}

#[test]
fn what_opens_a_connection_to_a_peer_says_what_fits() {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let (own, peer) = ((address(0, v6), 40_000), (address(3, v6), TARGET));
        let mut case = |what, sent: Ip, comes: Ip| {
            let away = encapsulated_for(3, &frame(mac(0), mac(3), &comes), 0, false);
            cases.push(Case::new(what, "ep0", frame(mac(0), mac(3), &sent), away));
        };
        let lowered = options(most(WAY, v6));
        for flags in [opens, accepts] {
            for high in [most(WAY, v6) + 1, 1460, u16::MAX] {
                for (sent, comes) in options(high).iter().zip(&lowered) {
                    case("too large", segment(own, peer, sent, flags), segment(own, peer, comes, flags));
                }
            }
            for low in options(most(WAY, v6)).iter().chain(&options(536)) {
                case("fits", segment(own, peer, low, flags), segment(own, peer, low, flags));
            }
            for none in without() {
                case("none", segment(own, peer, &none, flags), segment(own, peer, &none, flags));
            }
        }
        for high in options(1460) {
            case("opens nothing", segment(own, peer, &high, goes_on), segment(own, peer, &high, goes_on));
        }
    }
    let mut serving = serving();
    serving.bench.check(Program::TcEndpoint, &cases);
}

#[test]
fn what_opens_a_connection_to_a_virtual_address_says_what_fits() {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let (own, backend) = ((address(0, v6), 40_000), (address(3, v6), TARGET));
        for (high, low) in options(1460).iter().zip(&options(most(WAY, v6))) {
            let sent = segment(own, (vip(SERVICE, v6), TARGET), high, opens);
            let comes = frame(mac(0), mac(3), &segment(own, backend, low, opens));
            let away = encapsulated_for(3, &comes, 0, false);
            cases.push(Case::new("asks", "ep0", frame(mac(0), gateway_mac(VNI), &sent), away));
        }
    }
    let mut serving = serving();
    serving.bench.check(Program::TcEndpoint, &cases);
}

#[test]
fn who_accepts_a_clients_connection_says_what_fits_the_network() {
    let mut serving = serving();
    for v6 in [false, true] {
        let (asked, own) = ((node(1, v6), PORT), (address(0, v6), TARGET));
        let question = segment(client(v6), asked, &[], opens);
        let comes = frame(gateway_mac(VNI), mac(0), &segment(client(v6), own, &[], opens));
        let question = Case::new("a question", "under0", arrives(&question), Expect::Redirect(comes, 0));
        serving.bench.check(Program::TcUnderlay, &[question]);
        let mut cases = Vec::new();
        for (high, low) in options(1460).iter().zip(&options(most(NETWORK, v6))) {
            let sent = frame(mac(0), gateway_mac(VNI), &segment(own, client(v6), high, accepts));
            let leaves = segment(asked, client(v6), low, accepts).with(|ip| ip.hops -= 1);
            let leaves = Expect::Redirect(frame(mac(0), gateway_mac(VNI), &leaves), MARK);
            cases.push(Case::new("accepts", "ep0", sent, leaves));
        }
        serving.bench.check(Program::TcEndpoint, &cases);
    }
}
