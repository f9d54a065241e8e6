pub(super) mod services;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::config::Config;
use crate::fixtures::{World, attachment, create, fact, network, node_id};
use crate::model::{Attachment, MacAddr, Vni};
use crate::reconcile::desired::{DesiredTables, Host, effective_mtu, hooks, links};
use crate::reconcile::links::{LinkAction, Links, Underlay, Veth, VethSpec, Vxlan};
use crate::reconcile::mesh::Mesh;
use crate::reconcile::plan::{plan_links, plan_tables};
use crate::reconcile::tables::{Destination, Egress, Program, TableAction, Tables, VtepEntry};

/// Node 1's underlay.
fn underlay(mtu: u16) -> Underlay {
    Underlay {
        device: "eth0".to_owned(),
        ifindex: 2,
        kind: None,
        vtep: IpAddr::from([192, 0, 2, 1]),
        mtu,
        egress4: None,
        egress6: None,
    }
}

/// The tables of node 1, its VXLAN device being number 99, those of its endpoints 100 and up, in the order of
/// their ids.
fn desired(world: &World, underlay: Option<&Underlay>) -> Tables {
    let config = Config::default();
    let host = Host { me: world.me, config: &config, underlay, mark: 7 };
    let endpoints = world.attachments.values().map(|attachment| attachment.host_ifname("ovl"));
    let ifindexes = [config.vxlan_device.clone()].into_iter().chain(endpoints).zip(99..).collect();
    let mut tables = DesiredTables::default();
    let tables = tables.update(&host, &world.intent, &world.view, &world.attachments, &ifindexes).clone();
    assert_eq!(tables.node.and_then(|node| node.vxlan_ifindex), underlay.and(NonZeroU32::new(99)));
    tables
}

/// One line an entry, as a failing test should show them.
fn text(tables: &Tables) -> String {
    plan_tables(tables, &Tables::default(), true).iter().map(|action| format!("{action}\n")).collect()
}

fn desired_links(world: &World) -> BTreeMap<String, VethSpec> {
    let config = Config::default();
    let own = underlay(1500);
    let host = Host { me: world.me, config: &config, underlay: Some(&own), mark: 7 };
    links(&host, &world.intent, &world.view, &world.attachments).veths
}

/// Node 1 has c1 in mynet; node 2 has c2 in mynet and c3 in a network that node 1 has nothing in.
fn two_nodes() -> World {
    let mut world = World::new();
    let mynet = world.network("mynet");
    let other = network(&mut world.intent, create(2, "other", &["10.2.0.0/24"])).unwrap();
    world.hold(attachment(1, &mynet, [10, 1, 0, 11]));
    world.elsewhere(2, attachment(2, &mynet, [10, 1, 0, 12]));
    world.elsewhere(2, attachment(3, &other, [10, 2, 0, 13]));
    world
}

