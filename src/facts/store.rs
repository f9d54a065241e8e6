//! All facts that a node holds: its own, which it states, and the others', which it merges.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::digest::{self, Version};
use super::generation::Generation;
use super::{Delta, NodeFact, Part, Pull, View, absence, endpoint, node};
use crate::model::{Endpoint, NodeId};

/// How long a tombstone and the facts of a node that went away are kept.
pub const KEEP: Duration = Duration::from_secs(3600);

/// Of an owner that boots over and over, so many boots are held that nobody has told all of.
const MOST_UNFINISHED: usize = 16;

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the owner's part of the view may have changed.
    pub changed: bool,
    /// What to ask the owner for, if there is a gap now.
    pub pull: Option<Pull>,
}

/// All facts that a node holds.
#[derive(Debug, Clone)]
pub struct Store {
    me: NodeId,
    generation: u64,
    owners: BTreeMap<NodeId, Owner>,
    /// Since when an owner that is held has not been alive.
    absent: BTreeMap<NodeId, Duration>,
}

/// What is held of one owner. It is shared with clones until one of them changes.
#[derive(Debug, Clone, Default)]
struct Owner {
    /// Below the highest there are others only until that one is whole.
    generations: Arc<BTreeMap<u64, Generation>>,
    /// What of it is in a view, once one was taken.
    part: OnceLock<Arc<Part>>,
}

impl Owner {
    /// To be changed.
    fn generations_mut(&mut self) -> &mut BTreeMap<u64, Generation> {
        Arc::make_mut(&mut self.generations)
    }

    fn newest(&self) -> Option<(&u64, &Generation)> {
        self.generations.last_key_value()
    }

    fn part(&self) -> &Arc<Part> {
        self.part.get_or_init(|| {
            let mut part = Part::default();
            let newest: BTreeMap<_, _> = self.generations.values().flat_map(Generation::records).collect();
            for (key, body) in newest {
                if let Some(body) = body {
                    part.add(key, body);
                }
            }
            Arc::new(part)
        })
    }
}

impl Store {
    /// An empty store of the node `me`; `generation` is higher at every boot.
    pub fn new(me: NodeId, generation: u64) -> Self {
        Self { me, generation, owners: BTreeMap::new(), absent: BTreeMap::new() }
    }

    /// States everything that this node knows, and returns what changed against what it stated before.
    pub fn state(&mut self, fact: &NodeFact, endpoints: &[Endpoint]) -> Option<Delta> {
        let mut wanted = BTreeMap::from([(node::KEY, node::encode(fact))]);
        wanted.extend(endpoints.iter().map(|it| (endpoint::key(it.id), endpoint::encode(it))));
        let owner = self.owners.entry(self.me).or_default();
        let own = owner.generations_mut().entry(self.generation).or_default();
        let before = own.mark();
        let delta = own.restate(wanted).then(|| own.since(self.me, self.generation, before));
        if delta.is_some() {
            owner.part.take();
        }
        delta
    }

    /// States that this node's agent stops and will be back within `hold`. What it stated before stands; a node that has
    /// stated nothing has nothing to be kept.
    pub fn leave(&mut self, hold: Duration) {
        let Some(owner) = self.owners.get_mut(&self.me) else { return };
        if let Some(own) = owner.generations_mut().get_mut(&self.generation) {
            own.add(absence::KEY, absence::encode(hold));
            owner.part.take();
        }
    }

    /// For how long an owner that is not reached wants its facts kept, as far as held.
    pub fn back_within(&self, owner: NodeId) -> Option<Duration> {
        self.owners.get(&owner)?.part().back_within
    }

    /// The number of this node's last change; 0 before its first statement.
    pub fn head(&self) -> u64 {
        self.own().map_or(0, Generation::mark)
    }

