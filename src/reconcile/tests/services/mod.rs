mod over_time;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::underlay;
use crate::config::Config;
use crate::fixtures::{World, attachment, bare_service, create, membership, network, node_id};
use crate::lb::Table;
use crate::model::{
    Attachment, Availability, EndpointId, MacAddr, Network, Protocol, Publish, PublishMode, Seconds, Service,
    ServiceId, Vip,
};
use crate::reconcile::desired::{DesiredServices, Found, Host, services};
use crate::reconcile::links::Underlay;
use crate::reconcile::plan::plan_services;
use crate::reconcile::tables::{Lookups, ServiceAction, ServiceTables};

/// The node's; nobody else reaches it by those after the first two.
const ADDRESSES: [&str; 6] = ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1", "169.254.0.1", "fe80::1"];

/// What the tables of the world's node should be, given what they are. The host ends of its veth pairs are number 100
/// and up, in the order of the endpoints' ids.
pub(in crate::reconcile) fn desired(
    world: &World,
    observed: &ServiceTables,
    complete: bool,
) -> DesiredServices {
    let config = Config::default();
    let [.., me] = *world.me.as_bytes();
    let own = Underlay { vtep: IpAddr::from([192, 0, 2, me]), ..underlay(1500) };
    let host = Host { me: world.me, config: &config, underlay: Some(&own), mark: 7 };
    let ifindexes =
        world.attachments.values().map(|attachment| attachment.host_ifname("ovl")).zip(100..).collect();
    let addresses = ADDRESSES.map(|address| address.parse().unwrap()).into();
    let found = Found { ifindexes: &ifindexes, addresses: &addresses, tables: observed, now: world.now };
    services(&host, &world.intent, &world.view, &world.attachments, found, complete)
}

/// All of the plan is taken.
fn after(world: &World, observed: &ServiceTables) -> ServiceTables {
    let mut tables = observed.clone();
    for action in plan_services(&desired(world, observed, true), observed) {
        tables.apply(&action);
    }
    tables
}

fn text(plan: &[ServiceAction]) -> String {
    plan.iter().map(|action| format!("{action}\n")).collect()
}

fn publish(published: &str, target: u16, protocol: Protocol, mode: PublishMode) -> Publish {
    Publish::new(published.parse().unwrap(), target, protocol, mode).unwrap()
}

/// Backend `n` of service `of`, with that weight.
fn backend(n: u8, network: &Network, of: u8, weight: u16) -> Attachment {
    let mut backend = attachment(n, network, [10, 1, 0, n]);
    backend.endpoint.service = membership(of, weight);
    backend
}

