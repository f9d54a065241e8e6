//! Plans, applied to a model of the kernel.

mod services;

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use crate::config::{Config, Idle};
use crate::facts::Part;
use crate::fixtures::{World, attachment, bare_service, create, fact, netns, network, node_id};
use crate::model::{Attachment, MacAddr, Vip, Vni};
use crate::reconcile::desired::{DesiredLinks, DesiredTables, Host};
use crate::reconcile::links::{LinkAction, Links, Underlay, Veth, VethSpec, Vxlan};
use crate::reconcile::plan::{plan_links, plan_tables};
use crate::reconcile::tables::{
    Destination, NetworkEntry, NodeEntry, Source, TableAction, Tables, VtepEntry,
};

/// Does to the model what the agent does to the kernel, and is as strict: what is there is not made again, and
/// what is not there is neither changed nor removed.
fn apply_links(links: &mut Links, action: LinkAction) {
    match action {
        LinkAction::CreateVxlan(vxlan) => {
            assert_eq!(links.vxlan, None, "the port is taken");
            links.vxlan = Some(Vxlan { up: true, ..vxlan });
        }
        LinkAction::CreateVeth(spec) => {
            let veth = Veth { mtu: spec.mtu, up: true };
            let before = links.veths.insert(spec.host_ifname, veth);
            assert!(before.is_none_or(|before| !before.up), "it is whole already");
        }
        LinkAction::SetMtu(spec) => links.veths.get_mut(&spec.host_ifname).unwrap().mtu = spec.mtu,
        LinkAction::SetUp(name) => match &mut links.vxlan {
            Some(vxlan) if vxlan.name == name => vxlan.up = true,
            _ => links.veths.get_mut(&name).unwrap().up = true,
        },
        LinkAction::Delete(name) => {
            if links.vxlan.take_if(|vxlan| vxlan.name == name).is_none() {
                links.veths.remove(&name).unwrap();
            }
        }
    }
}

/// [`Tables::apply`], but what is not there is not removed.
fn apply_tables(tables: &mut Tables, action: TableAction) {
    let there = match &action {
        TableAction::DeleteNetwork(vni) => tables.networks.contains_key(vni),
        TableAction::DeleteFdb(vni, mac) => tables.fdb.contains_key(&(*vni, *mac)),
        TableAction::DeleteNeighbour(vni, address) => tables.neighbours.contains_key(&(*vni, *address)),
        TableAction::DeleteVtep(vtep) => tables.vteps.contains_key(vtep),
        TableAction::DeleteSource(ifindex) => tables.sources.contains_key(ifindex),
        _ => true,
    };
    assert!(there, "{action}: it is not there");
    tables.apply(&action);
}

fn vxlan() -> impl Strategy<Value = Vxlan> {
    (0u8..2, 4789u16..4791, any::<bool>()).prop_map(|(name, port, up)| Vxlan {
        name: format!("overlay{name}"),
        port,
        up,
    })
}

fn observed_links() -> impl Strategy<Value = Links> {
    let veth = (1400u16..1402, any::<bool>()).prop_map(|(mtu, up)| Veth { mtu, up });
    let veths = prop::collection::btree_map((0u8..6).prop_map(|n| format!("ovl{n}")), veth, 0..6);
    (prop::option::of(vxlan()), veths).prop_map(|(vxlan, veths)| Links { vxlan, veths })
}

fn desired_links() -> impl Strategy<Value = DesiredLinks> {
    let spec = (0u8..6, 1400u16..1402).prop_map(|(n, mtu)| VethSpec {
        host_ifname: format!("ovl{n}"),
        netns: netns(n.into()),
        ifname: "eth0".to_owned(),
        mac: mac(n),
        addresses: Vec::new(),
        gateways: Vec::new(),
        mtu,
    });
    let vxlan = prop::option::of(vxlan().prop_map(|vxlan| Vxlan { up: true, ..vxlan }));
    (vxlan, prop::collection::vec(spec, 0..6)).prop_map(|(vxlan, specs)| DesiredLinks {
        vxlan,
        veths: specs.into_iter().map(|spec| (spec.host_ifname.clone(), spec)).collect(),
    })
}

fn mac(n: u8) -> MacAddr {
    MacAddr::local_from([2, 0, 0, 0, 0, n])
}

fn vni() -> impl Strategy<Value = Vni> {
    (1u32..4).prop_map(|vni| Vni::new(vni).unwrap())
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0u8..4).prop_map(|n| IpAddr::from([10, 0, 0, n]))
}

