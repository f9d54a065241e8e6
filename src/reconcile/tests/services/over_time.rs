//! Places that stay, from one plan, agent or node to another.

use std::collections::BTreeMap;

use super::{after, backend, desired, endpoint, leads_to, only, publish, put, service_mut, world};
use crate::fixtures::{World, bare_service, node_id};
use crate::lb::maglev;
use crate::model::{EndpointId, Protocol, PublishMode, Service, ServiceId};
use crate::reconcile::desired::DesiredServices;
use crate::reconcile::plan::plan_services;
use crate::reconcile::tables::ServiceTables;

#[test]
fn a_restart_keeps_the_backends_elsewhere() {
    let world = world();
    let before = after(&world, &ServiceTables::default());
    let mut restarted = World { view: Default::default(), ..world };
    assert_eq!(plan_services(&desired(&restarted, &before, false), &before), []);

    // What users have changed meanwhile, and what is here, counts.
    let mynet = restarted.network("mynet");
    restarted.hold(backend(13, &mynet, 1, 1));
    let more = desired(&restarted, &before, false);
    let entry = only(more.tables.services.values());
    assert_eq!(leads_to(&more, entry.all.v4), [endpoint(11), endpoint(12), endpoint(13)]);
    service_mut(&mut restarted, 1).drained.insert(endpoint(12), 0);
    let drained = desired(&restarted, &before, false);
    assert_eq!(drained.tables.backends.len(), 3);
    let entry = only(drained.tables.services.values());
    assert_eq!(leads_to(&drained, entry.all.v4), [endpoint(11), endpoint(13)]);
    assert_eq!(desired(&restarted, &before, true).tables.backends.len(), 2);

    // The peer is heard of again: its endpoint belongs to another service now.
    let mut heard = restarted.clone();
    heard.elsewhere(2, backend(12, &mynet, 2, 3));
    assert_eq!(desired(&heard, &before, false).tables.backends.len(), 2);

    restarted.intent.networks.remove(&mynet.id);
    assert_eq!(desired(&restarted, &before, false).tables.backends, BTreeMap::new());
}

#[test]
fn a_service_that_is_made_again_has_other_backends() {
    let mut world = world();
    let before = after(&world, &ServiceTables::default());
    let again = Service { id: ServiceId::from_bytes([9; 16]), ..service_mut(&mut world, 1).clone() };
    world.intent.services.clear();
    put(&mut world, again);
    let after = after(&world, &before);
    assert_eq!((after.services.len(), after.backends.len()), (1, 2));
    for (slot, backend) in &after.backends {
        assert!(!before.backends.contains_key(slot));
        assert!(before.backends.values().all(|other| other.generation != backend.generation));
    }
}

#[test]
fn all_nodes_choose_the_same_backend() {
    let mut one = world();
    let mynet = one.network("mynet");
    let mut two = one.clone();
    two.me = node_id(2);
    two.attachments.clear();
    two.view = Default::default();
    two.hold(backend(12, &mynet, 1, 3));
    two.elsewhere(1, backend(11, &mynet, 1, 1));
    // A service that is gone has the first slots of node 1.
    put(&mut one, Service { vips: Vec::new(), ..bare_service(2, &[&mynet]) });
    one.elsewhere(3, backend(13, &mynet, 2, 1));
    let publish = publish("1", 1, Protocol::Tcp, PublishMode::Ingress);
    service_mut(&mut one, 2).publish.push(publish);
    let web = one.intent.services.remove(&ServiceId::from_bytes([1; 16])).unwrap();
    let before = after(&one, &ServiceTables::default());
    one.intent.services.clear();
    put(&mut one, web);

    let choices = |desired: &DesiredServices| -> Vec<EndpointId> {
        let table = only(desired.tables.services.values()).all.v4.unwrap();
        let made_of = &desired.maglev[&table];
        let places = maglev::table(made_of.service, &made_of.members, table.region.size());
        places.iter().map(|slot| desired.tables.backends[slot].endpoint).collect()
    };
    let [one, two] = [desired(&one, &before, true), desired(&two, &ServiceTables::default(), true)];
    assert_ne!(one.tables.backends.keys().next(), two.tables.backends.keys().next());
    assert_eq!(choices(&one), choices(&two));
}