#[test]
fn a_nodes_tables() {
    insta::assert_snapshot!(text(&desired(&two_nodes(), Some(&underlay(1500)))), @r"
    write this node's VTEP 192.0.2.1 on device 2 with data port 4789
    write peer 192.0.2.2 with MTU 1450
    write network 4097 with MTU 1450
    write that 02:00:00:00:00:01 of network 4097 is behind device 100
    write that 02:00:00:00:00:02 of network 4097 is on peer 192.0.2.2
    write that 10.1.0.1 of network 4097 is at 02:6f:76:00:10:01
    write that 10.1.0.11 of network 4097 is at 02:00:00:00:00:01
    write that 10.1.0.12 of network 4097 is at 02:00:00:00:00:02
    let device 100 send as 02:00:00:00:00:01 in network 4097
    ");
}

#[test]
fn an_endpoint_without_a_device_names_none() {
    let world = two_nodes();
    let config = Config::default();
    let host = Host { me: world.me, config: &config, underlay: None, mark: 7 };
    let mut tables = DesiredTables::default();
    let tables = tables.update(&host, &world.intent, &world.view, &world.attachments, &BTreeMap::new());
    assert_eq!(tables.sources, BTreeMap::new());
    assert!(tables.fdb.values().all(|to| matches!(to, Destination::Remote { .. })));
    assert_eq!(tables.networks.len(), 1);
}

#[test]
fn a_removed_network_leaves_no_trace() {
    let mut world = two_nodes();
    assert_eq!(desired_links(&world).len(), 1);
    let id = world.network("mynet").id;
    world.intent.networks.remove(&id);
    assert_eq!(desired_links(&world), BTreeMap::new());
    let tables = desired(&world, Some(&underlay(1500)));
    assert_eq!(Tables { node: None, vteps: BTreeMap::new(), ..tables }, Tables::default());
}

#[test]
fn a_veth_pair_has_its_subnets_prefix_length() {
    let mut world = two_nodes();
    let both = network(&mut world.intent, create(3, "both", &["10.3.0.0/16", "fd00::/64"])).unwrap();
    let mut there = attachment(9, &both, [10, 3, 0, 9]);
    there.endpoint.ip6 = Some("fd00::9".parse().unwrap());
    world.hold(there.clone());
    let name = there.host_ifname("ovl");
    assert_eq!(name, "ovl09090909090");
    assert!(Attachment::is_host_ifname(&name, "ovl"));
    for foreign in ["ovl0909090909", "ovl0909090909x", "vlo09090909090", "ovl"] {
        assert!(!Attachment::is_host_ifname(foreign, "ovl"), "{foreign}");
    }
    let veth = &desired_links(&world)[&name];
    let addresses: Vec<String> = veth.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.3.0.9/16", "fd00::9/64"]);
    assert_eq!((veth.mac, veth.mtu), (there.endpoint.mac, 1450));
}

#[test]
fn an_endpoint_of_an_internal_network_has_no_default_route() {
    let mut world = two_nodes();
    let gateways = |world: &World| {
        desired_links(world).values().flat_map(|veth| veth.gateways.clone()).collect::<Vec<_>>()
    };
    assert_eq!(gateways(&world), ["10.1.0.1".parse::<IpAddr>().unwrap()]);
    let id = world.network("mynet").id;
    world.intent.networks.get_mut(&id).unwrap().internal = true;
    assert!(gateways(&world).is_empty());
}

#[test]
fn a_node_leads_out_while_a_network_here_does() {
    let own = Underlay { egress4: "192.0.2.1".parse().ok(), ..underlay(1500) };
    let mut world = two_nodes();
    let tables = |world: &World| desired(world, Some(&own));
    let egress = Egress { ip4: own.egress4, ip6: None, ports: Config::default().egress_ports };
    assert_eq!(tables(&world).node.unwrap().egress, Some(egress));
    let id = world.network("mynet").id;
    world.intent.networks.get_mut(&id).unwrap().internal = true;
    assert_eq!(tables(&world).node.unwrap().egress, None);
    assert!(tables(&world).networks.values().all(|network| network.internal));
}

#[test]
fn the_mtu_follows_the_smallest_underlay() {
    let mut world = World::new();
    let mut mynet = world.network("mynet");
    assert_eq!(effective_mtu(&mynet, &world.view, None), 1450);
    let own = underlay(9000);
    assert_eq!(effective_mtu(&mynet, &world.view, Some(&own)), 8950);
    world.view.part_mut(node_id(2)).fact = Some(fact(2, 1400));
    assert_eq!(effective_mtu(&mynet, &world.view, Some(&own)), 1350);
    mynet.mtu = Some(1300);
    assert_eq!(effective_mtu(&mynet, &world.view, Some(&own)), 1300);
    mynet.mtu = Some(9000);
    assert_eq!(effective_mtu(&mynet, &world.view, Some(&own)), 1350);
    // No peer makes a network unusable by what it says.
    world.view.part_mut(node_id(3)).fact = Some(fact(3, 0));
    assert_eq!(effective_mtu(&mynet, &world.view, Some(&own)), 576);

    let own = Underlay { vtep: "2001:db8::1".parse().unwrap(), ..underlay(1500) };
    assert_eq!(effective_mtu(&world.network("mynet"), &Default::default(), Some(&own)), 1430);
}

#[test]
fn a_peers_mtu_is_the_smaller_of_both() {
    let mut world = World::new();
    world.view.part_mut(node_id(1)).fact = Some(fact(1, 9000));
    world.view.part_mut(node_id(2)).fact = Some(fact(2, 1400));
    world.view.part_mut(node_id(3)).fact = Some(fact(3, 9000));
    let peer = |n| IpAddr::from([192, 0, 2, n]);
    let wanted =
        |third| BTreeMap::from([(peer(2), VtepEntry { mtu: 1350 }), (peer(3), VtepEntry { mtu: third })]);
    assert_eq!(desired(&world, Some(&underlay(1500))).vteps, wanted(1450));
    assert_eq!(desired(&world, Some(&underlay(9000))).vteps, wanted(8950));
}

#[test]
fn unreachable_peers_are_left_out() {
    let mut world = two_nodes();
    world.view.part_mut(node_id(2)).fact.as_mut().unwrap().vtep = "2001:db8::2".parse().unwrap();
    let tables = desired(&world, Some(&underlay(1500)));
    assert_eq!(tables.vteps, BTreeMap::new());
    assert!(tables.fdb.values().all(|to| matches!(to, Destination::Local { .. })));
    // This host, as it was before it joined anew.
    world.view.part_mut(node_id(2)).fact.as_mut().unwrap().vtep = underlay(1500).vtep;
    assert_eq!(desired(&world, Some(&underlay(1500))).vteps, BTreeMap::new());
}

#[test]
fn one_claimant_wins_everywhere_and_a_local_mac_stays() {
    let mut world = World::new();
    let mynet = world.network("mynet");
    let claim = |n: u8, mac: u8| {
        let mut claim = attachment(n, &mynet, [10, 1, 0, 9]);
        claim.endpoint.mac = MacAddr::local_from([2, 0, 0, 0, 0, mac]);
        claim
    };
    let key = |mac: u8| (mynet.vni, MacAddr::local_from([2, 0, 0, 0, 0, mac]));
    let address = (mynet.vni, IpAddr::from([10, 1, 0, 9]));

    // Node 2 and 3 claim one address, and node 3 the MAC of an endpoint of ours.
    world.me = node_id(4);
    world.hold(claim(1, 1));
    world.elsewhere(3, claim(2, 1));
    world.elsewhere(2, claim(3, 3));
    let own = Underlay { vtep: IpAddr::from([192, 0, 2, 4]), ..underlay(1500) };
    let tables = desired(&world, Some(&own));
    assert_eq!(tables.fdb[&key(1)], Destination::Local { ifindex: 100 });
    assert_eq!(
        tables.fdb[&key(3)],
        Destination::Remote { vtep: IpAddr::from([192, 0, 2, 2]), forward: false }
    );
    assert_eq!(tables.neighbours[&address], key(3).1);
    assert_eq!(desired(&world, Some(&own)), tables);
}

#[test]
fn a_forwarder_is_known_as_one_here_and_to_its_peers() {
    let mut world = World::new();
    let mynet = world.network("mynet");
    for (n, forward) in [(1, true), (2, false)] {
        let mut here = attachment(n, &mynet, [10, 1, 0, n]);
        here.endpoint.forward = forward;
        world.hold(here);
        let mut there = attachment(n + 10, &mynet, [10, 1, 0, n + 10]);
        there.endpoint.forward = forward;
        world.elsewhere(2, there);
    }
    let tables = desired(&world, Some(&underlay(1500)));
    let forwards = |n| match tables.fdb[&(mynet.vni, MacAddr::local_from([2, 0, 0, 0, 0, n]))] {
        Destination::Remote { forward, .. } => forward,
        Destination::Local { ifindex } => tables.sources[&ifindex].forward,
    };
    assert_eq!([1, 2, 11, 12].map(forwards), [true, false, true, false]);
}

#[test]
fn nobody_takes_the_gateways_address() {
    let mut world = two_nodes();
    let mynet = world.network("mynet");
    world.elsewhere(2, attachment(9, &mynet, [10, 1, 0, 1]));
    let gateway = (mynet.vni, mynet.subnets[0].gateway);
    assert_eq!(desired(&world, Some(&underlay(1500))).neighbours[&gateway], MacAddr::gateway(mynet.vni));
}

#[test]
fn programs_go_where_devices_are() {
    let config = Config::default();
    let own = underlay(1500);
    let observed = Links {
        vxlan: Some(Vxlan { name: "overlay0".to_owned(), port: 4789, up: true }),
        veths: BTreeMap::from([("ovl1".to_owned(), Veth { mtu: 1450, up: true })]),
    };
    let on = |underlay, observed: &Links| -> Vec<String> {
        let host = Host { me: node_id(1), config: &config, underlay, mark: 7 };
        hooks(&host, observed, &Mesh::Idle).into_iter().map(|(program, ifname)| program.on(&ifname)).collect()
    };
    assert_eq!(
        on(Some(&own), &observed),
        [
            "tc_endpoint on the ingress of ovl1",
            "tc_underlay on the ingress of eth0",
            "tc_overlay on the ingress of overlay0",
            "tc_guard on the egress of eth0",
        ]
    );
    assert_eq!(on(None, &Links::default()), Vec::<String>::new());
    assert_eq!(Program::TcGuard.to_string(), "tc_guard");
}

#[test]
fn a_links_plan_in_words() {
    let world = two_nodes();
    let veths = desired_links(&world);
    let wanted = Vxlan { name: "overlay0".to_owned(), port: 4790, up: true };
    let spec = veths.values().next().unwrap().clone();
    let observed = Links {
        vxlan: Some(Vxlan { port: 4789, ..wanted.clone() }),
        veths: BTreeMap::from([("ovl00000000000".to_owned(), Veth { mtu: 1450, up: true })]),
    };
    let desired = crate::reconcile::desired::DesiredLinks { vxlan: Some(wanted), veths };
    let mut plan = plan_links(&desired, &observed, true);
    plan.extend([LinkAction::SetMtu(spec.clone()), LinkAction::SetUp(spec.host_ifname)]);
    let plan: Vec<String> = plan.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(plan.join("\n"), @r"
    remove the device ovl00000000000
    remove the device overlay0
    create the VXLAN device overlay0 on port 4790
    create veth ovl01010101010 with eth0 in /run/netns/c1
    set the MTU of ovl01010101010 and of eth0 in /run/netns/c1 to 1450
    take ovl01010101010 up
    ");
}

#[test]
fn what_leads_on_is_written_first_and_removed_last() {
    let tables = desired(&two_nodes(), Some(&underlay(1500)));
    let rank = |action: &TableAction| match action {
        TableAction::PutNode(_) => 0,
        TableAction::PutVtep(..) | TableAction::DeleteVtep(_) => 1,
        TableAction::PutNetwork(..) | TableAction::DeleteNetwork(_) => 2,
        TableAction::PutFdb(..) | TableAction::DeleteFdb(..) => 3,
        TableAction::PutNeighbour(..) | TableAction::DeleteNeighbour(..) => 4,
        TableAction::PutSource(..) | TableAction::DeleteSource(_) => 5,
    };
    let ranks = |plan: Vec<TableAction>| plan.iter().map(rank).collect::<Vec<u8>>();
    let puts = ranks(plan_tables(&tables, &Tables::default(), true));
    assert!(puts.is_sorted() && (0..=5).all(|rank| puts.contains(&rank)), "{puts:?}");
    let deletes = ranks(plan_tables(&Tables::default(), &tables, true));
    assert!(deletes.iter().rev().is_sorted() && (1..=5).all(|rank| deletes.contains(&rank)), "{deletes:?}");
}

#[test]
fn a_restart_keeps_what_leads_to_others() {
    let world = two_nodes();
    let observed = desired(&world, Some(&underlay(1500)));
    let knows_nobody = World { view: Default::default(), ..world };
    let desired_now = desired(&knows_nobody, Some(&underlay(1500)));
    assert_eq!(plan_tables(&desired_now, &observed, false), []);
    let gone: Vec<String> =
        plan_tables(&desired_now, &observed, true).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(gone.join("\n"), @r"
    remove 10.1.0.12 of network 4097
    remove 02:00:00:00:00:02 of network 4097
    remove peer 192.0.2.2
    ");
}

#[test]
fn an_endpoint_that_moves_is_replaced() {
    let mut world = two_nodes();
    let before = desired(&world, Some(&underlay(1500)));
    let (_, endpoint) = world.view.part_mut(node_id(2)).endpoints.pop_first().unwrap();
    world.view.part_mut(node_id(3)).fact = Some(fact(3, 1500));
    world.view.part_mut(node_id(3)).endpoints.insert(endpoint.id, endpoint.clone());
    let after = desired(&world, Some(&underlay(1500)));
    let vtep = IpAddr::from([192, 0, 2, 3]);
    let vni = Vni::new(4097).unwrap();
    assert_eq!(
        plan_tables(&after, &before, true),
        [
            TableAction::PutVtep(vtep, VtepEntry { mtu: 1450 }),
            TableAction::PutFdb(vni, endpoint.mac, Destination::Remote { vtep, forward: false }),
        ]
    );
}
