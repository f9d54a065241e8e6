//! What a client is told: that nobody serves, that its connection's backend is gone, and which size fits.

use std::time::Instant;

use etherparse::{TcpHeader, TcpOptionElement};
use overlay::reconcile::tables::{Program, ServiceAction};
use overlay_abi::{DropReason, gateway_mac};

use super::{KINDS, Kind, NOBODY, PORTS, ROUTER, TARGET, US, VNI, arrives, case, client, node, serving};
use crate::bench::{Expect, MARK, REDIRECT, mac};
use crate::frames::{self, Ip, frame};
use crate::golden_endpoint::{encapsulated, encapsulated_for};
use crate::serving::backend;

/// The packet is counted, and this goes back to where it came from.
fn told(reason: DropReason, answer: &Ip) -> Expect {
    Expect::Told(reason, frame(US, ROUTER, answer))
}

#[test]
fn a_client_is_told_that_there_is_no_backend() {
    let mut cases = Vec::new();
    for (kind, v6) in KINDS {
        let packet = kind.packet(client(v6), (node(1, v6), NOBODY));
        let answer = kind.refusal(&packet);
        cases.push(case("nobody serves", arrives(&packet), told(DropReason::NoBackend, &answer)));
    }
    for v6 in [false, true] {
        let segment = |payload: &[u8], change: fn(&mut TcpHeader)| {
            Ip::segment(client(v6), (node(1, v6), NOBODY), payload, |header| {
                (header.sequence_number, header.acknowledgment_number) = (u32::MAX, 77);
                change(header);
            })
        };
        for (what, packet) in [
            ("opens", segment(b"", |header| header.syn = true)),
            ("opens with data", segment(b"early", |header| header.syn = true)),
            (
                "opens with options",
                segment(b"", |header| {
                    header.syn = true;
                    header.set_options(&[TcpOptionElement::MaximumSegmentSize(1460)]).unwrap();
                }),
            ),
            ("neither acknowledges nor opens", segment(b"data", |_| {})),
            ("closes", segment(b"data", |header| (header.fin, header.ack) = (true, true))),
        ] {
            let answer = frames::reset(&packet);
            cases.push(case(what, arrives(&packet), told(DropReason::NoBackend, &answer)));
        }
        let silent = Expect::Drop(DropReason::NoBackend);
        let resets = segment(b"", |header| header.rst = true);
        cases.push(case("a reset", arrives(&resets), silent.clone()));
        let any = segment(b"", |header| header.syn = true);
        cases.push(case("for all on the link", frame(ROUTER, [0xff; 6], &any), silent));
    }
    let options = |packet: Ip| packet.with(|ip| ip.options = vec![1; 8]);
    let [tcp, udp] =
        [Kind::Tcp, Kind::Udp].map(|kind| options(kind.packet(client(false), (node(1, false), NOBODY))));
    cases.push(case("TCP behind options", arrives(&tcp), Expect::Drop(DropReason::NoBackend)));
    let answer = told(DropReason::NoBackend, &frames::port_unreachable(&udp));
    cases.push(case("UDP behind options", arrives(&udp), answer));
    let mut serving = serving(false);
    serving.bench.check(Program::TcUnderlay, &cases);

    serving.silence(5);
    let silent = |(kind, v6): (Kind, bool)| {
        let packet = kind.packet(client(v6), (node(1, v6), NOBODY));
        case("to be silent", arrives(&packet), Expect::Drop(DropReason::NoBackend))
    };
    serving.bench.check(Program::TcUnderlay, &KINDS.map(silent));
}

#[test]
fn a_flow_ends_with_its_backend() {
    for (kind, v6) in KINDS {
        let mut serving = serving(false);
        let packet = kind.packet(client(v6), (node(1, v6), PORTS + 2));
        let away = |backend| encapsulated(&frame(gateway_mac(VNI), mac(backend), &packet), 0, false);
        let goes = case("goes to its backend", arrives(&packet), away(2));
        serving.bench.check(Program::TcUnderlay, &[goes]);
        serving.back(3, 5);
        serving.publish(3, &[5], PORTS + 2, TARGET);
        serving.apply(&ServiceAction::DeleteBackend(backend(2)));
        let goes = case("goes to another", arrives(&packet), away(5));
        if let Kind::Tcp = kind {
            let gone = told(DropReason::BackendGone, &frames::reset(&packet));
            // Once; the client's next packet, if any, is for whoever has such a connection.
            serving.bench.check_once(Program::TcUnderlay, &case("is broken off", arrives(&packet), gone));
        }
        serving.bench.check(Program::TcUnderlay, &[goes]);
    }
}

