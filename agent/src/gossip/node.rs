//! The node's state machine: everything gossip decides, with sockets and the clock left to its driver. An input
//! and the time go in, outputs come out, so it runs in simulated time as well.
//!
//! - **Push**: a change goes at once to *all* alive members rather than those in its network: every node keeps
//!   all facts, so that marks stay contiguous and a node can attach to any network at once.
//! - **Pull**: a gap is asked for until it is filled; an owner that does not fill it is synchronized with.
//! - **Advert**: a member that comes up is told how far this node's own facts are, and pulls what it lacks.
//! - **Anti-entropy**: exchanges with random members; the driver carries them out over TCP.
//! - **Rejoining**: nodes of the intent that are not alive members are announced to for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foca::OwnedNotification;
use overlay::facts::{Delta, NodeFact, Pull, Store, View, differing, fnv1a};
use overlay::model::{Endpoint, NodeId};
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::exchange::{Comparison, Digest};
use super::membership::{Identity, Membership};
use super::seal::{Opener, Refusal, Sealer};
use super::timers::Timers;
use super::wire::{MAX_DELTA, Payload};
use super::{Counters, Peer, Snapshot};

/// Changes of up to this many milliseconds travel together.
const COALESCE_MS: std::ops::Range<u64> = 5..20;
/// When a push is repeated, after it was sent.
const REPEATS: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(180)];
/// A push of more datagrams than this is repeated as an advert alone.
const REPEATED_WHOLE: usize = 4;
/// A change of more datagrams than this is not pushed but advertised, and a pull gets no more at a time.
const BURST: usize = 32;
/// A gap is not asked for before the rest of a burst had time to arrive, …
const PULL_DELAY: Duration = Duration::from_millis(3);
/// … and again this often.
const PULL_PERIOD: Duration = Duration::from_millis(100);
/// After so many pulls the gap's owner is synchronized with, before it is asked again.
const PULLS_BEFORE_SYNC: u32 = 3;
const ANNOUNCE_MS: std::ops::Range<u64> = 1000..2000;
const ANNOUNCE_FANOUT: usize = 3;
const SYNC_MS: std::ops::Range<u64> = 5000..10_000;
/// Until the first exchange succeeded, one is tried this often.
const FIRST_SYNC_PERIOD: Duration = Duration::from_millis(500);
const FIRST_SYNC_FANOUT: usize = 3;
/// A node that could reach nobody for so long does not wait any more.
const ALONE_AFTER: Duration = Duration::from_secs(5);
/// After a member came up; those who come up together share one exchange.
const SYNC_AFTER_UP_MS: std::ops::Range<u64> = 100..300;
/// A member that was declared down keeps its facts for so long.
const HOLD: Duration = Duration::from_secs(1);
const EXPIRE_PERIOD: Duration = Duration::from_secs(60);
/// Snapshots are at least this far apart, and further in a large cluster: each is built anew, which may take no more
/// than a share of a core under steady change, …
const PUBLISH_PERIOD: Duration = Duration::from_millis(20);
const PUBLISH_PERIOD_PER_ENDPOINT: Duration = Duration::from_micros(3);
/// … and those that only bring counters this far.
const COUNT_PERIOD: Duration = Duration::from_secs(1);

/// What the driver feeds.
pub(super) enum Input {
    /// A datagram and where it came from.
    Datagram(Vec<u8>, SocketAddr),
    /// What this node knows.
    State(NodeFact, Vec<Endpoint>),
    /// The nodes of the intent.
    Peers(Vec<Peer>),
    /// Deltas from an exchange.
    Merge(Vec<Delta>),
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
    Alone,
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
    intent: BTreeMap<NodeId, SocketAddr>,
    /// Active members, suspected ones among them.
    up: BTreeMap<NodeId, Identity>,
    /// Members declared down whose facts stay until then.
    held: BTreeMap<NodeId, Duration>,
    /// The last own change that was pushed.
    pushed: u64,
    flush_set: bool,
    pull_set: bool,
    /// How often each gap's owner was asked, and at which mark.
    asked: BTreeMap<NodeId, (u64, u32)>,
    syncing: BTreeSet<NodeId>,
    sync_after_up_set: bool,
    synced: bool,
    counters: Counters,
    /// Whether the snapshot may not show the newest.
    stale: bool,
    publish_at: Option<Duration>,
    published_at: Option<Duration>,
    snapshot: Arc<Snapshot>,
}

