//! How a node is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node, once it is a member of a cluster.
    pub node: Option<NodeId>,
    /// Its host name.
    pub hostname: String,
    /// Whether it is Ready: intent and facts complete, and the kernel as desired.
    pub ready: bool,
    /// What keeps it from being Ready, a line each.
    pub waiting_for: Vec<String>,
    /// The manager that it follows, and whether it is reached now.
    pub manager: Option<ManagerStatus>,
    /// The manager's role of this node, if it has one.
    #[serde(default)]
    pub manager_role: Option<RoleStatus>,
    /// The version of the intent that it holds.
    pub intent_version: u64,
    /// Nodes alive, itself included.
    pub nodes_alive: usize,
    /// Nodes in the cluster.
    pub nodes_total: usize,
    /// The networks in the cluster.
    pub networks: usize,
    /// The endpoints on this node.
    pub endpoints_local: usize,
    /// The endpoints on all nodes alive.
    pub endpoints_total: usize,
    /// The underlay device and its MTU, once known.
    pub underlay: Option<UnderlayStatus>,
    /// Where the routing mesh runs; nothing, while no port is published.
    #[serde(default)]
    pub mesh: Option<MeshStatus>,
    /// What the reconciler could not put into effect, newest last.
    pub failures: Vec<Failure>,
    /// Packets dropped since the data path was first loaded, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, DropCount>,
    /// What gossip did and refused; nothing, from an agent that does not tell.
    #[serde(default)]
    pub gossip: GossipStatus,
}

/// What gossip counted since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipStatus {
    /// Datagrams refused, by reason; reasons that never occurred are left out.
    pub refused: BTreeMap<String, DropCount>,
    /// Push datagrams sealed; each goes to one member or to all.
    pub pushes_sent: u64,
    /// Push datagrams taken.
    pub pushes_received: u64,
    /// Pulls sent.
    pub pulls_sent: u64,
    /// Pulls answered.
    pub pulls_answered: u64,
    /// Exchanges begun here that succeeded.
    pub syncs: u64,
    /// Exchanges begun here that failed.
    pub syncs_failed: u64,
    /// Exchanges begun by others that succeeded.
    pub syncs_served: u64,
}

/// The manager that a node follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Its address.
    pub addr: SocketAddr,
    /// Whether it is reached now.
    pub reachable: bool,
    /// What went wrong with it of late.
    #[serde(default)]
    pub cause: Option<String>,
}

/// How the manager's role of a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleStatus {
    /// Whether it runs.
    pub running: bool,
    /// The leader's host name, if this manager knows one.
    pub leader: Option<String>,
    /// Why it does not run; it is tried again by itself.
    pub error: Option<String>,
}

/// Where clients' packets for published ports are passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshStatus {
    /// `xdp` or `tc`.
    pub hook: String,
    /// Why there, for people.
    pub why: String,
}

/// The device that carries the VXLAN packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayStatus {
    /// Its name.
    pub device: String,
    /// The VTEP's address on it.
    pub vtep: IpAddr,
    /// Its MTU in bytes.
    pub mtu: u16,
}

/// A change that the reconciler tries again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it tried.
    pub action: String,
    /// Why it failed.
    pub cause: String,
    /// How often it has failed in a row.
    pub attempts: u32,
}

/// Packets dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// How many.
    pub packets: u64,
    /// What the reason means and what to do.
    pub meaning: String,
}
