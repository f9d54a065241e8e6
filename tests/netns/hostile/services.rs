//! What no client sent, passed on to a backend all the same: only a peer may do that, and only to who serves the port.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use etherparse::PacketBuilder;
use overlay::model::MacAddr;
use overlay_harness::{Lab, Node};

use super::frames::{Endpoint, FORGED, HONEST, Mac, PacketSocket, device_mac, outer, vxlan, written};
use super::{attack, must_be_dropped};
use crate::mesh::{Hook, attach_backend, cluster, create_service, lead_to, targets};

const PUBLISHED: u16 = 8080;
const UNPUBLISHED: u16 = 8081;
/// A client's address (RFC 5737).
const CLIENT: [u8; 4] = [192, 0, 2, 77];

#[test]
fn a_clients_packet_is_believed_of_peers_alone_and_for_who_serves_it() {
    Lab::run(Hook::Tc.three_nodes(), |lab| {
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
                let inner = asked(n3.addr(), (gateway, to), port, payload)?;
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
        Ok(())
    });
}

/// A client's datagram as the node that it asked passes it on.
fn asked(node: IpAddr, (from, to): (Mac, Mac), port: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let IpAddr::V4(node) = node else { bail!("an IPv4 address") };
    let builder = PacketBuilder::ethernet2(from, to).ipv4(CLIENT, node.octets(), 64).udp(5005, port);
    written(|frame| builder.write(frame, payload))
}
