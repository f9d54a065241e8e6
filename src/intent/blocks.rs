//! Placeholder.
use serde::{Deserialize, Serialize};

use crate::model::NodeId;

/// Some addresses of a subnet in a row, which one node may hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The node.
    pub node: NodeId,
    /// The first address.
    pub first: std::net::IpAddr,
    /// How many there are.
    pub count: u32,
}

/// The blocks granted of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// In the order of their first addresses; no two share an address.
    pub blocks: Vec<Block>,
}
