//! Several managers: what they stand, in one process and over real sockets.

use super::*;

/// A node that joined and serves: a manager, once it is made one.
pub(super) struct Member {
    dir: TempDir,
    pub(super) log: Arc<Follower>,
    role: Role,
    role_task: RoleTask,
    server: Server,
    pub(super) credentials: Arc<Credentials>,
    helpers: Helpers,
}

impl Member {
    pub(super) async fn join(manager: &Manager) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let joined = manager.join(node()).await.unwrap();
        joined.save(&Store::open(dir.path()).unwrap()).unwrap();
        Self::start(dir).await
    }

    async fn start(dir: TempDir) -> Self {
        let Running { log, role, role_task, server, credentials, helpers } = start_node(&dir).await;
        seen(log.status(), |link| link.reachable).await;
        Self { dir, log, role, role_task, server, credentials, helpers }
    }

    pub(super) async fn stop(self) -> TempDir {
        drop(self.helpers);
        self.server.stop().await;
        self.role_task.stop().await;
        self.dir
    }

    pub(super) fn id(&self) -> NodeId {
        self.credentials.now().identity.node
    }
}

/// Three managers, the first of which leads.
pub(super) async fn three() -> (Manager, Member, Member) {
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
    silent(&first, third_id).await;

    let error = first.log.propose(Command::SetRole { node: second_id, manager: false }).await.unwrap_err();
    assert!(matches!(error, super::super::ProposeError::Unsafe { .. }), "{error}");
    first.log.propose(Command::SetRole { node: third_id, manager: false }).await.unwrap();
    seen(first.role.status(), |status| status.voters.len() == 2).await;
}

#[tokio::test]
async fn a_damaged_log_stops_the_role_alone_until_it_is_whole_again() {
    let (first, second, third) = three().await;
    let dir = third.stop().await;
    let file = dir.path().join("raft.redb");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0xa5; 1 << 20]).unwrap();

    let third = Member::start(dir).await;
    let status = seen(third.role.status(), |status| status.last_error.is_some()).await;
    let cause = status.last_error.unwrap();
    assert!(!status.running && cause.contains("raft.redb") && cause.contains("damaged"), "{cause}");
    first.log.propose(network("meanwhile")).await.unwrap();
    seen(third.log.watch(), |intent| has(intent, "meanwhile")).await;
    third.log.propose(network("from-there")).await.unwrap();

    std::fs::write(&file, whole).unwrap();
    seen(third.role.status(), |status| status.running && status.last_error.is_none()).await;
    second.log.propose(network("after")).await.unwrap();
}

#[tokio::test]
async fn an_empty_log_is_a_lost_one_and_no_cluster_begins_with_it() {
    let (_first, _second, third) = three().await;
    let dir = third.stop().await;
    let file = dir.path().join("raft.redb");
    std::fs::write(&file, b"").unwrap();
    let third = Member::start(dir).await;
    let status = seen(third.role.status(), |status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("raft.redb is gone"));
    let dir = third.stop().await;

    std::fs::remove_file(&file).unwrap();
    let store = reopened(&dir).await;
    let error = super::super::force_new_cluster(&store).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    assert!(!file.exists(), "it would pass for one that is kept");
}

#[tokio::test]
async fn a_manager_that_lost_its_log_votes_no_more_until_it_is_made_one_anew() {
    let (first, _second, third) = three().await;
    let id = third.id();
    let dir = third.stop().await;
    std::fs::remove_file(dir.path().join("raft.redb")).unwrap();

    let third = Member::start(dir).await;
    let status = seen(third.role.status(), |status| status.last_error.is_some()).await;
    let cause = status.last_error.unwrap();
    assert!(!status.running && cause.contains("raft.redb is gone") && cause.contains("demote"), "{cause}");
    first.log.propose(Command::SetRole { node: id, manager: false }).await.unwrap();
    seen(third.role.status(), |status| status.last_error.is_none()).await;
    first.log.propose(Command::SetRole { node: id, manager: true }).await.unwrap();
    seen(third.role.status(), |status| status.running && status.voters.len() == 3).await;
}

#[tokio::test]
async fn a_manager_with_a_damaged_log_is_made_one_anew_at_once() {
    let (first, _second, third) = three().await;
    let id = third.id();
    let dir = third.stop().await;
    std::fs::write(dir.path().join("raft.redb"), vec![0xa5; 1 << 20]).unwrap();

    let third = Member::start(dir).await;
    seen(third.role.status(), |status| status.last_error.is_some()).await;
    first.log.propose(Command::SetRole { node: id, manager: false }).await.unwrap();
    seen(first.role.status(), |status| !status.voters.contains(&id)).await;
    first.log.propose(Command::SetRole { node: id, manager: true }).await.unwrap();
    seen(third.role.status(), |status| status.running && status.voters.len() == 3).await;
}

#[tokio::test]
async fn a_manager_whose_role_does_not_run_is_not_counted_on() {
    let (first, second, third) = three().await;
    let [second_id, third_id] = [second.id(), third.id()];
    let dir = third.stop().await;
    std::fs::write(dir.path().join("raft.redb"), vec![0xa5; 1 << 20]).unwrap();
    let third = Member::start(dir).await;
    seen(third.role.status(), |status| status.last_error.is_some()).await;
    silent(&first, third_id).await;

    let error = first.log.propose(Command::SetRole { node: second_id, manager: false }).await.unwrap_err();
    assert!(matches!(error, super::super::ProposeError::Unsafe { .. }), "{error}");
}

#[tokio::test]
async fn of_two_demotions_at_once_the_second_sees_what_the_first_leaves() {
    let (first, second, third) = three().await;
    let fourth = Member::join(&first).await;
    let [second_id, third_id, fourth_id] = [second.id(), third.id(), fourth.id()];
    first.log.propose(Command::SetRole { node: fourth_id, manager: true }).await.unwrap();
    seen(first.role.status(), |status| status.voters.len() == 4).await;
    fourth.stop().await;
    silent(&first, fourth_id).await;

    let demote = |node| first.log.propose(Command::SetRole { node, manager: false });
    let (one, other) = tokio::join!(demote(second_id), demote(third_id));
    let refused = |outcome: &Result<_, _>| matches!(outcome, Err(super::super::ProposeError::Unsafe { .. }));
    assert!(refused(&one) != refused(&other), "{one:?}, {other:?}");
}

#[tokio::test]
async fn a_role_that_broke_begins_again() {
    let (first, _second, third) = three().await;
    third.role.running().unwrap().raft.external_request(|_| panic!("broken on purpose"));
    seen(third.role.status(), |status| status.last_error.is_some()).await;
    seen(third.role.status(), |status| status.running).await;
    first.log.propose(network("after")).await.unwrap();
}

/// Until the leader has not heard of that manager for a while.
async fn silent(leader: &Manager, manager: NodeId) {
    let silent = async {
        while leader.log.read().await.unwrap().voters[&manager] {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), silent).await.expect("it still counts as reachable");
}
