//! Anti-entropy's decisions: with whom to exchange, and each step's content. The conversation is `exchange`'s.

use std::time::Duration;

use overlay::facts::{Delta, differing, fnv1a};
use overlay::model::NodeId;
use rand::seq::IteratorRandom as _;

use super::{Input, Node, Output, Timer};
use crate::gossip::Peer;
use crate::gossip::exchange::{Ask, Comparison, Digest};
use crate::gossip::vouch::Voucher;

/// Until the first exchange succeeded, one is tried this often.
const FIRST_SYNC_PERIOD: Duration = Duration::from_millis(500);
const FIRST_SYNC_FANOUT: usize = 3;

impl Node {
    pub(super) fn first_sync(&mut self, now: Duration) {
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
            Ask::Merge(deltas, done) => {
                let outputs = self.handle(Input::Merge(deltas), now);
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
    pub(in crate::gossip) fn offer(&self, theirs: &Comparison) -> (Comparison, Vec<(Delta, Voucher)>) {
        let alive = self.living();
        let versions = self.store.versions(theirs.buckets, &alive);
        let members = theirs.members.is_some().then(|| self.membership.known());
        let deltas = self.store.deltas(theirs.buckets, &theirs.versions, &alive).into_iter();
        // What its owner did not vouch for, as it is held here, nobody would take.
        let deltas = deltas.filter_map(|delta| Some((self.voucher_for(&delta)?, delta)));
        let deltas = deltas.map(|(voucher, delta)| (delta, voucher)).collect();
        (Comparison { buckets: theirs.buckets, versions, members }, deltas)
    }

    pub(super) fn set_synced(&mut self) {
        self.stale |= !std::mem::replace(&mut self.synced, true);
    }
}
