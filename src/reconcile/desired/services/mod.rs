//! What the data path's programs should know of services.

mod backends;
mod shortage;

pub use shortage::Shortage;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Host;
use crate::facts::View;
use crate::intent::Intent;
use crate::lb::{BackendSlot, Member, Members, Regions, ServiceSlot, Slots, Table, maglev};
use crate::model::{Attachment, EndpointId, MacAddr, NetworkId, PublishMode, Service, ServiceId, Vni};
use crate::reconcile::tables::{
    BackendEntry, Lookups, Place, PortEntry, ServiceEntry, ServiceTables, TableOfFamily, VipEntry,
};

/// What a node's tables about services should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredServices {
    /// The entries.
    pub tables: ServiceTables,
    /// The Maglev tables that the entries lead to.
    pub maglev: BTreeMap<Table, MaglevTable>,
    /// What there is no room for.
    pub shortages: BTreeSet<Shortage>,
}

/// What is found on the node.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The indexes of the host ends of veth pairs, by name.
    pub ifindexes: &'a BTreeMap<String, u32>,
    /// The host's own addresses.
    pub addresses: &'a BTreeSet<IpAddr>,
    /// The tables about services as they are now.
    pub tables: &'a ServiceTables,
    /// The time since the Unix epoch, by the host's clock.
    pub now: Duration,
}

/// What a Maglev table is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaglevTable {
    /// The service.
    pub service: ServiceId,
    /// The backends that it leads to, at least one.
    pub members: Members,
}

/// The tables about services that `host` should have, given what is `found` there: what is in the tables already keeps
/// its place.
/// Only services are in them that can be reached from here: by a published port, or by a virtual address in a network
/// that has an endpoint here.
///
/// `complete` is whether the facts of all nodes are known. Until then, the backends elsewhere that are in the tables
/// are taken to be there still.
pub fn services(
    host: &Host<'_>,
    intent: &Intent,
    view: &View,
    attachments: &BTreeMap<EndpointId, Attachment>,
    found: Found<'_>,
    complete: bool,
) -> DesiredServices {
    let observed = found.tables;
    let mut desired = DesiredServices::default();
    let present = attachments.values().map(|attachment| attachment.endpoint.network).collect();
    let wanted = wanted(intent, &present, observed, &mut desired.shortages);
    let mut backends = backends::known(&wanted, host, intent, view, attachments, found);
    if !complete {
        backends::keep(&mut backends, &wanted, intent, view, found);
    }
    let held = observed.backends.iter().map(|(slot, entry)| (*slot, (entry.endpoint, entry.generation)));
    let mut slots = Slots::observed(held);
    let mut regions = Regions::observed(observed.maglev());
    for (id, (slot, service)) in wanted {
        let entries = backends.remove(&id).unwrap_or_default();
        let mut placed = BTreeMap::new();
        for entry in entries.into_values() {
            match slots.slot_of((entry.endpoint, entry.generation)) {
                Some(slot) => drop(placed.insert(slot, entry)),
                None => drop(desired.shortages.insert(Shortage::Backends { service: service.name.clone() })),
            }
        }
        let mut filling =
            Filling { service, slot, backends: &placed, regions: &mut regions, desired: &mut desired };
        filling.service();
        filling.vips(intent, &present);
        filling.ports();
        desired.tables.backends.extend(placed);
    }
    desired.tables.locals = locals(&desired.tables.backends);
    desired.answer_on(found.addresses);
    desired.tables.lookups =
        Lookups { vips: !desired.tables.vips.is_empty(), ports: !desired.tables.ports.is_empty() };
    desired
}

fn locals(backends: &BTreeMap<BackendSlot, BackendEntry>) -> BTreeMap<(Vni, MacAddr), BackendSlot> {
    let locals = backends.iter().filter_map(|(slot, backend)| match backend.place {
        Place::Local { .. } => Some(((backend.vni, backend.mac), *slot)),
        Place::Remote { .. } => None,
    });
    locals.collect()
}

impl DesiredServices {
    /// Published ports are answered on every address that others can reach.
    fn answer_on(&mut self, addresses: &BTreeSet<IpAddr>) {
        if self.tables.ports.is_empty() {
            return;
        }
        let mut reachable = addresses.iter().copied().filter(|address| is_reachable(*address));
        self.tables.addresses = reachable.by_ref().take(ServiceTables::ADDRESSES_MAX).collect();
        self.shortages.extend(reachable.next().map(|_| Shortage::Addresses));
    }
}

