//! What the data path's programs should know.
//!
//! Of 100,000 endpoints, news of one should not cost a look at all. So the two large tables are kept from pass to pass,
//! with all claims on their keys, and a pass goes through the endpoints of those nodes alone whose part of the view is
//! another one than before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::claims::{Claimant, Claims};
use super::{Host, effective_mtu};
use crate::facts::{Part, View};
use crate::intent::Intent;
use crate::model::{
    Attachment, Endpoint, EndpointId, MacAddr, Network, NetworkId, NodeId, UnderlayFamily, Vni,
};
use crate::reconcile::tables::{Destination, Egress, NetworkEntry, NodeEntry, Source, Tables, VtepEntry};

/// The tables that a node should have, and what they were made of.
#[derive(Debug, Clone, Default)]
pub struct DesiredTables {
    tables: Tables,
    fdb: Claims<(Vni, MacAddr), Destination>,
    neighbours: Claims<(Vni, IpAddr), MacAddr>,
    basis: Option<Basis>,
    here: Statement,
    peers: BTreeMap<NodeId, Peer>,
}

/// What all claims depend on: when it changes, which is rare, they are made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    me: NodeId,
    /// The networks with an endpoint here.
    networks: BTreeMap<NetworkId, Vni>,
}

/// Claims of this node: its endpoints' and its networks' gateways', who answer for the services' virtual addresses too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Statement {
    fdb: Vec<((Vni, MacAddr), Claimant, Destination)>,
    neighbours: Vec<((Vni, IpAddr), Claimant, MacAddr)>,
}

/// What another node's claims follow from.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    part: Arc<Part>,
    pub(super) vtep: IpAddr,
}

impl DesiredTables {
    /// The tables that `host` should have now. Only networks with an endpoint here are in them, and only peers on
    /// the host's own address family. They follow from the arguments alone: what earlier calls left only saves time.
    ///
    /// While a cluster is partitioned, two endpoints may claim one address or MAC in a network. The winner is always
    /// the same one then: a local endpoint keeps its own MAC; otherwise the lowest (node, endpoint) has it. A
    /// gateway's address is never an endpoint's, nor is a service's.
    ///
    /// `ifindexes` are those of the VXLAN device and of the host ends of veth pairs, by name. A local endpoint without one
    /// has no device yet, and so no entry that would name it.
    pub fn update(
        &mut self,
        host: &Host<'_>,
        intent: &Intent,
        view: &View,
        attachments: &BTreeMap<EndpointId, Attachment>,
        ifindexes: &BTreeMap<String, u32>,
    ) -> &Tables {
        let networks: BTreeMap<NetworkId, &Network> = attachments
            .values()
            .filter_map(|attachment| intent.networks.get(&attachment.endpoint.network))
            .map(|network| (network.id, network))
            .collect();
        let vnis = networks.values().map(|network| (network.id, network.vni)).collect();
        let basis = Basis { me: host.me, networks: vnis };
        if self.basis.as_ref() != Some(&basis) {
            *self = Self::default();
        }
        let locals: Vec<Local<'_>> = attachments
            .values()
            .filter_map(|attachment| {
                let network = *networks.get(&attachment.endpoint.network)?;
                let ifindex = ifindexes.get(&attachment.host_ifname(&host.config.veth_prefix)).copied();
                Some(Local { network, endpoint: &attachment.endpoint, ifindex })
            })
            .collect();
        let peers = peers(host, view);
        self.state_here(Statement::of(host.me, intent, &networks, &locals));
        self.state_peers(&basis, &peers);
        self.basis = Some(basis);

        self.fdb.settle(&mut self.tables.fdb);
        self.neighbours.settle(&mut self.tables.neighbours);
        let leads_out = networks.values().any(|network| !network.internal);
        self.tables.node = node(host, ifindexes, leads_out);
        self.tables.networks = networks
            .values()
            .map(|network| (network.vni, network_entry(network, effective_mtu(network, view, host.underlay))))
            .collect();
        self.tables.vteps = vteps(host, view, &peers);
        self.tables.sources = locals.iter().filter_map(Local::source).collect();
        &self.tables
    }

    fn state_here(&mut self, here: Statement) {
        if here == self.here {
            return;
        }
        let before = std::mem::replace(&mut self.here, here);
        before.fdb.iter().for_each(|(key, claimant, _)| self.fdb.remove(*key, *claimant));
        before.neighbours.iter().for_each(|(key, claimant, _)| self.neighbours.remove(*key, *claimant));
        self.here.fdb.iter().for_each(|(key, claimant, to)| self.fdb.add(*key, *claimant, *to));
        self.here.neighbours.iter().for_each(|(key, claimant, mac)| {
            self.neighbours.add(*key, *claimant, *mac);
        });
    }

    fn state_peers(&mut self, basis: &Basis, peers: &BTreeMap<NodeId, Peer>) {
        let same = |a: &Peer, b: &Peer| Arc::ptr_eq(&a.part, &b.part) && a.vtep == b.vtep;
        let before = std::mem::take(&mut self.peers);
        for (node, peer) in &before {
            if !peers.get(node).is_some_and(|now| same(now, peer)) {
                self.withdraw(*node, peer, basis);
            }
        }
        for (node, peer) in peers {
            if !before.get(node).is_some_and(|before| same(before, peer)) {
                self.state(*node, peer, basis);
            }
        }
        self.peers = peers.clone();
    }

