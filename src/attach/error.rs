//! Why an endpoint is not attached, or not found.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::api::{ApiError, ErrorCode};
use crate::intent::IntentError;
use crate::model::{Availability, MacAddr, Name};

/// Why an endpoint is not attached, or not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum AttachError {
    /// What intent says no to: a network that is not there, an address that cannot be had.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// The node takes no endpoints.
    #[error("the node {hostname} takes no new endpoints: its availability is {availability}")]
    NodeUnavailable { hostname: String, availability: Availability },
    /// The service is in other networks.
    #[error("the service {service} is not in the network {network}, but in {}", list(networks))]
    NotInService { service: Name, network: Name, networks: Vec<Name> },
    /// A weight without a service.
    #[error("a weight without a service")]
    WeightOfNothing,
    /// No backend has that name.
    #[error("no service has a backend called {reference:?}")]
    NoSuchBackend { reference: String },
    /// The namespace is in the network already.
    #[error("the namespace is in the network {network} already, as the endpoint {endpoint}")]
    AlreadyAttached { endpoint: Name, network: Name },
    /// The namespace is in a network that shares addresses with this one.
    #[error(
        "the namespace is in the network {other} as the endpoint {endpoint}, and that network's subnets overlap those of {network}"
    )]
    NetworksOverlap { endpoint: Name, network: Name, other: Name },
    /// One name given twice.
    #[error("the name {name} is given twice")]
    NameTwice { name: Name },
    /// Another endpoint's name or alias.
    #[error("the name {name} is taken in the network {network}, by the endpoint {endpoint} on {hostname}")]
    NameTaken { name: Name, network: Name, endpoint: Name, hostname: String },
    /// Another endpoint's MAC address.
    #[error(
        "the MAC address {mac} is taken in the network {network}, by the endpoint {endpoint} on {hostname}"
    )]
    MacTaken { mac: MacAddr, network: Name, endpoint: Name, hostname: String },
    /// The gateway's MAC address.
    #[error("the MAC address {mac} is the gateway's in the network {network}")]
    GatewayMac { mac: MacAddr, network: Name },
    /// An address of a family that the network has no subnet of.
    #[error("the network {network} has no {} subnet for {address}", if address.is_ipv4() { "IPv4" } else { "IPv6" })]
    NoSuchFamily { address: IpAddr, network: Name },
    /// Another endpoint's address.
    #[error(
        "the address {address} is taken in the network {network}, by the endpoint {endpoint} on {hostname}"
    )]
    AddressTaken { address: IpAddr, network: Name, endpoint: Name, hostname: String },
    /// An address that this node is giving back to the managers.
    #[error("the address {address} of the network {network} is being given back to the managers")]
    AddressReleased { address: IpAddr, network: Name },
    /// An interface name that the kernel does not take.
    #[error("{what}")]
    InterfaceName { what: String },
    /// An interface of that name is in the namespace.
    #[error("the namespace {} has an interface called {name} already", netns.display())]
    InterfaceTaken { name: String, netns: PathBuf },
    /// No endpoint has that name or id.
    #[error("no endpoint is called {reference:?}")]
    NoSuchEndpoint { reference: String },
    /// Several endpoints have that name, or ids that start so.
    #[error("{reference:?} may be any of {}", candidates.join(", "))]
    AmbiguousEndpoint { reference: String, candidates: Vec<String> },
}

impl AttachError {
    /// What kind it is, for programs.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Intent(error) => error.code(),
            Self::NodeUnavailable { .. }
            | Self::AlreadyAttached { .. }
            | Self::NetworksOverlap { .. }
            | Self::NameTaken { .. }
            | Self::MacTaken { .. }
            | Self::AddressTaken { .. }
            | Self::InterfaceTaken { .. } => ErrorCode::Conflict,
            Self::NotInService { .. }
            | Self::WeightOfNothing
            | Self::NameTwice { .. }
            | Self::GatewayMac { .. }
            | Self::NoSuchFamily { .. }
            | Self::InterfaceName { .. }
            | Self::AmbiguousEndpoint { .. } => ErrorCode::Invalid,
            Self::NoSuchEndpoint { .. } | Self::NoSuchBackend { .. } => ErrorCode::NotFound,
            Self::AddressReleased { .. } => ErrorCode::Unavailable,
        }
    }

    /// What to do about it, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Intent(error) => return error.hint(),
            Self::NodeUnavailable { hostname, .. } => {
                return Some(format!(
                    "attach it on another node, or run `overlayctl node update {hostname} --availability active`"
                ));
            }
            Self::NotInService { service, network, .. } => {
                return Some(format!(
                    "attach it to one of these, or run `overlayctl service update {service} --network-add {network}`"
                ));
            }
            Self::WeightOfNothing => "name the service that it is the weight in",
            Self::NoSuchBackend { .. } => {
                "a backend is named SERVICE.ENDPOINT; `overlayctl service ps SERVICE` lists them"
            }
            Self::AlreadyAttached { endpoint, network } => {
                return Some(format!("`overlayctl endpoint detach {network}/{endpoint}` takes it out"));
            }
            Self::NetworksOverlap { endpoint, other, .. } => {
                return Some(format!("detach it first with `overlayctl endpoint detach {other}/{endpoint}`"));
            }
            Self::NameTaken { .. } => "choose another name; `overlayctl endpoint ls` lists the endpoints",
            Self::MacTaken { .. } | Self::GatewayMac { .. } => {
                "leave the MAC address out to have a free one chosen"
            }
            Self::AddressTaken { .. } => "choose another address, or leave it out to have a free one chosen",
            Self::AddressReleased { .. } => "try again in a moment",
            Self::InterfaceTaken { .. } => "choose another name, or leave it out to have a free one chosen",
            Self::NoSuchEndpoint { .. } => "`overlayctl endpoint ls` lists the endpoints",
            Self::AmbiguousEndpoint { .. } => "give NETWORK/NAME, or more digits of the id",
            Self::NameTwice { .. } | Self::NoSuchFamily { .. } | Self::InterfaceName { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<AttachError> for ApiError {
    fn from(error: AttachError) -> Self {
        Self { code: error.code(), error: error.to_string(), hint: error.hint() }
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
