//! Agents that stop and said that they will be back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::settled;
use super::world::World;
use crate::gossip::tests::shown;

const HOLD: Duration = Duration::from_secs(120);
/// Within so long after its end, a node that said nothing is withdrawn everywhere.
const DEATH: Duration = Duration::from_secs(10);

/// From now on, all but node 1 show its endpoint 11 at every moment.
fn never_hidden(world: &mut World) {
    world.always = Box::new(|index, snapshot| {
        assert!(index == 1 || shown(snapshot, 2).contains(&11), "{index} hides endpoint 11");
    });
}

#[test]
fn who_will_be_back_keeps_its_facts_as_long_as_it_said() {
    for size in [2, 3, 20] {
        let mut world = settled(size);
        never_hidden(&mut world);
        world.leave(1, HOLD);
        world.run_for(HOLD - Duration::from_secs(1));
        assert!(world.everyone_shows(1, &[10, 11]));

        world.always = Box::new(|_, _| ());
        let took = world.run_until("the end of the hold", |world| world.everyone_shows(1, &[]));
        assert!(took < DEATH, "{size} nodes: {took:?}");
        world.run_for(HOLD);
        assert!(world.everyone_shows(1, &[]), "it came back without being back");
    }
}

#[test]
fn its_return_ends_the_hold() {
    let mut world = settled(10);
    never_hidden(&mut world);
    world.leave(1, HOLD);
    world.run_for(Duration::from_secs(30));
    world.boot(1, 2);
    world.state(1, &[11, 12]);
    let took = world.run_until("the return", |world| world.everyone_shows(1, &[11, 12]));
    assert!(took < Duration::from_secs(3), "{took:?}");
    world.run_for(Duration::from_secs(10));

    // What it said before it left does not hold for this boot.
    world.always = Box::new(|_, _| ());
    world.nodes[1] = None;
    let took = world.run_until("the death", |world| world.everyone_shows(1, &[]));
    assert!(took < DEATH, "{took:?}");
}

#[test]
fn who_missed_it_hears_of_it_from_others() {
    let mut world = settled(10);
    world.cut = BTreeSet::from([2]);
    world.leave(1, HOLD);
    world.cut.clear();
    world.run_for(Duration::from_secs(60));
    assert!(world.everyone_shows(1, &[10, 11]));
}

#[test]
fn who_starts_meanwhile_keeps_its_facts_too() {
    let mut world = settled(10);
    world.leave(1, HOLD);
    world.run_for(Duration::from_secs(30));
    world.boot(2, 2);
    world.state(2, &[]);
    world.run_until("it has heard of them", |world| world.shows(2, 1) == [10, 11]);
    world.run_for(Duration::from_secs(60));
    assert!(world.everyone_shows(1, &[10, 11]));
}
