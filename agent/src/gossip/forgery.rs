//! A member that states other nodes' facts, by every way that facts travel. It holds the cluster's key and may seal in any
//! name, and it may begin exchanges; what it lacks is the others' secrets.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use overlay::facts::{Delta, Record, Store};
use overlay::model::Endpoint;

use super::exchange::Offered;
use super::membership::Identity;
use super::node::{Input, Node, Output};
use super::samples::{addr, endpoint, fact, keys, node, peer, signer, voucher};
use super::seal::Sealer;
use super::tests::shown;
use super::vouch::{Digest, Push, Voucher, digest_of};
use super::wire::Payload;
use super::*;

/// What a thief makes of an owner's delta.
type Alteration = (&'static str, fn(&mut Delta));

const VICTIM: u8 = 2;
const THIEF: u8 = 3;
/// A snapshot is out so long after a change.
const MOMENT: Duration = Duration::from_millis(100);

/// A node, and its time.
struct Target {
    node: Node,
    now: Duration,
    /// How many datagrams it was sent.
    sent: u64,
}

impl Target {
    fn handle(&mut self, input: Input) -> Vec<Output> {
        self.node.handle(input, self.now)
    }

    /// Opens what a member sends in that name.
    fn receive(&mut self, name: u8, push: Push) {
        self.sent += 1;
        // Each of a boot of its own, so that none is taken for a replayed one.
        let datagram = Sealer::new(&keys(), node(name), self.sent).seal(&Payload::Push(push).encode());
        self.handle(Input::Datagram(datagram, addr(THIEF)));
    }

    /// The victim's endpoints that are shown a moment later.
    fn shows(&mut self) -> Vec<u8> {
        self.now += MOMENT;
        self.handle(Input::Wake);
        shown(&self.node.snapshot(), VICTIM)
    }

    /// The counters as they are published: seldom.
    fn counters(&mut self) -> Counters {
        self.now += Duration::from_secs(1);
        self.handle(Input::Wake);
        self.node.snapshot().counters
    }
}

/// A node that shows endpoints 20 and 21 of the victim, and the victim's own store.
fn target() -> (Target, Store) {
    let members = [1, VICTIM, THIEF].map(|number| Identity::new(node(number), addr(number), 1));
    let node_1 = Node::new(&members[0], keys(), signer(node(1)), 1);
    let mut target = Target { node: node_1, now: Duration::ZERO, sent: 0 };
    let peers = [1, VICTIM, THIEF].map(|number| peer(node(number), addr(number)));
    let (mut owner, mut deltas) = (Store::new(node(VICTIM), 1), Vec::new());
    relay(&mut owner, &[endpoint(20), endpoint(21)], &mut deltas);
    for input in [
        Input::Peers(peers.to_vec()),
        Input::Members(members.map(foca::Member::alive).to_vec()),
        Input::Merge(brought(deltas)),
    ] {
        target.handle(input);
    }
    assert_eq!(target.shows(), [20, 21]);
    (target, owner)
}

/// As an exchange brings it.
fn brought(deltas: Vec<(Delta, Voucher)>) -> Offered {
    Offered { deltas, settled: false }
}

/// What the owner states next, as it may be relayed.
fn relay(owner: &mut Store, endpoints: &[Endpoint], deltas: &mut Vec<(Delta, Voucher)>) {
    let delta = owner.state(&fact(VICTIM), endpoints).unwrap();
    deltas.push((delta, voucher(node(VICTIM), owner).1));
}

#[test]
fn a_push_in_anothers_name_is_refused_and_counted() {
    let (_, mut owner) = target();
    let delta = owner.state(&fact(VICTIM), &[endpoint(99)]).unwrap();
    let later_boot = Delta { generation: u64::MAX, ..delta.clone() };
    for delta in [delta, later_boot] {
        let (mut target, _) = target();
        target.receive(VICTIM, Push::new(delta, Digest::default(), &signer(node(THIEF))));
        assert_eq!((target.shows(), target.counters().refused_not_owner), (vec![20, 21], 1));
    }
}

/// The log, as far as it is told here.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_has_one_line_a_minute_of_forged_facts_whatever_way_they_come() {
    let log = Log::default();
    let writer = log.clone();
    // Where there is only one of these, lines that another test comes to first are asked of that one's thread alone.
    let _other = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let (mut target, mut owner) = target();
        let delta = owner.state(&fact(VICTIM), &[endpoint(99)]).unwrap();
        let forged = || Push::new(delta.clone(), Digest::default(), &signer(node(THIEF)));
        for _ in 0..100 {
            target.receive(VICTIM, forged());
            target.receive(THIEF, forged());
            let voucher = signer(node(THIEF)).vouch(&Digest::default(), Digest::default());
            target.handle(Input::Merge(brought(vec![(delta.clone(), voucher)])));
        }
        assert_eq!(target.shows(), [20, 21]);
        target.now += Duration::from_secs(60);
        target.receive(THIEF, forged());
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!((lines("a datagram was refused"), lines("facts were refused")), (2, 1), "{log}");
    assert!(log.contains(&format!("from={}", addr(THIEF))) && log.contains("not sign"), "{log}");
}

