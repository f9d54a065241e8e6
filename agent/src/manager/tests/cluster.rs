//! What members do, and what they are told when it cannot be done.

use super::super::{JoinError, ManagerError, ProposeError};
use super::*;
use crate::identity::{Authority, Secret, Token};
use overlay::intent::{IntentError, Reply};

#[tokio::test]
async fn a_node_joins_and_changes_intent_for_all() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    let other = manager.worker().await;
    let node = &worker.joined.identity.node;
    assert!(worker.joined.intent.nodes.contains_key(node));
    assert!(!worker.joined.intent.nodes[node].manager);

    let Reply::Network(created) = manager.log.propose(network("net")).await.unwrap() else {
        panic!("no network")
    };
    assert!(has(&manager.log.watch().borrow(), "net"), "who proposed does not see it at once");
    let Reply::Block(block) = worker.log.propose(grant(&created, *node)).await.unwrap() else {
        panic!("no block")
    };
    assert_eq!(worker.log.watch().borrow().block_of(created.id, block.first), Some(&block));
    seen(other.log.watch(), |intent| intent.block_of(created.id, block.first) == Some(&block)).await;
}

#[tokio::test]
async fn refusals_come_back_as_what_they_are() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    let Reply::Network(created) = manager.log.propose(network("net")).await.unwrap() else {
        panic!("no network")
    };
    manager.log.propose(Command::RemoveNetwork { id: created.id }).await.unwrap();
    let outcome = worker.log.propose(grant(&created, worker.joined.identity.node)).await;
    assert!(matches!(outcome, Err(ProposeError::Refused(IntentError::NoSuchNetwork { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn a_token_of_another_cluster_or_secret_lets_nobody_in() {
    let manager = Manager::start().await;
    let addr = manager.addr();
    let good = &manager.founded.token;
    let before = manager.log.watch().borrow().clone();

    let foreign = Authority::new("other").unwrap().digest().unwrap();
    let token = Token { ca: foreign, secret: good.secret.clone() };
    let error = join(&token, addr, node()).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongCluster { .. }), "{error}");

    let token = Token { ca: good.ca, secret: Secret::random() };
    let error = join(&token, addr, node()).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongSecret { .. }), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(*manager.log.watch().borrow(), before);
}

#[tokio::test]
async fn nobody_joins_in_a_members_place_or_as_a_manager() {
    let manager = Manager::start().await;
    let member = manager.founded.identity.node;
    let error = manager.join(Node { id: member, ..node() }).await.unwrap_err();
    assert!(matches!(error, JoinError::AlreadyMember(id) if id == member), "{error}");

    let joined = manager.join(Node { manager: true, ..node() }).await.unwrap();
    assert!(!joined.intent.nodes[&joined.identity.node].manager);
}

#[tokio::test]
async fn a_node_that_a_network_overlaps_is_refused_with_the_cause() {
    let manager = Manager::start().await;
    let Reply::Network(created) = manager.log.propose(network("net")).await.unwrap() else {
        panic!("no network")
    };
    let error = manager.join(Node { underlay: vec![created.subnets[0].net], ..node() }).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(IntentError::NodeOverlap { .. })), "{error}");
}

