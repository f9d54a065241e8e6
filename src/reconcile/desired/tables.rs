//! What the data path's programs should know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::{Host, effective_mtu};
use crate::facts::View;
use crate::intent::Intent;
use crate::model::{
    Attachment, Endpoint, EndpointId, MacAddr, Network, NetworkId, NodeId, UnderlayFamily, Vni,
};
use crate::reconcile::tables::{Destination, NetworkEntry, NodeEntry, Source, Tables, VtepEntry};

/// The tables that `host` should have. Only networks with an endpoint here are in them, and only peers on the
/// host's own address family.
///
/// While a cluster is partitioned, two endpoints may claim one address or MAC in a network. The winner is always
/// the same one then: a local endpoint keeps its own MAC; otherwise the lowest (node, endpoint) has it. A
/// gateway's address is never an endpoint's, nor is a service's.
///
/// `ifindexes` are those of the VXLAN device and of the host ends of veth pairs, by name. A local endpoint without one has no device yet,
/// and so no entry that would name it.
pub fn tables(
    host: &Host<'_>,
    intent: &Intent,
    view: &View,
    attachments: &BTreeMap<EndpointId, Attachment>,
    ifindexes: &BTreeMap<String, u32>,
) -> Tables {
    let networks: BTreeMap<NetworkId, &Network> = attachments
        .values()
        .filter_map(|attachment| intent.networks.get(&attachment.endpoint.network))
        .map(|network| (network.id, network))
        .collect();
    let peers = peers(host, view);
    let locals: Vec<(u32, Source)> = attachments
        .values()
        .filter_map(|attachment| {
            let network = networks.get(&attachment.endpoint.network)?;
            let ifindex = ifindexes.get(&attachment.host_ifname(&host.config.veth_prefix))?;
            Some((*ifindex, source(network, &attachment.endpoint)))
        })
        .collect();
    Tables {
        node: node(host, ifindexes),
        networks: networks
            .values()
            .map(|network| (network.vni, network_entry(network, effective_mtu(network, view, host.underlay))))
            .collect(),
        fdb: fdb(host.me, &networks, view, &peers, &locals),
        neighbours: neighbours(host.me, intent, &networks, view, &peers, attachments),
        vteps: vteps(host, view, &peers),
        sources: locals.into_iter().collect(),
    }
}

fn node(host: &Host<'_>, ifindexes: &BTreeMap<String, u32>) -> Option<NodeEntry> {
    host.underlay.map(|underlay| NodeEntry {
        underlay_ifindex: underlay.ifindex,
        vxlan_ifindex: ifindexes.get(&host.config.vxlan_device).copied().and_then(NonZeroU32::new),
        vtep: underlay.vtep,
        data_port: host.config.data_port,
        mark: host.mark,
    })
}

fn network_entry(network: &Network, mtu: u16) -> NetworkEntry {
    let gateways = || network.subnets.iter().map(|subnet| subnet.gateway);
    NetworkEntry {
        mtu,
        gateway4: gateways().find_map(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        }),
        gateway6: gateways().find_map(|gateway| match gateway {
            IpAddr::V4(_) => None,
            IpAddr::V6(gateway) => Some(gateway),
        }),
    }
}

fn source(network: &Network, endpoint: &Endpoint) -> Source {
    Source {
        vni: network.vni,
        mac: endpoint.mac,
        ip4: endpoint.ip4,
        ip6: endpoint.ip6,
        forward: endpoint.forward,
    }
}

/// The VTEPs of the other living nodes. One at our own address is what this host was before it joined anew:
/// packets for it would come back to us.
pub(super) fn peers(host: &Host<'_>, view: &View) -> BTreeMap<NodeId, IpAddr> {
    let reachable = |vtep: IpAddr| {
        host.underlay
            .is_none_or(|own| vtep != own.vtep && UnderlayFamily::of(vtep) == UnderlayFamily::of(own.vtep))
    };
    view.nodes()
        .filter(|(node, fact)| *node != host.me && reachable(fact.vtep))
        .map(|(node, fact)| (node, fact.vtep))
        .collect()
}

