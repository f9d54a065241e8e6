//! Why intent refuses a command.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ServiceError, TrustError};
use crate::api::{ApiError, ErrorCode};
use crate::model::{Name, NodeId, Subnet};

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum IntentError {
    /// `InitCluster` on an intent that is a cluster's already.
    #[error("the cluster exists already")]
    AlreadyInitialized,
    /// Any other command before `InitCluster`.
    #[error("there is no cluster yet")]
    NotInitialized,
    /// No network has that name or id.
    #[error("no network is called {reference:?}")]
    NoSuchNetwork { reference: String },
    /// Several networks' ids start so.
    #[error("several networks' ids start with {reference:?}")]
    AmbiguousNetwork { reference: String },
    /// No node has that host name or id.
    #[error("no node is called {reference:?}")]
    NodeNotFound { reference: String },
    /// Several nodes have that host name, or ids that start so.
    #[error("several nodes are called {reference:?}, or have ids that start so")]
    AmbiguousNode { reference: String },
    /// No member has that id.
    #[error("no node of the cluster has the id {node}")]
    NoSuchNode { node: NodeId },
    /// A manager that is to be removed while it is one.
    #[error("the node {hostname} is a manager")]
    ManagerNotDemoted { hostname: String },
    /// Without this manager, nobody would hold the intent.
    #[error("the node {hostname} is the last manager")]
    LastManager { hostname: String },
    /// One manager too many.
    #[error("the cluster has {most} managers already, which is the most that it can have")]
    TooManyManagers { most: usize },
    /// A node that was removed comes back.
    #[error("the node {node} was removed from the cluster")]
    NodeRemoved { node: NodeId },
    /// Another member has the id, with another key.
    #[error("a node with the id {node} is a member already")]
    NodeExists { node: NodeId },
    /// What has to do with certificates, keys and the cluster's beginning.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A network of that name exists.
    #[error("a network called {name} exists already")]
    NetworkExists { name: Name },
    /// Two subnets of one family.
    #[error(
        "two subnets of one family, {first} and {second}: a network has at most one of IPv4 and one of IPv6"
    )]
    TwoSubnetsOfOneFamily { first: IpNet, second: IpNet },
    /// A subnet or gateway that the model refuses.
    #[error("{what}")]
    InvalidSubnet { what: String },
    /// A gateway in none of the network's subnets.
    #[error("the gateway {gateway} is in none of the network's subnets ({})", list(subnets))]
    GatewayOutside { gateway: IpAddr, subnets: Vec<IpNet> },
    /// Two gateways in one subnet.
    #[error("two gateways, {first} and {second}, in the subnet {subnet}: it has one")]
    TwoGateways { first: IpAddr, second: IpAddr, subnet: IpNet },
    /// A subnet that shares addresses with another network's.
    #[error("the subnet {subnet} overlaps {theirs} of the network {network}")]
    NetworkOverlap { subnet: IpNet, network: Name, theirs: IpNet },
    /// A subnet that shares addresses with what a node's own interfaces are in.
    #[error(
        "the subnet {subnet} overlaps {underlay}, which the node {hostname} is in with an interface of its own"
    )]
    UnderlayOverlap { subnet: IpNet, underlay: IpNet, hostname: String },
    /// A node that is in a subnet that overlaps a network's.
    #[error(
        "the node {hostname} is in {underlay} with an interface of its own, which overlaps {subnet} of the network {network}"
    )]
    NodeOverlap { hostname: String, underlay: IpNet, network: Name, subnet: IpNet },
    /// An MTU that no network can have.
    #[error("an MTU of {mtu} bytes: this network's is from {lowest} to {highest}")]
    MtuOutOfRange { mtu: u16, lowest: u16, highest: u16 },
    /// Every VNI is taken.
    #[error("every VNI from {first} to {last} is taken")]
    VnisExhausted { first: u32, last: u32 },
    /// The default pool has no free subnet.
    #[error(
        "the default pool {pool} has no /{prefix} left that overlaps neither a network nor what a node is in"
    )]
    PoolExhausted { pool: IpNet, prefix: u8 },
    /// A node on the other address family.
    #[error(
        "the node {hostname} advertises {addr}, and the node {other} {other_addr}: all nodes must use one address family"
    )]
    MixedFamilies { hostname: String, addr: IpAddr, other: String, other_addr: IpAddr },
    /// Another node is at that address and gossip port.
    #[error("the node {other} is at {addr} with gossip port {port} already")]
    NodeAddressTaken { addr: IpAddr, port: u16, other: String },
    /// The network has no such subnet.
    #[error("the network {network} has no subnet {subnet}")]
    NoSuchSubnet { network: Name, subnet: IpNet },
    /// An address that no endpoint can have.
    #[error("{address} {} of the network {network}", unfit(*address, subnet))]
    NotForEndpoints { address: IpAddr, subnet: Subnet, network: Name },
    /// An address that another node may hand out.
    #[error(
        "{address} of the network {network} is in a block of addresses that the node {hostname} hands out"
    )]
    AddressGranted { address: IpAddr, network: Name, hostname: String },
    /// What has to do with services.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A subnet without a free address.
    #[error("the subnet {subnet} of the network {network} has no free address left to grant")]
    SubnetExhausted { network: Name, subnet: IpNet },
}

