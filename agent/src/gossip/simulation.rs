//! The nodes' state machines in simulated time, over a network that loses, delays and cuts as told. The same seed
//! gives the same run, so times can be asserted here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use overlay::model::NodeId;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::membership::Identity;
use super::node::{Input, Node, Output};
use super::tests::{endpoint, fact, node, shown};
use super::{Peer, Snapshot};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

enum Event {
    Wake(usize, u64),
    Arrive { from: usize, to: usize, datagram: Arc<[u8]> },
    SyncFailed { at: usize, boot: u64, with: NodeId },
}

struct Running {
    node: Node,
    boot: u64,
    started: Duration,
    /// The earliest wake under way.
    wake: Option<Duration>,
}

type Check = Box<dyn Fn(usize, &Snapshot)>;

struct World {
    now: Duration,
    nodes: Vec<Option<Running>>,
    events: BTreeMap<(Duration, u64), Event>,
    next: u64,
    rng: SmallRng,
    /// The share of datagrams that are lost.
    loss: f64,
    /// Whether exchanges over TCP get through.
    tcp: bool,
    /// Which nodes can't be reached by the rest.
    cut: BTreeSet<usize>,
    /// What each node's snapshots are checked for.
    always: Check,
}

impl World {
    fn new(size: usize) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            nodes: (0..size).map(|_| None).collect(),
            events: BTreeMap::new(),
            next: 0,
            rng: SmallRng::seed_from_u64(7),
            loss: 0.0,
            tcp: true,
            cut: BTreeSet::new(),
            always: Box::new(|_, _| ()),
        };
        (0..size).for_each(|index| world.boot(index, 1));
        world
    }

    fn boot(&mut self, index: usize, boot: u64) {
        let me = Identity::new(id(index), addr(index), boot);
        let node = Node::new(&me, [1; 32], self.rng.random());
        self.nodes[index] = Some(Running { node, boot, started: self.now, wake: None });
        let peers = (0..self.nodes.len()).map(|index| Peer { node: id(index), addr: addr(index) });
        self.input(index, Input::Peers(peers.collect()));
    }

    fn state(&mut self, index: usize, endpoints: &[u8]) {
        let endpoints = endpoints.iter().copied().map(endpoint).collect();
        self.input(index, Input::State(fact(index as u8), endpoints));
    }

    fn snapshot(&self, index: usize) -> Arc<Snapshot> {
        self.nodes[index].as_ref().unwrap().node.snapshot()
    }

    fn shows(&self, index: usize, owner: usize) -> Vec<u8> {
        shown(&self.snapshot(index), owner as u8 + 1)
    }

    fn everyone_shows(&self, owner: usize, endpoints: &[u8]) -> bool {
        let running = (0..self.nodes.len()).filter(|index| self.nodes[*index].is_some());
        running.into_iter().all(|index| self.shows(index, owner) == endpoints)
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until that holds, and returns how long it took.
    fn run_until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + Duration::from_secs(60));
        while !wanted(self) {
            assert!(self.step(end), "not in a minute: {what}");
        }
        self.now - start
    }

    fn step(&mut self, end: Duration) -> bool {
        let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) else {
            return false;
        };
        self.now = entry.key().0;
        match entry.remove() {
            Event::Wake(index, boot) if self.is_wake_of(index, boot) => self.input(index, Input::Wake),
            Event::Arrive { from, to, datagram } if self.nodes[to].is_some() && self.reaches(from, to) => {
                self.input(to, Input::Datagram(datagram.to_vec(), addr(from)));
            }
            Event::SyncFailed { at, boot, with } if self.runs(at, boot) => {
                self.input(at, Input::SyncEnded(with, false));
            }
            _ => {}
        }
        true
    }

    fn runs(&self, index: usize, boot: u64) -> bool {
        self.nodes[index].as_ref().is_some_and(|running| running.boot == boot)
    }

    /// Takes the wake that is due, unless an earlier one replaced it.
    fn is_wake_of(&mut self, index: usize, boot: u64) -> bool {
        let now = self.now;
        let running = self.nodes[index].as_mut().filter(|running| running.boot == boot);
        running.is_some_and(|running| running.wake.take_if(|wake| *wake == now).is_some())
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&from) == self.cut.contains(&to)
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events.insert((at, self.next), event);
        self.next += 1;
    }

    fn input(&mut self, index: usize, input: Input) {
        let running = self.nodes[index].as_mut().unwrap();
        let outputs = running.node.handle(input, self.now - running.started);
        let boot = running.boot;
        let next = running.node.next_wake().map(|at| running.started + at);
        if let Some(next) = next.filter(|next| running.wake.is_none_or(|wake| *next < wake)) {
            running.wake = Some(next);
            self.at(next, Event::Wake(index, boot));
        }
        for output in outputs {
            match output {
                Output::Send { to, datagram } => {
                    if !self.rng.random_bool(self.loss) {
                        let delay = Duration::from_micros(self.rng.random_range(100..3000));
                        let to = index_of(to);
                        self.at(self.now + delay, Event::Arrive { from: index, to, datagram });
                    }
                }
                Output::Sync(peer) => self.sync(index, boot, &peer),
                Output::Publish(snapshot) => (self.always)(index, &snapshot),
            }
        }
    }

    fn sync(&mut self, from: usize, boot: u64, peer: &Peer) {
        let to = index_of(peer.addr);
        if !self.tcp || !self.reaches(from, to) || self.nodes[to].is_none() {
            let failed = Event::SyncFailed { at: from, boot, with: peer.node };
            return self.at(self.now + CONNECT_TIMEOUT, failed);
        }
        let theirs = self.node(to).compare(&self.node(from).digest());
        let (mine, deltas) = self.node(from).offer(&theirs);
        self.input(from, Input::Members(theirs.members.unwrap_or_default()));
        self.input(to, Input::Merge(deltas));
        let (_, deltas) = self.node(to).offer(&mine);
        self.input(to, Input::Members(mine.members.unwrap_or_default()));
        self.input(to, Input::SyncServed);
        self.input(from, Input::Merge(deltas));
        self.input(from, Input::SyncEnded(peer.node, true));
    }

    fn node(&self, index: usize) -> &Node {
        &self.nodes[index].as_ref().unwrap().node
    }
}

