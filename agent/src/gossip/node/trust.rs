//! Whose word is taken for what: a fact is taken only with its owner's signature.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use overlay::facts::{Delta, Version};
use overlay::model::NodeId;

use super::Node;
use super::refused::Reason;
use crate::gossip::vouch::{Digest, FactsKey, Push, Voucher, digest_of};

/// So many nodes that are not known yet are remembered.
const MOST_EARLY: usize = 1024;

/// What a node knows of others' signatures, and has of its own.
#[derive(Default)]
pub(super) struct Vouched {
    /// For all that each owner states as of that version, which is handed on with it.
    by_owner: BTreeMap<NodeId, (Version, Voucher)>,
    /// This node's own statement.
    own: Digest,
    /// Who pushed something before this node knew of it.
    early: BTreeSet<NodeId>,
}

impl Vouched {
    /// Starts with others' words, as exchanges would have brought them.
    #[cfg(test)]
    pub(super) fn load(&mut self, vouchers: &BTreeMap<NodeId, (Version, Voucher)>) {
        let own = self.by_owner.clone();
        self.by_owner.extend(vouchers);
        self.by_owner.extend(own);
    }
}

impl Node {
    /// Vouches for what this node states now.
    pub(super) fn vouch(&mut self) {
        if let Some((version, statement)) = self.store.statement(self.me) {
            self.vouched.own = digest_of(&statement);
            let voucher = self.signer.vouch(&self.vouched.own, Digest::default());
            self.vouched.by_owner.insert(self.me, (version, voucher));
        }
    }

    /// An own delta, signed.
    pub(super) fn signed(&self, delta: Delta) -> Push {
        Push::new(delta, self.vouched.own, &self.signer)
    }

    /// Takes what a node pushed, if it says so itself. A repetition costs no look at the signature.
    pub(super) fn take_push(&mut self, push: Push, sender: NodeId, from: SocketAddr, now: Duration) {
        let owner = push.delta.owner;
        if owner != sender {
            return self.refuse(Reason::NotOwner, from, now);
        }
        let version = Version { owner, generation: push.delta.generation, mark: push.delta.head };
        let is_vouched = self.vouched.by_owner.get(&owner).is_some_and(|(known, _)| *known == version);
        if is_vouched && !self.store.is_news(&push.delta) {
            return self.counters.pushes_received += 1;
        }
        let Some(key) = self.facts_key(owner) else {
            if self.vouched.early.len() < MOST_EARLY {
                self.vouched.early.insert(owner);
            }
            return self.counters.refused_unknown_owner += 1;
        };
        let Some(voucher) = push.voucher(&key) else { return self.refuse(Reason::NotOwner, from, now) };
        self.counters.pushes_received += 1;
        self.remember(version, voucher);
        self.merge(push.delta, now);
    }

    /// Takes what an exchange brought of one owner, if that comes to what the owner vouched for. Where a gap was known, that
    /// may not be to be told yet; it is left to a pull and the next exchange.
    pub(super) fn take_relayed(&mut self, delta: Delta, voucher: Voucher, now: Duration) {
        let owner = delta.owner;
        let Some(key) = self.facts_key(owner) else { return };
        if !self.store.is_news(&delta) {
            return;
        }
        match self.store.statement_with(&delta) {
            Some((version, statement))
                if version.mark == delta.to && voucher.is_for(&digest_of(&statement), &key) =>
            {
                self.remember(version, voucher);
                self.merge(delta, now);
            }
            None if self.store.gaps().any(|gap| gap.owner == owner) => {}
            _ => self.refuse_relayed(owner, now),
        }
    }

    /// The voucher for what is handed on, if there is one.
    pub(super) fn voucher_for(&self, delta: &Delta) -> Option<Voucher> {
        let version = Version { owner: delta.owner, generation: delta.generation, mark: delta.to };
        let (known, voucher) = self.vouched.by_owner.get(&delta.owner)?;
        (*known == version && delta.head == delta.to).then_some(*voucher)
    }

    /// The nodes that pushed something before their keys were known here, and whose keys are by now.
    pub(super) fn heard_early(&mut self) -> Vec<NodeId> {
        let intent = &self.intent;
        self.vouched.early.extract_if(.., |owner| intent.contains_key(owner)).collect()
    }

    fn facts_key(&self, owner: NodeId) -> Option<FactsKey> {
        self.intent.get(&owner)?.facts_key
    }

    /// Forgets what was said of nodes whose facts are forgotten.
    pub(super) fn forget_vouchers(&mut self) {
        let store = &self.store;
        self.vouched.by_owner.retain(|owner, _| store.version(*owner).is_some());
    }

    fn remember(&mut self, version: Version, voucher: Voucher) {
        let rank = |version: &Version| (version.generation, version.mark);
        let known = self.vouched.by_owner.get(&version.owner);
        if known.is_none_or(|(known, _)| rank(known) < rank(&version)) {
            self.vouched.by_owner.insert(version.owner, (version, voucher));
        }
    }
}