    /// This node's changes `(from, to]` as deltas of up to `limit` encoded bytes each. The last one ends at `to`
    /// (at most the head), also if it holds no record. Nothing, if part of the range can only be had as a whole
    /// state.
    pub fn own_chunks(&self, from: u64, to: u64, limit: usize) -> Vec<Delta> {
        self.own().map_or_else(Vec::new, |own| own.chunks(self.me, self.generation, from, to, limit))
    }

    fn own(&self) -> Option<&Generation> {
        self.owners.get(&self.me)?.generations.get(&self.generation)
    }

    /// Takes over what another owner stated, from whomever it came. What this node states itself is never
    /// taken from others, and what no correct node sends is ignored.
    pub fn merge(&mut self, delta: Delta) -> Outcome {
        let (owner, generation) = (delta.owner, delta.generation);
        if owner == self.me || !delta.is_sound() {
            return Outcome::default();
        }
        let held = self.owners.entry(owner).or_default();
        if held.generations.iter().any(|(held, state)| *held > generation && state.is_whole()) {
            return Outcome::default();
        }
        if held.generations.get(&generation).is_some_and(|held| !held.is_news(&delta)) {
            return Outcome { changed: false, pull: self.gap(owner) };
        }
        let generations = held.generations_mut();
        let state = generations.entry(generation).or_default();
        let mut changed = state.merge(delta);
        if state.is_whole() {
            let newer = generations.split_off(&generation);
            changed |= !generations.is_empty();
            *generations = newer;
        }
        let unfinished = || generations.iter().filter(|(_, state)| !state.is_whole());
        if unfinished().count() > MOST_UNFINISHED
            && let Some(oldest) = unfinished().next().map(|(generation, _)| *generation)
        {
            generations.remove(&oldest);
            changed = true;
        }
        if changed {
            held.part.take();
        }
        Outcome { changed, pull: self.gap(owner) }
    }

    /// Whether [`merge`](Self::merge) would take anything from it.
    pub fn is_news(&self, delta: &Delta) -> bool {
        if delta.owner == self.me || !delta.is_sound() {
            return false;
        }
        let Some(held) = self.owners.get(&delta.owner) else { return true };
        let mut newer = held.generations.range((Excluded(delta.generation), Unbounded));
        !newer.any(|(_, state)| state.is_whole())
            && held.generations.get(&delta.generation).is_none_or(|held| held.is_news(delta))
    }

    /// All that an owner states as of its last known change, encoded alike by whoever holds all of it; and that change.
    /// `None` where there is a gap.
    pub fn statement(&self, owner: NodeId) -> Option<(Version, Vec<u8>)> {
        let (generation, held) = self.owners.get(&owner)?.newest()?;
        statement(owner, *generation, held)
    }

    /// What [`statement`](Self::statement) of its owner is once a sound delta is merged; nothing is changed.
    pub fn statement_with(&self, delta: &Delta) -> Option<(Version, Vec<u8>)> {
        let held = self.owners.get(&delta.owner).and_then(|held| held.generations.get(&delta.generation));
        let mut next = held.cloned().unwrap_or_default();
        next.merge(delta.clone());
        statement(delta.owner, delta.generation, &next)
    }

    /// The first gap of each owner: what to ask them for.
    pub fn gaps(&self) -> impl Iterator<Item = Pull> {
        self.owners.keys().filter_map(|owner| self.gap(*owner))
    }

    fn gap(&self, owner: NodeId) -> Option<Pull> {
        let (generation, held) = self.owners.get(&owner)?.newest()?;
        held.gap().map(|(from, to)| Pull { owner, generation: *generation, from, to })
    }

    /// How far this store is with an owner.
    pub fn version(&self, owner: NodeId) -> Option<Version> {
        let (generation, held) = self.owners.get(&owner)?.newest()?;
        Some(Version { owner, generation: *generation, mark: held.mark() })
    }

    /// Whether all that an owner stated up to some moment of its present boot, or an earlier one, is held.
    pub fn knows(&self, owner: NodeId) -> bool {
        self.owners.get(&owner).is_some_and(|owner| owner.generations.values().any(Generation::is_whole))
    }