impl Node {
    /// A node that starts now (time zero), which the first [`handle`](Self::handle) finds due to do things.
    pub(super) fn new(me: &Identity, cluster_key: [u8; 32], seed: u64) -> Self {
        let node = me.node();
        let mut rng = SmallRng::seed_from_u64(seed);
        let membership = Membership::new(me.clone(), SmallRng::from_rng(&mut rng));
        let mut timers = Timers::new();
        timers.set(Duration::ZERO, Timer::FirstSync);
        timers.set(Duration::ZERO, Timer::Announce);
        timers.set(Duration::from_millis(rng.random_range(SYNC_MS)), Timer::Sync);
        timers.set(ALONE_AFTER, Timer::Alone);
        timers.set(EXPIRE_PERIOD, Timer::Expire);
        let alive = BTreeSet::from([node]);
        let snapshot =
            Snapshot { view: Arc::new(View::default()), alive, synced: false, counters: Counters::default() };
        Self {
            me: node,
            generation: me.generation,
            store: Store::new(node, me.generation),
            membership,
            sealer: Sealer::new(&cluster_key, node, me.generation),
            opener: Opener::new(cluster_key),
            rng,
            timers,
            outputs: Vec::new(),
            intent: BTreeMap::new(),
            up: BTreeMap::new(),
            held: BTreeMap::new(),
            pushed: 0,
            flush_set: false,
            pull_set: false,
            asked: BTreeMap::new(),
            syncing: BTreeSet::new(),
            sync_after_up_set: false,
            synced: false,
            counters: Counters::default(),
            stale: false,
            publish_at: None,
            published_at: None,
            snapshot: Arc::new(snapshot),
        }
    }

