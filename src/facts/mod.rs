//! What each node alone knows, its encoding and its merge rule. How facts travel is the agent's gossip.
//!
//! A record has one owner. The owner numbers its changes 1, 2, 3… within one boot (a *generation*), and a
//! record carries the number of its last change, its *version*. Whoever holds an owner's facts up to a *mark*
//! has seen every change up to it, so a missing number is a gap that can be named and asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Endpoint, EndpointId, NodeId};

/// What a node states of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFact {
    /// Its VTEP's address on the underlay.
    pub vtep: IpAddr,
    /// Its underlay device's MTU in bytes.
    pub underlay_mtu: u16,
    /// The version of its agent.
    pub version: String,
}

/// The facts of the nodes that are alive, decoded: what the rest of the agent sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By node.
    pub nodes: BTreeMap<NodeId, NodeFact>,
    /// By owner and endpoint.
    pub endpoints: BTreeMap<(NodeId, EndpointId), Endpoint>,
}
