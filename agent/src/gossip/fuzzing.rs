//! Exchanges with a hostile peer, as functions of the bytes that it sends: for `tests/fuzz`, which can't see what is
//! private here, and for tests. Only the feature `fuzzing` brings it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use overlay::facts::{NodeFact, Store};
use overlay::model::Endpoint;
use tokio::sync::mpsc;

use super::Snapshot;
use super::driver::Command;
use super::exchange::{Offered, State, initiate, respond};
use super::membership::Identity;
use super::node::{Input, Node};
use super::samples::{addr, endpoint, fact, keys, node, peer, signer, voucher};

/// When exchanges take place: a node has published by then what it knew before.
const BEFORE: Duration = Duration::from_millis(100);
/// When it has published what an exchange brought, and its own timers can have found nobody dead yet.
pub(super) const AFTER: Duration = Duration::from_millis(200);

/// Which side of an exchange a node is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Begins,
    Answers,
}

/// What each side of a sound exchange sends: the one that begins it, and the one that answers.
pub fn exchange_seeds() -> [Vec<u8>; 2] {
    let (mut begun, mut answered) = (Vec::new(), Vec::new());
    // Each side gets as far as it has heard from the other; after two rounds both have said all.
    for _ in 0..2 {
        begun = converse(&mut sample(1), Side::Begins, &answered).0;
        answered = converse(&mut sample(2), Side::Answers, &begun).0;
    }
    [begun, answered]
}

/// Has a node begin an exchange, and another one answer one, with a peer that sends these bytes.
///
/// # Panics
/// If it changes what a node states itself, if it fails and still changes facts, or if it makes a node show others than the
/// intent's.
pub fn exchange(bytes: &[u8]) {
    for side in [Side::Begins, Side::Answers] {
        let mut target = sample(1);
        let before = newest(&mut target, BEFORE);
        let (_, ended) = converse(&mut target, side, bytes);
        let after = newest(&mut target, AFTER);
        assert_eq!(own(&after), own(&before), "{side:?}: its own facts are its own");
        assert!(ended.is_ok() || after.view == before.view, "{side:?}: {ended:?}, and yet facts changed");
        assert!(after.alive.is_subset(&BTreeSet::from([1, 2, 3].map(node))), "{side:?}: shows a stranger");
    }
}

/// What [`sample`] 1 shows of itself.
fn own(snapshot: &Snapshot) -> (Option<&NodeFact>, Vec<&Endpoint>) {
    let me = node(1);
    (snapshot.view.node(me), snapshot.view.endpoints_of(me).collect())
}

/// One of three nodes that know one another as members. Nodes 1 and 2 have endpoints that the other does not know of; of
/// node 3, node 1 knows an earlier state than node 2.
pub(super) fn sample(number: u8) -> Node {
    let members = [1, 2, 3].map(|number| Identity::new(node(number), addr(number), 1));
    let mut sample =
        Node::new(&members[usize::from(number) - 1], keys(), signer(node(number)), number.into());
    let mut third = Store::new(node(3), 1);
    let mut state = |endpoints: &[Endpoint]| {
        let delta = third.state(&fact(3), endpoints)?;
        Some((delta, voucher(node(3), &third).1))
    };
    let mut deltas = vec![state(&[endpoint(30), endpoint(31)])];
    if number == 2 {
        deltas.push(state(&[endpoint(31), endpoint(32)]));
    }
    let peers = [1, 2, 3].map(|number| peer(node(number), addr(number)));
    for input in [
        Input::Peers(peers.to_vec()),
        Input::Members(members.map(foca::Member::alive).to_vec()),
        Input::State(fact(number), vec![endpoint(number * 10)]),
        Input::Merge(Offered { deltas: deltas.into_iter().flatten().collect(), settled: false }),
    ] {
        sample.handle(input, Duration::ZERO);
    }
    sample
}

/// What a node shows at that time.
pub(super) fn newest(of: &mut Node, at: Duration) -> Arc<Snapshot> {
    of.handle(Input::Wake, at);
    of.snapshot()
}

/// Runs a node's side of an exchange with a peer that sends these bytes; what the node sends, and how it ends.
pub(super) fn converse(node: &mut Node, side: Side, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let (commands, mut inbox) = mpsc::unbounded_channel();
    let state = State::new(commands.downgrade());
    let mut sent = Vec::new();
    let mut stream = tokio::io::join(bytes, &mut sent);
    let conversation = async move {
        // Dropped when it is over, which ends the answers too.
        let _commands = commands;
        match side {
            Side::Begins => initiate(&mut stream, &state).await,
            Side::Answers => respond(&mut stream, &state).await,
        }
    };
    let answers = async {
        while let Some(Command::Ask(ask)) = inbox.recv().await {
            node.answer_exchange(ask, BEFORE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let both = async { tokio::join!(conversation, answers) };
    let (ended, ()) = runtime.expect("a runtime without drivers needs nothing").block_on(both);
    (sent, ended)
}
