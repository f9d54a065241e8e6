//! The node's state machine: everything gossip decides, with sockets and the clock left to its driver. An input
//! and the time go in, outputs come out, so it runs in simulated time as well.
//!
//! - **Push**: a change goes at once to *all* alive members rather than those in its network: every node keeps
//!   all facts, so that marks stay contiguous and a node can attach to any network at once.
//! - **Pull**: a gap is asked for until it is filled; an owner that does not fill it is synchronized with.
//! - **Advert**: a member that comes up is told how far this node's own facts are, and pulls what it lacks.
//! - **Anti-entropy**: exchanges with random members; the driver carries them out over TCP.
//! - **Rejoining**: nodes of the intent that are not alive members are announced to for ever.

mod anti_entropy;
mod members;
mod refused;
mod snapshots;
mod spread;
mod trust;

pub(super) use self::spread::PUSHED_WITHIN;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay::facts::{NodeFact, Store};
use overlay::model::{Endpoint, NodeId};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use self::refused::{Reason, Told};
use self::snapshots::PUBLISH_PERIOD;
use self::spread::PULL_PERIOD;
use self::trust::Vouched;
use super::exchange::Offered;
use super::membership::{Identity, Membership};
use super::seal::{Opener, Sealer};
use super::timers::Timers;
use super::vouch::Signer;
use super::wire::Payload;
use super::{Counters, Keys, Peer, Snapshot};

/// Changes of up to this many milliseconds travel together.
const COALESCE_MS: std::ops::Range<u64> = 5..20;
const ANNOUNCE_MS: std::ops::Range<u64> = 1000..2000;
const SYNC_MS: std::ops::Range<u64> = 5000..10_000;
/// Who was not heard of by then is taken for dead: more than twice as long as it takes to find a known member dead.
const SETTLED_AFTER: Duration = Duration::from_secs(15);
const EXPIRE_PERIOD: Duration = Duration::from_secs(60);

/// What the driver feeds.
pub(super) enum Input {
    /// A datagram and where it came from.
    Datagram(Vec<u8>, SocketAddr),
    /// What this node knows.
    State(NodeFact, Vec<Endpoint>),
    /// This node stops, and its data path goes on: it is to be back within that time.
    Leave(Duration),
    /// The nodes of the intent.
    Peers(Vec<Peer>),
    /// The cluster's keys.
    Keys(Keys),
    /// What an exchange brought.
    Merge(Offered),
    /// What the other side of an exchange knows of members.
    Members(Vec<foca::Member<Identity>>),
    /// The exchange with this node, asked for by [`Output::Sync`], is over.
    SyncEnded(NodeId, bool),
    /// An exchange that another node began succeeded.
    SyncServed,
    /// The time of [`Node::next_wake`] has come.
    Wake,
}

/// What the driver is to do.
#[derive(Debug)]
pub(super) enum Output {
    Send { to: SocketAddr, datagram: Arc<[u8]> },
    Sync(Peer),
    Publish(Arc<Snapshot>),
}

enum Timer {
    Swim(foca::Timer<Identity>),
    Announce,
    Flush,
    Repeat { to: Option<NodeId>, payloads: Arc<[Vec<u8>]> },
    Pull,
    FirstSync,
    Sync,
    SyncWith(NodeId),
    Settle,
    Hold,
    Expire,
    Publish,
}

