//! What changed between two intents, so that those who follow a large one are sent little at each change. The difference
//! knows nothing of commands: it compares, so that any two intents have one, also after a backup was restored.

mod changes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::changes::{Changes, Members};
use super::{Block, Cluster, Grants, Intent};
use crate::model::{Network, NetworkId, Node, NodeId, Service, ServiceId, serde_as_text};

/// Which intent it is: two of one cluster at the same revision are equal, and the higher one is newer. Written
/// `EPOCH.VERSION`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The cluster's [`epoch`](Cluster::epoch); 0 before there is a cluster.
    pub epoch: u64,
    /// The intent's [`version`](Intent::version) in it.
    pub version: u64,
}

impl Revision {
    /// The intent's.
    pub fn of(intent: &Intent) -> Self {
        let epoch = intent.cluster.as_ref().map_or(0, |cluster| cluster.epoch);
        Self { epoch, version: intent.version }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.version)
    }
}

/// The text is not `EPOCH.VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a revision: EPOCH.VERSION")]
pub struct NoRevision;

impl FromStr for Revision {
    type Err = NoRevision;

    fn from_str(text: &str) -> Result<Self, NoRevision> {
        let (epoch, version) = text.split_once('.').ok_or(NoRevision)?;
        let number = |text: &str| text.parse().map_err(|_| NoRevision);
        Ok(Self { epoch: number(epoch)?, version: number(version)? })
    }
}

serde_as_text!(Revision);

/// A difference does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change from revision {from} does not apply to revision {held}")]
pub struct WrongBase {
    /// What it leads away from.
    pub from: Revision,
    /// What it was applied to.
    pub held: Revision,
}

/// What leads from one intent to another. It is written in formats that name their fields, like JSON: what did not change
/// is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentDelta {
    from: Revision,
    version: u64,
    /// The new cluster, if it is another one; none where the new intent has none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "changes::nullable")]
    cluster: Option<Option<Cluster>>,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    nodes: Changes<NodeId, Node>,
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    removed: Members<NodeId>,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    networks: Changes<NetworkId, Network>,
    /// A network's blocks by their first addresses. A network that is here has grants afterwards, if only empty ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    grants: BTreeMap<NetworkId, Changes<IpAddr, Block>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    grants_gone: BTreeSet<NetworkId>,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    services: Changes<ServiceId, Service>,
}

impl IntentDelta {
    /// What leads from `old` to `new`. It takes a look at each thing in both.
    pub fn between(old: &Intent, new: &Intent) -> Self {
        Self {
            from: Revision::of(old),
            version: new.version,
            cluster: (old.cluster != new.cluster).then(|| new.cluster.clone()),
            nodes: Changes::between(&old.nodes, &new.nodes),
            removed: Members::between(&old.removed, &new.removed),
            networks: Changes::between(&old.networks, &new.networks),
            grants: grants_between(old, new),
            grants_gone: old.grants.keys().filter(|id| !new.grants.contains_key(id)).copied().collect(),
            services: Changes::between(&old.services, &new.services),
        }
    }

    /// The revision that it leads away from.
    pub const fn from(&self) -> Revision {
        self.from
    }

    /// Makes `intent` the one that it leads to.
    ///
    /// # Errors
    /// [`WrongBase`] if `intent` is not of the revision that it leads away from; nothing is changed then.
    pub fn apply_to(self, intent: &mut Intent) -> Result<(), WrongBase> {
        let held = Revision::of(intent);
        if held != self.from {
            return Err(WrongBase { from: self.from, held });
        }
        intent.version = self.version;
        if let Some(cluster) = self.cluster {
            intent.cluster = cluster;
        }
        self.nodes.apply_to(&mut intent.nodes);
        self.removed.apply_to(&mut intent.removed);
        self.networks.apply_to(&mut intent.networks);
        for id in self.grants_gone {
            intent.grants.remove(&id);
        }
        for (id, changes) in self.grants {
            let grants = intent.grants.entry(id).or_default();
            let mut blocks = by_first(grants);
            changes.apply_to(&mut blocks);
            grants.blocks = blocks.into_values().collect();
        }
        self.services.apply_to(&mut intent.services);
        Ok(())
    }
}

/// The blocks that changed, by network: a network of many nodes has many, of which one changes at a time.
fn grants_between(old: &Intent, new: &Intent) -> BTreeMap<NetworkId, Changes<IpAddr, Block>> {
    let empty = Grants::default();
    let changed = new.grants.iter().filter(|(id, grants)| old.grants.get(id) != Some(grants));
    let changes = changed.map(|(id, grants)| {
        let held = old.grants.get(id).unwrap_or(&empty);
        (*id, Changes::between(&by_first(held), &by_first(grants)))
    });
    changes.collect()
}

fn by_first(grants: &Grants) -> BTreeMap<IpAddr, Block> {
    grants.blocks.iter().map(|block| (block.first, *block)).collect()
}
