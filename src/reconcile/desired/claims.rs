//! Who has a key, of all endpoints that claim it: while a cluster is partitioned, two may claim one address or MAC.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{EndpointId, NodeId};

/// Who claims a key; of several, the first in this order has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claimant {
    /// The network's gateway.
    Gateway,
    /// An endpoint of this node, where it goes before all others.
    Here(EndpointId),
    /// An endpoint, wherever it is.
    Of(NodeId, EndpointId),
}

/// The claims on keys, kept from pass to pass: a claim that comes or goes costs the same however many others there are.
#[derive(Debug, Clone)]
pub(super) struct Claims<K, V> {
    claims: BTreeMap<(K, Claimant), V>,
    /// The keys whose claims have changed since they were last settled.
    touched: BTreeSet<K>,
}

impl<K, V> Default for Claims<K, V> {
    fn default() -> Self {
        Self { claims: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, V: Copy> Claims<K, V> {
    pub(super) fn add(&mut self, key: K, claimant: Claimant, value: V) {
        self.claims.insert((key, claimant), value);
        self.touched.insert(key);
    }

    pub(super) fn remove(&mut self, key: K, claimant: Claimant) {
        self.claims.remove(&(key, claimant));
        self.touched.insert(key);
    }

    /// Gives each key whose claims have changed to the first claimant.
    pub(super) fn settle(&mut self, won: &mut BTreeMap<K, V>) {
        for key in std::mem::take(&mut self.touched) {
            let first = self.claims.range((key, Claimant::Gateway)..).next();
            match first.filter(|((claimed, _), _)| *claimed == key) {
                Some((_, value)) => drop(won.insert(key, *value)),
                None => drop(won.remove(&key)),
            }
        }
    }
}
