//! What users asked for. [`apply`] is the state machine of a replicated log: deterministic, without a clock,
//! without randomness, so that every manager that applies the same commands holds the same intent.

mod apply;
mod blocks;
mod command;
mod error;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{
    Availability, EndpointId, Name, Network, NetworkId, Node, NodeId, Service, ServiceId, Subnet,
};

pub use apply::apply;
pub use blocks::{Block, Grants};
pub use command::{Command, CreateNetwork, GrantBlock, ReleaseBlock, Reply};
pub use error::IntentError;

/// Everything that users asked for, at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Raised by one with every command that changed something.
    pub version: u64,
    /// What makes the cluster this one; `None` before [`Command::InitCluster`].
    pub cluster: Option<Cluster>,
    /// The members.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The networks.
    pub networks: BTreeMap<NetworkId, Network>,
    /// Which node may hand out which addresses of each network.
    pub grants: BTreeMap<NetworkId, Grants>,
    /// The services.
    pub services: BTreeMap<ServiceId, Service>,
}

/// What makes the cluster this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// 128 random bits, hexadecimal.
    pub id: String,
    /// The CA's certificate, PEM. Nodes trust what it signed.
    pub ca_cert: String,
    /// SHA-256 of the secret in the join token, hexadecimal.
    pub join_secret_digest: String,
    /// The key that gossip's keys are derived from, 32 bytes, hexadecimal.
    pub gossip_key: String,
}

impl Intent {
    /// The network that `reference` names: its name, its id, or an unambiguous prefix of its id.
    ///
    /// # Errors
    /// [`IntentError::NoSuchNetwork`], or [`IntentError::AmbiguousNetwork`] for a prefix of several ids.
    pub fn network(&self, reference: &str) -> Result<&Network, IntentError> {
        if let Some(network) = self.networks.values().find(|network| network.name.as_str() == reference) {
            return Ok(network);
        }
        let mut matching = self
            .networks
            .values()
            .filter(|network| !reference.is_empty() && network.id.to_string().starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => Err(IntentError::AmbiguousNetwork { reference: reference.to_owned() }),
            (None, _) => Err(IntentError::NoSuchNetwork { reference: reference.to_owned() }),
        }
    }

    /// The network of that name.
    pub fn network_named(&self, name: &Name) -> Option<&Network> {
        self.networks.values().find(|network| network.name == *name)
    }

    /// The service of that name.
    pub fn service_named(&self, name: &Name) -> Option<&Service> {
        self.services.values().find(|service| service.name == *name)
    }

    /// Whether a backend of `service` on `node` takes new flows.
    pub fn takes_flows(&self, service: &Service, backend: EndpointId, node: NodeId) -> bool {
        let availability = self.nodes.get(&node).map(|node| node.availability);
        !service.drained.contains(&backend) && availability.is_some_and(|it| it != Availability::Drain)
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
    /// [`IntentError::NotForEndpoints`], or [`IntentError::AddressGranted`] if it is in another node's block.
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

#[cfg(test)]
mod tests;

#[cfg(test)]
mod properties;
