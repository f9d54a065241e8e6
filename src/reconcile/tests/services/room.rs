//! What happens when the data path's arrays are full.

use std::collections::BTreeSet;

use super::{after, backend, desired, only, world};
use crate::lb::{BackendSlot, Generation, Region, ServiceSlot, Slot as _, Table};
use crate::model::ServiceId;
use crate::reconcile::desired::Shortage;
use crate::reconcile::tables::{BackendEntry, ServiceEntry, ServiceTables};

#[test]
fn for_want_of_room_a_table_is_smaller_and_that_is_said() {
    let mut world = world();
    let mynet = world.network("mynet");
    for n in 20..40 {
        world.elsewhere(3, backend(n, &mynet, 1, 1));
    }
    let mut observed = after(&world, &ServiceTables::default());
    let wanted = only(observed.services.values()).all.v4.unwrap().region.size();
    assert_eq!(wanted, 4093);

    // Another service's table leaves little room.
    let mut other = *observed.services.values().next().unwrap();
    observed = ServiceTables::default();
    other.service = ServiceId::from_bytes([9; 16]);
    let region = |left| Region::new(0, Region::ROOM - left).unwrap();
    let size = |observed: &ServiceTables| {
        let desired = desired(&world, observed, true);
        let table = only(desired.tables.services.values()).all.v4;
        (table.map(|table| table.region.size()), desired.shortages)
    };
    let short = BTreeSet::from([Shortage::Tables { service: "s1".parse().unwrap() }]);
    for (left, got) in [(4092, Some(1021)), (251, Some(251)), (250, None)] {
        other.all.v4 = Some(Table { region: region(left), digest: 1 });
        observed.services.insert(ServiceSlot::new(7).unwrap(), other);
        assert_eq!(size(&observed), (got, short.clone()));
    }
    // The plan removes it, so there is room then.
    assert_eq!(size(&after(&world, &observed)), (Some(wanted), BTreeSet::new()));
}

#[test]
fn a_service_too_many_is_left_out_and_that_is_said() {
    let world = world();
    let entry = *only(after(&world, &ServiceTables::default()).services.values());
    let foreign = |slot: u32| {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&slot.to_be_bytes());
        ServiceEntry { service: ServiceId::from_bytes(id), ..entry }
    };
    let slots = (1..=ServiceSlot::MAX).map(|slot| (ServiceSlot::new(slot).unwrap(), foreign(slot)));
    let observed = ServiceTables { services: slots.collect(), ..Default::default() };
    let full = desired(&world, &observed, true);
    assert_eq!(full.tables, ServiceTables::default());
    assert_eq!(full.shortages, BTreeSet::from([Shortage::Services { service: "s1".parse().unwrap() }]));
    assert_eq!(desired(&world, &after(&world, &observed), true).shortages, BTreeSet::new());
}

#[test]
fn a_backend_too_many_is_left_out_and_that_is_said() {
    let world = world();
    let entry = *after(&world, &ServiceTables::default()).backends.values().next().unwrap();
    let foreign =
        BackendEntry { generation: Generation::of(ServiceId::from_bytes([9; 16]), entry.endpoint), ..entry };
    // All slots but one.
    let backends = (2..=BackendSlot::MAX).map(|slot| (BackendSlot::new(slot).unwrap(), foreign));
    let observed = ServiceTables { backends: backends.collect(), ..Default::default() };
    let full = desired(&world, &observed, true);
    assert_eq!(full.tables.backends.len(), 1);
    assert_eq!(full.maglev[&only(full.tables.services.values()).all.v4.unwrap()].members.len(), 1);
    assert_eq!(full.shortages, BTreeSet::from([Shortage::Backends { service: "s1".parse().unwrap() }]));
}
