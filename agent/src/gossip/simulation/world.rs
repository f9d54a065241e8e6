//! A cluster of state machines, a clock and a network that loses, delays and cuts as told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use overlay::facts::{Delta, Store, Version};
use overlay::model::{Endpoint, NodeId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use crate::gossip::membership::Identity;
use crate::gossip::node::{Input, Node, Output, PUSHED_WITHIN};
use crate::gossip::samples::{endpoint, fact, keys, peer, signer};
use crate::gossip::tests::shown;
use crate::gossip::vouch::Voucher;
use crate::gossip::{Keys, Peer, Snapshot};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

enum Event {
    Wake(usize, u64),
    Arrive { from: usize, to: usize, datagram: Arc<[u8]> },
    SyncFailed { at: usize, boot: u64, with: NodeId },
}

pub(super) struct Running {
    node: Node,
    boot: u64,
    started: Duration,
    /// The earliest wake under way.
    wake: Option<Duration>,
}

/// Owners' words for all that they state, as of a version.
pub(super) type Vouchers = BTreeMap<NodeId, (Version, Voucher)>;

pub(super) type Check = Box<dyn Fn(usize, &Snapshot)>;

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) nodes: Vec<Option<Running>>,
    events: BTreeMap<(Duration, u64), Event>,
    next: u64,
    rng: SmallRng,
    /// The share of datagrams that are lost.
    pub(super) loss: f64,
    /// Whether exchanges over TCP get through.
    pub(super) tcp: bool,
    /// The keys that nodes start with.
    pub(super) keys: Keys,
    /// Which nodes can't be reached by the rest.
    pub(super) cut: BTreeSet<usize>,
    /// The bytes sent so far in datagrams, and in exchanges' frames (without TLS).
    pub(super) sent: (usize, usize),
    /// What each node's snapshots are checked for.
    pub(super) always: Check,
}

impl World {
    pub(super) fn new(size: usize) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            nodes: (0..size).map(|_| None).collect(),
            events: BTreeMap::new(),
            next: 0,
            rng: SmallRng::seed_from_u64(7),
            loss: 0.0,
            tcp: true,
            keys: keys(),
            cut: BTreeSet::new(),
            sent: (0, 0),
            always: Box::new(|_, _| ()),
        };
        (0..size).for_each(|index| world.boot(index, 1));
        world
    }

    pub(super) fn boot(&mut self, index: usize, boot: u64) {
        let me = Identity::new(id(index), addr(index), boot);
        let node = Node::new(&me, self.keys.clone(), signer(me.node()), self.rng.random());
        self.nodes[index] = Some(Running { node, boot, started: self.now, wake: None });
        let peers = (0..self.nodes.len()).map(|index| peer(id(index), addr(index)));
        self.input(index, Input::Peers(peers.collect()));
    }

    pub(super) fn state(&mut self, index: usize, endpoints: &[u8]) {
        self.state_all(index, endpoints.iter().copied().map(endpoint).collect());
    }

    pub(super) fn state_all(&mut self, index: usize, endpoints: Vec<Endpoint>) {
        self.input(index, Input::State(fact(index as u8), endpoints));
    }

    /// Tells a node of the cluster's keys.
    pub(super) fn set_keys(&mut self, index: usize, keys: Keys) {
        self.input(index, Input::Keys(keys));
    }

    /// Stops a node in good order, so that it is to be back within `hold`.
    pub(super) fn leave(&mut self, index: usize, hold: Duration) {
        self.input(index, Input::Leave(hold));
        self.run_for(PUSHED_WITHIN);
        self.nodes[index] = None;
    }

    /// Puts into a node what exchanges would have brought it: the others' facts and all members.
    pub(super) fn load(&mut self, index: usize, facts: &Store, vouchers: &Vouchers) {
        let members = (0..self.nodes.len()).map(|index| Identity::new(id(index), addr(index), 1));
        let members = members.map(foca::Member::alive).collect();
        self.nodes[index].as_mut().unwrap().node.load(facts, vouchers);
        self.input(index, Input::Members(members));
    }

    pub(super) fn snapshot(&self, index: usize) -> Arc<Snapshot> {
        self.nodes[index].as_ref().unwrap().node.snapshot()
    }

    pub(super) fn shows(&self, index: usize, owner: usize) -> Vec<u8> {
        shown(&self.snapshot(index), owner as u8 + 1)
    }

    pub(super) fn everyone_shows(&self, owner: usize, endpoints: &[u8]) -> bool {
        let running = (0..self.nodes.len()).filter(|index| self.nodes[*index].is_some());
        running.into_iter().all(|index| self.shows(index, owner) == endpoints)
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until that holds, and returns how long it took.
    pub(super) fn run_until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) -> Duration {
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
                    self.sent.0 += datagram.len();
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
        let digest = self.node(from).digest();
        let theirs = self.node(to).compare(&digest);
        let (mine, offered) = self.node(from).offer(&theirs);
        self.sent.1 += frame(&digest) + frame(&theirs) + frame(&mine) + frames(&offered.deltas);
        self.input(from, Input::Members(theirs.members.unwrap_or_default()));
        self.input(to, Input::Merge(offered));
        let (_, answered) = self.node(to).offer(&mine);
        self.sent.1 += frames(&answered.deltas);
        self.input(to, Input::Members(mine.members.unwrap_or_default()));
        self.input(to, Input::SyncServed);
        self.input(from, Input::Merge(answered));
        self.input(from, Input::SyncEnded(peer.node, true));
    }

    fn node(&self, index: usize) -> &Node {
        &self.nodes[index].as_ref().unwrap().node
    }
}

/// Bytes on the wire: a length, a tag and the body.
fn frame(body: &impl Serialize) -> usize {
    5 + postcard::to_stdvec(body).unwrap().len()
}

/// The deltas' frames, and the one that ends them.
fn frames(deltas: &[(Delta, Voucher)]) -> usize {
    5 + deltas.iter().map(frame).sum::<usize>()
}

/// A node's id: its number (from 1) in every byte, and what does not fit one byte in the first.
pub(super) fn id(index: usize) -> NodeId {
    let number = index + 1;
    let mut bytes = [number as u8; 16];
    bytes[0] ^= (number >> 8) as u8;
    NodeId::from_bytes(bytes)
}

const NETWORK: u32 = Ipv4Addr::new(198, 18, 0, 0).to_bits();

pub(super) fn addr(index: usize) -> SocketAddr {
    (Ipv4Addr::from_bits(NETWORK + index as u32), 7946).into()
}

fn index_of(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(addr) => (addr.ip().to_bits() - NETWORK) as usize,
        SocketAddr::V6(addr) => panic!("{addr} is nobody's"),
    }
}
