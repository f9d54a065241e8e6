//! A node that joins a large cluster: one exchange, over a stream in memory, brings it all facts and members. In an optimized
//! build, `make bench` prints what that takes.

use std::time::{Duration, Instant};

use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::size::{ENDPOINTS, endpoints, everything};
use super::world::{addr, id};
use crate::gossip::Snapshot;
use crate::gossip::driver::Command;
use crate::gossip::exchange::{State, initiate, respond};
use crate::gossip::membership::Identity;
use crate::gossip::node::{Input, Node};
use crate::gossip::samples::{fact, keys, peer, signer};

const NODES: usize = if cfg!(debug_assertions) { 50 } else { 1000 };
/// As much as is under way at a time, in bytes.
const STREAM: usize = 64 << 10;

#[tokio::test]
async fn one_exchange_brings_a_joiner_everything() {
    let (facts, vouchers) = everything(NODES);
    let mut holder = node(0);
    holder.load(&facts, &vouchers);
    holder.handle(Input::State(fact(0), endpoints(0).collect()), Duration::ZERO);
    let members = (0..NODES).map(|index| foca::Member::alive(Identity::new(id(index), addr(index), 1)));
    holder.handle(Input::Members(members.collect()), Duration::ZERO);

    let started = Instant::now();
    let (asks, asked) = unbounded_channel();
    let (holders_asks, holder_asked) = unbounded_channel();
    let (state, holders) = (State::new(asks.downgrade()), State::new(holders_asks.downgrade()));
    let joiner = tokio::spawn(answering(node(NODES), asked));
    let holder = tokio::spawn(answering(holder, holder_asked));
    let ((mut near, mut left), (mut right, mut far)) = (duplex(STREAM), duplex(STREAM));
    let relay = tokio::spawn(async move { copy_bidirectional(&mut left, &mut right).await });
    let (begun, answered) = tokio::join!(initiate(&mut near, &state), respond(&mut far, &holders));
    begun.unwrap();
    answered.unwrap();
    drop((near, far, asks, holders_asks));

    let mut joiner = joiner.await.unwrap();
    holder.await.unwrap();
    // Snapshots are so far apart at most.
    joiner.handle(Input::SyncEnded(id(0), true), Duration::from_secs(1));
    let snapshot: Snapshot = Snapshot::clone(&joiner.snapshot());
    let took = started.elapsed();
    assert!(snapshot.synced);
    assert_eq!(snapshot.view.endpoint_count(), NODES * ENDPOINTS);
    let (sent, received) = relay.await.unwrap().unwrap();
    println!(
        "a joiner has the facts of {NODES} nodes with {ENDPOINTS} endpoints each after {:.2} s of both sides' work; it sent \
         {:.2} MB and received {:.2} MB (without TLS)",
        took.as_secs_f64(),
        sent as f64 / 1e6,
        received as f64 / 1e6
    );
}

/// A node that knows the intent, and nothing else yet.
fn node(index: usize) -> Node {
    let me = Identity::new(id(index), addr(index), 1);
    let mut node = Node::new(&me, keys(), signer(me.node()), 7);
    let peers = (0..=NODES).map(|index| peer(id(index), addr(index)));
    node.handle(Input::Peers(peers.collect()), Duration::ZERO);
    node
}

/// Answers an exchange's questions, as the driver does, until there are no more.
async fn answering(mut node: Node, mut asked: UnboundedReceiver<Command>) -> Node {
    while let Some(command) = asked.recv().await {
        if let Command::Ask(ask) = command {
            node.answer_exchange(ask, Duration::ZERO);
        }
    }
    node
}
