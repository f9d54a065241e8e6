//! Several managers: what they stand, in one process and over real sockets.

use super::*;
use crate::identity::Identity;

/// A node that joined and serves: a manager, once it is made one.
struct Member {
    dir: TempDir,
    identity: Identity,
    log: Arc<Follower>,
    role: Role,
    role_task: RoleTask,
    server: Server,
}

impl Member {
    async fn join(manager: &Manager) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let joined = manager.join(node()).await.unwrap();
        joined.save(&Store::open(dir.path()).unwrap()).unwrap();
        Self::start(dir, joined.identity).await
    }

    async fn start(dir: TempDir, identity: Identity) -> Self {
        let (log, role, role_task, server) = start_node(&dir, &identity).await;
        seen(log.status(), |link| link.reachable).await;
        Self { dir, identity, log, role, role_task, server }
    }

    async fn stop(self) -> (TempDir, Identity) {
        self.server.stop().await;
        self.role_task.stop().await;
        (self.dir, self.identity)
    }

    fn id(&self) -> NodeId {
        self.identity.node
    }
}

/// Three managers, the first of which leads.
async fn three() -> (Manager, Member, Member) {
    let first = Manager::start().await;
    let (second, third) = (Member::join(&first).await, Member::join(&first).await);
    for member in [&second, &third] {
        first.log.propose(Command::SetRole { node: member.id(), manager: true }).await.unwrap();
    }
    for role in [&first.role, &second.role, &third.role] {
        seen(role.status(), |status| status.voters.len() == 3).await;
    }
    (first, second, third)
}

#[tokio::test]
async fn a_command_reaches_the_leader_from_any_manager_and_a_read_shows_it() {
    let (first, second, third) = three().await;
    second.log.propose(network("two")).await.unwrap();
    third.log.propose(network("three")).await.unwrap();
    for log in [&first.log, &second.log, &third.log] {
        let standing = log.read().await.unwrap();
        assert_eq!(standing.leader, first.founded.identity.node);
        assert_eq!(standing.voters.len(), 3);
        let intent = log.watch().borrow().clone();
        assert!(has(&intent, "two") && has(&intent, "three"));
        assert!(intent.version >= standing.version);
    }
}

#[tokio::test]
async fn two_of_three_go_on_without_the_leader_which_catches_up_when_it_is_back() {
    let (first, second, third) = three().await;
    second.log.propose(network("before")).await.unwrap();
    let (dir, founded) = first.stop().await;

    seen(second.role.status(), |status| status.leader.is_some_and(|it| it != founded.identity.node)).await;
    third.log.propose(network("meanwhile")).await.unwrap();
    second.log.read().await.unwrap();
    assert!(has(&second.log.watch().borrow(), "meanwhile"));

    let first = Manager::start_again(dir, founded).await;
    seen(first.log.watch(), |intent| has(intent, "before") && has(intent, "meanwhile")).await;
    first.log.propose(network("after")).await.unwrap();
}

#[tokio::test]
async fn without_a_majority_changes_are_refused_in_time_and_name_who_is_silent() {
    let (first, second, third) = three().await;
    let held = first.log.watch().borrow().clone();
    let names: Vec<String> =
        [second.id(), third.id()].iter().map(|id| held.nodes[id].hostname.clone()).collect();
    second.stop().await;
    third.stop().await;

    let error = first.log.propose(network("lost")).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, super::super::ProposeError::Unavailable { .. }), "{text}");
    assert!(names.iter().all(|name| text.contains(name.as_str())), "{text}");
    assert!(first.log.read().await.is_err());
    assert_eq!(**first.log.watch().borrow(), *held, "what is known is still known");
}

#[tokio::test]
async fn a_demoted_leader_hands_over_and_forgets_what_managers_know() {
    let (first, second, third) = three().await;
    let me = first.founded.identity.node;
    second.log.propose(Command::SetRole { node: me, manager: false }).await.unwrap();

    seen(second.role.status(), |status| status.voters.len() == 2 && status.leader.is_some()).await;
    seen(first.role.status(), |status| !status.running).await;
    seen(first.log.status(), |link| link.reachable).await;
    third.log.propose(network("after")).await.unwrap();
    seen(first.log.watch(), |intent| has(intent, "after")).await;
    let file = first.dir.path().join("raft.redb");
    let gone = async {
        while file.exists() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), gone).await.expect("the secrets are still there");

    // Promoted again, it begins with nothing and has it all.
    second.log.propose(Command::SetRole { node: me, manager: true }).await.unwrap();
    seen(first.role.status(), |status| status.running && status.voters.len() == 3).await;
}

#[tokio::test]
async fn nobody_is_demoted_at_the_cost_of_the_majority() {
    let (first, second, third) = three().await;
    let [second_id, third_id] = [second.id(), third.id()];
    third.stop().await;
    let silent = async {
        while first.log.read().await.unwrap().voters[&third_id] {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), silent).await.expect("it still counts as reachable");

    let error = first.log.propose(Command::SetRole { node: second_id, manager: false }).await.unwrap_err();
    assert!(matches!(error, super::super::ProposeError::Unsafe { .. }), "{error}");
    first.log.propose(Command::SetRole { node: third_id, manager: false }).await.unwrap();
    seen(first.role.status(), |status| status.voters.len() == 2).await;
}