#[tokio::test]
async fn joining_where_nobody_listens_says_so() {
    let manager = Manager::start().await;
    let addr = manager.addr();
    manager.server.stop().await;
    let error = join(&manager.founded.token, addr, node()).await.unwrap_err();
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn a_worker_lives_through_its_managers_absence() {
    let manager = Manager::start().await;
    let Worker { dir: _dir, joined, store, log } = manager.worker().await;
    let me = joined.identity.node;
    log.propose(renamed(&log, me, "before")).await.unwrap();
    let addr = manager.addr();
    manager.server.stop().await;

    seen(log.status(), |link| !link.reachable && link.last_error.is_some()).await;
    let error = log.propose(renamed(&log, me, "lost")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Unreachable { addr: tried, .. } if tried == addr), "{error}");
    assert_eq!(log.watch().borrow().hostname(me), "before");

    // The worker restarts with nobody to ask.
    let kept = log.watch().borrow().clone();
    drop(log);
    let log = Follower::start(store, shown(&joined.identity), Vec::new()).unwrap();
    assert_eq!(*log.watch().borrow(), kept);

    let server = serve(addr, &manager.log, &manager.role, &manager.credentials).await;
    manager.log.propose(network("after")).await.unwrap();
    let intent = seen(log.watch(), |intent| has(intent, "after")).await;
    assert_eq!(intent, *manager.log.watch().borrow());
    seen(log.status(), |link| link.reachable && link.last_error.is_none()).await;
    log.propose(renamed(&log, me, "again")).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_worker_keeps_its_copy_on_the_disk() {
    let manager = Manager::start().await;
    let worker = manager.worker().await;
    manager.log.propose(network("net")).await.unwrap();
    seen(worker.log.watch(), |intent| has(intent, "net")).await;
    let copy = stored_intent(&worker.store).unwrap();
    assert_eq!(copy, **worker.log.watch().borrow());
    assert!(has(&copy, "net"));
}

#[tokio::test]
async fn a_manager_restarts_with_the_same_intent() {
    let manager = Manager::start().await;
    manager.log.propose(network("net")).await.unwrap();
    let before = manager.log.watch().borrow().clone();
    let (dir, founded) = manager.stop().await;

    let manager = Manager::start_again(dir, founded).await;
    let running = manager.role.running().unwrap();
    assert_eq!(running.secrets.borrow().ca.as_ref(), Some(manager.founded.authority.keys()));
    assert_eq!(*running.intent.borrow(), before);
    assert_eq!(*manager.log.watch().borrow(), before);
}

#[tokio::test]
async fn proposals_at_once_all_take_effect() {
    let manager = Manager::start().await;
    let log = &manager.log;
    let before = log.watch().borrow().version;
    let names: Vec<_> = (0..16).map(|index| format!("net{index}")).collect();
    let proposals = names.iter().map(|name| {
        let log = Arc::clone(log);
        let command = network(name);
        tokio::spawn(async move { log.propose(command).await })
    });
    for proposal in proposals.collect::<Vec<_>>() {
        proposal.await.unwrap().unwrap();
    }
    let last = log.watch().borrow().clone();
    assert_eq!(last.version, before + 16);
    assert!(names.iter().all(|name| has(&last, name)));
    let (dir, founded) = manager.stop().await;
    let manager = Manager::start_again(dir, founded).await;
    assert_eq!(manager.log.watch().borrow().version, last.version);
}

#[tokio::test]
async fn a_second_cluster_on_one_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = init_cluster(&store, node(), Cluster::CERT_LIFETIME).unwrap();
    let error = init_cluster(&store, node(), Cluster::CERT_LIFETIME).unwrap_err();
    assert!(matches!(error, ManagerError::AlreadyMember(id) if id == first.identity.node), "{error}");
    assert_eq!(store.get::<Identity>(Key::Identity).unwrap(), Some(first.identity));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let manager = Manager::start().await;
    let log = Arc::clone(&manager.log) as Arc<dyn IntentLog>;
    let here = here(watch::channel(0).1);
    let outcome =
        Server::start(manager.addr(), log, Arc::clone(&manager.credentials), manager.role.clone(), here)
            .await;
    let Err(error) = outcome else { panic!("listens twice") };
    assert!(matches!(error, ManagerError::Listen { .. }));
    assert!(error.to_string().contains(&manager.addr().to_string()), "{error}");
}

#[tokio::test]
async fn a_worker_without_any_managers_address_does_not_start() {
    let manager = Manager::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let outcome = Follower::start(store, shown(&manager.founded.identity), Vec::new());
    assert!(matches!(outcome, Err(ManagerError::NoManager)));
}