    /// The snapshot last published.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
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
                    self.stale = true;
                    if !std::mem::replace(&mut self.flush_set, true) {
                        self.set_random(now, COALESCE_MS, Timer::Flush);
                    }
                }
            }
            Input::Peers(peers) => self.set_intent(peers),
            Input::Merge(deltas) => deltas.into_iter().for_each(|delta| self.merge(delta, now)),
            Input::Members(members) => self.membership.adopt(members),
            Input::SyncEnded(peer, succeeded) => {
                self.syncing.remove(&peer);
                self.asked.remove(&peer);
                self.set_pull(now + PULL_PERIOD);
                if succeeded {
                    self.counters.syncs += 1;
                    self.set_synced();
                } else {
                    self.counters.syncs_failed += 1;
                }
            }
            Input::SyncServed => {
                self.counters.syncs_served += 1;
                self.set_synced();
            }
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
            Timer::Alone => self.set_synced(),
            Timer::Hold => {
                self.held.retain(|_, until| *until > now);
                self.stale = true;
            }
            Timer::Expire => {
                self.store.expire(now, &self.living());
                self.timers.set(now + EXPIRE_PERIOD, Timer::Expire);
            }
            Timer::Publish => self.publish(now),
        }
    }

    // ---- Datagrams

    fn receive(&mut self, mut datagram: Vec<u8>, from: SocketAddr, now: Duration) {
        let (sender, payload) = match self.opener.open(&mut datagram) {
            Ok(opened) => opened,
            Err(refusal) => return self.count_refusal(refusal),
        };
        match Payload::decode(payload) {
            Some(Payload::Swim(packet)) => {
                if let Err(error) = self.membership.receive(packet) {
                    tracing::debug!(%error, %sender, "membership packet refused");
                    self.counters.refused_malformed += 1;
                }
            }
            Some(Payload::Push(delta)) if delta.owner == sender => {
                self.counters.pushes_received += 1;
                self.merge(delta, now);
            }
            Some(Payload::Push(_)) => self.counters.refused_not_owner += 1,
            Some(Payload::Pull(pull)) => self.answer(pull, from),
            None => self.counters.refused_malformed += 1,
        }
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        let counters = &mut self.counters;
        *match refusal {
            Refusal::Oversized | Refusal::Truncated | Refusal::Version => &mut counters.refused_malformed,
            Refusal::Forged => &mut counters.refused_forged,
            Refusal::Stale | Refusal::Replayed => &mut counters.refused_replayed,
        } += 1;
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

    // ---- Facts

    fn merge(&mut self, delta: Delta, now: Duration) {
        if delta.owner == self.me && delta.generation > self.generation {
            tracing::error!(
                known = delta.generation,
                mine = self.generation,
                "other nodes know a later boot of this node and refuse what this one says; \
                 hint: its generation went back, or two nodes have the same id"
            );
        }
        let outcome = self.store.merge(delta);
        self.stale |= outcome.changed;
        if outcome.pull.is_some() {
            self.set_pull(now + PULL_DELAY);
        }
    }

    fn flush(&mut self, now: Duration) {
        self.flush_set = false;
        let head = self.store.head();
        let mut payloads = self.own_payloads(self.pushed, head);
        self.pushed = head;
        if payloads.len() > BURST || payloads.is_empty() {
            payloads = self.own_payloads(head, head);
        }
        self.push(None, payloads, now);
    }

    fn own_payloads(&self, from: u64, to: u64) -> Vec<Vec<u8>> {
        let chunks = self.store.own_chunks(from, to, MAX_DELTA);
        chunks.into_iter().map(|delta| Payload::Push(delta).encode()).collect()
    }

    fn push(&mut self, to: Option<NodeId>, payloads: Vec<Vec<u8>>, now: Duration) {
        self.send_all(to, &payloads);
        let head = self.store.head();
        let repeated =
            if payloads.len() <= REPEATED_WHOLE { payloads } else { self.own_payloads(head, head) };
        let payloads: Arc<[_]> = repeated.into();
        for after in REPEATS {
            self.timers.set(now + after, Timer::Repeat { to, payloads: payloads.clone() });
        }
    }

    fn pull(&mut self, now: Duration) {
        self.pull_set = false;
        let up = &self.up;
        let gaps: BTreeMap<NodeId, Pull> = self
            .store
            .gaps()
            .filter(|pull| up.contains_key(&pull.owner))
            .map(|pull| (pull.owner, pull))
            .collect();
        self.asked.retain(|owner, (mark, _)| gaps.get(owner).is_some_and(|pull| pull.from == *mark));
        for (owner, pull) in gaps {
            let (_, times) = self.asked.entry(owner).or_insert((pull.from, 0));
            *times += 1;
            if *times > PULLS_BEFORE_SYNC + 1 {
                continue;
            }
            if *times > PULLS_BEFORE_SYNC {
                self.sync_with(owner);
            } else {
                self.counters.pulls_sent += 1;
                self.send(self.up[&owner].addr, &Payload::Pull(pull).encode());
            }
            self.set_pull(now + PULL_PERIOD);
        }
    }

    fn set_pull(&mut self, at: Duration) {
        if !std::mem::replace(&mut self.pull_set, true) {
            self.timers.set(at, Timer::Pull);
        }
    }

    fn answer(&mut self, pull: Pull, from: SocketAddr) {
        if self
            .store
            .version(self.me)
            .is_none_or(|own| own.owner != pull.owner || own.generation != pull.generation)
        {
            return;
        }
        self.counters.pulls_answered += 1;
        for payload in self.own_payloads(pull.from, pull.to).into_iter().take(BURST) {
            self.send(from, &payload);
        }
    }

    // ---- Members

    fn set_intent(&mut self, peers: Vec<Peer>) {
        self.intent = peers.into_iter().map(|peer| (peer.node, peer.addr)).collect();
        self.intent.remove(&self.me);
        self.membership.resize(self.intent.len() + 1);
        self.stale = true;
    }

    fn announce(&mut self) {
        let away = self.intent.iter().filter(|(node, _)| !self.up.contains_key(node));
        let chosen = away.map(|(node, addr)| (*node, *addr)).sample(&mut self.rng, ANNOUNCE_FANOUT);
        for (node, addr) in chosen {
            self.membership.announce(node, addr);
        }
    }

    fn drain_membership(&mut self, now: Duration) {
        while let Some((to, packet)) = self.membership.wants.to_send() {
            self.send(to.addr, &Payload::Swim(&packet).encode());
        }
        while let Some((after, timer)) = self.membership.wants.to_schedule() {
            self.timers.set(now + after, Timer::Swim(timer));
        }
        while let Some(notification) = self.membership.wants.to_notify() {
            match notification {
                OwnedNotification::MemberUp(member) => self.member_up(member, now),
                OwnedNotification::Rename(_, member) if self.up.contains_key(&member.node()) => {
                    self.member_up(member, now);
                }
                OwnedNotification::MemberDown(member) => self.member_down(&member, now),
                OwnedNotification::Rejoin(_) => self.announce(),
                _ => {}
            }
        }
    }

    fn member_up(&mut self, member: Identity, now: Duration) {
        let node = member.node();
        tracing::info!(%node, addr = %member.addr, generation = member.generation, "member is up");
        self.held.remove(&node);
        self.up.insert(node, member);
        self.stale = true;
        let head = self.store.head();
        if head > 0 {
            let advert = self.own_payloads(head, head);
            self.push(Some(node), advert, now);
        }
        if !std::mem::replace(&mut self.sync_after_up_set, true) {
            self.set_random(now, SYNC_AFTER_UP_MS, Timer::SyncWith(node));
        }
        // A gap that was found before its owner was known to be up.
        self.set_pull(now + PULL_PERIOD);
    }

    fn member_down(&mut self, member: &Identity, now: Duration) {
        let node = member.node();
        tracing::info!(%node, "member is down");
        if self.up.remove(&node).is_some() {
            self.held.insert(node, now + HOLD);
            self.timers.set(now + HOLD, Timer::Hold);
        }
    }

    fn set_synced(&mut self) {
        self.stale |= !std::mem::replace(&mut self.synced, true);
    }

    /// Members that are up or were a moment ago.
    fn living(&self) -> BTreeSet<NodeId> {
        self.up.keys().chain(self.held.keys()).copied().collect()
    }

    // ---- Anti-entropy

    fn first_sync(&mut self, now: Duration) {
        if self.intent.is_empty() {
            self.set_synced();
        }
        if self.synced {
            return;
        }
        let chosen = self.intent.keys().copied().sample(&mut self.rng, FIRST_SYNC_FANOUT);
        chosen.into_iter().for_each(|peer| self.sync_with(peer));
        self.timers.set(now + FIRST_SYNC_PERIOD, Timer::FirstSync);
    }

    fn sync_with(&mut self, node: NodeId) {
        // A member that the intent does not know (any more) gets no facts.
        let Some(intended) = self.intent.get(&node) else { return };
        if self.syncing.insert(node) {
            let addr = self.up.get(&node).map_or(*intended, |member| member.addr);
            self.outputs.push(Output::Sync(Peer { node, addr }));
        }
    }

    /// What an exchange begins with.
    pub(super) fn digest(&self) -> Digest {
        let members = postcard::to_stdvec(&self.membership.active()).unwrap_or_default();
        Digest { buckets: self.store.digest(&self.living()), members: fnv1a(&members) }
    }

    /// What this node holds of what differs from a peer's digest.
    pub(super) fn compare(&self, theirs: &Digest) -> Comparison {
        let mine = self.digest();
        let buckets = differing(&mine.buckets, &theirs.buckets);
        let versions = self.store.versions(buckets, &self.living());
        let members = (mine.members != theirs.members).then(|| self.membership.known());
        Comparison { buckets, versions, members }
    }

    /// The same for a peer that compared, and the facts that it lacks.
    pub(super) fn offer(&self, theirs: &Comparison) -> (Comparison, Vec<Delta>) {
        let alive = self.living();
        let versions = self.store.versions(theirs.buckets, &alive);
        let members = theirs.members.is_some().then(|| self.membership.known());
        let deltas = self.store.deltas(theirs.buckets, &theirs.versions, &alive);
        (Comparison { buckets: theirs.buckets, versions, members }, deltas)
    }

    // ---- Snapshots

    fn plan_publishing(&mut self, now: Duration) {
        if !self.stale && self.counters == self.snapshot.counters {
            return;
        }
        let endpoints = u32::try_from(self.snapshot.view.endpoints.len()).unwrap_or(u32::MAX);
        let newest = PUBLISH_PERIOD.max(PUBLISH_PERIOD_PER_ENDPOINT * endpoints);
        let period = if self.stale { newest } else { COUNT_PERIOD };
        let at = self.published_at.map_or(now, |last| now.max(last + period));
        if at == now {
            self.publish(now);
        } else if self.publish_at.is_none_or(|planned| at < planned) {
            self.publish_at = Some(at);
            self.timers.set(at, Timer::Publish);
        }
    }

    /// The living members that the intent knows, and this node.
    fn shown(&self) -> BTreeSet<NodeId> {
        let mut shown = self.living();
        shown.retain(|node| self.intent.contains_key(node));
        shown.insert(self.me);
        shown
    }

    fn publish(&mut self, now: Duration) {
        self.publish_at = None;
        let (mut view, mut alive) = (self.snapshot.view.clone(), self.snapshot.alive.clone());
        if std::mem::take(&mut self.stale) {
            alive = self.shown();
            let newest = self.store.view(&alive);
            if newest != *view {
                view = Arc::new(newest);
            }
        }
        let snapshot = Snapshot { view, alive, synced: self.synced, counters: self.counters };
        if snapshot != *self.snapshot {
            self.snapshot = Arc::new(snapshot);
            self.published_at = Some(now);
            self.outputs.push(Output::Publish(self.snapshot.clone()));
        }
    }
}
