//! When a node says that it has what there is to have.

use std::collections::BTreeSet;
use std::time::Duration;

use super::settled;
use super::world::{World, id};
use crate::gossip::samples::endpoint;
use crate::gossip::tests::shown;

/// Who was not heard of by then is taken for dead.
const PATIENCE: Duration = Duration::from_secs(15);

fn until_synced(world: &mut World, index: usize) -> Duration {
    world.run_until("synced", |world| world.snapshot(index).synced)
}

#[test]
fn a_joiner_waits_for_the_facts_of_whoever_is_up() {
    let mut world = World::new(2);
    world.tcp = false;
    world.boot(1, 2);
    // More than a datagram takes, so that only an exchange brings it.
    let aliases = (0..40).map(|number| format!("alias-{number}-{}", "x".repeat(40)).parse().unwrap());
    let mut large = endpoint(10);
    large.aliases = aliases.collect();
    world.state_all(0, vec![large]);
    world.state(1, &[20]);
    world.run_for(4 * PATIENCE);
    let joiner = world.snapshot(1);
    assert!(joiner.alive.contains(&id(0)), "it knows that there is somebody");
    assert!(!joiner.synced && joiner.missing.contains(&id(0)), "{joiner:?}");

    world.tcp = true;
    until_synced(&mut world, 1);
    assert_eq!((world.shows(1, 0), world.snapshot(1).missing.len()), (vec![10], 0));
}

#[test]
fn who_has_nothing_to_tell_is_waited_for_until_it_says_so() {
    let mut world = World::new(2);
    world.tcp = false;
    world.boot(1, 2);
    world.state(1, &[20]);
    world.run_for(4 * PATIENCE);
    assert!(!world.snapshot(1).synced, "it may have something");
    world.tcp = true;
    until_synced(&mut world, 1);
}

#[test]
fn who_is_alone_waits_a_bounded_time() {
    let mut world = World::new(3);
    (world.nodes[1], world.nodes[2]) = (None, None);
    let took = until_synced(&mut world, 0);
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_secs(1), "{took:?}");
    assert_eq!(world.snapshot(0).missing.len(), 2);
}

#[test]
fn who_hears_of_all_from_one_that_has_settled_does_not_wait_for_the_dead() {
    let mut world = settled(4);
    world.nodes[1] = None;
    world.run_until("the death", |world| world.everyone_shows(1, &[]));
    world.boot(2, 2);
    world.state(2, &[30]);
    let took = until_synced(&mut world, 2);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(world.snapshot(2).missing, BTreeSet::from([id(1)]));
}

#[test]
fn those_who_start_together_wait_for_one_another() {
    let mut world = World::new(10);
    world.always = Box::new(|index, snapshot| {
        let all =
            (0..10_u8).all(|other| usize::from(other) == index || shown(snapshot, other + 1) == [other]);
        assert!(!snapshot.synced || all, "{index} lacks {:?}", snapshot.missing);
    });
    for index in 0..10 {
        world.state(index, &[index as u8]);
        world.run_for(Duration::from_millis(200));
    }
    world.run_until("all synced", |world| (0..10).all(|index| world.snapshot(index).synced));
}
