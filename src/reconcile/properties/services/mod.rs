//! Services that come, change and go, on a model of the data path.

mod events;
mod garbage;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use self::events::{Event, event, happen, start};
use self::garbage::garbage;
use crate::lb::{BackendSlot, Region, ServiceSlot, Table};
use crate::reconcile::desired::DesiredServices;
use crate::reconcile::plan::plan_services;
use crate::reconcile::tables::{ServiceAction, ServiceTables};
use crate::reconcile::tests::services::desired;

/// The data path: the entries, and what was written to the Maglev array.
#[derive(Default)]
struct DataPath {
    tables: ServiceTables,
    array: BTreeMap<u32, BackendSlot>,
    /// What each table was when it was written.
    written: BTreeMap<Table, Vec<BackendSlot>>,
}

impl DataPath {
    /// Takes a step, which must not change anything under a reader.
    fn take(&mut self, action: &ServiceAction, desired: &DesiredServices) {
        match action {
            ServiceAction::WriteTable(region, places) => {
                let in_use = self.tables.maglev().any(|table| overlap(table.region, *region));
                assert!(!in_use, "{action}: flows are led by it");
                assert_eq!(places.len(), region.size() as usize);
                self.array.extend((region.offset()..).zip(places.iter().copied()));
                let table = desired.maglev.keys().find(|table| table.region == *region).unwrap();
                self.written.insert(*table, places.clone());
            }
            ServiceAction::PutBackend(slot, entry) => {
                if let Some(before) = self.tables.backends.get(slot) {
                    let same = (before.endpoint, before.generation) == (entry.endpoint, entry.generation);
                    assert!(same, "{action}: the slot is another's");
                }
            }
            ServiceAction::PutService(slot, entry) => {
                let before = self.tables.services.get(slot);
                assert!(
                    before.is_none_or(|before| before.service == entry.service),
                    "{action}: it is another's"
                );
            }
            ServiceAction::DeleteBackend(slot) => assert!(self.tables.backends.contains_key(slot)),
            ServiceAction::DeleteService(slot) => assert!(self.tables.services.contains_key(slot)),
            ServiceAction::DeleteVip(vni, address) => {
                assert!(self.tables.vips.contains_key(&(*vni, *address)));
            }
            ServiceAction::DeletePort(protocol, port) => {
                assert!(self.tables.ports.contains_key(&(*protocol, *port)));
            }
            ServiceAction::DeleteLocal(vni, mac) => {
                assert!(self.tables.locals.contains_key(&(*vni, *mac)));
            }
            ServiceAction::DeleteAddress(address) => assert!(self.tables.addresses.contains(address)),
            ServiceAction::PutVip(..)
            | ServiceAction::PutPort(..)
            | ServiceAction::PutLocal(..)
            | ServiceAction::PutAddress(_)
            | ServiceAction::SetLookups(_) => {}
        }
        self.tables.apply(action);
    }

    /// Every entry leads to what is there and whole.
    fn check(&self) {
        assert!(self.tables.locals.values().all(|slot| self.tables.backends.contains_key(slot)));
        for entry in self.tables.ports.values() {
            assert!(self.tables.services.contains_key(&entry.service), "{entry:?}");
        }
        let of_vips = self.tables.vips.values().map(|vip| {
            assert!(self.tables.services.contains_key(&vip.service), "{vip:?}");
            (vip.service, vip.table)
        });
        let of_services = self.tables.services.iter().flat_map(|(slot, entry)| {
            [entry.all.v4, entry.all.v6, entry.local.v4, entry.local.v6].map(|table| (*slot, table))
        });
        let tables: BTreeSet<(ServiceSlot, Table)> =
            of_vips.chain(of_services).filter_map(|(slot, table)| Some((slot, table?))).collect();
        for (service, table) in tables {
            let places: Vec<BackendSlot> =
                self.array.range(table.region.offset()..table.region.end()).map(|(_, slot)| *slot).collect();
            assert_eq!(places, self.written[&table], "{table:?} is not whole");
            for slot in places.into_iter().collect::<BTreeSet<_>>() {
                let backend = self.tables.backends.get(&slot);
                assert_eq!(
                    backend.map(|backend| backend.service),
                    Some(service),
                    "{table:?} leads to {slot}"
                );
            }
        }
    }
}

fn overlap(one: Region, other: Region) -> bool {
    one.offset() < other.end() && other.offset() < one.end()
}

/// Some of a plan's steps are taken, then the next events happen, and so on.
#[derive(Debug, Clone)]
struct Act {
    events: Vec<Event>,
    complete: bool,
    taken: Index,
}

fn act() -> impl Strategy<Value = Act> {
    (prop::collection::vec(event(), 1..8), prop::bool::weighted(0.8), any::<Index>())
        .prop_map(|(events, complete, taken)| Act { events, complete, taken })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn at_every_step_flows_are_led_to_what_is_there(acts in prop::collection::vec(act(), 1..6)) {
        let mut world = start();
        let mut data_path = DataPath::default();
        for act in acts {
            act.events.iter().for_each(|event| happen(&mut world, event));
            let wanted = desired(&world, &data_path.tables, act.complete);
            let plan = plan_services(&wanted, &data_path.tables);
            // The agent may be killed anywhere.
            for action in plan.iter().take(act.taken.index(plan.len() + 1)) {
                data_path.take(action, &wanted);
                data_path.check();
            }
        }
        let wanted = desired(&world, &data_path.tables, true);
        for action in plan_services(&wanted, &data_path.tables) {
            data_path.take(&action, &wanted);
            data_path.check();
        }
        prop_assert_eq!(&data_path.tables, &wanted.tables);
        // What is there stays where it is.
        let settled = desired(&world, &data_path.tables, true);
        prop_assert_eq!(plan_services(&settled, &data_path.tables), []);
        prop_assert_eq!(settled.tables, wanted.tables);
    }

    #[test]
    fn whatever_was_there_is_replaced(events in prop::collection::vec(event(), 0..20), garbage in garbage()) {
        let mut world = start();
        events.iter().for_each(|event| happen(&mut world, event));
        let wanted = desired(&world, &garbage, true);
        let mut tables = garbage;
        for action in plan_services(&wanted, &tables) {
            tables.apply(&action);
        }
        prop_assert_eq!(&tables, &wanted.tables);
        let settled = desired(&world, &tables, true);
        prop_assert_eq!(plan_services(&settled, &tables), []);
    }

    #[test]
    fn until_facts_are_complete_backends_elsewhere_stay(events in prop::collection::vec(event(), 0..30)) {
        let mut world = start();
        events.iter().for_each(|event| happen(&mut world, event));
        let before = desired(&world, &ServiceTables::default(), true).tables;
        world.view = Default::default();
        let after = desired(&world, &before, false);
        prop_assert_eq!(&after.tables, &before);
        prop_assert_eq!(plan_services(&after, &before), []);
    }
}