fn id(index: usize) -> NodeId {
    node(index as u8 + 1)
}

fn addr(index: usize) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, index as u8), 7946).into()
}

fn index_of(addr: SocketAddr) -> usize {
    addr.to_string().split(['.', ':']).nth(3).unwrap().parse().unwrap()
}

fn all_alive(world: &World) -> bool {
    (0..world.nodes.len()).all(|index| world.snapshot(index).alive.len() == world.nodes.len())
}

/// A running world in which node 1 has stated endpoints 10 and 11, and everyone shows them.
fn settled(size: usize) -> World {
    let mut world = World::new(size);
    (0..size).for_each(|index| world.state(index, if index == 1 { &[10, 11] } else { &[] }));
    world.run_until("all alive", all_alive);
    world.run_until("the first statement", |world| world.everyone_shows(1, &[10, 11]));
    world.run_for(Duration::from_secs(30));
    world
}

#[test]
fn a_change_is_everywhere_at_once() {
    let mut world = settled(20);
    world.state(1, &[10, 12]);
    let took = world.run_until("the change", |world| world.everyone_shows(1, &[10, 12]));
    assert!(took < Duration::from_millis(50), "{took:?}");
}

#[test]
fn pulls_alone_repair_what_pushes_lose() {
    let mut world = settled(10);
    world.tcp = false;
    world.loss = 0.6;
    let pulls = |world: &World| (0..10).map(|index| world.snapshot(index).counters.pulls_sent).sum::<u64>();
    let before = pulls(&world);
    for round in 0..20 {
        world.state(1, &[10, 20 + round]);
        world.run_for(Duration::from_millis(30));
    }
    world.loss = 0.0;
    let took = world.run_until("the last change", |world| world.everyone_shows(1, &[10, 39]));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(pulls(&world) > before, "nothing was lost");
}

