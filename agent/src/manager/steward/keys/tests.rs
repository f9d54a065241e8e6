use std::collections::BTreeSet;

use overlay::intent::{State, apply};

use super::*;
use crate::manager::tests::{Manager, initial, seen, serving};

const KEY: &str = "new";

fn gossip(state: &State) -> &GossipKeys {
    &state.intent.cluster.as_ref().unwrap().gossip
}

fn next(state: &State, now: u64) -> Option<Step> {
    next_step(gossip(state), now, || KEY.to_owned().into())
}

/// A cluster's state, and when its key was made.
fn start() -> (State, u64) {
    let state = initial();
    let made = gossip(&state).rotated_at;
    (state, made)
}

#[test]
fn three_steps_lead_from_one_key_to_the_next() {
    let (mut state, made) = start();
    let first = gossip(&state).current;
    let due = made + LIFETIME;
    let second = first.wrapping_add(1);
    let add = Command::AddGossipKey { id: second, key: KEY.to_owned().into(), at: due };
    let steps = [
        (add, false, first, 2),
        (Command::UseGossipKey { id: second }, true, second, 2),
        (Command::DropGossipKey { id: first }, true, second, 1),
    ];
    for (command, confirmed, current, keys) in steps {
        assert_eq!(next(&state, due), Some(Step { command: command.clone(), confirmed }));
        apply(&mut state, &command).unwrap();
        assert_eq!((gossip(&state).current, gossip(&state).keys.len()), (current, keys));
    }
    assert_eq!(next(&state, due), None);
}

#[test]
fn a_rotation_is_due_when_the_key_is_old_or_when_one_is_wanted() {
    let (mut state, made) = start();
    assert_eq!(next(&state, made + LIFETIME - 1), None);
    assert!(next(&state, made + LIFETIME).is_some());
    assert!(next(&state, made - LIFETIME).is_some(), "its time was of a clock that went ahead");
    apply(&mut state, &Command::WantGossipKey).unwrap();
    assert!(next(&state, made).is_some());
}

#[test]
fn who_is_removed_while_one_is_under_way_starts_another() {
    let (mut state, made) = start();
    apply(&mut state, &Command::WantGossipKey).unwrap();
    let begun = next(&state, made).unwrap().command;
    apply(&mut state, &begun).unwrap();
    apply(&mut state, &Command::WantGossipKey).unwrap();
    let mut added = 0;
    while let Some(step) = next(&state, made) {
        added += u32::from(matches!(step.command, Command::AddGossipKey { .. }));
        apply(&mut state, &step.command).unwrap();
    }
    assert_eq!(added, 1);
    assert!(!gossip(&state).wanted);
}

#[test]
fn ids_go_round() {
    let (mut state, made) = start();
    for round in 1..=300u64 {
        let now = made + round * LIFETIME;
        while let Some(step) = next(&state, now) {
            apply(&mut state, &step.command).unwrap();
        }
        assert_eq!(gossip(&state).keys.len(), 1);
        assert_eq!(u64::from(gossip(&state).current), round % 256);
    }
}

#[tokio::test]
async fn every_node_that_is_alive_confirms_each_step() {
    let manager = Manager::start().await;
    let applied = watch::Sender::new(0);
    let (worker, _server) = serving(manager.worker().await, &applied).await;
    manager.log.propose(Command::PutNode(worker.clone())).await.unwrap();
    let me = manager.founded.identity.node;
    let alive = BTreeSet::from([me, worker.id]);
    let steward = KeySteward {
        me,
        log: Arc::clone(&manager.log) as Arc<dyn IntentLog>,
        peers: Arc::new(Peers::new(&manager.founded.identity).unwrap()),
        facts: watch::channel(Arc::new(Snapshot { alive, settled: true, ..Snapshot::default() })).1,
        applied: watch::channel(u64::MAX).1,
    };
    let first = manager.log.watch().borrow().cluster.as_ref().unwrap().gossip.current;
    let _steward = tokio::spawn(steward.run());
    manager.log.propose(Command::WantGossipKey).await.unwrap();

    let idle = applied.receiver_count();
    let expected = [(first, 2), (first + 1, 2), (first + 1, 1)];
    for expected in expected {
        let state = |intent: &Intent| {
            let gossip = &intent.cluster.as_ref().unwrap().gossip;
            (gossip.current, gossip.keys.len())
        };
        let intent = seen(manager.log.watch(), |intent| state(intent) == expected).await;
        if expected == (first + 1, 1) {
            return;
        }
        while applied.receiver_count() == idle {
            tokio::task::yield_now().await;
        }
        assert_eq!(state(&manager.log.watch().borrow()), expected, "nobody was waited for");
        applied.send_replace(intent.version);
        while applied.receiver_count() > idle {
            tokio::task::yield_now().await;
        }
    }
}
