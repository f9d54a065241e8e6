//! Commands: the only way in which intent changes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Block, Cluster};
use crate::model::{Labels, Name, Network, NetworkId, Node, NodeId};

/// A change that somebody asks for. Everything random in it, ids above all, was drawn by who proposes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes an empty intent a cluster's, with its first node.
    InitCluster {
        /// The cluster.
        cluster: Cluster,
        /// Its first node, a manager.
        node: Node,
    },
    /// Adds a node, or replaces what is known of it.
    PutNode(Node),
    /// Removes a node and every block granted to it.
    RemoveNode {
        /// The node.
        id: NodeId,
    },
    /// Creates a network.
    CreateNetwork(CreateNetwork),
    /// Removes a network and every block granted of it.
    RemoveNetwork {
        /// The network.
        id: NetworkId,
    },
    /// Grants a node addresses of a network.
    GrantBlock(GrantBlock),
    /// Takes a block back; one that is not there is no error.
    ReleaseBlock(ReleaseBlock),
}

/// What [`Command::CreateNetwork`] takes; what is left out, `apply` chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNetwork {
    /// The new network's id, drawn at random.
    pub id: NetworkId,
    /// Its name.
    pub name: Name,
    /// At most one a family; with none of IPv4, one is taken from the default pool.
    pub subnets: Vec<IpNet>,
    /// At most one a subnet; the first host address where none is given.
    pub gateways: Vec<IpAddr>,
    /// The endpoints' MTU in bytes, if it shall not follow the underlay.
    pub mtu: Option<u16>,
    /// Keeps its endpoints from the world outside.
    pub internal: bool,
    /// Lets its subnets overlap another network's.
    pub allow_overlap: bool,
    /// The user's labels.
    pub labels: Labels,
}

/// What [`Command::GrantBlock`] takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantBlock {
    /// The network.
    pub network: NetworkId,
    /// The node that shall hand the addresses out.
    pub node: NodeId,
    /// The subnet to take them from, as in [`crate::model::Subnet::net`].
    pub subnet: IpNet,
    /// One address that the block must hold, because a user asked for it: the block is that address alone.
    pub address: Option<IpAddr>,
}

/// What [`Command::ReleaseBlock`] takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseBlock {
    /// The network.
    pub network: NetworkId,
    /// The node that held the block, and hands nothing of it out any more.
    pub node: NodeId,
    /// The block's first address.
    pub first: IpAddr,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done, and there is nothing to add.
    Done,
    /// The network that was created.
    Network(Network),
    /// The block that was granted.
    Block(Block),
}