/// One node's gossip.
pub(super) struct Node {
    me: NodeId,
    generation: u64,
    store: Store,
    membership: Membership,
    sealer: Sealer,
    opener: Opener,
    rng: SmallRng,
    timers: Timers<Timer>,
    outputs: Vec<Output>,
    intent: BTreeMap<NodeId, Peer>,
    signer: Signer,
    vouched: Vouched,
    /// Active members, suspected ones among them.
    up: BTreeMap<NodeId, Identity>,
    /// Nodes that are not up whose facts stay until then.
    held: BTreeMap<NodeId, Duration>,
    /// The last own change that was pushed.
    pushed: u64,
    flush_set: bool,
    pull_set: bool,
    /// How often each gap's owner was asked, and at which mark.
    asked: BTreeMap<NodeId, (u64, u32)>,
    syncing: BTreeSet<NodeId>,
    sync_after_up_set: bool,
    /// Whether a settled node sent all that was lacking.
    told_all: bool,
    /// Who was asked for all that it knows, and told it.
    heard_out: BTreeSet<NodeId>,
    synced: bool,
    settled: bool,
    counters: Counters,
    told: Told,
    /// Whether the snapshot may not show the newest.
    stale: bool,
    /// How far apart snapshots of the newest are.
    publish_period: Duration,
    publish_at: Option<Duration>,
    published_at: Option<Duration>,
    snapshot: Arc<Snapshot>,
}

impl Node {
    /// A node that starts now (time zero), which the first [`handle`](Self::handle) finds due to do things.
    pub(super) fn new(me: &Identity, keys: Keys, signer: Signer, seed: u64) -> Self {
        let node = me.node();
        let mut rng = SmallRng::seed_from_u64(seed);
        let membership = Membership::new(me.clone(), SmallRng::from_rng(&mut rng));
        let mut timers = Timers::new();
        timers.set(Duration::ZERO, Timer::FirstSync);
        timers.set(Duration::ZERO, Timer::Announce);
        timers.set(Duration::from_millis(rng.random_range(SYNC_MS)), Timer::Sync);
        timers.set(SETTLED_AFTER, Timer::Settle);
        timers.set(EXPIRE_PERIOD, Timer::Expire);
        let alive = BTreeSet::from([node]);
        let snapshot = Snapshot { alive, ..Snapshot::default() };
        Self {
            me: node,
            generation: me.generation,
            store: Store::new(node, me.generation),
            membership,
            sealer: Sealer::new(&keys, node, me.generation),
            opener: Opener::new(keys),
            rng,
            timers,
            outputs: Vec::new(),
            intent: BTreeMap::new(),
            signer,
            vouched: Vouched::default(),
            up: BTreeMap::new(),
            held: BTreeMap::new(),
            pushed: 0,
            flush_set: false,
            pull_set: false,
            asked: BTreeMap::new(),
            syncing: BTreeSet::new(),
            sync_after_up_set: false,
            told_all: false,
            heard_out: BTreeSet::new(),
            synced: false,
            settled: false,
            counters: Counters::default(),
            told: Told::default(),
            stale: false,
            publish_period: PUBLISH_PERIOD,
            publish_at: None,
            published_at: None,
            snapshot: Arc::new(snapshot),
        }
    }

    /// The snapshot last published.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    /// Starts with what another node holds of others.
    #[cfg(test)]
    pub(super) fn load(
        &mut self,
        facts: &Store,
        vouchers: &BTreeMap<NodeId, (overlay::facts::Version, super::vouch::Voucher)>,
    ) {
        self.store.share(facts);
        self.vouched.load(vouchers);
        self.stale = true;
    }

