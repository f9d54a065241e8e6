use std::collections::BTreeSet;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use overlay::intent::{Cluster, Reply, State, apply};
use overlay::model::Node;

use super::*;
use crate::manager::tests::{Manager, initial, node, seen, serving, shown};
use crate::manager::{ManagerLink, ProposeError, Standing, init_cluster, raft};
use crate::store::Store;

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
        peers: Arc::new(Peers::new(shown(&manager.founded.identity))),
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

/// The managers' log in simulated time: commands take effect at once.
struct Log {
    state: Mutex<State>,
    intent: watch::Sender<Arc<Intent>>,
}

impl IntentLog for Log {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        let mut state = self.state.lock().unwrap();
        let reply = apply(&mut state, &command);
        self.intent.send_replace(Arc::new(state.intent.clone()));
        Box::pin(async move { Ok(reply?) })
    }

    fn watch(&self) -> watch::Receiver<Arc<Intent>> {
        self.intent.subscribe()
    }

    fn read(&self) -> BoxFuture<'_, Result<Standing, ProposeError>> {
        panic!("nobody reads")
    }

    fn status(&self) -> watch::Receiver<ManagerLink> {
        panic!("nobody asks")
    }
}

/// How long a rotation that somebody wants takes while a node changes what it says of itself, over and over. Each time, this
/// node comes to hold the intent as it was so many changes ago, if ever.
async fn rotated_amid_changes(behind: Option<usize>) -> Duration {
    const CHANGE: Duration = Duration::from_millis(500);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let identity = init_cluster(&store, node(), Cluster::CERT_LIFETIME).unwrap().identity;
    drop(store);
    let state = raft::held(dir.path()).unwrap();
    let intent = watch::Sender::new(Arc::new(state.intent.clone()));
    let log = Arc::new(Log { state: Mutex::new(state), intent });
    let me = identity.node;
    let applied = watch::Sender::new(0);
    let snapshot = Snapshot { alive: BTreeSet::from([me]), settled: true, ..Snapshot::default() };
    let steward = KeySteward {
        me,
        log: Arc::clone(&log) as Arc<dyn IntentLog>,
        peers: Arc::new(Peers::new(shown(&identity))),
        facts: watch::channel(Arc::new(snapshot)).1,
        applied: applied.subscribe(),
    };
    log.propose(Command::WantGossipKey).await.unwrap();
    let begun = Instant::now();
    let first = log.watch().borrow().cluster.as_ref().unwrap().gossip.current;
    let steward = tokio::spawn(steward.run());
    let changes = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for change in 0.. {
                let known = Arc::clone(&log.watch().borrow());
                versions.push(known.version);
                if let Some(held) = behind.and_then(|behind| versions.iter().rev().nth(behind)) {
                    applied.send_replace(*held);
                }
                let renamed = Node { hostname: format!("renamed-{change}"), ..known.nodes[&me].clone() };
                log.propose(Command::PutNode(renamed)).await.unwrap();
                sleep(CHANGE).await;
            }
        })
    };
    let is_done = |intent: &Arc<Intent>| {
        let gossip = &intent.cluster.as_ref().unwrap().gossip;
        gossip.current != first && gossip.keys.len() == 1
    };
    seen(log.watch(), is_done).await;
    steward.abort();
    changes.abort();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn who_never_confirms_holds_nothing_up_for_long_however_much_changes() {
    let took = rotated_amid_changes(None).await;
    assert!(took >= 2 * URGENT && took < 2 * URGENT + AGAIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_is_confirmed_by_who_holds_it_though_the_intent_has_gone_on() {
    let took = rotated_amid_changes(Some(2)).await;
    assert!(took < URGENT, "{took:?}");
}
