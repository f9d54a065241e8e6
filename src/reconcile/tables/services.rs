//! The part of the data path's tables that is about services: who may be reached by which port and virtual address,
//! and where the backends are.
//!
//! A port or virtual address leads to a service, the service or virtual address to a Maglev table, and that to
//! backends, by their slots. What is in the Maglev tables is not held here, only where they are: their digests tell
//! what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lb::{BackendSlot, Generation, Region, ServiceSlot, Table};
use crate::model::{Affinity, EndpointId, MacAddr, Protocol, ServiceId, SourceIp, Unavailable, Vni, Weight};

/// The tables about services: wanted, or found in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTables {
    /// The published ports that this node answers on.
    pub ports: BTreeMap<(Protocol, u16), PortEntry>,
    /// The virtual addresses in the networks that have an endpoint here.
    pub vips: BTreeMap<(Vni, IpAddr), VipEntry>,
    /// The services that these lead to.
    pub services: BTreeMap<ServiceSlot, ServiceEntry>,
    /// All backends of these services.
    pub backends: BTreeMap<BackendSlot, BackendEntry>,
    /// Those of them that are here.
    pub locals: BTreeMap<(Vni, MacAddr), BackendSlot>,
    /// The addresses of this host that published ports are answered on; none while no port is published.
    pub addresses: BTreeSet<IpAddr>,
    /// What of this the programs look for.
    pub lookups: Lookups,
}

/// What the programs look for at all, so that services cost nothing where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Virtual addresses: there is one.
    pub vips: bool,
    /// Published ports: there is one.
    pub ports: bool,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortEntry {
    /// Its service.
    pub service: ServiceSlot,
    /// The backends' port.
    pub target: u16,
    /// Whose address the backends see.
    pub source_ip: SourceIp,
    /// Whether only backends on this node serve it: [`ServiceEntry::local`] has their table.
    pub local_only: bool,
}

/// A service's virtual address in one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipEntry {
    /// The service.
    pub service: ServiceSlot,
    /// Of the backends in this network, with an address of this family.
    pub table: Option<Table>,
}

/// A service, as its published ports need to know it. Where a table is missing, no backend takes new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its id.
    pub service: ServiceId,
    /// Of all backends, while it publishes ports on every node.
    pub all: TableOfFamily,
    /// Of the backends on this node, while it publishes ports on their nodes alone.
    pub local: TableOfFamily,
    /// Whether a client stays with its backend.
    pub affinity: Affinity,
    /// Whose address the backends see on published ports.
    pub source_ip: SourceIp,
    /// What a client gets without a table.
    pub unavailable: Unavailable,
}

/// The tables for each family of clients' addresses; one and the same if the backends are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableOfFamily {
    /// Of backends with an IPv4 address.
    pub v4: Option<Table>,
    /// Of backends with an IPv6 address.
    pub v6: Option<Table>,
}

/// A backend. It is there as long as its endpoint is, so that flows go on while it takes no new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendEntry {
    /// Its service.
    pub service: ServiceSlot,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Tells it from who had the slot before.
    pub generation: Generation,
    /// The endpoint's network.
    pub vni: Vni,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub ip4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// Where it is.
    pub place: Place,
    /// Its share of new flows.
    pub weight: Weight,
    /// Whether it takes new flows: neither it nor its node is drained.
    pub accepts: bool,
}

/// Where a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind a veth pair here.
    Local {
        /// The index of the pair's host end.
        ifindex: u32,
    },
    /// On a peer.
    Remote {
        /// The peer's VTEP.
        vtep: IpAddr,
        /// The largest inner IP packet that reaches it, in bytes.
        mtu: u16,
    },
}

/// One step of a plan: an entry to write (insert or replace) or to remove, or a Maglev table to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAction {
    /// Writes a backend.
    PutBackend(BackendSlot, BackendEntry),
    /// Empties a backend's slot.
    DeleteBackend(BackendSlot),
    /// Writes a Maglev table to a region that nothing leads to.
    WriteTable(Region, Vec<BackendSlot>),
    /// Writes a service.
    PutService(ServiceSlot, ServiceEntry),
    /// Empties a service's slot.
    DeleteService(ServiceSlot),
    /// Writes a virtual address.
    PutVip(Vni, IpAddr, VipEntry),
    /// Removes a virtual address.
    DeleteVip(Vni, IpAddr),
    /// Writes a published port.
    PutPort(Protocol, u16, PortEntry),
    /// Removes a published port.
    DeletePort(Protocol, u16),
    /// Writes which backend an endpoint here is.
    PutLocal(Vni, MacAddr, BackendSlot),
    /// Removes that it is one.
    DeleteLocal(Vni, MacAddr),
    /// Writes an address of this host.
    PutAddress(IpAddr),
    /// Removes an address of this host.
    DeleteAddress(IpAddr),
    /// Tells the programs what to look for.
    SetLookups(Lookups),
}

impl ServiceTables {
    /// How many of the host's addresses there is room for.
    pub const ADDRESSES_MAX: usize = 4096;

    /// Takes a step of a plan, as the kernel does.
    pub fn apply(&mut self, action: &ServiceAction) {
        match *action {
            ServiceAction::PutBackend(slot, entry) => drop(self.backends.insert(slot, entry)),
            ServiceAction::DeleteBackend(slot) => drop(self.backends.remove(&slot)),
            ServiceAction::WriteTable(..) => {}
            ServiceAction::PutService(slot, entry) => drop(self.services.insert(slot, entry)),
            ServiceAction::DeleteService(slot) => drop(self.services.remove(&slot)),
            ServiceAction::PutVip(vni, address, entry) => drop(self.vips.insert((vni, address), entry)),
            ServiceAction::DeleteVip(vni, address) => drop(self.vips.remove(&(vni, address))),
            ServiceAction::PutPort(protocol, port, entry) => drop(self.ports.insert((protocol, port), entry)),
            ServiceAction::DeletePort(protocol, port) => drop(self.ports.remove(&(protocol, port))),
            ServiceAction::PutLocal(vni, mac, slot) => drop(self.locals.insert((vni, mac), slot)),
            ServiceAction::DeleteLocal(vni, mac) => drop(self.locals.remove(&(vni, mac))),
            ServiceAction::PutAddress(address) => drop(self.addresses.insert(address)),
            ServiceAction::DeleteAddress(address) => drop(self.addresses.remove(&address)),
            ServiceAction::SetLookups(lookups) => self.lookups = lookups,
        }
    }

    /// The Maglev tables that these entries lead to, some of them several times.
    pub fn maglev(&self) -> impl Iterator<Item = Table> {
        let services = self.services.values().flat_map(ServiceEntry::maglev);
        services.chain(self.vips.values().filter_map(|vip| vip.table))
    }
}

impl ServiceEntry {
    /// The Maglev tables that it leads to, some of them several times.
    pub fn maglev(&self) -> impl Iterator<Item = Table> + use<> {
        [self.all.v4, self.all.v6, self.local.v4, self.local.v6].into_iter().flatten()
    }
}
