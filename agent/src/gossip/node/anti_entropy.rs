//! Anti-entropy's decisions: with whom to exchange, and each step's content. The conversation is `exchange`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use overlay::facts::{differing, fnv1a};
use overlay::model::NodeId;
use rand::seq::IteratorRandom as _;

use super::{Input, Node, Output, Timer};
use crate::gossip::Peer;
use crate::gossip::exchange::{Ask, Comparison, Digest, Offered};

/// Until this node is synced, exchanges are tried this often.
const FIRST_SYNC_PERIOD: Duration = Duration::from_millis(500);
const FIRST_SYNC_FANOUT: usize = 3;

impl Node {
    pub(super) fn first_sync(&mut self, now: Duration) {
        if self.synced {
            return;
        }
        // Those that it waits for, if they are known to be there.
        let mut wanted = self.missing();
        wanted.retain(|node| self.up.contains_key(node));
        if wanted.is_empty() {
            wanted = self.intent.keys().copied().collect();
        }
        let chosen = wanted.into_iter().sample(&mut self.rng, FIRST_SYNC_FANOUT);
        chosen.into_iter().for_each(|peer| self.sync_with(peer));
        self.timers.set(now + FIRST_SYNC_PERIOD, Timer::FirstSync);
    }

    pub(super) fn sync_with(&mut self, node: NodeId) {
        // A member that the intent does not know (any more) gets no facts.
        let Some(intended) = self.intent.get(&node) else { return };
        if self.syncing.insert(node) {
            let addr = self.up.get(&node).map_or(intended.addr, |member| member.addr);
            self.outputs.push(Output::Sync(Peer { addr, ..intended.clone() }));
        }
    }

    /// Answers an exchange's question. That it no longer waits for the answer is no harm.
    pub(in crate::gossip) fn answer_exchange(&mut self, ask: Ask, now: Duration) -> Vec<Output> {
        match ask {
            Ask::Digest(reply) => drop(reply.send(self.digest())),
            Ask::Compare(theirs, reply) => drop(reply.send(self.compare(&theirs))),
            Ask::Offer(theirs, reply) => {
                drop(reply.send(self.offer(&theirs)));
                return self.handle(Input::Members(theirs.members.unwrap_or_default()), now);
            }
            Ask::Merge(offered, done) => {
                let outputs = self.handle(Input::Merge(offered), now);
                let _ = done.send(());
                return outputs;
            }
        }
        Vec::new()
    }

    /// What an exchange begins with.
    pub(in crate::gossip) fn digest(&self) -> Digest {
        let members = postcard::to_stdvec(&self.membership.active()).unwrap_or_default();
        Digest { buckets: self.store.digest(&self.living()), members: fnv1a(&members) }
    }

    /// What this node holds of what differs from a peer's digest.
    pub(in crate::gossip) fn compare(&self, theirs: &Digest) -> Comparison {
        let mine = self.digest();
        let buckets = differing(&mine.buckets, &theirs.buckets);
        let versions = self.store.versions(buckets, &self.living());
        let members = (mine.members != theirs.members).then(|| self.membership.known());
        Comparison { buckets, versions, members }
    }

    /// The same for a peer that compared, and the facts that it lacks.
    pub(in crate::gossip) fn offer(&self, theirs: &Comparison) -> (Comparison, Offered) {
        let alive = self.living();
        let versions = self.store.versions(theirs.buckets, &alive);
        let members = theirs.members.is_some().then(|| self.membership.known());
        let deltas = self.store.deltas(theirs.buckets, &theirs.versions, &alive).into_iter();
        // What its owner did not vouch for, as it is held here, nobody would take.
        let deltas = deltas.filter_map(|delta| Some((self.voucher_for(&delta)?, delta)));
        let deltas = deltas.map(|(voucher, delta)| (delta, voucher)).collect();
        let offered = Offered { deltas, settled: self.synced && self.settled };
        (Comparison { buckets: theirs.buckets, versions, members }, offered)
    }

    /// The nodes of the intent of which it is not known what they state. Once there was time enough, a node that was asked
    /// itself, and stated nothing then or later, is none of them.
    pub(super) fn missing(&self) -> BTreeSet<NodeId> {
        let asked = |node: &NodeId| self.settled && self.heard_out.contains(node);
        let is_silent = |node: &NodeId| asked(node) && self.store.version(*node).is_none();
        let is_missing = |node: &&NodeId| !self.store.knows(**node) && !is_silent(node);
        self.intent.keys().filter(is_missing).copied().collect()
    }

    /// Looks whether this node has by now what there is to have. It does not while it lacks what somebody states who is up.
    pub(super) fn look_whether_synced(&mut self, missing: &BTreeSet<NodeId>) {
        let is_all = missing.is_empty() || self.told_all || self.settled;
        self.synced |= is_all && !missing.iter().any(|node| self.up.contains_key(node));
        self.settled |= self.synced && missing.is_empty();
    }
}
