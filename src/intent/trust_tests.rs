use super::*;
use crate::fixtures::{init, node, node_id};
use crate::model::Seconds;

fn state() -> State {
    let mut state = State::default();
    apply(&mut state, &init()).unwrap();
    state
}

fn trust(state: &mut State, command: &Command) -> Result<(), String> {
    let before = state.clone();
    let outcome = apply(state, command).map(drop).map_err(|error| error.to_string());
    assert!(outcome.is_ok() || *state == before);
    // Whoever leads after a leader that stopped may propose a step again.
    if outcome.is_ok() {
        let once = state.clone();
        apply(state, command).unwrap();
        assert_eq!(*state, once, "{command:?}");
    }
    outcome
}

fn ca(name: &str) -> CaKeys {
    CaKeys { cert: name.to_owned(), key: format!("key of {name}").into() }
}

fn cert(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_token_that_was_rotated_is_another() {
    let mut state = state();
    trust(&mut state, &Command::RotateToken { manager: true, secret: cert("new").into() }).unwrap();
    assert_eq!(state.secrets.manager_secret.0, "new");
    assert_eq!(state.secrets.worker_secret.0, "worker's");
    assert_eq!(state.intent.version, 2);
}

#[test]
fn nothing_secret_is_shown() {
    let state = state();
    let shown = format!("{state:?} {:?}", init());
    for secret in ["private", "worker's", "manager's", "\"key\""] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn gossip_keys_overlap() {
    let mut state = state();
    let add = |id, key: &str| Command::AddGossipKey { id, key: key.to_owned().into(), at: 7 };
    trust(&mut state, &Command::WantGossipKey).unwrap();
    let missing = trust(&mut state, &Command::UseGossipKey { id: 1 });
    assert_eq!(missing.unwrap_err(), "no gossip key has the id 1");
    trust(&mut state, &add(1, "new")).unwrap();
    assert_eq!(trust(&mut state, &add(2, "newer")).unwrap_err(), "the gossip key is being rotated already");
    let in_use = trust(&mut state, &Command::DropGossipKey { id: 0 });
    assert_eq!(in_use.unwrap_err(), "the gossip key 0 is in use");
    trust(&mut state, &Command::UseGossipKey { id: 1 }).unwrap();
    trust(&mut state, &Command::DropGossipKey { id: 0 }).unwrap();
    let gossip = &state.intent.cluster.as_ref().unwrap().gossip;
    assert_eq!((gossip.current, gossip.rotated_at, gossip.wanted), (1, 7, false));
    assert_eq!(gossip.keys, [(1, "new".to_owned())].into());
}

#[test]
fn the_old_ca_goes_once_nobody_needs_it() {
    let mut state = state();
    apply(&mut state, &Command::PutNode(node(2))).unwrap();
    let note = |n, issuer: &str| Command::NoteCertificate { node: node_id(n), issuer: issuer.to_owned() };
    assert!(trust(&mut state, &Command::UseCa { cert: cert("second") }).is_err());
    trust(&mut state, &Command::AddCa(ca("second"))).unwrap();
    assert_eq!(
        trust(&mut state, &Command::AddCa(ca("third"))).unwrap_err(),
        "the cluster's CA is being rotated already"
    );
    trust(&mut state, &Command::UseCa { cert: cert("second") }).unwrap();
    assert_eq!(state.secrets.ca, Some(ca("second")));
    assert!(trust(&mut state, &Command::DropCa { cert: cert("second") }).is_err());
    trust(&mut state, &note(1, "second")).unwrap();
    assert_eq!(
        trust(&mut state, &Command::DropCa { cert: cert("certificate") }).unwrap_err(),
        "the old CA signed the certificates of nodes that have not renewed them yet: host-2"
    );
    trust(&mut state, &note(2, "second")).unwrap();
    trust(&mut state, &Command::DropCa { cert: cert("certificate") }).unwrap();
    let cluster = state.intent.cluster.as_ref().unwrap();
    assert_eq!(cluster.trusted().collect::<Vec<_>>(), ["second"]);
    assert!(trust(&mut state, &note(2, "certificate")).is_err(), "nobody trusts that one any more");
}

#[test]
fn one_node_begins_anew() {
    let mut state = state();
    for n in 2..=3 {
        apply(&mut state, &Command::PutNode(node(n))).unwrap();
        apply(&mut state, &Command::SetRole { node: node_id(n), manager: true }).unwrap();
    }
    let force = |epoch| Command::ForceNewCluster { node: node_id(3), epoch };
    assert_eq!(
        trust(&mut state, &force(1)).unwrap_err(),
        "epoch 1 is not newer than the cluster's, which is 1"
    );
    trust(&mut state, &force(9)).unwrap();
    assert_eq!(state.intent.managers().map(|node| node.id).collect::<Vec<_>>(), [node_id(3)]);
    assert_eq!(state.intent.cluster.as_ref().unwrap().epoch, 9);
}

#[test]
fn a_backup_is_restored_by_whom_it_knows_and_by_a_new_node() {
    let mut backup = state();
    apply(&mut backup, &Command::PutNode(node(2))).unwrap();
    let restore = |node: Node| Command::Restore { state: Box::new(backup.clone()), node, epoch: 9 };
    let mut known = State::default();
    apply(&mut known, &restore(node(2))).unwrap();
    assert_eq!(known.intent.managers().map(|node| node.id).collect::<Vec<_>>(), [node_id(2)]);
    assert_eq!(known.secrets, backup.secrets);
    assert_eq!(known.intent.version, backup.intent.version + 1);
    assert!(known.intent.cluster.unwrap().gossip.wanted, "who was removed since then knows the backup's key");

    let mut new = State::default();
    apply(&mut new, &restore(Node { id: node_id(7), ..node(1) })).unwrap();
    assert_eq!(new.intent.nodes.keys().copied().collect::<Vec<_>>(), [node_id(2), node_id(7)]);
    assert!(new.intent.nodes[&node_id(7)].manager && new.intent.removed.contains(&node_id(1)));

    assert_eq!(apply(&mut new, &restore(node(2))), Err(IntentError::AlreadyInitialized));
    let empty = Command::Restore { state: Box::default(), node: node(1), epoch: 9 };
    assert_eq!(apply(&mut State::default(), &empty), Err(TrustError::EmptyBackup.into()));
}

#[test]
fn certificates_last_a_minute_at_least() {
    let Command::InitCluster { mut cluster, node, secrets } = init() else { panic!() };
    cluster.cert_lifetime = Seconds(59);
    let error = apply(&mut State::default(), &Command::InitCluster { cluster, node, secrets }).unwrap_err();
    assert_eq!(error.to_string(), "certificates that are valid for 59 s: the shortest is 60 s");
}
