//! The cluster's key changes while nodes talk, each of which hears of a step at another time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::World;
use super::{all_alive, settled};
use crate::gossip::Keys;
use crate::gossip::tests::shown;

/// Within so long, every node has heard of a step: the next one waits for that.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// Within so long after its end, a node is withdrawn everywhere.
const DEATH: Duration = Duration::from_secs(10);

/// The first key and the next one, of which one seals.
fn both(current: u8) -> Keys {
    Keys::new(current, BTreeMap::from([(1, [1; 32]), (2, [2; 32])])).unwrap()
}

fn next() -> Keys {
    Keys::one(2, [2; 32])
}

/// Has each of these nodes hear of a step, one after the other.
fn step(world: &mut World, nodes: &[usize], keys: &Keys) {
    for index in nodes {
        world.set_keys(*index, keys.clone());
        world.run_for(HEARD_WITHIN / u32::try_from(nodes.len()).unwrap());
    }
}

fn refused(world: &World) -> u64 {
    (0..world.nodes.len()).map(|index| world.snapshot(index).counters.refused_unknown_key).sum()
}

#[test]
fn a_rotation_loses_nothing_and_nobody() {
    const SIZE: usize = 20;
    let mut world = settled(SIZE);
    world.loss = 0.05;
    world.always = Box::new(|index, snapshot| {
        assert_eq!(snapshot.alive.len(), SIZE, "{index} has lost somebody");
        assert!(index == 1 || shown(snapshot, 2).contains(&10), "{index} hides endpoint 10");
    });
    let all: Vec<usize> = (0..SIZE).collect();
    for (round, keys) in [both(1), both(2), next()].iter().enumerate() {
        step(&mut world, &all, keys);
        let endpoints = [10, 20 + round as u8];
        world.state(1, &endpoints);
        let took = world.run_until("the change", |world| world.everyone_shows(1, &endpoints));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    world.run_for(Duration::from_secs(60));
    assert_eq!(refused(&world), 0);
}

#[test]
fn who_does_not_hear_of_it_is_out_until_it_does() {
    let mut world = settled(10);
    let others: Vec<usize> = (0..10).filter(|index| *index != 1).collect();
    for keys in [both(1), both(2), next()] {
        step(&mut world, &others, &keys);
    }
    let is_gone = |world: &World| others.iter().all(|index| world.shows(*index, 1).is_empty());
    let took = world.run_until("its end", is_gone);
    assert!(took < DEATH, "{took:?}");
    assert!(refused(&world) > 0);

    world.set_keys(1, next());
    world.run_until("its return", |world| all_alive(world) && world.everyone_shows(1, &[10, 11]));
}
