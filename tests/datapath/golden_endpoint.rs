//! Golden packets for `tc_endpoint`.

use std::net::IpAddr;

use overlay::reconcile::tables::{Destination, NodeEntry, Program, TableAction};
use overlay_abi::{DropReason, gateway_mac};

use crate::bench::{Bench, Case, Expect, MARK, mac, vtep};
use crate::frames::{self, Ip, Mac, arp, echo, ethernet, frame, ndp, vxlan};
use crate::lab::{self, DATA_PORT, address, ip};

const VNI: u32 = 100;
const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
const NONE: Mac = [0; 6];
const SOLICITATION: (u8, u8) = (135, 0);

fn own(v6: bool) -> IpAddr {
    address(0, v6)
}

fn gateway(v6: bool) -> IpAddr {
    ip(if v6 { "fd00:1::1" } else { "10.1.0.1" })
}

fn drops(what: &'static str, packet: Vec<u8>, reason: DropReason) -> Case {
    Case::new(what, "ep0", packet, Expect::Drop(reason))
}

fn answers(what: &'static str, packet: Vec<u8>, answer: Vec<u8>) -> Case {
    Case::new(what, "ep0", packet, Expect::Redirect(answer, 0))
}

/// From endpoint 0 to another.
fn to(index: usize, v6: bool, payload: usize) -> Ip {
    Ip::udp(own(v6), address(index, v6), 53, &vec![0x5a; payload])
}

fn sent(index: usize, packet: &Ip) -> Vec<u8> {
    frame(mac(0), mac(index), packet)
}

#[test]
fn frames_are_checked() {
    let v6 = ip("fd00:1::2");
    let good = sent(1, &to(1, false, 20));
    let mut malformed = good.clone();
    malformed[14] = 0x44;
    let mut shorter = good.clone();
    shorter[17] += 1;
    let tag = |ethertype| ethernet(mac(0), mac(1), ethertype, &[&[0, 5, 8, 0][..], &good[14..]].concat());
    let from = |source: &str, destination: &str| sent(1, &Ip::udp(ip(source), ip(destination), 53, b"spoof"));
    let group = |destination: Mac, packet: &Ip| frame(mac(0), destination, packet);
    let icmp6 = |kind: u8| group(ALL_NODES, &frames::icmp(v6, ip("ff02::1"), &[kind, 0, 0, 0, 0, 0, 0, 0]));
    let report = Ip::new(v6, ip("ff02::16"), 0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0]);
    let cases = [
        Case::new("no endpoint's device", "under0", good.clone(), Expect::Drop(DropReason::UnknownSource)),
        drops("another's MAC", frame(mac(1), mac(2), &to(2, false, 20)), DropReason::SpoofedMac),
        drops("802.1Q", tag(0x8100), DropReason::Vlan),
        drops("802.1ad", tag(0x88a8), DropReason::Vlan),
        drops("LLC", ethernet(mac(0), mac(1), 38, &[0x42; 38]), DropReason::NotIp),
        drops("another ethertype", ethernet(mac(0), mac(1), 0x88cc, &[0; 30]), DropReason::NotIp),
        drops("IPv4 header of 16 bytes", malformed, DropReason::Malformed),
        drops("IPv4 said IPv6", ethernet(mac(0), mac(1), 0x86dd, &good[14..]), DropReason::Malformed),
        drops("longer than it is", shorter, DropReason::Truncated),
        drops("another's IPv4 address", from("10.1.0.4", "10.1.0.3"), DropReason::SpoofedAddress),
        drops("another's IPv6 address", from("fd00:1::4", "fd00:1::3"), DropReason::SpoofedAddress),
        drops("unspecified IPv4", from("0.0.0.0", "10.1.0.3"), DropReason::SpoofedAddress),
        drops("unspecified IPv6", from("::", "fd00:1::3"), DropReason::SpoofedAddress),
        drops("link-local", from("fe80::2", "fd00:1::3"), DropReason::LinkLocalSource),
        Case::new(
            "IPv6 without having an address",
            "ep1",
            frame(mac(1), mac(0), &Ip::udp(ip("::"), v6, 53, b"x")),
            Expect::Drop(DropReason::SpoofedAddress),
        ),
        drops(
            "DHCP",
            group([0xff; 6], &Ip::udp(ip("0.0.0.0"), ip("255.255.255.255"), 67, b"dhcp")),
            DropReason::Broadcast,
        ),
        drops(
            "mDNS",
            group([1, 0, 0x5e, 0, 0, 0xfb], &Ip::udp(own(false), ip("224.0.0.251"), 5353, b"x")),
            DropReason::Multicast,
        ),
        drops(
            "multicast to a MAC address",
            sent(1, &Ip::udp(own(false), ip("224.0.0.251"), 53, b"x")),
            DropReason::Multicast,
        ),
        drops("unicast to a group", group(ALL_NODES, &to(1, true, 5)), DropReason::Multicast),
        drops("router solicitation", icmp6(133), DropReason::RouterSolicitation),
        drops("router advertisement", icmp6(134), DropReason::RouterAdvertisement),
        drops(
            "multicast listener report",
            group([0x33, 0x33, 0, 0, 0, 0x16], &report),
            DropReason::MulticastListener,
        ),
        drops("unknown MAC, unknown address", sent(9, &to(9, false, 20)), DropReason::UnknownDestination),
        drops(
            "unknown MAC, the gateway's address",
            sent(9, &Ip::udp(own(false), ip("10.1.0.1"), 53, b"x")),
            DropReason::UnknownDestination,
        ),
    ];
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

