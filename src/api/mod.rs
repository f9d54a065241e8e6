//! What `overlayctl` and plugins say to the agent: HTTP with JSON bodies on the agent's Unix socket.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `POST /v1/cluster/init` | [`ClusterInit`] | [`ClusterInitialized`] |
//! | `POST /v1/cluster/join` | [`ClusterJoin`] | [`ClusterJoined`] |
//! | `GET /v1/nodes` | | `[`[`NodeRow`]`]` |
//! | `GET /v1/networks` | | `[`[`Network`]`]` |
//! | `POST /v1/networks` | [`NetworkCreate`] | [`Network`] |
//! | `GET /v1/networks/{name or id}` | | [`NetworkDetail`] |
//! | `DELETE /v1/networks/{name or id}` | | [`Network`] |
//! | `GET /v1/endpoints` | | `[`[`EndpointRow`]`]` |
//! | `POST /v1/endpoints` | [`EndpointAttach`] | [`EndpointRow`] |
//! | `GET /v1/endpoints/{name, network/name or id}` | | [`EndpointRow`] |
//! | `DELETE /v1/endpoints/{name, network/name or id}` | | [`EndpointRow`] |
//!
//! A reference in a path is percent-encoded where it must be (`/` in `network/name` as `%2F`). Every error is an
//! [`ApiError`] with a 4xx or 5xx status. Unknown fields in a body are errors.

mod error;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Endpoint, Labels, MacAddr, Name, Network, NodeId};

pub use error::{ApiError, ErrorCode};

/// The version of these types, the first part of every path.
pub const API_VERSION: &str = "v1";

/// Makes this node the first of a new cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterInit {
    /// The address that other nodes reach this one at; the one towards the default route if left out.
    pub advertise_addr: Option<IpAddr>,
}

/// The new cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInitialized {
    /// This node.
    pub node: NodeId,
    /// What another node needs to join.
    pub join_token: String,
    /// Where it reaches the manager.
    pub manager: SocketAddr,
}

/// Makes this node a member of an existing cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterJoin {
    /// The token that `cluster init` printed.
    pub token: String,
    /// A manager, as `ADDR:PORT`.
    pub manager: SocketAddr,
    /// The address that other nodes reach this one at; the one towards the manager if left out.
    pub advertise_addr: Option<IpAddr>,
}

/// The cluster that was joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterJoined {
    /// This node.
    pub node: NodeId,
}

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
    /// Whether it is a manager.
    pub manager: bool,
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

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node, once it is a member of a cluster.
    pub node: Option<NodeId>,
    /// Its host name.
    pub hostname: String,
    /// Whether it is Ready: intent and facts complete, and the kernel as desired.
    pub ready: bool,
    /// What keeps it from being Ready, a line each.
    pub waiting_for: Vec<String>,
    /// The manager that it follows, and whether it is reached now.
    pub manager: Option<ManagerStatus>,
    /// The version of the intent that it holds.
    pub intent_version: u64,
    /// Nodes alive, itself included.
    pub nodes_alive: usize,
    /// Nodes in the cluster.
    pub nodes_total: usize,
    /// The networks in the cluster.
    pub networks: usize,
    /// The endpoints on this node.
    pub endpoints_local: usize,
    /// The endpoints on all nodes alive.
    pub endpoints_total: usize,
    /// The underlay device and its MTU, once known.
    pub underlay: Option<UnderlayStatus>,
    /// What the reconciler could not put into effect, newest last.
    pub failures: Vec<Failure>,
    /// Packets dropped since the data path was first loaded, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, DropCount>,
    /// What gossip did and refused; nothing, from an agent that does not tell.
    #[serde(default)]
    pub gossip: GossipStatus,
}

/// What gossip counted since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GossipStatus {
    /// Datagrams refused, by reason; reasons that never occurred are left out.
    pub refused: BTreeMap<String, DropCount>,
    /// Push datagrams sealed; each goes to one member or to all.
    pub pushes_sent: u64,
    /// Push datagrams taken.
    pub pushes_received: u64,
    /// Pulls sent.
    pub pulls_sent: u64,
    /// Pulls answered.
    pub pulls_answered: u64,
    /// Exchanges begun here that succeeded.
    pub syncs: u64,
    /// Exchanges begun here that failed.
    pub syncs_failed: u64,
    /// Exchanges begun by others that succeeded.
    pub syncs_served: u64,
}

/// The manager that a node follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Its address.
    pub addr: SocketAddr,
    /// Whether it is reached now.
    pub reachable: bool,
}

/// The device that carries the VXLAN packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayStatus {
    /// Its name.
    pub device: String,
    /// The VTEP's address on it.
    pub vtep: IpAddr,
    /// Its MTU in bytes.
    pub mtu: u16,
}

/// A change that the reconciler tries again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it tried.
    pub action: String,
    /// Why it failed.
    pub cause: String,
    /// How often it has failed in a row.
    pub attempts: u32,
}

/// Packets dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// How many.
    pub packets: u64,
    /// What the reason means and what to do.
    pub meaning: String,
}