#[test]
fn what_its_owner_pushes_is_taken() {
    let (mut target, mut owner) = target();
    let delta = owner.state(&fact(VICTIM), &[endpoint(21)]).unwrap();
    let (_, statement) = owner.statement(node(VICTIM)).unwrap();
    let push = Push::new(delta, digest_of(&statement), &signer(node(VICTIM)));
    target.receive(VICTIM, push);
    assert_eq!((target.shows(), target.counters().refused_not_owner), (vec![21], 0));
}

#[test]
fn an_exchange_brings_what_the_owner_said_and_nothing_else() {
    let alter: [Alteration; 8] = [
        ("adds", |delta| {
            let added = Record { body: Some(vec![1]), ..delta.records[0].clone() };
            delta.records[0] = Record { key: overlay::facts::Key { id: [9; 16], ..added.key }, ..added };
        }),
        ("alters", |delta| delta.records[0].body.as_mut().unwrap()[0] ^= 1),
        ("leaves out", |delta| drop(delta.records.remove(0))),
        ("deletes", |delta| delta.records[0].body = None),
        ("claims a later boot", |delta| delta.generation += 1),
        ("claims a later whole boot", |delta| (delta.generation, delta.from) = (2, 0)),
        ("claims a later change", |delta| delta.head += 1),
        ("deletes what it does not list", |delta| {
            (delta.from, delta.floor) = (0, delta.to);
        }),
    ];
    for (what, alter) in alter {
        let (mut target, mut owner) = target();
        let mut deltas = Vec::new();
        relay(&mut owner, &[endpoint(20), endpoint(21), endpoint(22)], &mut deltas);
        let mut altered = deltas.clone();
        alter(&mut altered[0].0);
        target.handle(Input::Merge(brought(altered)));
        assert_eq!((target.shows(), target.counters().refused_not_owner), (vec![20, 21], 1), "{what}");
        target.handle(Input::Merge(brought(deltas)));
        assert_eq!(target.shows(), [20, 21, 22], "what was refused changed nothing: {what}");
    }
}

#[test]
fn an_earlier_word_does_not_take_a_later_one_back() {
    let (mut target, mut owner) = target();
    let (mut earlier, mut later) = (Vec::new(), Vec::new());
    relay(&mut owner, &[endpoint(20), endpoint(21), endpoint(22)], &mut earlier);
    relay(&mut owner, &[endpoint(21)], &mut later);
    let both = [earlier.clone(), later].concat();
    target.handle(Input::Merge(brought(both)));
    target.handle(Input::Merge(brought(earlier)));
    assert_eq!((target.shows(), target.counters().refused_not_owner), (vec![21], 0));
}

#[test]
fn a_node_that_is_not_known_yet_is_synchronized_with_once_it_is() {
    let (mut target, _) = target();
    let mut newcomer = Store::new(node(4), 1);
    let delta = newcomer.state(&fact(4), &[endpoint(40)]).unwrap();
    target.receive(4, Push::new(delta, Digest::default(), &signer(node(4))));
    let counters = target.counters();
    assert_eq!((counters.refused_unknown_owner, counters.refused_not_owner), (1, 0));

    let peers = [1, VICTIM, THIEF, 4].map(|number| peer(node(number), addr(number)));
    let outputs = target.handle(Input::Peers(peers.to_vec()));
    let with_it = |output: &Output| matches!(output, Output::Sync(peer) if peer.node == node(4));
    assert!(outputs.iter().any(with_it), "{outputs:?}");
}