    fn state(&mut self, node: NodeId, peer: &Peer, basis: &Basis) {
        for (vni, endpoint) in peer.endpoints(basis) {
            let claimant = Claimant::Of(node, endpoint.id);
            let to = Destination::Remote { vtep: peer.vtep, forward: endpoint.forward };
            self.fdb.add((vni, endpoint.mac), claimant, to);
            for address in endpoint.addresses() {
                self.neighbours.add((vni, address), claimant, endpoint.mac);
            }
        }
    }

    /// Takes back what [`Self::state`] stated.
    fn withdraw(&mut self, node: NodeId, peer: &Peer, basis: &Basis) {
        for (vni, endpoint) in peer.endpoints(basis) {
            let claimant = Claimant::Of(node, endpoint.id);
            self.fdb.remove((vni, endpoint.mac), claimant);
            for address in endpoint.addresses() {
                self.neighbours.remove((vni, address), claimant);
            }
        }
    }
}

impl Peer {
    /// Its endpoints in the networks that have one here.
    fn endpoints(&self, basis: &Basis) -> impl Iterator<Item = (Vni, &Endpoint)> {
        let endpoints = self.part.endpoints.values();
        endpoints.filter_map(|endpoint| Some((*basis.networks.get(&endpoint.network)?, endpoint)))
    }
}

/// An endpoint of this node.
struct Local<'a> {
    network: &'a Network,
    endpoint: &'a Endpoint,
    ifindex: Option<u32>,
}

impl Local<'_> {
    fn source(&self) -> Option<(u32, Source)> {
        let source = Source {
            vni: self.network.vni,
            mac: self.endpoint.mac,
            ip4: self.endpoint.ip4,
            ip6: self.endpoint.ip6,
            forward: self.endpoint.forward,
            serves: self.endpoint.service.is_some(),
        };
        Some((self.ifindex?, source))
    }
}

impl Statement {
    fn of(
        me: NodeId,
        intent: &Intent,
        networks: &BTreeMap<NetworkId, &Network>,
        locals: &[Local<'_>],
    ) -> Self {
        let gateways = networks
            .values()
            .flat_map(|network| network.subnets.iter().map(|subnet| (network.vni, subnet.gateway)));
        let vips = intent.services.values().flat_map(|service| &service.vips);
        let vips = vips.filter_map(|vip| Some((networks.get(&vip.network)?.vni, vip.address)));
        let mut neighbours: Vec<_> = gateways
            .chain(vips)
            .map(|(vni, address)| ((vni, address), Claimant::Gateway, MacAddr::gateway(vni)))
            .collect();
        let mut fdb = Vec::new();
        for Local { network, endpoint, ifindex } in locals {
            let claimant = Claimant::Of(me, endpoint.id);
            neighbours
                .extend(endpoint.addresses().map(|address| ((network.vni, address), claimant, endpoint.mac)));
            if let Some(ifindex) = *ifindex {
                let to = Destination::Local { ifindex };
                fdb.push(((network.vni, endpoint.mac), Claimant::Here(endpoint.id), to));
            }
        }
        Self { fdb, neighbours }
    }
}

fn node(host: &Host<'_>, ifindexes: &BTreeMap<String, u32>, leads_out: bool) -> Option<NodeEntry> {
    host.underlay.map(|underlay| NodeEntry {
        underlay_ifindex: underlay.ifindex,
        vxlan_ifindex: ifindexes.get(&host.config.vxlan_device).copied().and_then(NonZeroU32::new),
        vtep: underlay.vtep,
        data_port: host.config.data_port,
        mark: host.mark,
        idle: host.config.idle,
        egress: leads_out.then_some(Egress {
            ip4: underlay.egress4,
            ip6: underlay.egress6,
            ports: host.config.egress_ports,
        }),
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
        internal: network.internal,
    }
}

/// The other living nodes. One at our own VTEP's address is what this host was before it joined anew: packets for it
/// would come back to us.
pub(super) fn peers(host: &Host<'_>, view: &View) -> BTreeMap<NodeId, Peer> {
    let reachable = |vtep: IpAddr| {
        host.underlay
            .is_none_or(|own| vtep != own.vtep && UnderlayFamily::of(vtep) == UnderlayFamily::of(own.vtep))
    };
    view.parts()
        .filter(|(node, _)| *node != host.me)
        .filter_map(|(node, part)| {
            let vtep = part.fact.as_ref()?.vtep;
            reachable(vtep).then(|| (node, Peer { part: Arc::clone(part), vtep }))
        })
        .collect()
}

pub(super) fn vteps(
    host: &Host<'_>,
    view: &View,
    peers: &BTreeMap<NodeId, Peer>,
) -> BTreeMap<IpAddr, VtepEntry> {
    let own = host.underlay.map_or(u16::MAX, |underlay| underlay.mtu);
    let mut vteps: BTreeMap<IpAddr, VtepEntry> = BTreeMap::new();
    for (node, peer) in peers {
        let Some(fact) = view.node(*node) else { continue };
        let mtu = own.min(fact.underlay_mtu).saturating_sub(UnderlayFamily::of(peer.vtep).overhead());
        // A host that joined anew shares its address with its former self until that is known to be dead.
        let entry = vteps.entry(peer.vtep).or_insert(VtepEntry { mtu });
        entry.mtu = entry.mtu.min(mtu);
    }
    vteps
}