/// Whether others can reach a host by it.
const fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// The services that can be reached from this node, with their slots.
fn wanted<'a>(
    intent: &'a Intent,
    present: &BTreeSet<NetworkId>,
    observed: &ServiceTables,
    shortages: &mut BTreeSet<Shortage>,
) -> backends::Wanted<'a> {
    let mut slots = Slots::observed(observed.services.iter().map(|(slot, entry)| (*slot, entry.service)));
    let mut wanted = BTreeMap::new();
    for service in intent.services.values() {
        let here = service.networks.iter().any(|network| present.contains(network))
            && !(service.vips.is_empty() && service.publish.is_empty());
        if here || publishes(service, PublishMode::Ingress) {
            match slots.slot_of(service.id) {
                Some(slot) => drop(wanted.insert(service.id, (slot, service))),
                None => drop(shortages.insert(Shortage::Services { service: service.name.clone() })),
            }
        }
    }
    wanted
}

/// One service, while its entries are made.
struct Filling<'a> {
    service: &'a Service,
    slot: ServiceSlot,
    backends: &'a BTreeMap<BackendSlot, BackendEntry>,
    regions: &'a mut Regions,
    desired: &'a mut DesiredServices,
}

impl Filling<'_> {
    fn service(&mut self) {
        let all = self.of_family(PublishMode::Ingress, |_| true);
        let local = self.of_family(PublishMode::Host, is_local);
        let Service { id, affinity, source_ip, unavailable, .. } = *self.service;
        let entry = ServiceEntry { service: id, all, local, affinity, source_ip, unavailable };
        self.desired.tables.services.insert(self.slot, entry);
    }

    fn vips(&mut self, intent: &Intent, present: &BTreeSet<NetworkId>) {
        for vip in self.service.vips.iter().filter(|vip| present.contains(&vip.network)) {
            let Some(vni) = intent.networks.get(&vip.network).map(|network| network.vni) else { continue };
            let table =
                self.table(|backend| backend.vni == vni && has_family(backend, vip.address.is_ipv4()));
            let entry = VipEntry { service: self.slot, table };
            self.desired.tables.vips.insert((vni, vip.address), entry);
        }
    }

    fn ports(&mut self) {
        let here = self.backends.values().any(is_local);
        for publish in &self.service.publish {
            let local_only = publish.mode() == PublishMode::Host;
            if local_only && !here {
                continue;
            }
            for (port, target) in publish.published().ports().zip(publish.targets().ports()) {
                let source_ip = self.service.source_ip;
                let entry = PortEntry { service: self.slot, target, source_ip, local_only };
                self.desired.tables.ports.entry((publish.protocol(), port)).or_insert(entry);
            }
        }
    }

    /// The tables for published ports, if there are any of that mode.
    fn of_family(&mut self, mode: PublishMode, counts: impl Fn(&BackendEntry) -> bool) -> TableOfFamily {
        if !publishes(self.service, mode) {
            return TableOfFamily::default();
        }
        TableOfFamily {
            v4: self.table(|backend| counts(backend) && has_family(backend, true)),
            v6: self.table(|backend| counts(backend) && has_family(backend, false)),
        }
    }

    /// The table of the backends that count and take new flows: of the size that it should have, or else the largest
    /// that there is room for.
    fn table(&mut self, counts: impl Fn(&BackendEntry) -> bool) -> Option<Table> {
        let taking = self.backends.iter().filter(|(_, backend)| backend.accepts && counts(backend));
        let members: Members = taking
            .map(|(slot, backend)| (backend.endpoint, Member { slot: *slot, weight: backend.weight }))
            .collect();
        if members.is_empty() {
            return None;
        }
        let service = self.service.id;
        let wanted = maglev::size(&members);
        for size in maglev::SIZES.into_iter().rev().filter(|size| *size <= wanted) {
            if let Some(table) = self.regions.place(maglev::digest(service, &members, size), size) {
                self.desired.maglev.insert(table, MaglevTable { service, members });
                return Some(table);
            }
            self.desired.shortages.insert(Shortage::Tables { service: self.service.name.clone() });
        }
        None
    }
}

fn publishes(service: &Service, mode: PublishMode) -> bool {
    service.publish.iter().any(|publish| publish.mode() == mode)
}

const fn is_local(backend: &BackendEntry) -> bool {
    matches!(backend.place, Place::Local { .. })
}

const fn has_family(backend: &BackendEntry, v4: bool) -> bool {
    if v4 { backend.ip4.is_some() } else { backend.ip6.is_some() }
}
