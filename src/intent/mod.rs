//! What users asked for. [`apply`] is the state machine of a replicated log: deterministic, without a clock,
//! without randomness, so that every manager that applies the same commands holds the same intent.

mod apply;
mod blocks;
mod cluster;
mod command;
mod delta;
mod drains;
mod error;
mod members;
mod service_error;
mod services;
mod state;
mod trust;
mod trust_error;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Name, Network, NetworkId, Node, NodeId, Service, ServiceId, Subnet};

pub use apply::apply;
pub use blocks::{Block, Grants};
pub use cluster::{Cluster, GossipKeys};
pub use command::{
    AdmitNode, Command, CreateNetwork, CreateService, GrantBlock, NodeChange, ReleaseBlock, Reply,
    ServiceChange,
};
pub use delta::{IntentDelta, NoRevision, Revision, WrongBase};
pub use drains::Serving;
pub use error::IntentError;
pub use members::MOST_MANAGERS;
pub use service_error::ServiceError;
pub use state::{CaKeys, Hidden, Secrets, State};
pub use trust_error::TrustError;

/// Everything that users asked for, at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Raised by one with every command that changed something.
    pub version: u64,
    /// What makes the cluster this one; `None` before [`Command::InitCluster`].
    pub cluster: Option<Cluster>,
    /// The members.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The ids of nodes that were removed: none of them is ever a member again.
    pub removed: BTreeSet<NodeId>,
    /// The networks.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Which node may hand out which addresses of each network.
    pub grants: BTreeMap<NetworkId, Grants>,
    /// The services.
    pub services: BTreeMap<ServiceId, Service>,
}

impl Intent {
    /// The network that `reference` names: its name, its id, or an unambiguous prefix of its id.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNetwork`], or [`IntentError::AmbiguousNetwork`] for a prefix of several ids.
    pub fn network(&self, reference: &str) -> Result<&Network, IntentError> {
        let named = |network: &Network| network.name.as_str() == reference;
        find(self.networks.values(), named, |network| network.id.to_string(), reference).map_err(|several| {
            let reference = reference.to_owned();
            if several {
                IntentError::AmbiguousNetwork { reference }
            } else {
                IntentError::NoSuchNetwork { reference }
            }
        })
    }

    /// The service that `reference` names: its name, its id, or an unambiguous prefix of its id.
    ///
    /// # Errors
    /// [`ServiceError::NoSuchService`], or [`ServiceError::AmbiguousService`] for a prefix of several ids.
    pub fn service(&self, reference: &str) -> Result<&Service, ServiceError> {
        let named = |service: &Service| service.name.as_str() == reference;
        find(self.services.values(), named, |service| service.id.to_string(), reference).map_err(|several| {
            let reference = reference.to_owned();
            if several {
                ServiceError::AmbiguousService { reference }
            } else {
                ServiceError::NoSuchService { reference }
            }
        })
    }

    /// The node that `reference` names: its host name, its id, or an unambiguous prefix of its id.
    ///
    /// # Errors
    /// [`IntentError::NodeNotFound`], or [`IntentError::AmbiguousNode`] for a host name of several nodes or a prefix
    /// of several ids.
    pub fn node(&self, reference: &str) -> Result<&Node, IntentError> {
        let named = |node: &Node| node.hostname == reference;
        find(self.nodes.values(), named, |node| node.id.to_string(), reference).map_err(|several| {
            let reference = reference.to_owned();
            if several {
                IntentError::AmbiguousNode { reference }
            } else {
                IntentError::NodeNotFound { reference }
            }
        })
    }

    /// The nodes that are to hold the intent.
    pub fn managers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.manager)
    }

    /// The managers, in a person's words.
    pub fn managers_in_words(&self) -> String {
        self.managers().map(Node::in_words).collect::<Vec<_>>().join(", ")
    }

    /// Whether a node is to hold the intent.
    pub fn is_manager(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.manager)
    }

    /// The network of that name.
    pub fn network_named(&self, name: &Name) -> Option<&Network> {
        self.networks.values().find(|network| network.name == *name)
    }

    /// The service of that name.
    pub fn service_named(&self, name: &Name) -> Option<&Service> {
        self.services.values().find(|service| service.name == *name)
    }

    /// The block of `network` that `address` is in.
    pub fn block_of(&self, network: NetworkId, address: IpAddr) -> Option<&Block> {
        self.grants.get(&network)?.block_of(address)
    }

    /// The host name of a node, or its id if it is no member.
    pub fn hostname(&self, node: NodeId) -> String {
        self.nodes.get(&node).map_or_else(|| node.short(), |node| node.hostname.clone())
    }

    /// Whether `node` can have or get that address of `subnet` for an endpoint, as far as grants go.
    ///
    /// # Errors
    /// [`IntentError::NotForEndpoints`], [`IntentError::AddressGranted`] if it is in another node's block, and
    /// [`ServiceError::AddressIsVip`].
    pub fn check_address(
        &self,
        network: &Network,
        subnet: &Subnet,
        address: IpAddr,
        node: NodeId,
    ) -> Result<(), IntentError> {
        if !subnet.is_endpoint(address) {
            let network = network.name.clone();
            return Err(IntentError::NotForEndpoints { address, subnet: *subnet, network });
        }
        if let Some(service) = self.service_with_vip(network.id, address) {
            let (network, service) = (network.name.clone(), service.name.clone());
            return Err(ServiceError::AddressIsVip { address, network, service }.into());
        }
        match self.block_of(network.id, address) {
            Some(block) if block.node != node => Err(IntentError::AddressGranted {
                address,
                network: network.name.clone(),
                hostname: self.hostname(block.node),
            }),
            _ => Ok(()),
        }
    }
}

/// The one thing that is `named`, or else the one whose id starts with `reference`; the error is whether there
/// are several.
fn find<'a, T>(
    all: impl Iterator<Item = &'a T> + Clone,
    named: impl Fn(&T) -> bool,
    id: impl Fn(&T) -> String,
    reference: &str,
) -> Result<&'a T, bool> {
    let only = |mut found: Vec<&'a T>| match found.pop() {
        Some(one) if found.is_empty() => Ok(one),
        last => Err(last.is_some()),
    };
    let by_name: Vec<&T> = all.clone().filter(|one| named(one)).collect();
    if !by_name.is_empty() {
        return only(by_name);
    }
    only(all.filter(|one| !reference.is_empty() && id(one).starts_with(reference)).collect())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod member_tests;

#[cfg(test)]
mod service_tests;

#[cfg(test)]
mod trust_tests;

#[cfg(test)]
mod properties;