impl IntentError {
    /// What kind it is, for programs.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Service(error) => error.code(),
            Self::Trust(error) => error.code(),
            Self::NoSuchNetwork { .. } | Self::NoSuchNode { .. } | Self::NodeNotFound { .. } => {
                ErrorCode::NotFound
            }
            Self::AlreadyInitialized
            | Self::NotInitialized
            | Self::NetworkExists { .. }
            | Self::NetworkOverlap { .. }
            | Self::UnderlayOverlap { .. }
            | Self::NodeOverlap { .. }
            | Self::VnisExhausted { .. }
            | Self::PoolExhausted { .. }
            | Self::MixedFamilies { .. }
            | Self::NodeAddressTaken { .. }
            | Self::ManagerNotDemoted { .. }
            | Self::LastManager { .. }
            | Self::TooManyManagers { .. }
            | Self::NodeRemoved { .. }
            | Self::NodeExists { .. }
            | Self::AddressGranted { .. }
            | Self::SubnetExhausted { .. } => ErrorCode::Conflict,
            Self::AmbiguousNetwork { .. }
            | Self::AmbiguousNode { .. }
            | Self::TwoSubnetsOfOneFamily { .. }
            | Self::InvalidSubnet { .. }
            | Self::GatewayOutside { .. }
            | Self::TwoGateways { .. }
            | Self::MtuOutOfRange { .. }
            | Self::NoSuchSubnet { .. }
            | Self::NotForEndpoints { .. } => ErrorCode::Invalid,
        }
    }

    /// What to do about it, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Service(error) => return error.hint(),
            Self::Trust(error) => return error.hint(),
            Self::AlreadyInitialized => "join it from another node with `overlayctl cluster join`",
            Self::NotInitialized => {
                "start one with `overlayctl cluster init`, or join one with `overlayctl cluster join`"
            }
            Self::NoSuchNetwork { .. } => "`overlayctl network ls` lists the networks",
            Self::AmbiguousNetwork { .. } => "give more digits of the id, or the network's name",
            Self::AmbiguousNode { .. } => "give its id; `overlayctl node ls` lists the nodes",
            Self::NoSuchNode { .. } | Self::NodeNotFound { .. } => "`overlayctl node ls` lists the nodes",
            Self::ManagerNotDemoted { .. } => {
                "demote it first with `overlayctl node demote`, or pass --force if it is lost"
            }
            Self::LastManager { .. } => "promote another node first with `overlayctl node promote`",
            Self::TooManyManagers { .. } => "demote another manager first with `overlayctl node demote`",
            Self::NodeRemoved { .. } => {
                "make it leave with `overlayctl cluster leave --force`; it can then join anew, under a new id"
            }
            Self::NodeExists { .. } => "join again: every attempt has an id of its own",
            Self::NetworkExists { .. } => "choose another name; `overlayctl network ls` lists the networks",
            Self::NetworkOverlap { .. } => {
                "choose another subnet, leave it out to have a free one chosen, or pass --allow-overlap if no container joins both networks"
            }
            Self::UnderlayOverlap { .. } => {
                "choose another subnet, or leave it out to have a free one chosen"
            }
            Self::NodeOverlap { network, .. } => {
                return Some(format!(
                    "remove the network {network} and create it with another subnet, then let the node join"
                ));
            }
            Self::GatewayOutside { .. } => "give the subnet that the gateway is in as well",
            Self::VnisExhausted { .. } => "remove networks that are not used",
            Self::PoolExhausted { .. } => "give the subnet yourself, or remove networks that are not used",
            Self::MixedFamilies { .. } => {
                "advertise an address of the other nodes' family with --advertise-addr"
            }
            Self::NodeAddressTaken { .. } => {
                "give this node another address (--advertise-addr) or another gossip port"
            }
            Self::AddressGranted { .. } => {
                "choose a low address of the subnet, or leave it out to have a free one chosen"
            }
            Self::SubnetExhausted { .. } => "create a network with a larger subnet",
            Self::NotForEndpoints { .. } => {
                "choose another address, or leave it out to have a free one chosen"
            }
            Self::TwoSubnetsOfOneFamily { .. }
            | Self::InvalidSubnet { .. }
            | Self::TwoGateways { .. }
            | Self::MtuOutOfRange { .. }
            | Self::NoSuchSubnet { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<IntentError> for ApiError {
    fn from(error: IntentError) -> Self {
        Self { code: error.code(), error: error.to_string(), hint: error.hint() }
    }
}

fn list(subnets: &[IpNet]) -> String {
    subnets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

fn unfit(address: IpAddr, subnet: &Subnet) -> String {
    let net = subnet.net;
    if !net.contains(&address) {
        format!("is outside of the subnet {net}")
    } else if address == subnet.gateway {
        format!("is the gateway in the subnet {net}")
    } else {
        format!("is no host's address in the subnet {net}")
    }
}
