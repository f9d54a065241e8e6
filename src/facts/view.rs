//! The facts of the nodes that are alive, decoded: what the rest of the agent sees.
//!
//! A view is made of a part a node, and parts are shared: taking a view of 1,000 nodes after one of them changed costs one
//! part and 1,000 pointers, whatever the number of endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Key, NodeFact, absence, endpoint, node};
use crate::model::{Endpoint, EndpointId, NodeId};

/// The facts of the nodes that are alive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    parts: BTreeMap<NodeId, Arc<Part>>,
}

/// What one node states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Of itself.
    pub fact: Option<NodeFact>,
    /// Of its endpoints.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// For how long its facts are to be kept while it is not reached: its agent has stopped and will be back, and its
    /// data path goes on.
    pub back_within: Option<Duration>,
}

impl View {
    /// What each node states, in the order of their ids. A part that has not changed since an earlier view is the same
    /// `Arc` as there.
    pub fn parts(&self) -> impl Iterator<Item = (NodeId, &Arc<Part>)> {
        self.parts.iter().map(|(owner, part)| (*owner, part))
    }

    /// What each node states of itself, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeFact)> {
        self.parts.iter().filter_map(|(owner, part)| Some((*owner, part.fact.as_ref()?)))
    }

    /// What a node states of itself.
    pub fn node(&self, node: NodeId) -> Option<&NodeFact> {
        self.parts.get(&node)?.fact.as_ref()
    }

    /// Whether a node's agent has stopped and said that it will be back.
    pub fn is_restarting(&self, node: NodeId) -> bool {
        self.parts.get(&node).is_some_and(|part| part.back_within.is_some())
    }

    /// All endpoints with their owners, in the order of both ids.
    pub fn endpoints(&self) -> impl Iterator<Item = (NodeId, &Endpoint)> {
        self.parts.iter().flat_map(|(owner, part)| part.endpoints.values().map(|endpoint| (*owner, endpoint)))
    }

    /// The endpoints of one node.
    pub fn endpoints_of(&self, owner: NodeId) -> impl Iterator<Item = &Endpoint> {
        self.parts.get(&owner).into_iter().flat_map(|part| part.endpoints.values())
    }

    /// The number of endpoints.
    pub fn endpoint_count(&self) -> usize {
        self.parts.values().map(|part| part.endpoints.len()).sum()
    }

    /// A node's part, to change; other views that share it stay as they are.
    pub fn part_mut(&mut self, owner: NodeId) -> &mut Part {
        Arc::make_mut(self.parts.entry(owner).or_default())
    }

    /// Shows a part, unless it is empty.
    pub(super) fn show(&mut self, owner: NodeId, part: Arc<Part>) {
        if *part != Part::default() {
            self.parts.insert(owner, part);
        }
    }
}

impl Part {
    /// Adds one record; a type that this version does not know, or a body that does not decode, is skipped.
    pub(super) fn add(&mut self, key: &Key, body: &[u8]) {
        match key.kind {
            node::KIND => self.fact = node::decode(body).or(self.fact.take()),
            endpoint::KIND => {
                if let Some(endpoint) = endpoint::decode(key, body) {
                    self.endpoints.insert(endpoint.id, endpoint);
                }
            }
            absence::KIND => self.back_within = absence::decode(body),
            _ => {}
        }
    }
}