#[test]
fn what_opens_a_connection_anew_is_not_of_the_flow_that_ended() {
    for v6 in [false, true] {
        let mut serving = serving(false);
        let segment =
            |change: fn(&mut TcpHeader)| Ip::segment(client(v6), (node(1, v6), PORTS + 2), b"", change);
        let away =
            |packet: &Ip, backend| encapsulated(&frame(gateway_mac(VNI), mac(backend), packet), 0, false);
        let goes_on = segment(|header| header.ack = true);
        let goes = case("goes to its backend", arrives(&goes_on), away(&goes_on, 2));
        serving.bench.check(Program::TcUnderlay, &[goes]);
        serving.back(3, 5);
        serving.publish(3, &[5], PORTS + 2, TARGET);
        serving.apply(&ServiceAction::DeleteBackend(backend(2)));
        let opens = segment(|header| header.syn = true);
        let goes = case("goes to another", arrives(&opens), away(&opens, 5));
        serving.bench.check(Program::TcUnderlay, &[goes]);
    }
}

#[test]
fn errors_are_few() {
    const RUNS: usize = 5000;
    let packet = Kind::Udp.packet(client(false), (node(1, false), NOBODY));
    let asks = case("nobody serves", arrives(&packet), Expect::Pass);
    let mut serving = serving(false);
    let begun = Instant::now();
    let told = (0..RUNS)
        .filter(|_| serving.bench.run(Program::TcUnderlay, &asks, &asks.packet).verdict == REDIRECT)
        .count() as u128;
    // On each CPU a hundred at once, and one each millisecond; the clock is exact to ten of these.
    let cpus = std::thread::available_parallelism().unwrap().get() as u128;
    let most = cpus * (110 + begun.elapsed().as_millis());
    assert!((100..=most).contains(&told), "{told}, at most {most}");
}

/// To the service whose backend is on the node that packets of 1,280 bytes reach, so many of them from the IP header on.
fn sized(kind: Kind, v6: bool, total: usize) -> Ip {
    let to = (node(1, v6), PORTS + 3);
    let ip = if v6 { 40 } else { 20 };
    match kind {
        Kind::Tcp => Ip::segment(client(v6), to, &vec![7; total - ip - 20], |header| header.ack = true),
        Kind::Udp => Ip::datagram(client(v6), to, &vec![7; total - ip - 8]),
    }
}

#[test]
fn a_client_is_told_which_size_fits_the_way_to_its_backend() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for (kind, v6) in KINDS {
            let fits = sized(kind, v6, 1280);
            let as_it_came = frame(gateway_mac(VNI), mac(3), &fits);
            cases.push(case("fits", arrives(&fits), encapsulated_for(3, &as_it_came, 0, underlay6)));
            for packet in [sized(kind, v6, 1281), sized(kind, v6, 1500)] {
                let answer = frames::too_big(&packet, node(1, v6), 1280);
                let told = Expect::Redirect(frame(US, ROUTER, &answer), 0);
                cases.push(case("too large", arrives(&packet), told));
            }
            let merged = sized(kind, v6, 1500);
            let answer = frames::too_big(&merged, node(1, v6), 1280);
            let told = Expect::Redirect(frame(US, ROUTER, &answer), 0);
            cases.push(case("segments too large", arrives(&merged), told).gso_size(1300));
        }
        serving(underlay6).bench.check(Program::TcUnderlay, &cases);
    }
}

#[test]
fn what_may_be_cut_is_sent_in_several_outer_packets_or_its_sender_told() {
    let packet = sized(Kind::Udp, false, 1400).with(|ip| ip.dont_fragment = false);
    let as_it_came = frame(gateway_mac(VNI), mac(3), &packet);
    let cut = case("cut", arrives(&packet), Expect::Redirect(as_it_came, MARK));
    serving(false).bench.check(Program::TcUnderlay, &[cut]);
    let answer = frames::too_big(&packet, node(1, false), 1280);
    let told = Expect::Redirect(frame(US, ROUTER, &answer), 0);
    serving(true).bench.check(Program::TcUnderlay, &[case("told", arrives(&packet), told)]);
}