fn tables() -> impl Strategy<Value = Tables> {
    let node = prop::option::of((1u32..3, address()).prop_map(|(underlay_ifindex, vtep)| NodeEntry {
        underlay_ifindex,
        vxlan_ifindex: None,
        vtep,
        data_port: 4789,
        mark: 1,
        idle: Idle::default(),
        egress: None,
    }));
    let network =
        (1400u16..1402).prop_map(|mtu| NetworkEntry { mtu, gateway4: None, gateway6: None, internal: false });
    let to = prop_oneof![
        (1u32..4).prop_map(|ifindex| Destination::Local { ifindex }),
        (address(), any::<bool>()).prop_map(|(vtep, forward)| Destination::Remote { vtep, forward }),
    ];
    let macs = || (0u8..4).prop_map(mac);
    let vtep = (1400u16..1402).prop_map(|mtu| VtepEntry { mtu });
    let source = (vni(), macs(), any::<bool>(), any::<bool>())
        .prop_map(|(vni, mac, forward, serves)| Source { vni, mac, ip4: None, ip6: None, forward, serves });
    (
        node,
        prop::collection::btree_map(vni(), network, 0..4),
        prop::collection::btree_map((vni(), macs()), to, 0..8),
        prop::collection::btree_map((vni(), address()), macs(), 0..8),
        prop::collection::btree_map(address(), vtep, 0..4),
        prop::collection::btree_map(1u32..5, source, 0..4),
    )
        .prop_map(|(node, networks, fdb, neighbours, vteps, sources)| Tables {
            node,
            networks,
            fdb,
            neighbours,
            vteps,
            sources,
        })
}

/// Whether everything in `part` is in `whole` under the same key.
fn keeps<K: Ord, V>(part: &BTreeMap<K, V>, whole: &BTreeMap<K, V>, counts: impl Fn(&K, &V) -> bool) -> bool {
    part.iter().filter(|(key, value)| counts(key, value)).all(|(key, _)| whole.contains_key(key))
}

/// What is in the desired tables, with the same value.
fn holds<K: Ord, V: PartialEq>(tables: &BTreeMap<K, V>, desired: &BTreeMap<K, V>) -> bool {
    desired.iter().all(|(key, value)| tables.get(key) == Some(value))
}

/// An endpoint: what makes it unique, which network it is in, its MAC and its address.
type Claim = (u8, bool, u8, u8);

