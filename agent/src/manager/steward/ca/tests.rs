use overlay::intent::{CaKeys, State, apply};

use super::*;
use crate::manager::tests::initial;

/// The node of [`initial`], and another.
fn two() -> State {
    let mut state = initial();
    let mut node = state.intent.nodes.values().next().unwrap().clone();
    node.id = NodeId::from_bytes([9; 16]);
    node.addr = [127, 0, 0, 9].into();
    node.manager = false;
    apply(&mut state, &Command::PutNode(node)).unwrap();
    state
}

#[test]
fn each_step_waits_for_every_node() {
    let mut state = two();
    let old = state.intent.cluster.as_ref().unwrap().ca_cert.clone();
    assert_eq!(next_step(&state.intent), None);
    let next = CaKeys { cert: "new".to_owned(), key: "its key".to_owned().into() };
    apply(&mut state, &Command::AddCa(next)).unwrap();

    let step = next_step(&state.intent).unwrap();
    assert_eq!(step, Step { command: Command::UseCa { cert: "new".to_owned() }, confirmed: true });
    apply(&mut state, &step.command).unwrap();
    for node in state.intent.nodes.keys().copied().collect::<Vec<_>>() {
        assert_eq!(next_step(&state.intent), None, "not every node has renewed its certificate");
        apply(&mut state, &Command::NoteCertificate { node, issuer: "new".to_owned() }).unwrap();
    }
    let step = next_step(&state.intent).unwrap();
    assert_eq!(step, Step { command: Command::DropCa { cert: old }, confirmed: false });
    apply(&mut state, &step.command).unwrap();
    assert_eq!(next_step(&state.intent), None);
}

#[test]
fn a_node_that_is_removed_is_not_waited_for() {
    let mut state = two();
    let next = CaKeys { cert: "new".to_owned(), key: "its key".to_owned().into() };
    for command in [Command::AddCa(next), Command::UseCa { cert: "new".to_owned() }] {
        apply(&mut state, &command).unwrap();
    }
    let me = state.intent.managers().next().unwrap().id;
    apply(&mut state, &Command::NoteCertificate { node: me, issuer: "new".to_owned() }).unwrap();
    assert_eq!(next_step(&state.intent), None);
    apply(&mut state, &Command::RemoveNode { id: NodeId::from_bytes([9; 16]), force: false }).unwrap();
    assert!(matches!(next_step(&state.intent).unwrap().command, Command::DropCa { .. }));
}