pub(super) fn vteps(
    host: &Host<'_>,
    view: &View,
    peers: &BTreeMap<NodeId, IpAddr>,
) -> BTreeMap<IpAddr, VtepEntry> {
    let own = host.underlay.map_or(u16::MAX, |underlay| underlay.mtu);
    let mut vteps: BTreeMap<IpAddr, VtepEntry> = BTreeMap::new();
    for (node, vtep) in peers {
        let Some(fact) = view.node(*node) else { continue };
        let mtu = own.min(fact.underlay_mtu).saturating_sub(UnderlayFamily::of(*vtep).overhead());
        // A host that joined anew shares its address with its former self until that is known to be dead.
        let entry = vteps.entry(*vtep).or_insert(VtepEntry { mtu });
        entry.mtu = entry.mtu.min(mtu);
    }
    vteps
}

/// The endpoints of the peers in these networks, with their owners, in the order of their claims.
fn remote<'a>(
    me: NodeId,
    networks: &'a BTreeMap<NetworkId, &'a Network>,
    view: &'a View,
    peers: &'a BTreeMap<NodeId, IpAddr>,
) -> impl Iterator<Item = ((NodeId, EndpointId), Vni, IpAddr, &'a Endpoint)> {
    view.endpoints().filter(move |(owner, _)| *owner != me).filter_map(|(owner, endpoint)| {
        let network = networks.get(&endpoint.network)?;
        Some(((owner, endpoint.id), network.vni, *peers.get(&owner)?, endpoint))
    })
}

fn fdb(
    me: NodeId,
    networks: &BTreeMap<NetworkId, &Network>,
    view: &View,
    peers: &BTreeMap<NodeId, IpAddr>,
    locals: &[(u32, Source)],
) -> BTreeMap<(Vni, MacAddr), Destination> {
    let mut fdb = BTreeMap::new();
    let local = locals
        .iter()
        .map(|(ifindex, source)| ((source.vni, source.mac), Destination::Local { ifindex: *ifindex }));
    let remote = remote(me, networks, view, peers).map(|(_, vni, vtep, endpoint)| {
        ((vni, endpoint.mac), Destination::Remote { vtep, forward: endpoint.forward })
    });
    for (key, destination) in local.chain(remote) {
        fdb.entry(key).or_insert(destination);
    }
    fdb
}

/// The gateway answers for the virtual addresses of services.
fn neighbours(
    me: NodeId,
    intent: &Intent,
    networks: &BTreeMap<NetworkId, &Network>,
    view: &View,
    peers: &BTreeMap<NodeId, IpAddr>,
    attachments: &BTreeMap<EndpointId, Attachment>,
) -> BTreeMap<(Vni, IpAddr), MacAddr> {
    let local = attachments.values().filter_map(|attachment| {
        let network = networks.get(&attachment.endpoint.network)?;
        Some(((me, attachment.endpoint.id), network.vni, &attachment.endpoint))
    });
    let mut endpoints: Vec<_> = remote(me, networks, view, peers)
        .map(|(claim, vni, _, endpoint)| (claim, vni, endpoint))
        .chain(local)
        .collect();
    endpoints.sort_by_key(|(claim, ..)| *claim);

    let gateways = networks
        .values()
        .flat_map(|network| network.subnets.iter().map(|subnet| (network.vni, subnet.gateway)));
    let vips = intent.services.values().flat_map(|service| &service.vips);
    let vips = vips.filter_map(|vip| Some((networks.get(&vip.network)?.vni, vip.address)));
    let mut neighbours: BTreeMap<(Vni, IpAddr), MacAddr> =
        gateways.chain(vips).map(|(vni, address)| ((vni, address), MacAddr::gateway(vni))).collect();
    for (_, vni, endpoint) in endpoints {
        for address in endpoint.addresses() {
            neighbours.entry((vni, address)).or_insert(endpoint.mac);
        }
    }
    neighbours
}
