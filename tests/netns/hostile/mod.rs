//! Hostile packets, sent for real: each is dropped under its own reason, and none is delivered, while an honest one
//! that takes the same way arrives.

mod caller;
pub(crate) mod frames;
mod gossip;
mod managers;
mod refused;
mod services;

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use overlay_harness::{Attached, Lab, Node, Topology, eventually};

use self::frames::{
    Endpoint, FORGED, HONEST, Mac, NOBODY_MAC, PacketSocket, device_mac, outer, vxlan, written,
};
use crate::steps::{SOON, attach_each, create_network};

/// How often each is sent, so that its counter stands out from an endpoint's own noise.
const TIMES: u64 = 20;

const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// An address in the network that nobody has.
const NOBODY4: [u8; 4] = [10, 77, 0, 77];

/// One kind of hostile frame.
struct Attack {
    what: &'static str,
    frame: Vec<u8>,
    reason: &'static str,
}

fn attack(what: &'static str, reason: &'static str, frame: Vec<u8>) -> Attack {
    Attack { what, frame, reason }
}

#[test]
fn an_endpoint_cannot_pose_as_another() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [own, remote] = attach_each(lab, "blue", nodes)?;
        let local = lab.attach(nodes[0], "blue", "local", &[])?;
        let from = PacketSocket::open(&own.netns, "eth0")?;
        for victim in [&remote, &local] {
            let victims =
                [PacketSocket::open(&remote.netns, "eth0")?, PacketSocket::open(&local.netns, "eth0")?];
            let other = if victim.row.node == remote.row.node { &local } else { &remote };
            let honest = Endpoint::of(&own)?.to(&Endpoint::of(victim)?).udp(HONEST)?;
            for attack in from_an_endpoint(&own, victim, other)? {
                must_be_dropped(nodes[0], &from, &attack)?;
            }
            from.send(&honest)?;
            let expecting = usize::from(victim.row.node != remote.row.node);
            victims[expecting].receives_only(HONEST)?;
            victims[1 - expecting].receives_nothing()?;
        }
        Ok(())
    });
}

/// What an endpoint can send to another's harm.
fn from_an_endpoint(own: &Attached, victim: &Attached, other: &Attached) -> Result<Vec<Attack>> {
    let (me, victim, other) = (Endpoint::of(own)?, Endpoint::of(victim)?, Endpoint::of(other)?);
    let honest = me.to(&victim).udp(FORGED)?;
    let tagged = |tag: u16| [&honest[..12], &tag.to_be_bytes(), &[0, 5], &honest[12..]].concat();
    let icmp6 = |from: &Endpoint, kind: u8, body: &[u8]| {
        let message = [body, &[253, 1], FORGED].concat();
        let builder = PacketBuilder::ethernet2(me.mac, ALL_NODES)
            .ipv6(from.ip6, [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 255)
            .icmpv6_raw(kind, 0, [0; 4]);
        written(|frame| builder.write(frame, &message))
    };
    let arp = |operation: u8, sender: &Endpoint, sender_mac: Mac| {
        let header = [&victim.mac[..], &me.mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
        [&header, &sender_mac[..], &sender.ip4, &victim.mac, &victim.ip4, FORGED].concat()
    };
    let advertisement = |claimed: &Endpoint| [&claimed.ip6[..], &[2, 1], &me.mac].concat();
    Ok(vec![
        attack("another's MAC", "spoofed_mac", other.to(&victim).udp(FORGED)?),
        attack(
            "another's IPv4 address",
            "spoofed_address",
            Endpoint { ip4: other.ip4, ..me }.to(&victim).udp(FORGED)?,
        ),
        attack(
            "another's IPv6 address",
            "spoofed_address",
            Endpoint { ip6: other.ip6, ..me }.to(&victim).udp6(FORGED)?,
        ),
        attack("ARP for another's address", "spoofed_neighbour", arp(1, &other, me.mac)),
        attack("an ARP answer for another's address", "spoofed_neighbour", arp(2, &other, me.mac)),
        attack("an ARP answer with another's MAC", "spoofed_neighbour", arp(2, &me, other.mac)),
        attack(
            "an advertisement of another's address",
            "spoofed_neighbour",
            icmp6(&me, 136, &advertisement(&other))?,
        ),
        attack(
            "a solicitation from another's address",
            "spoofed_neighbour",
            icmp6(&other, 135, &victim.ip6)?,
        ),
        attack("a router advertisement", "router_advertisement", icmp6(&me, 134, &[0; 8])?),
        attack("a redirect", "malformed_neighbour", icmp6(&me, 137, &[0; 32])?),
        attack("802.1Q", "vlan", tagged(0x8100)),
        attack("802.1ad", "vlan", tagged(0x88a8)),
        attack(
            "LLC",
            "not_ip",
            [&victim.mac[..], &me.mac, &[0, 40, 0x42, 0x42, 3], FORGED, &[0; 31]].concat(),
        ),
        attack("a broadcast", "broadcast", Endpoint { mac: [0xff; 6], ..victim }.from(&me).udp(FORGED)?),
        attack("a multicast", "multicast", Endpoint { mac: ALL_NODES, ..victim }.from(&me).udp(FORGED)?),
        attack(
            "to nobody",
            "unknown_destination",
            Endpoint { mac: NOBODY_MAC, ip4: NOBODY4, ..victim }.from(&me).udp(FORGED)?,
        ),
    ])
}

#[test]
fn forged_vxlan_from_the_underlay_is_dropped() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, _] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, b, c] = attach_each(lab, "blue", nodes)?;
        let local = lab.attach(n2, "blue", "local", &[])?;
        let vni = n1.network("blue")?.network.vni.get();
        let victim = PacketSocket::open(&b.netns, "eth0")?;
        let [a, b, c, local] =
            [Endpoint::of(&a)?, Endpoint::of(&b)?, Endpoint::of(&c)?, Endpoint::of(&local)?];
        let wire = PacketSocket::open(lab.switch()?, "br0")?;
        let target = device_mac(n2.netns(), "eth0")?;
        let honest = a.to(&b).udp(FORGED)?;
        // Whole packets are for tc_underlay, those with IP options for the VXLAN device and tc_overlay.
        for options in [&[][..], &[1, 1, 1, 1]] {
            let outer = |source: IpAddr, payload: &[u8]| outer(source, n2.addr(), target, options, payload);
            let within = |inner: &[u8]| outer(n1.addr(), &vxlan(8, vni, inner));
            let mut malformed = honest.clone();
            malformed[14] = 0x44;
            let mut attacks = vec![
                attack("unknown VNI", "unknown_network", outer(n1.addr(), &vxlan(8, vni + 1, &honest))?),
                attack(
                    "unknown VTEP",
                    "unknown_vtep",
                    outer([198, 51, 100, 200].into(), &vxlan(8, vni, &honest))?,
                ),
                attack("another node's endpoint", "not_owner", within(&c.to(&b).udp(FORGED)?)?),
                attack("the victim's neighbour", "not_owner", within(&local.to(&b).udp(FORGED)?)?),
                attack(
                    "another's address",
                    "spoofed_inner",
                    within(&Endpoint { ip4: c.ip4, ..a }.to(&b).udp(FORGED)?)?,
                ),
                attack(
                    "another's IPv6 address",
                    "spoofed_inner",
                    within(&Endpoint { ip6: c.ip6, ..a }.to(&b).udp6(FORGED)?)?,
                ),
                attack(
                    "to nobody",
                    "unknown_destination",
                    within(&a.to(&Endpoint { mac: NOBODY_MAC, ..b }).udp(FORGED)?)?,
                ),
                attack("to another node's endpoint", "not_here", within(&a.to(&c).udp(FORGED)?)?),
                attack("to all", "multicast", within(&a.to(&Endpoint { mac: [0xff; 6], ..b }).udp(FORGED)?)?),
                attack(
                    "an inner VLAN",
                    "vlan",
                    within(&[&honest[..12], &[0x81, 0, 0, 5], &honest[12..]].concat())?,
                ),
                attack(
                    "inner LLC",
                    "not_ip",
                    within(&[&honest[..12], &[0, 40, 0x42, 0x42, 3], FORGED, &[0; 31]].concat())?,
                ),
                attack("inner ARP", "not_ip", within(&[&honest[..12], &[8, 6], FORGED, &[0; 31]].concat())?),
                attack("an inner header that contradicts itself", "malformed", within(&malformed)?),
                attack("an inner packet that was cut off", "truncated", within(&honest[..honest.len() - 1])?),
            ];
            if options.is_empty() {
                // Of these the VXLAN device itself makes nothing.
                attacks.extend([
                    attack("no I flag", "no_vni", outer(n1.addr(), &vxlan(0, vni, &honest))?),
                    attack("a VXLAN header that was cut off", "truncated", outer(n1.addr(), &[8, 0, 0])?),
                    attack("an inner header that was cut off", "truncated", within(&honest[..30])?),
                    attack("no frame", "truncated", outer(n1.addr(), &vxlan(8, vni, &[]))?),
                ]);
            }
            for attack in &attacks {
                must_be_dropped(n2, &wire, attack).with_context(|| format!("with IP options {options:?}"))?;
            }
            wire.send(&within(&a.to(&b).udp(HONEST)?)?)?;
            victim.receives_only(HONEST)?;
        }
        Ok(())
    });
}

