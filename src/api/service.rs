//! Services, their backends, and what nodes are wanted for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{
    Affinity, EndpointId, EndpointMode, Labels, Name, NodeId, PortRange, Protocol, Publish, Seconds, Service,
    SourceIp, Unavailable, Weight,
};

/// Creates a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceCreate {
    /// Its name.
    pub name: Name,
    /// Its networks' names or ids, at least one.
    pub networks: Vec<String>,
    /// What it publishes.
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// How clients inside its networks reach it.
    #[serde(default)]
    pub endpoint_mode: EndpointMode,
    /// The source address that its backends see on published ports.
    #[serde(default)]
    pub source_ip: SourceIp,
    /// Whether a client stays with its backend.
    #[serde(default)]
    pub affinity: Affinity,
    /// How long the flows of a drained backend go on.
    #[serde(default = "stop_grace_period")]
    pub stop_grace_period: Seconds,
    /// What a client gets while no backend is live.
    #[serde(default)]
    pub unavailable: Unavailable,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
}

const fn stop_grace_period() -> Seconds {
    Service::STOP_GRACE_PERIOD
}

/// Changes a service; what is left out stays. Removals come before additions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceUpdate {
    /// The names or ids of networks to be in as well.
    pub networks_add: Vec<String>,
    /// The names or ids of networks to leave.
    pub networks_rm: Vec<String>,
    /// The ports to publish as well.
    pub publish_add: Vec<Publish>,
    /// The ports to publish no more.
    pub publish_rm: Vec<Unpublish>,
    /// How clients inside its networks reach it.
    pub endpoint_mode: Option<EndpointMode>,
    /// The source address that its backends see on published ports.
    pub source_ip: Option<SourceIp>,
    /// Whether a client stays with its backend.
    pub affinity: Option<Affinity>,
    /// How long the flows of a drained backend go on.
    pub stop_grace_period: Option<Seconds>,
    /// What a client gets while no backend is live.
    pub unavailable: Option<Unavailable>,
    /// The labels to set.
    pub labels_add: Labels,
    /// The labels to remove, by key.
    pub labels_rm: Vec<String>,
}

/// A port or range that was published, as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpublish {
    /// The published ports.
    pub published: PortRange,
    /// Their protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A service that was created or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChanged {
    /// The service as it is now.
    #[serde(flatten)]
    pub service: Service,
    /// What could not be made sure of, a line each.
    pub warnings: Vec<String>,
}

/// A service, as `service ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// How many backends it has.
    pub backends: usize,
    /// How many of them take new flows.
    pub backends_active: usize,
}

/// A service with its networks' names and its backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// Its networks' names, in the order of [`Service::networks`].
    pub network_names: Vec<Name>,
    /// Its backends, by node and name.
    pub backends: Vec<BackendRow>,
}

/// A backend, as `service ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRow {
    /// The endpoint.
    pub id: EndpointId,
    /// Its name.
    pub name: Name,
    /// Its network's name.
    pub network_name: Name,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The node that holds it.
    pub node: NodeId,
    /// That node's host name.
    pub hostname: String,
    /// Its share of flows.
    pub weight: Weight,
    /// Which flows it has.
    pub state: BackendState,
}

/// Which flows a backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// It takes new ones.
    Active,
    /// It was drained and takes no new ones; those that it had go on for the service's grace period.
    Draining,
    /// It was drained, and its grace period is over: it has no flow any more.
    Drained,
    /// As [`BackendState::Draining`], but it is its node that was drained.
    NodeDraining,
    /// As [`BackendState::Drained`], but it is its node that was drained.
    NodeDrained,
}

/// Says whether a backend takes new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendUpdate {
    /// Whether it takes none.
    pub drained: bool,
}

/// A change that every node is to put into effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The version of an intent that has it: what [`Confirm`] asks for.
    pub version: u64,
}

/// Waits until the kernel of every node alive holds an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The intent's version.
    pub version: u64,
    /// How long to wait at most; longer than some seconds is cut short.
    pub wait: Seconds,
}

/// Who holds that intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The host names of the nodes that have confirmed it.
    pub confirmed: Vec<String>,
    /// The nodes alive that have not.
    pub missing: Vec<Unconfirmed>,
    /// The host names of nodes that are down, and were not asked.
    pub down: Vec<String>,
}

/// A node that has not confirmed an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// Its host name.
    pub hostname: String,
    /// Why not, as far as is known.
    pub cause: String,
}
