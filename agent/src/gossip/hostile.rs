//! What a member of the cluster may send: real payloads and exchanges with bytes changed. Nothing panics, and a node's own
//! facts stay its own.

use std::time::Duration;

use overlay::facts::{Pull, Store};
use proptest::prelude::{any, prop, proptest};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::fuzzing::{AFTER, Side, converse, exchange, exchange_seeds, newest, sample};
use super::membership::Identity;
use super::node::{Input, Node};
use super::samples::{addr, endpoint, fact, keys, node};
use super::seal::{MAX_PAYLOAD, Sealer};
use super::tests::shown;
use super::wire::Payload;
use super::*;

/// A push, a pull, and what membership sends.
fn payloads() -> Vec<Vec<u8>> {
    let delta = Store::new(node(2), 1).state(&fact(2), &[endpoint(20)]).unwrap();
    let pull = Pull { owner: node(1), generation: 1, from: 0, to: 3 };
    let member = postcard::to_stdvec(&foca::Member::alive(Identity::new(node(3), addr(3), 1))).unwrap();
    vec![Payload::Push(delta).encode(), Payload::Pull(pull).encode(), Payload::Swim(&member).encode()]
}

#[test]
fn sealed_garbage_panics_nowhere() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut target = Node::new(&Identity::new(node(1), addr(1), 1), keys(), 7);
    let peers = [2, 3].map(|number| Peer { node: node(number), addr: addr(number) });
    target.handle(Input::Peers(peers.to_vec()), Duration::ZERO);
    target.handle(Input::State(fact(1), vec![endpoint(10)]), Duration::ZERO);
    let mut insider = Sealer::new(&keys(), node(3), 1);
    for payload in payloads() {
        for _ in 0..2000 {
            let mut bytes = payload.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(1..=MAX_PAYLOAD));
            target.handle(Input::Datagram(insider.seal(&bytes), addr(3)), Duration::ZERO);
        }
    }
    target.handle(Input::Wake, Duration::from_secs(2));
    let counters = target.snapshot().counters;
    assert!(counters.refused_malformed > 0 && counters.refused_not_owner > 0, "{counters:?}");
    assert_eq!(shown(&target.snapshot(), 1), [10], "its own facts are its own");
}

#[test]
fn an_exchange_has_its_effect_once_it_is_whole() {
    let [begun, answered] = exchange_seeds();
    for (me, other, side, bytes) in [(1, 2, Side::Begins, answered), (2, 1, Side::Answers, begun)] {
        for length in 0..bytes.len() {
            let mut target = sample(me);
            let (_, ended) = converse(&mut target, side, &bytes[..length]);
            assert!(ended.is_err(), "{side:?}, {length} bytes");
            assert!(shown(&newest(&mut target, AFTER), other).is_empty(), "{side:?}, {length} bytes");
        }
        let mut target = sample(me);
        converse(&mut target, side, &bytes).1.unwrap();
        let snapshot = newest(&mut target, AFTER);
        assert_eq!([1, 2, 3].map(|node| shown(&snapshot, node)), [vec![10], vec![20], vec![31, 32]]);
    }
}

proptest! {
    #[test]
    fn an_altered_exchange_changes_nothing_that_it_should_not(
        side in 0..2usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = exchange_seeds()[side].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        exchange(&bytes);
    }
}