#[test]
fn a_container_cannot_forge_vxlan_to_its_own_node() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, n2] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        let vni = n1.network("blue")?.network.vni.get();
        let forged = vxlan(8, vni, &Endpoint::of(&a)?.to(&Endpoint::of(&b)?).udp(FORGED)?);
        let victim = PacketSocket::open(&b.netns, "eth0")?;
        // A container of another kind, with its own way to the node, that may send raw packets.
        let container = lab.namespace("container")?;
        n2.netns().ip(&format!("link add docker0 type veth peer name eth0 netns {container}"))?;
        n2.netns().ip("link set docker0 up")?;
        container.ip("link set eth0 up")?;
        let from = PacketSocket::open(&container, "eth0")?;
        let target = device_mac(n2.netns(), "docker0")?;
        let packet = |options| outer(n1.addr(), n2.addr(), target, options, &forged);
        for options in [&[][..], &[1, 1, 1, 1]] {
            let attack = attack("from a peer's address", "not_from_underlay", packet(options)?);
            must_be_dropped(n2, &from, &attack)?;
        }
        victim.receives_nothing()?;
        // By the underlay it is as good as any.
        let honest = outer(n1.addr(), n2.addr(), device_mac(n2.netns(), "eth0")?, &[1, 1, 1, 1], &forged)?;
        PacketSocket::open(lab.switch()?, "br0")?.send(&honest)?;
        victim.receives_only(FORGED)
    });
}

/// Sends it many times, and waits until as many were counted under its reason.
fn must_be_dropped(node: &Node, from: &PacketSocket, attack: &Attack) -> Result<()> {
    let count =
        || -> Result<u64> { Ok(node.status()?.drops.get(attack.reason).map_or(0, |count| count.packets)) };
    let before = count()?;
    for _ in 0..TIMES {
        from.send(&attack.frame)?;
    }
    eventually(&format!("{} is counted as {}", attack.what, attack.reason), SOON, || {
        let after = count()?;
        ensure!(after >= before + TIMES, "{before} before, {after} after; all: {:?}", node.status()?.drops);
        Ok(())
    })
}