#[test]
fn anti_entropy_alone_repairs_what_pushes_lose() {
    let mut world = settled(10);
    world.loss = 1.0;
    world.state(1, &[10, 12]);
    world.run_for(Duration::from_millis(300));
    world.loss = 0.0;
    assert!(!world.everyone_shows(1, &[10, 12]));
    let took = world.run_until("the change", |world| world.everyone_shows(1, &[10, 12]));
    assert!(took < Duration::from_secs(40), "{took:?}");
}

#[test]
fn a_death_is_seen_within_ten_seconds_and_a_return_at_once() {
    for size in [2, 3, 20] {
        let mut world = settled(size);
        world.nodes[1] = None;
        let took = world.run_until("the death", |world| world.everyone_shows(1, &[]));
        assert!(took < Duration::from_secs(10), "{size} nodes: {took:?}");

        world.boot(1, 2);
        world.state(1, &[11]);
        let took = world.run_until("the return", |world| world.everyone_shows(1, &[11]));
        assert!(took < Duration::from_secs(3), "{size} nodes: {took:?}");
    }
}

#[test]
fn an_unreachable_node_loses_its_facts_and_has_them_back_when_it_is_reached() {
    for size in [2, 3, 20] {
        let mut world = settled(size);
        world.cut = BTreeSet::from([1]);
        let others = |world: &World, endpoints: &[u8]| {
            (0..size).filter(|index| *index != 1).all(|index| world.shows(index, 1) == endpoints)
        };
        let took = world.run_until("the cut", |world| others(world, &[]));
        assert!(took < Duration::from_secs(10), "{size} nodes: {took:?}");
        world.run_for(Duration::from_secs(120));
        assert_eq!(world.snapshot(1).alive.len(), 1, "it lost the others too");
        world.state(1, &[11, 12]);

        world.cut.clear();
        let took = world.run_until("the return", |world| others(world, &[11, 12]) && all_alive(world));
        assert!(took < Duration::from_secs(10), "{size} nodes: {took:?}");
    }
}

#[test]
fn halves_that_were_parted_find_each_other() {
    let mut world = settled(10);
    world.cut = (0..5).collect();
    world.run_until("two halves", |world| (0..10).all(|index| world.snapshot(index).alive.len() == 5));
    world.run_for(Duration::from_secs(300));
    world.state(1, &[13]);
    world.state(7, &[70]);
    world.cut.clear();
    world.run_until("one whole", |world| {
        all_alive(world) && world.everyone_shows(1, &[13]) && world.everyone_shows(7, &[70])
    });
}

#[test]
fn a_short_silence_hides_nothing() {
    let mut world = settled(5);
    world.always = Box::new(|index, snapshot| {
        assert!(index == 1 || shown(snapshot, 2) == [10, 11], "{index} hides a suspected node's facts");
    });
    world.cut = BTreeSet::from([1]);
    world.run_for(Duration::from_millis(2500));
    world.cut.clear();
    world.run_for(Duration::from_secs(20));
}

#[test]
fn a_restart_hides_nothing_that_both_boots_have() {
    let mut world = settled(10);
    world.always = Box::new(|index, snapshot| {
        assert!(index == 1 || shown(snapshot, 2).contains(&11), "{index} hides endpoint 11");
    });
    world.loss = 0.2;
    for boot in 2..10 {
        world.nodes[1] = None;
        world.run_for(Duration::from_millis(400));
        world.boot(1, boot);
        let endpoints = [11, 100 + boot as u8];
        world.state(1, &endpoints);
        world.run_until("the new boot's facts", |world| world.everyone_shows(1, &endpoints));
    }
}
