//! What `overlayctl` and plugins say to the agent: HTTP with JSON bodies on the agent's Unix socket.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `POST /v1/cluster/init` | [`ClusterInit`] | [`ClusterInitialized`] |
//! | `POST /v1/cluster/join` | [`ClusterJoin`] | [`ClusterJoined`] |
//! | `POST /v1/cluster/leave` | [`ClusterLeave`] | [`ClusterLeft`] |
//! | `POST /v1/cluster/join-token` | [`JoinTokenQuery`] | [`JoinToken`] |
//! | `GET`, `POST /v1/cluster/ca`; the second begins one | | [`Rotation`] |
//! | `GET`, `POST /v1/cluster/key`; the second begins one | | [`Rotation`] |
//! | `GET /v1/cluster/backup` | | [`Backup`] |
//! | `POST /v1/cluster/restore` | [`ClusterRestore`] | [`ClusterInitialized`] |
//! | `GET /v1/nodes` | | `[`[`NodeRow`]`]` |
//! | `GET /v1/nodes/{host name or id}` | | [`NodeDetail`] |
//! | `POST /v1/nodes/{host name or id}` | [`NodeUpdate`] | [`Changed`] |
//! | `POST /v1/nodes/{host name or id}/role` | [`NodeRole`] | [`Changed`] |
//! | `DELETE /v1/nodes/{host name or id}` | [`NodeRemove`] | [`NodeRow`] |
//! | `GET /v1/networks` | | `[`[`Network`]`]` |
//! | `POST /v1/networks` | [`NetworkCreate`] | [`Network`] |
//! | `GET /v1/networks/{name or id}` | | [`NetworkDetail`] |
//! | `DELETE /v1/networks/{name or id}` | | [`Network`] |
//! | `GET /v1/endpoints` | | `[`[`EndpointRow`]`]` |
//! | `POST /v1/endpoints` | [`EndpointAttach`] | [`EndpointRow`] |
//! | `GET /v1/endpoints/{name, network/name or id}` | | [`EndpointRow`] |
//! | `DELETE /v1/endpoints/{name, network/name or id}` | | [`EndpointRow`] |
//! | `GET /v1/services` | | `[`[`ServiceRow`]`]` |
//! | `POST /v1/services` | [`ServiceCreate`] | [`ServiceChanged`] |
//! | `GET /v1/services/{name or id}` | | [`ServiceDetail`] |
//! | `POST /v1/services/{name or id}` | [`ServiceUpdate`] | [`ServiceChanged`] |
//! | `DELETE /v1/services/{name or id}` | | [`Service`](crate::model::Service) |
//! | `POST /v1/backends/{service.endpoint}` | [`BackendUpdate`] | [`Changed`] |
//! | `POST /v1/confirm` | [`Confirm`] | [`Confirmed`] |
//! | `GET /v1/stats`, `GET /v1/stats/{service's name or id}` | | [`Stats`] |
//! | `POST /v1/flows` | [`FlowQuery`] | [`FlowList`] |
//! | `POST /v1/flows/flush` | [`FlowFlush`] | [`FlowsFlushed`] |
//!
//! A reference in a path is percent-encoded where it must be (`/` in `network/name` as `%2F`). Every error is an
//! [`ApiError`] with a 4xx or 5xx status. Unknown fields in a body are errors.

mod cluster;
mod error;
mod flow;
mod node;
mod service;
mod stats;
mod status;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Endpoint, Labels, MacAddr, Name, Network, NodeId, Weight};

pub use cluster::{
    Backup, ClusterInit, ClusterInitialized, ClusterJoin, ClusterJoined, ClusterLeave, ClusterLeft,
    ClusterRestore, JoinToken, JoinTokenQuery, Rotation,
};
pub use error::{ApiError, ErrorCode};
pub use flow::{FlowFlush, FlowList, FlowQuery, FlowRow, FlowsFlushed};
pub use node::{ManagerState, NodeDetail, NodeRemove, NodeRole, NodeRow, NodeStatus, NodeUpdate};
pub use service::{
    BackendRow, BackendState, BackendUpdate, Changed, Confirm, Confirmed, ServiceChanged, ServiceCreate,
    ServiceDetail, ServiceRow, ServiceUpdate, Unconfirmed, Unpublish,
};
pub use stats::{BackendStats, ServiceStats, Stats};
pub use status::{
    DropCount, Failure, GossipStatus, ManagerStatus, MeshStatus, RoleStatus, Status, UnderlayStatus,
};

/// The version of these types, the first part of every path.
pub const API_VERSION: &str = "v1";

/// The header of an answer that tells what this node last knew, for the managers could not be asked whether it is still
/// so; its value says why not. Answers without it show every change that was answered before they were asked for.
pub const STALE: &str = "overlay-stale";

/// Creates a network on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Its name.
    pub name: Name,
    /// At most one a family; with no IPv4 one, it is taken from the default pool.
    #[serde(default)]
    pub subnets: Vec<IpNet>,
    /// At most one a subnet.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// The endpoints' MTU in bytes; left out, it follows the underlay.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// Keeps its endpoints from the world outside.
    #[serde(default)]
    pub internal: bool,
    /// Lets its subnets overlap another network's.
    #[serde(default)]
    pub allow_overlap: bool,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
}

/// A network with what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDetail {
    /// The network.
    #[serde(flatten)]
    pub network: Network,
    /// The MTU of its endpoints now, in bytes.
    pub effective_mtu: u16,
    /// Its endpoints on all nodes.
    pub endpoints: Vec<EndpointRow>,
    /// The services that are in it.
    pub services: Vec<NetworkService>,
}

/// A service that is in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkService {
    /// Its name.
    pub name: Name,
    /// Its virtual addresses in this network.
    pub vips: Vec<IpAddr>,
}

/// Attaches a network namespace of this node to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointAttach {
    /// A name under `/run/netns`, a path, or a process id.
    pub netns: String,
    /// The network's name or id.
    pub network: String,
    /// The endpoint's name, unique in the network.
    pub name: Name,
    /// A certain IPv4 address.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// A certain IPv6 address.
    #[serde(default)]
    pub ip6: Option<Ipv6Addr>,
    /// A certain MAC address.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// The interface's name inside the namespace; the first free `eth` and number if left out.
    #[serde(default)]
    pub ifname: Option<String>,
    /// Further names in the network.
    #[serde(default)]
    pub aliases: Vec<Name>,
    /// The user's labels.
    #[serde(default)]
    pub labels: Labels,
    /// Lets it forward for others, as a router does: it may send from any source address.
    #[serde(default)]
    pub forward: bool,
    /// Makes it a backend of this service, by name or id.
    #[serde(default)]
    pub service: Option<String>,
    /// Its share of the service's flows; 1 if left out.
    #[serde(default)]
    pub weight: Option<Weight>,
}

/// An endpoint, as `endpoint ls` and `endpoint inspect` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// The network's name.
    pub network_name: Name,
    /// The node that holds it.
    pub node: NodeId,
    /// That node's host name.
    pub hostname: String,
    /// Where its interface is; known on its own node alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<EndpointLocal>,
}

/// What only an endpoint's own node knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointLocal {
    /// The network namespace's path.
    pub netns: String,
    /// The interface inside it.
    pub ifname: String,
    /// The host's end of the veth pair.
    pub host_ifname: String,
}
