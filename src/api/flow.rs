//! A node's flows.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::flows::{FlowProtocol, FlowScope, FlowState};
use crate::model::Name;

/// Asks for this node's flows; what is left out selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowQuery {
    /// Those of a service, by name or id.
    pub service: Option<String>,
    /// Those of a backend, as `service.endpoint`.
    pub backend: Option<String>,
    /// Those of a protocol.
    pub protocol: Option<FlowProtocol>,
    /// How many at most; more than [`FlowQuery::MOST`] is cut short.
    pub limit: usize,
}

impl FlowQuery {
    /// What an answer has at most.
    pub const MOST: usize = 100_000;
}

impl Default for FlowQuery {
    fn default() -> Self {
        Self { service: None, backend: None, protocol: None, limit: 1000 }
    }
}

/// A node's flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowList {
    /// The latest ones, the one with the latest packet first.
    pub flows: Vec<FlowRow>,
    /// How many there are, with those that were more than the limit.
    pub total: usize,
}

/// A flow's packets in one direction, as `flow ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// What it is kept for.
    pub scope: FlowScope,
    /// What carries it.
    pub protocol: FlowProtocol,
    /// The name of the network that its packets are in.
    pub network_name: Option<Name>,
    /// Where its packets come from. The port of a ping is its identifier.
    pub from: SocketAddr,
    /// Where they go to.
    pub to: SocketAddr,
    /// What takes the place of one of both.
    pub translated: Option<SocketAddr>,
    /// The service's name.
    pub service: Option<String>,
    /// The backend's name.
    pub backend: Option<String>,
    /// Whether its backend is gone.
    pub backend_gone: bool,
    /// How far it is.
    pub state: FlowState,
    /// For how many whole seconds no packet of it was seen.
    pub idle_seconds: u32,
}

/// Ends flows of this node: all of them, or those that the rest selects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowFlush {
    /// Whether all are meant; then nothing else may be given.
    pub all: bool,
    /// Those of a service, by name or id.
    pub service: Option<String>,
    /// Those of a backend, as `service.endpoint`.
    pub backend: Option<String>,
}

/// What [`FlowFlush`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsFlushed {
    /// How many flows were ended.
    pub flows: usize,
}
