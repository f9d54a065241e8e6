//! The nodes' state machines in simulated time, over a network that loses, delays and cuts as told. The same seed
//! gives the same run, so times can be asserted here.

mod absence;
mod joiner;
mod readiness;
mod rotation;
mod size;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use self::world::World;
use super::tests::shown;

fn all_alive(world: &World) -> bool {
    (0..world.nodes.len()).all(|index| world.snapshot(index).alive.len() == world.nodes.len())
}

/// A running world in which node 1 has stated endpoints 10 and 11, and everyone shows them.
fn settled(size: usize) -> World {
    let mut world = World::new(size);
    (0..size).for_each(|index| world.state(index, if index == 1 { &[10, 11] } else { &[] }));
    world.run_until("all alive", all_alive);
    world.run_until("the first statement", |world| world.everyone_shows(1, &[10, 11]));
    world.run_for(Duration::from_secs(30));
    world
}

#[test]
fn a_change_is_everywhere_at_once() {
    let mut world = settled(20);
    world.state(1, &[10, 12]);
    let took = world.run_until("the change", |world| world.everyone_shows(1, &[10, 12]));
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[test]
fn pulls_alone_repair_what_pushes_lose() {
    let mut world = settled(10);
    world.tcp = false;
    world.loss = 0.6;
    let pulls = |world: &World| (0..10).map(|index| world.snapshot(index).counters.pulls_sent).sum::<u64>();
    let before = pulls(&world);
    for round in 0..20 {
        world.state(1, &[10, 20 + round]);
        world.run_for(Duration::from_millis(30));
    }
    world.loss = 0.0;
    let took = world.run_until("the last change", |world| world.everyone_shows(1, &[10, 39]));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(pulls(&world) > before, "nothing was lost");
}

#[test]
fn anti_entropy_alone_repairs_what_pushes_lose() {
    let mut world = settled(10);
    world.loss = 1.0;
    world.state(1, &[10, 12]);
    world.run_for(Duration::from_millis(300));
    world.loss = 0.0;
    assert!(!world.everyone_shows(1, &[10, 12]));
    let took = world.run_until("the change", |world| world.everyone_shows(1, &[10, 12]));
    assert!(took < Duration::from_secs(40), "{took:?}");
}

#[test]
fn a_death_is_seen_within_ten_seconds_and_a_return_at_once() {
    for size in [2, 3, 20] {
        let mut world = settled(size);
        world.nodes[1] = None;
        let took = world.run_until("the death", |world| world.everyone_shows(1, &[]));
        assert!(took < Duration::from_secs(10), "{size} nodes: {took:?}");

        world.boot(1, 2);
        world.state(1, &[11]);
        let took = world.run_until("the return", |world| world.everyone_shows(1, &[11]));
        assert!(took < Duration::from_secs(3), "{size} nodes: {took:?}");
    }
}

#[test]
fn an_unreachable_node_loses_its_facts_and_has_them_back_when_it_is_reached() {
    for size in [2, 3, 20] {
        let mut world = settled(size);
        world.cut = BTreeSet::from([1]);
        let others = |world: &World, endpoints: &[u8]| {
            (0..size).filter(|index| *index != 1).all(|index| world.shows(index, 1) == endpoints)
        };
        let took = world.run_until("the cut", |world| others(world, &[]));
        assert!(took < Duration::from_secs(10), "{size} nodes: {took:?}");
        world.run_for(Duration::from_secs(120));
        assert_eq!(world.snapshot(1).alive.len(), 1, "it lost the others too");
        world.state(1, &[11, 12]);

        world.cut.clear();
        let took = world.run_until("the return", |world| others(world, &[11, 12]) && all_alive(world));
        assert!(took < Duration::from_secs(10), "{size} nodes: {took:?}");
    }
}

#[test]
fn halves_that_were_parted_find_each_other() {
    let mut world = settled(10);
    world.cut = (0..5).collect();
    world.run_until("two halves", |world| (0..10).all(|index| world.snapshot(index).alive.len() == 5));
    world.run_for(Duration::from_secs(300));
    world.state(1, &[13]);
    world.state(7, &[70]);
    world.cut.clear();
    world.run_until("one whole", |world| {
        all_alive(world) && world.everyone_shows(1, &[13]) && world.everyone_shows(7, &[70])
    });
}

#[test]
fn a_short_silence_hides_nothing() {
    let mut world = settled(5);
    world.always = Box::new(|index, snapshot| {
        assert!(index == 1 || shown(snapshot, 2) == [10, 11], "{index} hides a suspected node's facts");
    });
    world.cut = BTreeSet::from([1]);
    world.run_for(Duration::from_millis(2500));
    world.cut.clear();
    world.run_for(Duration::from_secs(20));
}

#[test]
fn a_restart_hides_nothing_that_both_boots_have() {
    let mut world = settled(10);
    world.always = Box::new(|index, snapshot| {
        assert!(index == 1 || shown(snapshot, 2).contains(&11), "{index} hides endpoint 11");
    });
    world.loss = 0.2;
    for boot in 2..10 {
        world.nodes[1] = None;
        world.run_for(Duration::from_millis(400));
        world.boot(1, boot);
        let endpoints = [11, 100 + boot as u8];
        world.state(1, &endpoints);
        world.run_until("the new boot's facts", |world| world.everyone_shows(1, &endpoints));
    }
}