fn endpoint(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

/// Service 1 in mynet is published on port 8080, and has backend 11 here and 12 on node 2.
fn world() -> World {
    let mut world = World::new();
    let mynet = world.network("mynet");
    let ingress = publish("8080", 80, Protocol::Tcp, PublishMode::Ingress);
    let vip = Vip { network: mynet.id, address: IpAddr::from([10, 1, 0, 2]) };
    put(&mut world, Service { publish: vec![ingress], vips: vec![vip], ..bare_service(1, &[&mynet]) });
    world.hold(backend(11, &mynet, 1, 1));
    world.elsewhere(2, backend(12, &mynet, 1, 3));
    world
}

fn put(world: &mut World, service: Service) {
    world.intent.services.insert(service.id, service);
}

fn service_mut(world: &mut World, n: u8) -> &mut Service {
    world.intent.services.get_mut(&ServiceId::from_bytes([n; 16])).unwrap()
}

fn only<T: Copy>(values: impl IntoIterator<Item = T>) -> T {
    let mut values = values.into_iter();
    let only = values.next().unwrap();
    assert!(values.next().is_none());
    only
}

/// The endpoints that a table leads to.
fn leads_to(desired: &DesiredServices, table: Option<Table>) -> Vec<EndpointId> {
    table.map_or(Vec::new(), |table| desired.maglev[&table].members.keys().copied().collect())
}

#[test]
fn a_nodes_services() {
    let mut world = world();
    service_mut(&mut world, 1).publish.extend([
        publish("9000-9001", 53, Protocol::Udp, PublishMode::Ingress),
        publish("8443", 443, Protocol::Tcp, PublishMode::Host),
    ]);
    let none = ServiceTables::default();
    insta::assert_snapshot!(text(&plan_services(&desired(&world, &none, true), &none)), @r"
    write backend 1, 0b0b0b0b0b0b of service 1, behind device 100
    write backend 2, 0c0c0c0c0c0c of service 1, on peer 192.0.2.2 with MTU 1450
    write that 02:00:00:00:00:0b of network 4097 is backend 1
    write a table to places 0 to 1020
    write a table to places 1021 to 1271
    write service 1, 010101010101: IPv4 to places 0 to 1020, IPv6 to nobody; in host mode IPv4 to places 1021 to 1271, IPv6 to nobody
    write that 10.1.0.2 of network 4097 is service 1: to places 0 to 1020
    write that tcp port 8080 leads to port 80 of service 1
    write that tcp port 8443 leads to port 443 of service 1 on this node
    write that udp port 9000 leads to port 53 of service 1
    write that udp port 9001 leads to port 54 of service 1
    answer published ports on 192.0.2.1
    answer published ports on 2001:db8::1
    look for virtual addresses and published ports
    ");
}

#[test]
fn a_new_backend_is_there_before_flows_go_to_it_and_one_that_goes_is_there_until_none_does() {
    let mut world = world();
    let before = after(&world, &ServiceTables::default());
    world.view.part_mut(node_id(2)).endpoints.clear();
    let mynet = world.network("mynet");
    world.elsewhere(3, backend(13, &mynet, 1, 1));
    insta::assert_snapshot!(text(&plan_services(&desired(&world, &before, true), &before)), @r"
    write backend 3, 0d0d0d0d0d0d of service 1, on peer 192.0.2.3 with MTU 1450
    write a table to places 1021 to 1271
    write service 1, 010101010101: IPv4 to places 1021 to 1271, IPv6 to nobody; in host mode IPv4 to nobody, IPv6 to nobody
    write that 10.1.0.2 of network 4097 is service 1: to places 1021 to 1271
    remove backend 2
    ");
}

#[test]
fn a_drained_backend_stays_for_its_flows_but_gets_no_new_ones() {
    let mut world = world();
    let drained = |world: &World| {
        let desired = desired(world, &ServiceTables::default(), true);
        assert_eq!(desired.tables.backends.len(), 2);
        leads_to(&desired, only(desired.tables.services.values()).all.v4)
    };
    assert_eq!(drained(&world), [endpoint(11), endpoint(12)]);
    service_mut(&mut world, 1).drained.insert(endpoint(11), 0);
    assert_eq!(drained(&world), [endpoint(12)]);
    world.intent.nodes.get_mut(&node_id(2)).unwrap().availability = Availability::Drain;
    assert_eq!(drained(&world), []);
    world.intent.nodes.get_mut(&node_id(2)).unwrap().availability = Availability::Pause;
    assert_eq!(drained(&world), [endpoint(12)]);
}

#[test]
fn a_drained_backend_goes_when_its_grace_period_ends() {
    let mut world = world();
    world.now = Duration::from_secs(1000);
    let before = after(&world, &ServiceTables::default());
    service_mut(&mut world, 1).drained.insert(endpoint(11), 1000);
    service_mut(&mut world, 1).stop_grace_period = Seconds(60);
    let drained = after(&world, &before);
    assert_eq!(drained.backends.len(), 2);
    world.now = Duration::from_millis(1_059_999);
    assert_eq!(after(&world, &drained), drained);
    world.now = Duration::from_secs(1060);
    insta::assert_snapshot!(text(&plan_services(&desired(&world, &drained, true), &drained)), @r"
    write that 02:00:00:00:00:0b of network 4097 is no backend
    remove backend 1
    ");
    // Until its facts are complete, a restarted node knows no less.
    world.attachments.clear();
    service_mut(&mut world, 1).drained.insert(endpoint(12), 1001);
    world.view = Default::default();
    assert_eq!(desired(&world, &drained, false).tables.backends.len(), 1);
    world.now = Duration::from_secs(1061);
    assert_eq!(desired(&world, &drained, false).tables.backends, BTreeMap::new());
}

#[test]
fn a_drained_node_serves_each_service_for_its_own_grace_period() {
    let mut world = world();
    let mynet = world.network("mynet");
    let publish = publish("9090", 80, Protocol::Tcp, PublishMode::Ingress);
    put(
        &mut world,
        Service { publish: vec![publish], stop_grace_period: Seconds(60), ..bare_service(2, &[&mynet]) },
    );
    world.elsewhere(2, backend(13, &mynet, 2, 1));
    let node = world.intent.nodes.get_mut(&node_id(2)).unwrap();
    (node.availability, node.drained_at) = (Availability::Drain, 1000);
    let mut there = |now| {
        world.now = Duration::from_secs(now);
        let tables = desired(&world, &ServiceTables::default(), true).tables;
        tables.backends.values().map(|backend| (backend.endpoint, backend.accepts)).collect::<Vec<_>>()
    };
    let (here, long, short) = ((endpoint(11), true), (endpoint(13), false), (endpoint(12), false));
    assert_eq!(there(1009), [here, short, long]);
    assert_eq!(there(1010), [here, long]);
    assert_eq!(there(1060), [here]);
}

#[test]
fn a_client_is_led_to_backends_of_its_own_network_and_family() {
    let mut world = world();
    let dual = network(&mut world.intent, create(2, "dual", &["10.2.0.0/24", "fd00::/64"])).unwrap();
    let mut both = backend(13, &dual, 1, 1);
    both.endpoint.ip6 = Some("fd00::13".parse().unwrap());
    world.hold(both);
    let vips = ["10.2.0.2", "fd00::2"].map(|address| address.parse().unwrap());
    let service = service_mut(&mut world, 1);
    service.networks.push(dual.id);
    service.vips.extend(vips.map(|address: IpAddr| Vip { network: dual.id, address }));

    let desired = desired(&world, &ServiceTables::default(), true);
    let of_vip = |vni, address| leads_to(&desired, desired.tables.vips[&(vni, address)].table);
    let mynet = world.network("mynet");
    assert_eq!(of_vip(mynet.vni, IpAddr::from([10, 1, 0, 2])), [endpoint(11), endpoint(12)]);
    assert_eq!(vips.map(|address| of_vip(dual.vni, address)), [[endpoint(13)], [endpoint(13)]]);
    let entry = only(desired.tables.services.values());
    assert_eq!(leads_to(&desired, entry.all.v4), [endpoint(11), endpoint(12), endpoint(13)]);
    assert_eq!(leads_to(&desired, entry.all.v6), [endpoint(13)]);
    // One table serves all that lead to the same backends.
    assert_eq!(desired.maglev.len(), 3);
}

#[test]
fn ports_in_host_mode_are_open_where_a_backend_is_and_lead_to_it() {
    let mut world = world();
    service_mut(&mut world, 1).publish = vec![publish("80-81", 8080, Protocol::Tcp, PublishMode::Host)];
    let here = desired(&world, &ServiceTables::default(), true);
    let entry = only(here.tables.services.values());
    assert_eq!(leads_to(&here, entry.local.v4), [endpoint(11)]);
    assert_eq!(entry.all.v4, None);
    let targets: Vec<_> = here.tables.ports.iter().map(|(key, entry)| (key.1, entry.target)).collect();
    assert_eq!(targets, [(80, 8080), (81, 8081)]);
    assert!(here.tables.ports.values().all(|entry| entry.local_only));

    service_mut(&mut world, 1).drained.insert(endpoint(11), 0);
    let drained = desired(&world, &ServiceTables::default(), true);
    assert_eq!(only(drained.tables.services.values()).local.v4, None);
    assert_eq!(drained.tables.ports.len(), 2);

    let mynet = world.network("mynet");
    world.attachments.clear();
    world.hold(attachment(13, &mynet, [10, 1, 0, 13]));
    let elsewhere = desired(&world, &ServiceTables::default(), true);
    assert_eq!(elsewhere.tables.ports, BTreeMap::new());
    assert_eq!(elsewhere.tables.backends.len(), 1);
}

#[test]
fn only_services_that_can_be_reached_from_here_are_known() {
    let mut world = world();
    world.attachments.clear();
    let published = desired(&world, &ServiceTables::default(), true).tables;
    assert_eq!((published.ports.len(), published.vips.len(), published.backends.len()), (1, 0, 1));
    service_mut(&mut world, 1).publish.clear();
    assert_eq!(desired(&world, &ServiceTables::default(), true).tables, ServiceTables::default());

    // In its network, but by nothing that leads to it.
    let mynet = world.network("mynet");
    world.hold(backend(11, &mynet, 1, 1));
    service_mut(&mut world, 1).vips.clear();
    assert_eq!(desired(&world, &ServiceTables::default(), true).tables, ServiceTables::default());
}

#[test]
fn a_removed_service_leaves_no_trace() {
    let mut world = world();
    let before = after(&world, &ServiceTables::default());
    assert_eq!(before.backends.len(), 2);
    world.intent.services.clear();
    assert_eq!(after(&world, &before), ServiceTables::default());
}

#[test]
fn a_backend_names_its_service_and_is_in_its_network() {
    let mut world = world();
    let other = network(&mut world.intent, create(2, "other", &["10.2.0.0/24"])).unwrap();
    let mynet = world.network("mynet");
    world.hold(backend(13, &other, 1, 1));
    world.hold(backend(14, &mynet, 2, 1));
    world.hold(attachment(15, &mynet, [10, 1, 0, 15]));
    let tables = desired(&world, &ServiceTables::default(), true).tables;
    let endpoints: Vec<_> = tables.backends.values().map(|backend| backend.endpoint).collect();
    assert_eq!(endpoints, [endpoint(11), endpoint(12)]);
}

#[test]
fn the_gateway_answers_for_virtual_addresses_which_no_endpoint_takes() {
    let mut world = world();
    let mynet = world.network("mynet");
    world.hold(attachment(2, &mynet, [10, 1, 0, 2]));
    let vip = (mynet.vni, IpAddr::from([10, 1, 0, 2]));
    let neighbours = super::desired(&world, Some(&underlay(1500))).neighbours;
    assert_eq!(neighbours[&vip], MacAddr::gateway(mynet.vni));
}

#[test]
fn published_ports_are_answered_on_the_addresses_that_others_reach() {
    let mut world = world();
    let reachable = ADDRESSES.map(|address| address.parse().unwrap())[..2].iter().copied().collect();
    let published = after(&world, &ServiceTables::default());
    assert_eq!(published.addresses, reachable);
    assert_eq!(published.lookups, Lookups { vips: true, ports: true });

    service_mut(&mut world, 1).publish.clear();
    let reached_by_vip = after(&world, &published);
    assert_eq!(reached_by_vip.addresses, BTreeSet::new());
    assert_eq!(reached_by_vip.lookups, Lookups { vips: true, ports: false });

    world.attachments.clear();
    assert_eq!(after(&world, &reached_by_vip), ServiceTables::default());
}

#[test]
fn a_local_backend_is_known_by_its_mac_address() {
    let mut world = world();
    let before = after(&world, &ServiceTables::default());
    let slot =
        |tables: &ServiceTables, id| *tables.backends.iter().find(|(_, it)| it.endpoint == id).unwrap().0;
    let mynet = world.network("mynet");
    let key = |n: u8| (mynet.vni, backend(n, &mynet, 1, 1).endpoint.mac);
    assert_eq!(before.locals, BTreeMap::from([(key(11), slot(&before, endpoint(11)))]));

    world.hold(backend(10, &mynet, 1, 1));
    let now = after(&world, &before);
    let locals = [(key(10), slot(&now, endpoint(10))), (key(11), slot(&before, endpoint(11)))];
    assert_eq!(now.locals, BTreeMap::from(locals));
}
