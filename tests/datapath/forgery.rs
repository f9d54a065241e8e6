//! Crafted packets on a real underlay: what the VXLAN device unpacks is checked as well, and no local process
//! gets to send there in the first place.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use overlay::model::UnderlayFamily;
use overlay::reconcile::tables::Program;
use overlay_abi::DropReason;

use crate::frames::{Ip, frame, vxlan};
use crate::lab::{DATA_PORT, Lab, Node, address, ip, mac};
use crate::netns::eventually;

const VNI: u32 = 100;

fn send(from: &Node, source: IpAddr, to: IpAddr, payload: &[u8]) -> std::io::Result<usize> {
    from.host.enter(|| UdpSocket::bind((source, 0)).unwrap().send_to(payload, (to, DATA_PORT)))
}

/// Sends it twice, in one packet that is yet to be cut: tc leaves such ones to the VXLAN device.
fn send_twice(from: &Node, source: IpAddr, to: IpAddr, payload: &[u8]) {
    let socket = from.host.enter(|| UdpSocket::bind((source, 0)).unwrap());
    setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(payload.len()).unwrap()).unwrap();
    socket.send_to(&payload.repeat(2), (to, DATA_PORT)).unwrap();
}

#[test]
fn the_vxlan_device_lets_nothing_forged_through() {
    for family in [UnderlayFamily::V4, UnderlayFamily::V6] {
        let mut lab = Lab::new(family);
        // Without it, the peer may forge.
        lab.nodes[1].detach(Program::TcGuard, "under0");
        let [node, peer] = &lab.nodes;
        // An address that is no peer's, and one of the node's that is not its VTEP.
        let (stranger, other) = match family {
            UnderlayFamily::V4 => ("192.0.2.77", "192.0.2.88"),
            UnderlayFamily::V6 => ("2001:db8::77", "2001:db8::88"),
        };
        for (host, address) in [(&peer.host, stranger), (&node.host, other)] {
            let length = if ip(address).is_ipv4() { "/24" } else { "/64 nodad" };
            host.ip(&format!("addr add {address}{length} dev under0"));
        }
        let (us, them) = (mac(0).bytes(), mac(1).bytes());
        let packet = Ip::udp(address(1, false), address(0, false), 5353, b"hello");
        let good = frame(them, us, &packet);
        let spoofed = frame(them, us, &Ip::udp(ip("10.1.0.9"), address(0, false), 5353, b"hello"));
        for (vni, source, to, inner, reason) in [
            (101, peer.vtep, node.vtep, &good, DropReason::UnknownNetwork),
            (VNI, ip(stranger), node.vtep, &good, DropReason::UnknownVtep),
            (VNI, peer.vtep, ip(other), &good, DropReason::NotOurVtep),
            (VNI, peer.vtep, node.vtep, &frame(us, us, &packet), DropReason::NotOwner),
            (VNI, peer.vtep, node.vtep, &spoofed, DropReason::SpoofedInner),
            (VNI, peer.vtep, node.vtep, &frame(them, [2; 6], &packet), DropReason::UnknownDestination),
            (VNI, peer.vtep, node.vtep, &frame(them, them, &packet), DropReason::NotHere),
        ] {
            let before = node.data_path.drops().unwrap();
            send_twice(peer, source, to, &vxlan(8, vni, inner));
            eventually(&format!("{family:?}: {reason:?}; {before:?}"), || {
                let count =
                    |drops: &std::collections::BTreeMap<_, u64>| drops.get(&reason).copied().unwrap_or(0);
                count(&node.data_path.drops().unwrap()) == count(&before) + 2
            });
        }
        let receiver = node.endpoint.enter(|| UdpSocket::bind((address(0, false), 5353)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        send_twice(peer, peer.vtep, node.vtep, &vxlan(8, VNI, &good));
        let mut buffer = [0; 16];
        let (length, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"hello"[..], address(1, false)));
    }
}

#[test]
fn a_local_process_can_not_send_to_the_data_port() {
    for family in [UnderlayFamily::V4, UnderlayFamily::V6] {
        let lab = Lab::new(family);
        let [node, peer] = &lab.nodes;
        // The kernel may say so to the sender, or keep quiet.
        let _ = send(peer, peer.vtep, node.vtep, &vxlan(8, VNI, b"forged"));
        assert_eq!(peer.data_path.drops().unwrap().get(&DropReason::ForeignSender), Some(&1), "{family:?}");
        // To its own node it does not pass the guard.
        send(node, node.vtep, node.vtep, &vxlan(8, VNI, b"forged from here")).unwrap();
        eventually(&format!("{family:?}: dropped on arrival"), || {
            node.data_path.drops().unwrap().get(&DropReason::NotFromUnderlay) == Some(&1)
        });
    }
}