/// What changes between two passes.
#[derive(Debug, Clone)]
enum Change {
    /// The endpoints here.
    Here(Vec<Claim>),
    /// Those of another node, at the address of that number; without endpoints it is gone.
    There(u8, u8, Vec<Claim>),
    /// The VTEP's number.
    Underlay(u8),
    /// The last part of a service's virtual address, or none.
    Vip(Option<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let claims = || prop::collection::vec((1u8..6, any::<bool>(), 0u8..3, 0u8..4), 0..4);
    prop_oneof![
        claims().prop_map(Change::Here),
        (2u8..5, 2u8..5, claims()).prop_map(|(node, vtep, claims)| Change::There(node, vtep, claims)),
        (1u8..4).prop_map(Change::Underlay),
        prop::option::of(0u8..4).prop_map(Change::Vip),
    ]
}

impl Change {
    fn make(self, world: &mut World, underlay: &mut Underlay) {
        let claims = |world: &World, claims: Vec<Claim>| -> Vec<Attachment> {
            let claim = |(n, blue, with_mac, at): Claim| {
                let network = world.network(if blue { "blue" } else { "mynet" });
                let mut claim = attachment(n, &network, [10, if blue { 2 } else { 1 }, 0, at]);
                claim.endpoint.mac = mac(with_mac);
                claim
            };
            claims.into_iter().map(claim).collect()
        };
        match self {
            Self::Here(here) => {
                world.attachments.clear();
                claims(world, here).into_iter().for_each(|claim| world.hold(claim));
            }
            Self::There(node, vtep, there) => {
                let there = claims(world, there);
                let part = world.view.part_mut(node_id(node));
                *part = Part::default();
                part.fact = (!there.is_empty()).then(|| fact(vtep, 1500));
                part.endpoints = there.into_iter().map(|it| (it.endpoint.id, it.endpoint)).collect();
            }
            Self::Underlay(n) => underlay.vtep = IpAddr::from([192, 0, 2, n]),
            Self::Vip(n) => {
                let network = world.network("mynet");
                let mut service = bare_service(1, &[&network]);
                let vip = |n| Vip { network: network.id, address: IpAddr::from([10, 1, 0, n]) };
                service.vips.extend(n.map(vip));
                world.intent.services.insert(service.id, service);
            }
        }
    }
}

proptest! {
    #[test]
    fn kept_tables_are_those_made_anew(changes in prop::collection::vec(change(), 1..12)) {
        let (mut world, config) = (World::new(), Config::default());
        network(&mut world.intent, create(2, "blue", &["10.2.0.0/24"])).unwrap();
        let mut underlay =
            Underlay { device: "eth0".to_owned(), ifindex: 2, kind: None, vtep: IpAddr::from([192, 0, 2, 1]), mtu: 1500, egress4: None, egress6: None };
        let mut kept = DesiredTables::default();
        for change in changes {
            change.make(&mut world, &mut underlay);
            let host = Host { me: world.me, config: &config, underlay: Some(&underlay), mark: 7 };
            // Not of the first endpoint: its device is still to be made.
            let names = world.attachments.values().map(|here| here.host_ifname("ovl")).skip(1);
            let ifindexes = names.zip(100..).collect();
            let update = |tables: &mut DesiredTables| {
                tables.update(&host, &world.intent, &world.view, &world.attachments, &ifindexes).clone()
            };
            prop_assert_eq!(update(&mut kept), update(&mut DesiredTables::default()));
        }
    }

    #[test]
    fn a_links_plan_leads_to_what_is_desired(desired in desired_links(), observed in observed_links()) {
        let mut links = observed;
        for action in plan_links(&desired, &links, true) {
            apply_links(&mut links, action);
        }
        prop_assert_eq!(&links.vxlan, &desired.vxlan);
        let wanted: BTreeMap<String, Veth> = desired
            .veths
            .iter()
            .map(|(name, spec)| (name.clone(), Veth { mtu: spec.mtu, up: true }))
            .collect();
        prop_assert_eq!(&links.veths, &wanted);
        prop_assert_eq!(plan_links(&desired, &links, true), []);
    }

    #[test]
    fn until_facts_are_complete_no_mtu_changes(desired in desired_links(), observed in observed_links()) {
        let plan = plan_links(&desired, &observed, false);
        prop_assert!(!plan.iter().any(|action| matches!(action, LinkAction::SetMtu(_))));
    }

    #[test]
    fn a_tables_plan_leads_to_what_is_desired(desired in tables(), observed in tables()) {
        let mut tables = observed.clone();
        for action in plan_tables(&desired, &tables, true) {
            apply_tables(&mut tables, action);
        }
        let node = desired.node.or(observed.node);
        prop_assert_eq!(&tables, &Tables { node, ..desired.clone() });
        prop_assert_eq!(plan_tables(&desired, &tables, true), []);
    }

    #[test]
    fn until_facts_are_complete_nothing_remote_goes(desired in tables(), observed in tables()) {
        let mut tables = observed.clone();
        for action in plan_tables(&desired, &tables, false) {
            apply_tables(&mut tables, action);
        }
        let remote = |to: &Destination| matches!(to, Destination::Remote { .. });
        // What moved here since is remote no more.
        let leads_away = |key: &(Vni, MacAddr)| {
            observed.fdb.get(key).is_some_and(remote) && desired.fdb.get(key).is_none_or(remote)
        };
        prop_assert!(keeps(&observed.fdb, &tables.fdb, |_, to| remote(to)));
        prop_assert!(keeps(&observed.neighbours, &tables.neighbours, |(vni, _), mac| leads_away(&(*vni, *mac))));
        prop_assert!(keeps(&observed.vteps, &tables.vteps, |_, _| true));
        let in_use = |vni: &Vni| observed.fdb.keys().any(|key| key.0 == *vni && leads_away(key));
        prop_assert!(keeps(&observed.networks, &tables.networks, |vni, _| in_use(vni)));
        prop_assert!(holds(&tables.fdb, &desired.fdb) && holds(&tables.neighbours, &desired.neighbours));
        prop_assert!(holds(&tables.vteps, &desired.vteps) && holds(&tables.networks, &desired.networks));
        prop_assert_eq!(&tables.sources, &desired.sources);
        prop_assert!(tables.fdb.iter().all(|(key, to)| remote(to) || desired.fdb.contains_key(key)));
        prop_assert_eq!(plan_tables(&desired, &tables, false), []);
    }

    #[test]
    fn a_tables_plan_never_takes_away_what_it_writes(desired in tables(), observed in tables()) {
        // No packet may meet a moment without an entry that is there before and after.
        let mut tables = observed.clone();
        for action in plan_tables(&desired, &observed, true) {
            apply_tables(&mut tables, action);
            prop_assert!(keeps(&observed.fdb, &tables.fdb, |key, _| desired.fdb.contains_key(key)));
            prop_assert!(keeps(&observed.neighbours, &tables.neighbours, |key, _| desired.neighbours.contains_key(key)));
        }
    }
}