    /// When [`Input::Wake`] is next wanted.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Takes an input; `now` is the time since the start and never goes back.
    pub(super) fn handle(&mut self, input: Input, now: Duration) -> Vec<Output> {
        match input {
            Input::Datagram(datagram, from) => self.receive(datagram, from, now),
            Input::State(fact, endpoints) => {
                if self.store.state(&fact, &endpoints).is_some() {
                    self.vouch();
                    self.stale = true;
                    if !std::mem::replace(&mut self.flush_set, true) {
                        self.set_random(now, COALESCE_MS, Timer::Flush);
                    }
                }
            }
            Input::Leave(hold) => {
                self.store.leave(hold);
                self.vouch();
                self.flush(now);
            }
            Input::Peers(peers) => self.set_intent(peers),
            Input::Keys(keys) => {
                self.sealer.set_keys(&keys);
                self.opener.set_keys(keys);
            }
            Input::Merge(offered) => {
                for (delta, voucher) in offered.deltas {
                    self.take_relayed(delta, voucher, now);
                }
                self.told_all |= offered.settled;
                self.stale |= !self.synced;
            }
            Input::Members(members) => self.membership.adopt(members),
            Input::SyncEnded(peer, succeeded) => {
                self.syncing.remove(&peer);
                self.asked.remove(&peer);
                self.set_pull(now + PULL_PERIOD);
                if succeeded {
                    self.counters.syncs += 1;
                    self.heard_out.insert(peer);
                    self.stale |= !self.synced || self.snapshot.missing.contains(&peer);
                } else {
                    self.counters.syncs_failed += 1;
                }
            }
            Input::SyncServed => self.counters.syncs_served += 1,
            Input::Wake => {}
        }
        self.drain_membership(now);
        while let Some(timer) = self.timers.pop(now) {
            self.fire(timer, now);
            self.drain_membership(now);
        }
        self.plan_publishing(now);
        std::mem::take(&mut self.outputs)
    }

    fn set_random(&mut self, now: Duration, range_ms: std::ops::Range<u64>, timer: Timer) {
        let delay = Duration::from_millis(self.rng.random_range(range_ms));
        self.timers.set(now + delay, timer);
    }

    fn fire(&mut self, timer: Timer, now: Duration) {
        match timer {
            Timer::Swim(timer) => self.membership.timer(timer),
            Timer::Announce => {
                self.announce();
                self.set_random(now, ANNOUNCE_MS, Timer::Announce);
            }
            Timer::Flush => self.flush(now),
            Timer::Repeat { to, payloads } => self.send_all(to, &payloads),
            Timer::Pull => self.pull(now),
            Timer::FirstSync => self.first_sync(now),
            Timer::Sync => {
                if let Some(peer) = self.up.keys().copied().choose(&mut self.rng) {
                    self.sync_with(peer);
                }
                self.set_random(now, SYNC_MS, Timer::Sync);
            }
            Timer::SyncWith(peer) => {
                self.sync_after_up_set = false;
                self.sync_with(peer);
            }
            Timer::Settle => {
                self.stale = true;
                self.settled = true;
            }
            Timer::Hold => {
                self.held.retain(|_, until| *until > now);
                self.stale = true;
            }
            Timer::Expire => {
                self.store.expire(now, &self.living());
                self.forget_vouchers();
                self.timers.set(now + EXPIRE_PERIOD, Timer::Expire);
            }
            Timer::Publish => self.publish(now),
        }
    }

    fn receive(&mut self, mut datagram: Vec<u8>, from: SocketAddr, now: Duration) {
        let (sender, payload) = match self.opener.open(&mut datagram) {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(refusal, from, now),
        };
        match Payload::decode(payload) {
            Some(Payload::Swim(packet)) => {
                if let Err(error) = self.membership.receive(packet) {
                    tracing::debug!(%error, %sender, "membership packet refused");
                    self.refuse(Reason::Malformed, from, now);
                }
            }
            Some(Payload::Push(push)) => self.take_push(push, sender, from, now),
            Some(Payload::Pull(pull)) => self.answer(pull, from),
            None => self.refuse(Reason::Malformed, from, now),
        }
    }

    fn send(&mut self, to: SocketAddr, payload: &[u8]) {
        let datagram = self.sealer.seal(payload).into();
        self.outputs.push(Output::Send { to, datagram });
    }

    /// Sends to one member, or to all; a datagram for all is sealed once.
    fn send_all(&mut self, to: Option<NodeId>, payloads: &[Vec<u8>]) {
        for payload in payloads {
            let datagram: Arc<[u8]> = self.sealer.seal(payload).into();
            let receivers = self.up.values().filter(|member| to.is_none_or(|to| member.node() == to));
            self.outputs
                .extend(receivers.map(|member| Output::Send { to: member.addr, datagram: datagram.clone() }));
            self.counters.pushes_sent += 1;
        }
    }
}
