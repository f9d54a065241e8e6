//! Nodes: what they are, and what is wanted of them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Availability, Labels, NodeId, Role};

/// A node, as `node ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its id.
    pub id: NodeId,
    /// Its host name.
    pub hostname: String,
    /// Whether it is the node that answers.
    pub this: bool,
    /// Whether it is known to be alive.
    pub status: NodeStatus,
    /// What users want of it.
    pub availability: Availability,
    /// How it is among the managers; nothing for a worker.
    pub manager: Option<ManagerState>,
    /// The address that it advertises.
    pub addr: IpAddr,
    /// The version of its agent.
    pub version: String,
}

/// Whether a node is known to be alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// It answers.
    Ready,
    /// Its agent was stopped and is to be back soon; its facts are kept and its data path goes on.
    Restarting,
    /// It does not, and its facts are withdrawn.
    Down,
}

/// How a manager is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagerState {
    /// The others follow it.
    Leader,
    /// It follows the leader.
    Reachable,
    /// The leader does not hear of it; or there is no leader, and this node does not.
    Unreachable,
}

/// A node with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDetail {
    /// What `node ls` shows.
    #[serde(flatten)]
    pub row: NodeRow,
    /// The user's labels.
    pub labels: Labels,
    /// The gossip port, UDP and TCP.
    pub gossip_port: u16,
    /// The manager API's port, TCP.
    pub api_port: u16,
    /// The port that VXLAN packets go to, UDP.
    pub data_port: u16,
    /// The subnets that its own interfaces are in.
    pub underlay: Vec<IpNet>,
}

/// Says what is wanted of a node; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeUpdate {
    /// Its availability.
    pub availability: Option<Availability>,
    /// The labels to remove, by key.
    pub labels_rm: Vec<String>,
    /// The labels to set.
    pub labels_add: Labels,
}

/// Makes a node a manager, or a worker again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRole {
    /// What it becomes.
    pub role: Role,
}

/// Removes a node, which no other node talks to afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeRemove {
    /// Even if it is alive, or a manager.
    pub force: bool,
}
