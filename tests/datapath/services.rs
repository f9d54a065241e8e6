//! The tables about services, as the kernel keeps them.

use std::net::IpAddr;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use overlay::config::Idle;
use overlay::lb::{BackendSlot, Generation, Region, ServiceSlot, Slot as _, Table};
use overlay::model::{Affinity, EndpointId, Protocol, ServiceId, SourceIp, Unavailable, Vni, Weight};
use overlay::reconcile::tables::{
    BackendEntry, Lookups, NodeEntry, Place, PortEntry, ServiceAction, ServiceEntry, ServiceTables,
    TableAction, TableOfFamily, VipEntry,
};
use overlay_abi::services::Places;
use overlay_abi::{ABI_VERSION, map};
use overlayd::kernel::bpf::DataPath;

use crate::bench::vtep;
use crate::lab;
use crate::netns::Bpffs;

fn service(number: u32) -> ServiceSlot {
    ServiceSlot::new(number).unwrap()
}

fn backend(number: u32) -> BackendSlot {
    BackendSlot::new(number).unwrap()
}

fn table(offset: u32) -> Option<Table> {
    Some(Table { region: Region::new(offset, 251).unwrap(), digest: u64::MAX })
}

fn entry(n: u8, place: Place) -> BackendEntry {
    let endpoint = EndpointId::from_bytes([n; 16]);
    BackendEntry {
        service: service(1),
        endpoint,
        generation: Generation::of(ServiceId::from_bytes([1; 16]), endpoint),
        vni: Vni::new(4097).unwrap(),
        mac: lab::mac(n.into()),
        ip4: "10.1.0.1".parse().ok(),
        ip6: None,
        place,
        weight: Weight::default(),
        accepts: true,
    }
}

/// Something in each table, at both ends of the arrays.
fn puts() -> Vec<ServiceAction> {
    let [first, last] = [1, ServiceSlot::MAX].map(service);
    let entry_of = |id: u8| ServiceEntry {
        service: ServiceId::from_bytes([id; 16]),
        all: TableOfFamily { v4: table(3), v6: None },
        local: TableOfFamily { v4: None, v6: table(254) },
        affinity: Affinity::None,
        source_ip: SourceIp::Snat,
        unavailable: Unavailable::Reject,
    };
    let port = PortEntry { service: last, target: 80, source_ip: SourceIp::Preserve, local_only: true };
    let vni = Vni::new(4097).unwrap();
    let mut puts = vec![
        ServiceAction::PutBackend(backend(1), entry(1, Place::Local { ifindex: 7 })),
        ServiceAction::PutBackend(
            backend(BackendSlot::MAX),
            entry(2, Place::Remote { vtep: vtep(2, true), mtu: 1430 }),
        ),
        ServiceAction::PutLocal(vni, lab::mac(1), backend(1)),
        ServiceAction::PutService(first, entry_of(1)),
        ServiceAction::PutService(last, entry_of(2)),
        ServiceAction::PutVip(vni, IpAddr::from([10, 1, 0, 2]), VipEntry { service: first, table: table(3) }),
        ServiceAction::PutAddress(vtep(1, false)),
        ServiceAction::PutAddress(vtep(1, true)),
        ServiceAction::SetLookups(Lookups { vips: true, ports: true }),
    ];
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        puts.extend([0, u16::MAX].map(|number| ServiceAction::PutPort(protocol, number, port)));
    }
    puts
}

fn deletes(tables: &ServiceTables) -> Vec<ServiceAction> {
    let mut deletes = vec![ServiceAction::SetLookups(Lookups::default())];
    deletes.extend(tables.ports.keys().map(|(protocol, port)| ServiceAction::DeletePort(*protocol, *port)));
    deletes.extend(tables.vips.keys().map(|(vni, address)| ServiceAction::DeleteVip(*vni, *address)));
    deletes.extend(tables.services.keys().map(|slot| ServiceAction::DeleteService(*slot)));
    deletes.extend(tables.locals.keys().map(|(vni, mac)| ServiceAction::DeleteLocal(*vni, *mac)));
    deletes.extend(tables.backends.keys().map(|slot| ServiceAction::DeleteBackend(*slot)));
    deletes.extend(tables.addresses.iter().map(|address| ServiceAction::DeleteAddress(*address)));
    deletes
}

#[test]
fn what_is_written_is_what_the_next_agent_observes_and_can_remove() {
    let bpffs = Bpffs::new();
    let mut data_path = DataPath::open(&bpffs.dir()).unwrap();
    assert_eq!(data_path.observe_services().unwrap(), ServiceTables::default());
    let mut wanted = ServiceTables::default();
    for action in puts() {
        data_path.apply_service(&action).unwrap();
        wanted.apply(&action);
    }
    // The node's entry and what the programs look for are written apart.
    let node = NodeEntry {
        underlay_ifindex: 3,
        vxlan_ifindex: None,
        vtep: vtep(1, false),
        data_port: 4789,
        mark: 1,
        idle: Idle::default(),
        egress: None,
    };
    data_path.apply(&TableAction::PutNode(node)).unwrap();
    assert_eq!(data_path.observe_services().unwrap(), wanted);
    drop(data_path);

    let mut next = DataPath::open(&bpffs.dir()).unwrap();
    assert_eq!(next.observe_services().unwrap(), wanted);
    let deletes = deletes(&wanted);
    for action in deletes.iter().chain(&deletes) {
        next.apply_service(action).unwrap();
    }
    assert_eq!(next.observe_services().unwrap(), ServiceTables::default());
    assert_eq!(next.observe().unwrap().node, Some(node));
}

#[test]
fn a_maglev_table_is_written_where_it_should_be_and_nowhere_else() {
    let bpffs = Bpffs::new();
    let mut data_path = DataPath::open(&bpffs.dir()).unwrap();
    // None begins or ends with an element, one crosses a page, one ends the array.
    let regions = [(3, 251), (254, 1021), (60_001, 65_521), (Region::ROOM - 1021, 1021)];
    let mut wanted = vec![0; Region::ROOM as usize];
    for (n, (offset, size)) in (1..).zip(regions) {
        let places: Vec<u32> = (0..size).map(|place| BackendSlot::MAX - place % 9 - n).collect();
        wanted[offset as usize..][..size as usize].copy_from_slice(&places);
        let region = Region::new(offset, size).unwrap();
        let places = places.into_iter().map(backend).collect();
        data_path.apply_service(&ServiceAction::WriteTable(region, places)).unwrap();
    }
    let written = maglev(&bpffs.dir());
    assert_eq!(written.len(), wanted.len());
    let differs = written.iter().zip(&wanted).position(|(is, should)| u32::from(*is) != *should);
    assert_eq!(differs, None);
}

/// All places, as a program reads them.
fn maglev(dir: &Path) -> Vec<u16> {
    let map = MapData::from_pin(dir.join(format!("v{ABI_VERSION}/maps")).join(map::MAGLEV)).unwrap();
    let array: Array<_, Places> = Map::Array(map).try_into().unwrap();
    array.iter().flat_map(|places| places.unwrap()).collect()
}
