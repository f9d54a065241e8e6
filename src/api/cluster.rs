//! The cluster: making one, joining and leaving one, its keys, and its backup.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::{NodeId, Role, Seconds};

/// Makes this node the first of a new cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterInit {
    /// The address that other nodes reach this one at; the one towards the default route if left out.
    pub advertise_addr: Option<IpAddr>,
    /// How long a node's certificate is valid; 90 days if left out.
    #[serde(default)]
    pub cert_lifetime: Option<Seconds>,
    /// Makes this manager the only one of the cluster that it is in already, whose majority is lost.
    #[serde(default)]
    pub force_new_cluster: bool,
}

/// The new cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInitialized {
    /// This node.
    pub node: NodeId,
    /// What another node needs to join as a worker.
    pub join_token: String,
    /// Where it reaches the manager.
    pub manager: SocketAddr,
}

/// Makes this node a member of an existing cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterJoin {
    /// The token for a worker or for a manager.
    pub token: String,
    /// A manager, as `ADDR:PORT`.
    pub manager: SocketAddr,
    /// The address that other nodes reach this one at; the one towards the manager if left out.
    pub advertise_addr: Option<IpAddr>,
}

/// The cluster that was joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterJoined {
    /// This node.
    pub node: NodeId,
    /// What it is there.
    pub role: Role,
}

/// Asks for what nodes join with. Managers alone can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinTokenQuery {
    /// What they become.
    pub role: Role,
    /// Makes a new token first; the old one serves no more.
    #[serde(default)]
    pub rotate: bool,
}

/// What nodes join with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// What they become.
    pub role: Role,
    /// The token, a secret.
    pub token: String,
    /// A manager that they reach.
    pub manager: SocketAddr,
}

/// Takes this node out of its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterLeave {
    /// Even if it has endpoints, is a manager, or reaches no manager.
    #[serde(default)]
    pub force: bool,
}

/// The node left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterLeft {
    /// The node that it was.
    pub node: NodeId,
    /// Why the managers still have it in their list, if they do.
    pub still_listed: Option<String>,
}

/// How far it is that every node has the new key of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// What names the newest key: the CA's digest, or the number of gossip's key.
    pub newest: String,
    /// Whether the one before is still trusted.
    pub under_way: bool,
    /// The host names of the nodes that it waits for, as far as they are known.
    pub waiting_for: Vec<String>,
}

/// Everything that the managers hold, secrets included.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// The version of this format: [`Backup::FORMAT`].
    pub format: u32,
    /// The version of the agent that wrote it.
    pub version: String,
    /// When, in seconds since 1970.
    pub taken_at: u64,
    /// The cluster's id.
    pub cluster: String,
    /// The state's SHA-256, hexadecimal.
    pub sha256: String,
    /// The state, a JSON text.
    pub state: String,
}

impl Backup {
    /// The only version of the format so far.
    pub const FORMAT: u32 = 1;
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Makes this node the only manager of the cluster that a backup is of, as that was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterRestore {
    /// The backup.
    pub backup: Backup,
    /// The address that other nodes reach this one at; the one towards the default route if left out.
    pub advertise_addr: Option<IpAddr>,
}
