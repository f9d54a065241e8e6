use super::*;
use crate::fixtures::{apply, cluster, create, network, node, node_id};
use crate::model::{Availability, Labels};

fn admit(n: u8, change: impl FnOnce(&mut AdmitNode)) -> Command {
    let node = Node { key: "its key".to_owned(), ..node(n) };
    let mut request = AdmitNode { node, issuer: "certificate".to_owned(), replaces: None };
    change(&mut request);
    Command::AdmitNode(request)
}

fn role(n: u8, manager: bool) -> Command {
    Command::SetRole { node: node_id(n), manager }
}

fn refuse(intent: &mut Intent, command: &Command) -> IntentError {
    let before = intent.clone();
    let error = apply(intent, command).unwrap_err();
    assert_eq!(*intent, before, "{error}");
    assert!(error.hint().is_some(), "{error}");
    error
}

#[test]
fn one_manager_stays_and_five_are_enough() {
    let mut intent = cluster(6);
    assert_eq!(refuse(&mut intent, &role(1, false)).to_string(), "the node host-1 is the last manager");
    for n in 2..=5 {
        apply(&mut intent, &role(n, true)).unwrap();
    }
    let six = "the cluster has 5 managers already, which is the most that it can have";
    assert_eq!(refuse(&mut intent, &role(6, true)).to_string(), six);
    let manager = |request: &mut AdmitNode| request.node.manager = true;
    assert_eq!(refuse(&mut intent, &admit(7, manager)).to_string(), six);
    let version = intent.version;
    apply(&mut intent, &role(5, true)).unwrap();
    assert_eq!(intent.version, version);
    apply(&mut intent, &role(1, false)).unwrap();
    apply(&mut intent, &role(6, true)).unwrap();
}

#[test]
fn a_manager_is_demoted_before_it_is_removed() {
    let mut intent = cluster(2);
    apply(&mut intent, &role(2, true)).unwrap();
    let remove = |n, force| Command::RemoveNode { id: node_id(n), force };
    assert_eq!(refuse(&mut intent, &remove(2, false)).to_string(), "the node host-2 is a manager");
    apply(&mut intent, &remove(2, true)).unwrap();
    let last = refuse(&mut intent, &remove(1, true));
    assert_eq!(last, IntentError::LastManager { hostname: "host-1".to_owned() });
}

#[test]
fn who_was_removed_stays_out_and_is_locked_out_of_gossip() {
    let mut intent = cluster(2);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/24"])).unwrap();
    let subnet = mynet.subnets[0].net;
    let grant = GrantBlock { network: mynet.id, node: node_id(2), subnet, address: None };
    apply(&mut intent, &Command::GrantBlock(grant)).unwrap();
    apply(&mut intent, &Command::RemoveNode { id: node_id(2), force: false }).unwrap();
    assert!(intent.grants[&mynet.id].blocks.is_empty());
    assert!(intent.cluster.as_ref().unwrap().gossip.wanted);
    let removed = IntentError::NodeRemoved { node: node_id(2) };
    assert_eq!(refuse(&mut intent, &Command::PutNode(node(2))), removed);
    assert_eq!(refuse(&mut intent, &admit(2, |_| {})), removed);
}

#[test]
fn a_node_speaks_of_itself_but_not_of_its_role() {
    let mut intent = cluster(2);
    let labels_add = Labels::from([("rack".to_owned(), "7".to_owned())]);
    let change = NodeChange { availability: Some(Availability::Drain), labels_add, ..NodeChange::default() };
    apply(&mut intent, &Command::UpdateNode { node: node_id(2), change, at: 1 }).unwrap();
    let known = intent.nodes[&node_id(2)].clone();
    let told = Node { version: "9".to_owned(), manager: true, ca_generation: 7, ..node(2) };
    apply(&mut intent, &Command::PutNode(told)).unwrap();
    assert_eq!(intent.nodes[&node_id(2)], Node { version: "9".to_owned(), ..known });

    let change = NodeChange { labels_rm: vec!["rack".to_owned()], ..NodeChange::default() };
    apply(&mut intent, &Command::UpdateNode { node: node_id(2), change, at: 1 }).unwrap();
    assert_eq!(intent.nodes[&node_id(2)].labels, Labels::new());
    assert_eq!(intent.nodes[&node_id(2)].availability, Availability::Drain);
}

#[test]
fn a_node_is_let_in_once() {
    let mut intent = cluster(1);
    apply(&mut intent, &admit(2, |_| {})).unwrap();
    let version = intent.version;
    apply(&mut intent, &admit(2, |_| {})).unwrap();
    assert_eq!(intent.version, version, "the same request again changes nothing");
    let other = admit(2, |request| request.node.key = "another key".to_owned());
    assert_eq!(refuse(&mut intent, &other), IntentError::NodeExists { node: node_id(2) });
    let stale = admit(3, |request| request.issuer = "another CA's".to_owned());
    assert_eq!(apply(&mut intent, &stale), Err(TrustError::NotThatCa.into()));
}

#[test]
fn a_node_that_lost_its_state_takes_its_own_place() {
    let mut intent = cluster(2);
    let again = |replaces| {
        admit(3, |request| {
            request.node.addr = node(2).addr;
            request.replaces = replaces;
        })
    };
    assert!(matches!(refuse(&mut intent, &again(None)), IntentError::NodeAddressTaken { .. }));
    apply(&mut intent, &role(2, true)).unwrap();
    let manager = refuse(&mut intent, &again(Some(node_id(2))));
    assert_eq!(manager, IntentError::ManagerNotDemoted { hostname: "host-2".to_owned() });
    apply(&mut intent, &role(2, false)).unwrap();
    apply(&mut intent, &again(Some(node_id(2)))).unwrap();
    assert_eq!(intent.nodes.keys().copied().collect::<Vec<_>>(), [node_id(1), node_id(3)]);
    assert!(intent.removed.contains(&node_id(2)));
}