    /// The hashes of the buckets, over the owners in `alive` and this node. Those who went away are left out:
    /// else two nodes that forget them at different times would hand them back to each other forever.
    pub fn digest(&self, alive: &BTreeSet<NodeId>) -> Vec<u64> {
        digest::buckets(self.shared(u64::MAX, alive))
    }

    /// How far this store is with the owners of the given buckets (a bit each).
    pub fn versions(&self, buckets: u64, alive: &BTreeSet<NodeId>) -> Vec<Version> {
        self.shared(buckets, alive).collect()
    }

    fn shared(&self, buckets: u64, alive: &BTreeSet<NodeId>) -> impl Iterator<Item = Version> {
        self.owners
            .keys()
            .filter(move |owner| **owner == self.me || alive.contains(owner))
            .filter(move |owner| buckets >> digest::bucket(**owner) & 1 == 1)
            .filter_map(|owner| self.version(*owner))
    }

    /// What a peer lacks that is this far with the owners of the given buckets.
    pub fn deltas(&self, buckets: u64, theirs: &[Version], alive: &BTreeSet<NodeId>) -> Vec<Delta> {
        let theirs: BTreeMap<NodeId, &Version> =
            theirs.iter().map(|version| (version.owner, version)).collect();
        self.shared(buckets, alive)
            .flat_map(|mine| {
                let their =
                    theirs.get(&mine.owner).map_or((0, 0), |version| (version.generation, version.mark));
                self.owners[&mine.owner].generations.iter().filter_map(move |(generation, held)| {
                    let from = match generation.cmp(&their.0) {
                        std::cmp::Ordering::Less => return None,
                        std::cmp::Ordering::Equal => their.1,
                        std::cmp::Ordering::Greater => 0,
                    };
                    (from < held.mark()).then(|| held.since(mine.owner, *generation, from))
                })
            })
            .collect()
    }

    /// The facts of the nodes in `alive`, and of this node. Only what changed since the last time is decoded.
    pub fn view(&self, alive: &BTreeSet<NodeId>) -> View {
        let mut view = View::default();
        let shown = |owner: &NodeId| *owner == self.me || alive.contains(owner);
        for (id, owner) in self.owners.iter().filter(|(id, _)| shown(id)) {
            view.show(*id, Arc::clone(owner.part()));
        }
        view
    }

    /// Takes over what another store in this process holds of others, sharing the memory: how a simulation starts a node that
    /// exchanges would have brought there.
    pub fn share(&mut self, other: &Self) {
        let others = other.owners.iter().filter(|(owner, _)| **owner != self.me);
        self.owners.extend(others.map(|(owner, held)| (*owner, held.clone())));
    }

    /// Drops the tombstones and the absent owners that were kept for [`KEEP`]. `now` counts from any fixed moment;
    /// call it about once a minute.
    pub fn expire(&mut self, now: Duration, alive: &BTreeSet<NodeId>) {
        // Owners without a tombstone are left alone: what they share with clones stays shared.
        let buried = |owner: &&mut Owner| owner.generations.values().any(Generation::has_tombstones);
        for owner in self.owners.values_mut().filter(buried) {
            owner.generations_mut().values_mut().for_each(|generation| generation.expire(now, KEEP));
        }
        let me = self.me;
        let is_absent = |owner: &NodeId| *owner != me && !alive.contains(owner);
        self.absent.retain(|owner, _| is_absent(owner));
        for owner in self.owners.keys().filter(|owner| is_absent(owner)) {
            self.absent.entry(*owner).or_insert(now);
        }
        let gone = self.absent.extract_if(.., |_, since| now.saturating_sub(*since) >= KEEP);
        for (owner, _) in gone {
            self.owners.remove(&owner);
        }
    }
}

fn statement(owner: NodeId, generation: u64, held: &Generation) -> Option<(Version, Vec<u8>)> {
    let whole = held.whole(owner, generation)?;
    Some((Version { owner, generation, mark: whole.to }, super::encode(&whole)))
}

#[cfg(test)]
mod tests;
