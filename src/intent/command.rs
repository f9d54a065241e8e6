//! Commands: the only way in which intent changes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Block, CaKeys, Cluster, Hidden, Secrets, State};
use crate::model::{
    Affinity, Availability, EndpointId, EndpointMode, Labels, Name, Network, NetworkId, Node, NodeId,
    PortRange, Protocol, Publish, Seconds, Service, ServiceId, SourceIp, Unavailable,
};

/// A change that somebody asks for. Everything random in it, ids above all, was drawn by who proposes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes an empty intent a cluster's, with its first node.
    InitCluster {
        /// The cluster.
        cluster: Box<Cluster>,
        /// Its first node, a manager.
        node: Node,
        /// What its managers alone know.
        secrets: Box<Secrets>,
    },
    /// Makes an empty intent that of a backup, with one manager.
    Restore {
        /// The backup.
        state: Box<State>,
        /// The manager, a member of the backup's or a new one; it takes the place of a member at its address.
        node: Node,
        /// Higher than any that the cluster had: the time in seconds since 1970.
        epoch: u64,
    },
    /// Makes one node the only manager, because most of the others are lost.
    ForceNewCluster {
        /// The node.
        node: NodeId,
        /// As in [`Command::Restore`].
        epoch: u64,
    },
    /// Adds a node, or replaces what it says of itself; what others say of it stays.
    PutNode(Node),
    /// Makes a node a member that has shown a token.
    AdmitNode(AdmitNode),
    /// Removes a node for ever, and every block granted to it.
    RemoveNode {
        /// The node.
        id: NodeId,
        /// Even if it is a manager, as long as it is not the last one.
        force: bool,
    },
    /// Makes a node a manager or a worker.
    SetRole {
        /// The node.
        node: NodeId,
        /// Whether it shall be a manager.
        manager: bool,
    },
    /// Says what users want of a node.
    UpdateNode {
        /// The node.
        node: NodeId,
        /// What changes.
        change: NodeChange,
        /// When this was asked for, in seconds since the Unix epoch.
        at: u64,
    },
    /// Says which CA signed the certificate that a node uses now.
    NoteCertificate {
        /// The node.
        node: NodeId,
        /// That CA's certificate, PEM.
        issuer: String,
    },
    /// Replaces the secret of a join token: the old token is worth nothing from then on.
    RotateToken {
        /// Whether it is the token that makes managers.
        manager: bool,
        /// The new secret, hexadecimal.
        secret: Hidden,
    },
    /// Adds a gossip key, which every node opens with from then on.
    AddGossipKey {
        /// Its id.
        id: u8,
        /// The key, 32 bytes, hexadecimal.
        key: Hidden,
        /// When it was drawn, in seconds since 1970.
        at: u64,
    },
    /// Seals with that gossip key from then on.
    UseGossipKey {
        /// Its id.
        id: u8,
    },
    /// Forgets a gossip key; one that is not there is no error.
    DropGossipKey {
        /// Its id.
        id: u8,
    },
    /// Asks for a new gossip key.
    WantGossipKey,
    /// Adds a CA, which every node trusts from then on.
    AddCa(CaKeys),
    /// Signs with that CA from then on.
    UseCa {
        /// Its certificate, PEM.
        cert: String,
    },
    /// Trusts the CA no more that signed before, once no node's certificate is of it; one that is not there is no
    /// error.
    DropCa {
        /// Its certificate, PEM.
        cert: String,
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
    /// Creates a service.
    CreateService(CreateService),
    /// Changes a service; its id stays, and each virtual address that it still has.
    UpdateService {
        /// The service.
        id: ServiceId,
        /// What changes.
        change: ServiceChange,
    },
    /// Removes a service. Its backends stay endpoints.
    RemoveService {
        /// The service.
        id: ServiceId,
    },
    /// Says whether a backend takes new flows.
    DrainBackend {
        /// The service.
        service: ServiceId,
        /// The backend. Whether it is one is known to its own node alone.
        endpoint: EndpointId,
        /// Since when it takes none, in seconds since the Unix epoch; `None` if it takes some.
        since: Option<u64>,
    },
}

/// What [`Command::AdmitNode`] takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitNode {
    /// The node, in the role that its token gave it, with the key of its certificate.
    pub node: Node,
    /// The certificate of the CA that signed for it, PEM: the one that signs now.
    pub issuer: String,
    /// The worker whose place it takes, which is removed.
    pub replaces: Option<NodeId>,
}

/// What [`Command::UpdateNode`] changes; what is left out or empty stays. Removals come before additions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChange {
    /// What users want of it.
    pub availability: Option<Availability>,
    /// The labels to remove, by key.
    pub labels_rm: Vec<String>,
    /// The labels to set.
    pub labels_add: Labels,
}

impl NodeChange {
    /// Whether a node is as it is after the change.
    pub fn is_made(&self, node: &Node) -> bool {
        let mut changed = node.clone();
        self.apply_to(&mut changed, 0);
        changed == *node
    }

    pub(super) fn apply_to(&self, node: &mut Node, at: u64) {
        let availability = self.availability.unwrap_or(node.availability);
        if availability == Availability::Drain && node.availability != Availability::Drain {
            node.drained_at = at;
        }
        node.availability = availability;
        node.labels.retain(|key, _| !self.labels_rm.contains(key));
        node.labels.extend(self.labels_add.clone());
    }
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
    /// The block as it was granted: its node hands nothing of it out any more. A command that comes late, or twice, finds
    /// a later grant to be another.
    pub block: Block,
}

/// What [`Command::CreateService`] takes; virtual addresses are chosen by `apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateService {
    /// The new service's id, drawn at random.
    pub id: ServiceId,
    /// Its name.
    pub name: Name,
    /// The networks that it is in, at least one.
    pub networks: Vec<NetworkId>,
    /// What it publishes.
    pub publish: Vec<Publish>,
    /// How clients inside its networks reach it.
    pub endpoint_mode: EndpointMode,
    /// The source address that its backends see on published ports.
    pub source_ip: SourceIp,
    /// Whether a client stays with its backend.
    pub affinity: Affinity,
    /// How long the flows of a drained backend go on.
    pub stop_grace_period: Seconds,
    /// What a client gets while no backend is live.
    pub unavailable: Unavailable,
    /// The user's labels.
    pub labels: Labels,
}

/// What [`Command::UpdateService`] changes; what is left out or empty stays. Removals come before additions, and
/// adding what is there, or removing a network or label that is not, is no error: a proposal may arrive twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChange {
    /// The networks to leave.
    pub networks_rm: Vec<NetworkId>,
    /// The networks to be in as well.
    pub networks_add: Vec<NetworkId>,
    /// The ports to publish no more, each a range that was published as such.
    pub publish_rm: Vec<(Protocol, PortRange)>,
    /// The ports to publish as well.
    pub publish_add: Vec<Publish>,
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
    /// The labels to remove, by key.
    pub labels_rm: Vec<String>,
    /// The labels to set.
    pub labels_add: Labels,
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
    /// The service as it is now.
    Service(Service),
}