#[test]
fn nothing_hides_behind_extension_headers() {
    let (own, peer) = (own(true), address(2, true));
    let behind = |extensions: &[u8], last: u8, message: &[u8]| {
        let mut payload: Vec<u8> =
            extensions.iter().skip(1).chain(&[last]).flat_map(|next| [*next, 0, 0, 0, 0, 0, 0, 0]).collect();
        payload.extend(message);
        sent(2, &Ip::new(own, peer, extensions[0], &payload).with(|ip| ip.hops = 255))
    };
    let message = |kind: u8| [&[kind][..], &[0; 31]].concat();
    let mut cases: Vec<Case> = (133..=137)
        .map(|kind| {
            drops("Neighbour Discovery", behind(&[60], 58, &message(kind)), DropReason::MalformedNeighbour)
        })
        .collect();
    for kind in [130, 131, 132, 143] {
        cases.push(drops(
            "a listener's message",
            behind(&[0], 58, &message(kind)),
            DropReason::MulticastListener,
        ));
    }
    let fragment = behind(&[60, 44], 58, &message(136));
    cases.push(drops("in a first fragment", fragment, DropReason::MalformedNeighbour));
    cases.push(drops("a redirect", behind_nothing(&message(137)), DropReason::MalformedNeighbour));
    cases.push(drops("too deep", behind(&[60; 7], 58, &message(136)), DropReason::Unreadable));
    for (protocol, payload) in [(17, frames::udp(1, 2, b"query")), (58, message(128))] {
        let packet = behind(&[0, 60], protocol, &payload);
        cases.push(Case::new("an honest one", "ep0", packet.clone(), encapsulated(&packet, 0, false)));
    }
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

/// An ICMPv6 message to a peer.
fn behind_nothing(message: &[u8]) -> Vec<u8> {
    sent(2, &Ip::new(own(true), address(2, true), 58, message).with(|ip| ip.hops = 255))
}

#[test]
fn arp_is_answered_from_the_map() {
    let ask =
        |sender: (Mac, &str), target: &str| arp(mac(0), 1, (sender.0, ip(sender.1)), (NONE, ip(target)));
    let reply = |from: (Mac, &str)| {
        ethernet_to(mac(0), from.0, &arp(from.0, 2, (from.0, ip(from.1)), (mac(0), ip("10.1.0.2"))))
    };
    let mut odd = ask((mac(0), "10.1.0.2"), "10.1.0.4");
    odd[16] = 9;
    let cases = [
        answers("a peer", ask((mac(0), "10.1.0.2"), "10.1.0.4"), reply((mac(2), "10.1.0.4"))),
        answers("the gateway", ask((mac(0), "10.1.0.2"), "10.1.0.1"), reply((gateway_mac(VNI), "10.1.0.1"))),
        drops("nobody", ask((mac(0), "10.1.0.2"), "10.1.0.99"), DropReason::UnknownNeighbour),
        drops("a probe", ask((mac(0), "0.0.0.0"), "10.1.0.2"), DropReason::DuplicateProbe),
        drops("gratuitous", ask((mac(0), "10.1.0.2"), "10.1.0.2"), DropReason::Announcement),
        drops("another's address", ask((mac(0), "10.1.0.3"), "10.1.0.4"), DropReason::SpoofedNeighbour),
        drops("another's MAC", ask((mac(1), "10.1.0.2"), "10.1.0.4"), DropReason::SpoofedNeighbour),
        drops(
            "an answer",
            arp(mac(0), 2, (mac(0), ip("10.1.0.2")), (mac(1), ip("10.1.0.3"))),
            DropReason::Announcement,
        ),
        drops(
            "a false answer",
            arp(mac(0), 2, (mac(0), ip("10.1.0.1")), (mac(1), ip("10.1.0.3"))),
            DropReason::SpoofedNeighbour,
        ),
        drops("not for IPv4", odd, DropReason::MalformedNeighbour),
    ];
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

/// The frame with other addresses in front.
fn ethernet_to(destination: Mac, source: Mac, frame: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &frame[12..]].concat()
}

#[test]
fn neighbour_solicitations_are_answered_from_the_map() {
    let group = ip("ff02::1:ff00:4");
    let ask = |source: &str, target: &str, option| {
        frame(mac(0), [0x33, 0x33, 0xff, 0, 0, 4], &ndp(ip(source), group, SOLICITATION, ip(target), option))
    };
    let option = Some((1, mac(0)));
    let reply = |to: &str, target: &str, from: Mac, flags| {
        frame(from, mac(0), &ndp(ip(target), ip(to), (136, flags), ip(target), Some((2, from))))
    };
    let advertise = |source: &str, target: &str, from: Mac| {
        frame(mac(0), ALL_NODES, &ndp(ip(source), ip("ff02::1"), (136, 0x20), ip(target), Some((2, from))))
    };
    let routed = ndp(ip("fd00:1::2"), group, SOLICITATION, ip("fd00:1::4"), option).with(|ip| ip.hops = 254);
    let short =
        frames::icmp(ip("fd00:1::2"), group, &[135, 0, 0, 0, 0, 0, 0, 0, 1, 2]).with(|ip| ip.hops = 255);
    let nonce = {
        let mut packet = ndp(ip("fd00:1::2"), group, SOLICITATION, ip("fd00:1::4"), option);
        packet.payload.extend([14, 1, 1, 2, 3, 4, 5, 6]);
        frame(mac(0), [0x33, 0x33, 0xff, 0, 0, 4], &packet)
    };
    let peer = reply("fd00:1::2", "fd00:1::4", mac(2), 0x60);
    let mut cases = vec![
        answers("a peer", ask("fd00:1::2", "fd00:1::4", option), peer.clone()),
        answers("without an option", ask("fd00:1::2", "fd00:1::4", None), peer.clone()),
        answers("with a nonce", nonce, peer.clone()),
        answers(
            "from link-local",
            ask("fe80::2", "fd00:1::4", option),
            reply("fe80::2", "fd00:1::4", mac(2), 0x60),
        ),
        answers(
            "the gateway",
            ask("fd00:1::2", "fd00:1::1", option),
            reply("fd00:1::2", "fd00:1::1", gateway_mac(VNI), 0xe0),
        ),
        answers(
            "unicast, to see whether it lives",
            ethernet_to(mac(2), mac(0), &ask("fd00:1::2", "fd00:1::4", option)),
            peer,
        ),
        drops("nobody", ask("fd00:1::2", "fd00:1::99", option), DropReason::UnknownNeighbour),
        drops("duplicate address detection", ask("::", "fd00:1::2", None), DropReason::DuplicateProbe),
        drops("another's address", ask("fd00:1::3", "fd00:1::4", option), DropReason::SpoofedNeighbour),
        drops(
            "another's MAC",
            ask("fd00:1::2", "fd00:1::4", Some((1, mac(1)))),
            DropReason::SpoofedNeighbour,
        ),
        drops("routed", frame(mac(0), mac(1), &routed), DropReason::MalformedNeighbour),
        drops("without a target", frame(mac(0), mac(1), &short), DropReason::MalformedNeighbour),
        drops("advertises itself", advertise("fd00:1::2", "fd00:1::2", mac(0)), DropReason::Announcement),
        drops(
            "advertises another",
            advertise("fd00:1::2", "fd00:1::3", mac(0)),
            DropReason::SpoofedNeighbour,
        ),
        drops(
            "advertises as another",
            advertise("fd00:1::3", "fd00:1::2", mac(0)),
            DropReason::SpoofedNeighbour,
        ),
        drops(
            "advertises another's MAC",
            advertise("fd00:1::2", "fd00:1::2", mac(1)),
            DropReason::SpoofedNeighbour,
        ),
    ];
    let unknown = ask("fd00:1::2", "fd00:1::4", option);
    cases.push(Case::new("an unknown network", "ep2", unknown, Expect::Drop(DropReason::UnknownNeighbour)));
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

#[test]
fn the_gateway_answers_echoes_alone() {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let to_gateway = |packet: &Ip| frame(mac(0), gateway_mac(VNI), packet);
        let request = echo(own(v6), gateway(v6), false);
        let reply = frame(gateway_mac(VNI), mac(0), &echo(gateway(v6), own(v6), true));
        cases.push(answers("an echo", to_gateway(&request), reply));
        let beyond = ip(if v6 { "2001:db8:9::9" } else { "198.51.100.9" });
        cases.push(drops("beyond", to_gateway(&echo(own(v6), beyond, false)), DropReason::NoEgress));
        cases.push(drops(
            "not an echo",
            to_gateway(&Ip::udp(own(v6), gateway(v6), 53, b"x")),
            DropReason::NoEgress,
        ));
        cases.push(drops(
            "an echo's answer",
            to_gateway(&echo(own(v6), gateway(v6), true)),
            DropReason::NoEgress,
        ));
    }
    let part = echo(own(false), gateway(false), false).with(|ip| {
        ip.dont_fragment = false;
        ip.more_fragments = true;
    });
    cases.push(drops("a part of an echo", frame(mac(0), gateway_mac(VNI), &part), DropReason::NoEgress));
    let unknown = frame(mac(0), gateway_mac(999), &echo(own(false), gateway(false), false));
    cases.push(Case::new("an unknown network", "ep2", unknown, Expect::Drop(DropReason::UnknownNetwork)));
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

#[test]
fn packets_for_here_are_handed_over_as_they_are() {
    let cases = [false, true].map(|v6| {
        let packet = sent(1, &to(1, v6, 100).with(|ip| ip.ecn = 1));
        answers("to a local endpoint", packet.clone(), packet).mark(0x77)
    });
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

/// The packet as it leaves for VTEP 2; the next hop's MAC addresses are the kernel's to fill in.
pub(crate) fn encapsulated(inner: &[u8], ecn: u8, v6: bool) -> Expect {
    encapsulated_for(2, inner, ecn, v6)
}

/// The same for another VTEP.
pub(crate) fn encapsulated_for(number: u8, inner: &[u8], ecn: u8, v6: bool) -> Expect {
    let udp = frames::udp(0xc000, DATA_PORT, &vxlan(8, VNI, inner));
    let outer = Ip::new(vtep(1, v6), vtep(number, v6), 17, &udp).with(|ip| ip.ecn = ecn);
    Expect::Redirect(frame(NONE, NONE, &outer), MARK)
}

#[test]
fn an_address_that_moved_is_reached_through_a_stale_neighbour_entry() {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let (here, away) = (to(1, v6, 20), to(2, v6, 20));
        cases.push(answers("to an endpoint here", sent(9, &here), sent(1, &here)));
        cases.push(Case::new("to a peer", "ep0", sent(9, &away), encapsulated(&sent(2, &away), 0, false)));
    }
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

#[test]
fn packets_for_peers_are_encapsulated() {
    for underlay6 in [false, true] {
        let mut cases = Vec::new();
        for v6 in [false, true] {
            for ecn in 0..4 {
                let inner = sent(2, &to(2, v6, 100).with(|ip| ip.ecn = ecn));
                cases.push(Case::new(
                    "to a peer",
                    "ep0",
                    inner.clone(),
                    encapsulated(&inner, ecn, underlay6),
                ));
            }
            let full = sent(2, &to(2, v6, 1450 - if v6 { 48 } else { 28 }));
            cases.push(Case::new(
                "of exactly the MTU",
                "ep0",
                full.clone(),
                encapsulated(&full, 0, underlay6),
            ));
            cases.push(drops("to a node that is no peer", sent(4, &to(4, v6, 20)), DropReason::UnknownVtep));
        }
        Bench::new(underlay6).check(Program::TcEndpoint, &cases);
    }
}

#[test]
fn what_no_program_can_wrap_is_left_to_the_vxlan_device() {
    for underlay6 in [false, true] {
        let segments = [false, true].map(|v6| sent(2, &to(2, v6, 600)));
        let left = segments.each_ref().map(|packet| {
            let expect = Expect::Redirect(packet.clone(), MARK);
            Case::new("segments of a kind that no program wraps", "ep0", packet.clone(), expect).gso_size(100)
        });
        let mut bench = Bench::new(underlay6);
        bench.check(Program::TcEndpoint, &left);
        let node = bench.data_path.observe().unwrap().node.unwrap();
        bench.data_path.apply(&TableAction::PutNode(NodeEntry { vxlan_ifindex: None, ..node })).unwrap();
        let lost = segments
            .map(|packet| drops("without a VXLAN device", packet, DropReason::EncapFailed).gso_size(100));
        bench.check(Program::TcEndpoint, &lost);
    }
}

#[test]
fn a_forwarder_sends_from_any_address_but_from_its_own_mac() {
    let from =
        |what, source, packet: &Ip, expect| Case::new(what, "ep4", frame(source, mac(2), packet), expect);
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let foreign =
            Ip::udp(ip(if v6 { "2001:db8:9::9" } else { "198.51.100.9" }), address(2, v6), 53, b"x");
        for (what, packet) in [("a foreign address", &foreign), ("its own", &to(2, v6, 5))] {
            let frame = sent(2, packet);
            cases.push(from(what, mac(0), packet, encapsulated(&frame, 0, false)));
        }
        let moved = frame(mac(0), mac(9), &foreign);
        cases.push(Case::new("to one that moved", "ep4", moved, encapsulated(&sent(2, &foreign), 0, false)));
        cases.push(from("another's MAC", mac(1), &foreign, Expect::Drop(DropReason::SpoofedMac)));
    }
    let link_local = Ip::udp(ip("fe80::2"), address(2, true), 53, b"x");
    cases.push(from("link-local", mac(0), &link_local, Expect::Drop(DropReason::LinkLocalSource)));
    let claim = arp(mac(0), 1, (mac(0), ip("10.1.0.3")), (NONE, ip("10.1.0.4")));
    cases.push(Case::new("another's ARP", "ep4", claim, Expect::Drop(DropReason::SpoofedNeighbour)));
    let advertisement = ndp(ip("fd00:1::2"), ip("ff02::1"), (136, 0x20), ip("fd00:1::3"), Some((2, mac(0))));
    let claim = frame(mac(0), ALL_NODES, &advertisement);
    cases.push(Case::new(
        "another's advertisement",
        "ep4",
        claim,
        Expect::Drop(DropReason::SpoofedNeighbour),
    ));
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

#[test]
fn packets_too_big_for_a_peer_are_answered() {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        let packet = to(3, v6, 1281 - if v6 { 48 } else { 28 });
        let answer = |packet: &Ip| {
            let head = if v6 { [2, 0, 0, 0, 0, 0, 5, 0] } else { [3, 4, 0, 0, 0, 0, 5, 0] };
            let quote = &packet.bytes()[..512];
            frame(gateway_mac(VNI), mac(0), &frames::icmp(gateway(v6), own(v6), &[&head, quote].concat()))
        };
        cases.push(answers("one byte too big", sent(3, &packet), answer(&packet)));
        let segments = to(3, v6, 2000);
        cases.push(answers("segments too big", sent(3, &segments), answer(&segments)).gso_size(1272));
        let no_gateway =
            Case::new("nobody to answer", "ep3", sent(3, &packet), Expect::Drop(DropReason::TooBig));
        cases.push(no_gateway);
    }
    let may_fragment = to(3, false, 1400).with(|ip| ip.dont_fragment = false);
    cases.push(drops("not DF", sent(3, &may_fragment), DropReason::TooBig));
    let later = to(3, false, 1400).with(|ip| ip.fragment_offset = 10);
    cases.push(drops("a later fragment", sent(3, &later), DropReason::TooBig));
    Bench::new(false).check(Program::TcEndpoint, &cases);
}

#[test]
fn nothing_is_sent_before_the_node_is_known() {
    let mut bench = Bench::empty();
    let full = Bench::new(false).data_path.observe().unwrap();
    let vni = lab::vni();
    let ep0 = bench.netns.ifindex("ep0");
    let (source, vtep) = (full.sources.values().next().copied().unwrap(), vtep(2, false));
    for action in [
        TableAction::PutSource(ep0, source),
        TableAction::PutVtep(vtep, full.vteps[&vtep]),
        TableAction::PutFdb(vni, lab::mac(2), Destination::Remote { vtep, forward: false }),
    ] {
        bench.data_path.apply(&action).unwrap();
    }
    bench.check(Program::TcEndpoint, &[drops("to a peer", sent(2, &to(2, false, 9)), DropReason::NoNode)]);
}
