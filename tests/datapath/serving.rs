//! Services for the golden tables, written as the agent writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use overlay::lb::{BackendSlot, Generation, Region, ServiceSlot, Slot as _, Table};
use overlay::model::{Affinity, EndpointId, Protocol, ServiceId, SourceIp, Unavailable, Weight};
use overlay::reconcile::tables::{
    BackendEntry, Destination, Lookups, Place, PortEntry, ServiceAction, ServiceEntry, Source, TableAction,
    TableOfFamily, VipEntry,
};

use crate::bench::Bench;
use crate::lab::{self, address, ip};

/// A service's virtual address in network 100.
pub(crate) fn vip(service: u8, v6: bool) -> IpAddr {
    if v6 { ip(&format!("fd00:1::{service}:0")) } else { ip(&format!("10.1.1.{service}")) }
}

/// A node with services.
pub(crate) struct Serving {
    pub(crate) bench: Bench,
    /// Whose address the backends of what is published from now on see.
    pub(crate) source_ip: SourceIp,
    /// How many Maglev tables were written.
    tables: u32,
}

impl Serving {
    /// The node of [`Bench::new`], which serves nothing yet. Endpoint 1 has an IPv6 address too.
    pub(crate) fn new(v6: bool) -> Self {
        let mut bench = Bench::new(v6);
        let (ip4, ip6) = addresses(1);
        let source = Source { vni: lab::vni(), mac: lab::mac(1), ip4, ip6, forward: false, serves: true };
        bench.data_path.apply(&TableAction::PutSource(bench.netns.ifindex("ep1"), source)).unwrap();
        let mut serving = Self { bench, source_ip: SourceIp::Preserve, tables: 0 };
        serving.apply(&ServiceAction::SetLookups(Lookups { vips: true, ports: true }));
        serving
    }

    pub(crate) fn apply(&mut self, action: &ServiceAction) {
        self.bench.data_path.apply_service(action).unwrap();
    }

    /// A service whose backends are these endpoints, at its virtual addresses.
    pub(crate) fn serve(&mut self, service: u8, endpoints: &[usize], affinity: Affinity) {
        for endpoint in endpoints {
            self.back(service, *endpoint);
        }
        let entry = ServiceEntry { affinity, ..entry(service) };
        self.apply(&ServiceAction::PutService(slot(service), entry));
        self.balance(service, endpoints);
    }

    /// Has a service without a backend keep silent.
    pub(crate) fn silence(&mut self, service: u8) {
        let entry = ServiceEntry { unavailable: Unavailable::Drop, ..entry(service) };
        self.apply(&ServiceAction::PutService(slot(service), entry));
    }

    /// Publishes a service that is served already, by both protocols.
    pub(crate) fn publish(&mut self, service: u8, endpoints: &[usize], port: u16, target: u16) {
        let table = self.table(endpoints);
        let all = TableOfFamily { v4: table, v6: table };
        self.apply(&ServiceAction::PutService(slot(service), ServiceEntry { all, ..entry(service) }));
        let source_ip = self.source_ip;
        let entry = PortEntry { service: slot(service), target, source_ip, local_only: false };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            self.apply(&ServiceAction::PutPort(protocol, port, entry));
        }
        let tables = self.bench.data_path.observe().unwrap();
        for endpoint in endpoints {
            let (vni, mac) = (lab::vni(), lab::mac(*endpoint));
            if matches!(tables.fdb[&(vni, mac)], Destination::Local { .. }) {
                self.apply(&ServiceAction::PutLocal(vni, mac, backend(*endpoint)));
            }
        }
    }

    /// Has each of the first endpoints be the only backend of a service of its own, published on one port more than the one
    /// before it.
    pub(crate) fn publish_each(&mut self, endpoints: usize, first_port: u16, target: u16) {
        for endpoint in 0..endpoints {
            let service = endpoint as u8 + 1;
            self.serve(service, &[endpoint], Affinity::None);
            self.publish(service, &[endpoint], first_port + endpoint as u16, target);
        }
    }

    /// Gives the host an address that clients may come to.
    pub(crate) fn own(&mut self, address: IpAddr) {
        self.apply(&ServiceAction::PutAddress(address));
    }

    /// Makes an endpoint a service's backend, for flows that know it already.
    pub(crate) fn back(&mut self, service: u8, endpoint: usize) {
        let tables = self.bench.data_path.observe().unwrap();
        let place = match tables.fdb[&(lab::vni(), lab::mac(endpoint))] {
            Destination::Local { ifindex } => Place::Local { ifindex },
            Destination::Remote { vtep, .. } => Place::Remote { vtep, mtu: tables.vteps[&vtep].mtu },
        };
        let (ip4, ip6) = addresses(endpoint);
        let endpoint_id = EndpointId::from_bytes([endpoint as u8; 16]);
        let entry = BackendEntry {
            service: slot(service),
            endpoint: endpoint_id,
            generation: Generation::of(id(service), endpoint_id),
            vni: lab::vni(),
            mac: lab::mac(endpoint),
            ip4,
            ip6,
            place,
            weight: Weight::default(),
            accepts: true,
        };
        self.apply(&ServiceAction::PutBackend(backend(endpoint), entry));
    }

    /// Has a service's new flows go to these of the endpoints, which share its table evenly.
    pub(crate) fn balance(&mut self, service: u8, endpoints: &[usize]) {
        let table = self.table(endpoints);
        for v6 in [false, true] {
            let entry = VipEntry { service: slot(service), table };
            self.apply(&ServiceAction::PutVip(lab::vni(), vip(service, v6), entry));
        }
    }

    /// A new table that these endpoints share evenly; without any there is none.
    fn table(&mut self, endpoints: &[usize]) -> Option<Table> {
        if endpoints.is_empty() {
            return None;
        }
        let region = Region::new(self.tables * 251, 251).unwrap();
        self.tables += 1;
        let places = endpoints.iter().cycle().take(251).map(|endpoint| backend(*endpoint));
        self.apply(&ServiceAction::WriteTable(region, places.collect()));
        Some(Table { region, digest: u64::from(self.tables) })
    }
}

/// A service without a backend.
fn entry(service: u8) -> ServiceEntry {
    ServiceEntry {
        service: id(service),
        all: TableOfFamily::default(),
        local: TableOfFamily::default(),
        affinity: Affinity::None,
        source_ip: SourceIp::Preserve,
        unavailable: Unavailable::Reject,
    }
}

/// An endpoint's addresses.
fn addresses(endpoint: usize) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    match (address(endpoint, false), address(endpoint, true)) {
        (IpAddr::V4(ip4), IpAddr::V6(ip6)) => (Some(ip4), Some(ip6)),
        mixed => unreachable!("one of each family: {mixed:?}"),
    }
}

fn id(service: u8) -> ServiceId {
    ServiceId::from_bytes([service; 16])
}

pub(crate) fn slot(service: u8) -> ServiceSlot {
    ServiceSlot::new(service.into()).unwrap()
}

/// The slot of an endpoint that is a backend.
pub(crate) fn backend(endpoint: usize) -> BackendSlot {
    BackendSlot::new(endpoint as u32 + 1).unwrap()
}
