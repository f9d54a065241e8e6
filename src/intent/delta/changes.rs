//! What changed in a map, and in a set.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

/// What leads from one map to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes<K: Ord, V> {
    /// What is new or different.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    put: BTreeMap<K, V>,
    /// What is there no more.
    #[serde(default = "BTreeSet::new", skip_serializing_if = "BTreeSet::is_empty")]
    gone: BTreeSet<K>,
}

impl<K: Ord, V> Default for Changes<K, V> {
    fn default() -> Self {
        Self { put: BTreeMap::new(), gone: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, V: PartialEq + Clone> Changes<K, V> {
    pub(super) fn between(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> Self {
        let put = new.iter().filter(|(key, value)| old.get(key) != Some(value));
        let gone = old.keys().filter(|key| !new.contains_key(key));
        Self { put: put.map(|(key, value)| (*key, value.clone())).collect(), gone: gone.copied().collect() }
    }
}

impl<K: Ord, V> Changes<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    pub(super) fn apply_to(self, map: &mut BTreeMap<K, V>) {
        for key in &self.gone {
            map.remove(key);
        }
        map.extend(self.put);
    }
}

/// What leads from one set to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Members<K: Ord> {
    /// What is new.
    #[serde(default = "BTreeSet::new", skip_serializing_if = "BTreeSet::is_empty")]
    put: BTreeSet<K>,
    /// What is there no more.
    #[serde(default = "BTreeSet::new", skip_serializing_if = "BTreeSet::is_empty")]
    gone: BTreeSet<K>,
}

impl<K: Ord> Default for Members<K> {
    fn default() -> Self {
        Self { put: BTreeSet::new(), gone: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Members<K> {
    pub(super) fn between(old: &BTreeSet<K>, new: &BTreeSet<K>) -> Self {
        Self { put: new.difference(old).copied().collect(), gone: old.difference(new).copied().collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    pub(super) fn apply_to(self, set: &mut BTreeSet<K>) {
        set.retain(|key| !self.gone.contains(key));
        set.extend(self.put);
    }
}

/// Reads `null` as a value that is not there, where a field that is left out means no change.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
