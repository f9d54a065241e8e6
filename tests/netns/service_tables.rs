//! What the nodes' data paths hold of services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use overlay::lb::{BackendSlot, Slot as _, Table};
use overlay::model::{EndpointId, Protocol};
use overlay::reconcile::tables::{Lookups, ServiceTables};
use overlay_abi::services::{PLACES, Places};
use overlay_abi::{ABI_VERSION, map};
use overlay_harness::lab::FORMING;
use overlay_harness::{Attached, Lab, Node, Topology, eventually};
use overlayd::kernel::bpf::DataPath;

use crate::steps::{SOON, create_network};

#[test]
fn every_data_path_holds_a_service_and_keeps_it_through_restarts() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        n1.ctl(&["service", "create", "web", "--network", "blue", "--publish", "8080:80"])?;
        let web1 = lab.attach(n1, "blue", "web1", &["--service", "web"])?;
        let web2 = lab.attach(n2, "blue", "web2", &["--service", "web"])?;
        for (node, here) in [(n1, Some(&web1)), (n2, Some(&web2)), (n3, None)] {
            eventually(&format!("{} holds the service", node.name()), SOON, || {
                let held = Held::of(node)?;
                held.leads_to(&[&web1, &web2])?;
                ensure!(held.tables.ports.keys().eq([&(Protocol::Tcp, 8080)]), "{held:?}");
                ensure!(held.tables.addresses.contains(&node.addr()), "{held:?}");
                ensure!(held.local_backends() == here.map(id).into_iter().collect(), "{held:?}");
                // Of both families, where its network has an endpoint.
                ensure!(held.tables.vips.len() == here.map_or(0, |_| 2), "{held:?}");
                ensure!(held.tables.lookups == Lookups { vips: here.is_some(), ports: true }, "{held:?}");
                Ok(())
            })?;
        }

        for end in [Node::kill as fn(&Node) -> Result<()>, Node::stop] {
            let before = held_by(&nodes)?;
            for node in nodes {
                end(node)?;
                node.start()?;
                node.wait_ready(FORMING)?;
                ensure!(held_by(&nodes)? == before, "{}'s restart changed {before:#?}", node.name());
            }
        }

        let added = IpAddr::from(Ipv4Addr::new(203, 0, 113, 7));
        n3.netns().ip(&format!("address add {added}/32 dev lo"))?;
        eventually("an address of the host is learned", SOON, || {
            let addresses = Held::of(n3)?.tables.addresses;
            ensure!(addresses.contains(&added), "{addresses:?}");
            Ok(())
        })?;

        n2.ctl(&["endpoint", "detach", "blue/web2"])?;
        for node in nodes {
            eventually(&format!("{} holds one backend", node.name()), SOON, || {
                Held::of(node)?.leads_to(&[&web1])
            })?;
        }
        n1.ctl(&["service", "rm", "web"])?;
        for node in nodes {
            eventually(&format!("{} holds nothing of it", node.name()), SOON, || {
                let held = Held::of(node)?.tables;
                ensure!(held == ServiceTables::default(), "{held:?}");
                Ok(())
            })?;
        }
        Ok(())
    });
}

fn id(endpoint: &Attached) -> EndpointId {
    endpoint.row.endpoint.id
}

fn held_by(nodes: &[&Node]) -> Result<Vec<Held>> {
    nodes.iter().map(|node| Held::of(node)).collect()
}

/// What one node's pinned maps hold.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    tables: ServiceTables,
    /// How many places of each Maglev table in use lead to each backend.
    shares: BTreeMap<Table, BTreeMap<BackendSlot, u32>>,
}

impl Held {
    fn of(node: &Node) -> Result<Self> {
        let tables = DataPath::open(&node.bpf_dir())?.observe_services()?;
        let pin = node.bpf_dir().join(format!("v{ABI_VERSION}/maps")).join(map::MAGLEV);
        let array: Array<_, Places> = Map::Array(MapData::from_pin(pin)?).try_into()?;
        let in_use: BTreeSet<Table> = tables.maglev().collect();
        let shares = in_use.into_iter().map(|table| Ok((table, shares(&array, table)?)));
        Ok(Self { shares: shares.collect::<Result<_>>()?, tables })
    }

    /// These are the backends, and all that tables lead to, each by about the same share.
    fn leads_to(&self, backends: &[&Attached]) -> Result<()> {
        let wanted: BTreeSet<EndpointId> = backends.iter().copied().map(id).collect();
        let held: BTreeSet<_> = self.tables.backends.values().map(|backend| backend.endpoint).collect();
        ensure!(held == wanted, "the backends are {held:?} instead of {wanted:?}");
        ensure!(!self.shares.is_empty(), "there is no Maglev table");
        for (table, shares) in &self.shares {
            ensure!(shares.keys().eq(self.tables.backends.keys()), "{table:?} leads to {shares:?}");
            let fair = table.region.size() / wanted.len() as u32;
            ensure!(shares.values().all(|share| share.abs_diff(fair) <= fair / 10), "{shares:?}");
        }
        Ok(())
    }

    fn local_backends(&self) -> BTreeSet<EndpointId> {
        let slots = self.tables.locals.values();
        slots.filter_map(|slot| self.tables.backends.get(slot)).map(|backend| backend.endpoint).collect()
    }
}

fn shares(array: &Array<MapData, Places>, table: Table) -> Result<BTreeMap<BackendSlot, u32>> {
    let mut shares = BTreeMap::new();
    for place in table.region.offset()..table.region.end() {
        let places = array.get(&(place / PLACES), 0)?;
        let slot = u32::from(places[(place % PLACES) as usize]);
        let slot = BackendSlot::new(slot).with_context(|| format!("place {place} leads to nobody"))?;
        *shares.entry(slot).or_default() += 1;
    }
    Ok(shares)
}
