//! What no client sent, passed on to a backend all the same: only a peer may do that, and only to who serves the port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use etherparse::PacketBuilder;
use overlay::model::{MacAddr, Protocol};
use overlay_harness::client::{Conversation, Sees};
use overlay_harness::{Lab, Node};

use super::frames::{Endpoint, FORGED, HONEST, Mac, PacketSocket, device_mac, outer, vxlan, written};
use super::{attack, must_be_dropped};
use crate::mesh::{
    Hook, attach_backend, cluster, create_service, create_service_that, lead_as, lead_to, targets,
};
use crate::steps::SOON;

const PUBLISHED: u16 = 8080;
const UNPUBLISHED: u16 = 8081;
/// A client's address (RFC 5737).
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)), 5005);

#[test]
fn a_clients_packet_is_believed_of_peers_alone_and_for_who_serves_it_in_tc() {
    a_clients_packet_is_believed_of_peers_alone_and_for_who_serves_it(Hook::Tc);
}

#[test]
fn a_clients_packet_is_believed_of_peers_alone_and_for_who_serves_it_in_xdp() {
    a_clients_packet_is_believed_of_peers_alone_and_for_who_serves_it(Hook::Xdp);
}

fn a_clients_packet_is_believed_of_peers_alone_and_for_who_serves_it(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service(n1, "web", PUBLISHED)?;
        let backend = attach_backend(lab, n2, "web", "b", "1")?;
        let bystander = lab.attach(n2, "blue", "bystander", &[])?;
        lead_to(&outside, &targets(&nodes, PUBLISHED), &["b"])?;
        let network = n1.network("blue")?.network;
        let (vni, gateway) = (network.vni.get(), MacAddr::gateway(network.vni).bytes());
        let victims = [
            PacketSocket::open(&backend.endpoint.netns, "eth0")?,
            PacketSocket::open(&bystander.netns, "eth0")?,
        ];
        let (backend, bystander) = (Endpoint::of(&backend.endpoint)?.mac, Endpoint::of(&bystander)?.mac);
        let wire = PacketSocket::open(lab.switch()?, "br0")?;
        let target = device_mac(n2.netns(), "eth0")?;
        let nobody = IpAddr::from([198, 51, 100, 200]);
        // Whole packets are for tc_underlay, those with IP options for the VXLAN device and tc_overlay.
        for options in [&[][..], &[1, 1, 1, 1]] {
            let from = |vtep: IpAddr, to: Mac, port: u16, payload: &[u8]| -> Result<Vec<u8>> {
                let inner = datagram((gateway, to), CLIENT, SocketAddr::new(n3.addr(), port), payload)?;
                outer(vtep, n2.addr(), target, options, &vxlan(8, vni, &inner))
            };
            for attack in [
                attack("from no peer", "unknown_vtep", from(nobody, backend, PUBLISHED, FORGED)?),
                attack(
                    "to an endpoint without a service",
                    "not_published",
                    from(n3.addr(), bystander, PUBLISHED, FORGED)?,
                ),
                attack(
                    "to a port that is not published",
                    "not_published",
                    from(n3.addr(), backend, UNPUBLISHED, FORGED)?,
                ),
            ] {
                must_be_dropped(n2, &wire, &attack)
                    .with_context(|| format!("with IP options {options:?}"))?;
            }
            wire.send(&from(n3.addr(), backend, PUBLISHED, HONEST)?)?;
            victims[0].receives_only(HONEST)?;
            victims[1].receives_nothing()?;
        }
        hook.has_served(n3)
    });
}

#[test]
fn an_answer_is_believed_of_the_backend_alone_that_was_asked_in_tc() {
    an_answer_is_believed_of_the_backend_alone_that_was_asked(Hook::Tc);
}

#[test]
fn an_answer_is_believed_of_the_backend_alone_that_was_asked_in_xdp() {
    an_answer_is_believed_of_the_backend_alone_that_was_asked(Hook::Xdp);
}

/// Where clients are hidden, answers come back through the node that they asked, and only from who was asked there.
fn an_answer_is_believed_of_the_backend_alone_that_was_asked(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service_that(n1, "web", PUBLISHED, Sees::Asked)?;
        let backend = attach_backend(lab, n2, "web", "b", "1")?;
        let bystander = lab.attach(n2, "blue", "bystander", &[])?;
        lead_as(&outside, Sees::Asked, &targets(&nodes, PUBLISHED), &["b"])?;
        let asked = SocketAddr::new(n3.addr(), PUBLISHED);
        let (seen, _conversation) = outside.client().run(|| {
            let mut conversation = Conversation::open(Protocol::Udp, asked, SOON)?;
            Ok((conversation.exchange(HONEST)?.seen, conversation))
        })?;
        let victim = PacketSocket::open(outside.client(), "eth0")?;
        let network = n1.network("blue")?.network;
        let (vni, gateway) = (network.vni.get(), MacAddr::gateway(network.vni).bytes());
        let (backend, bystander) = (Endpoint::of(&backend.endpoint)?.mac, Endpoint::of(&bystander)?.mac);
        let wire = PacketSocket::open(lab.switch()?, "br0")?;
        let target = device_mac(n3.netns(), "eth0")?;
        let nobodys = SocketAddr::new(seen.ip(), if seen.port() == 1024 { 1025 } else { 1024 });
        for options in [&[][..], &[1, 1, 1, 1]] {
            let from = |vtep: IpAddr, mac: Mac, to: SocketAddr, payload: &[u8]| -> Result<Vec<u8>> {
                let inner = datagram((mac, gateway), asked, to, payload)?;
                outer(vtep, n3.addr(), target, options, &vxlan(8, vni, &inner))
            };
            let stranger = IpAddr::from([198, 51, 100, 200]);
            for attack in [
                attack("from no peer", "unknown_vtep", from(stranger, backend, seen, FORGED)?),
                attack("from another peer", "not_answer", from(n1.addr(), backend, seen, FORGED)?),
                attack("from another endpoint", "not_answer", from(n2.addr(), bystander, seen, FORGED)?),
                attack("to nobody", "not_answer", from(n2.addr(), backend, nobodys, FORGED)?),
            ] {
                must_be_dropped(n3, &wire, &attack)
                    .with_context(|| format!("with IP options {options:?}"))?;
            }
            wire.send(&from(n2.addr(), backend, seen, HONEST)?)?;
            victim.receives_only(HONEST)?;
        }
        hook.has_served(n3)
    });
}

fn datagram(
    (from, to): (Mac, Mac),
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Result<Vec<u8>> {
    let (IpAddr::V4(first), IpAddr::V4(second)) = (source.ip(), destination.ip()) else {
        bail!("IPv4 addresses")
    };
    let builder = PacketBuilder::ethernet2(from, to)
        .ipv4(first.octets(), second.octets(), 64)
        .udp(source.port(), destination.port());
    written(|frame| builder.write(frame, payload))
}
