//! Why intent refuses a command that has to do with services.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::api::{ApiError, ErrorCode};
use crate::model::{Name, PortRange, Protocol};

/// Why a command that has to do with services was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum ServiceError {
    /// No service has that name or id.
    #[error("no service is called {reference:?}")]
    NoSuchService { reference: String },
    /// Several services' ids start so.
    #[error("several services' ids start with {reference:?}")]
    AmbiguousService { reference: String },
    /// A service of that name exists. Names are those of DNS, which does not tell upper from lower case.
    #[error("a service called {name} exists already")]
    ServiceExists { name: Name },
    /// A service that would be in no network.
    #[error("the service {service} would be in no network")]
    NoNetwork { service: Name },
    /// More published ports and ranges than a service has.
    #[error("{count} published ports and ranges: a service has at most {most}")]
    TooManyPorts { count: usize, most: usize },
    /// A port that another service publishes.
    #[error("{} port {port} is published by the service {service}", protocol.upper())]
    PortPublished { protocol: Protocol, port: u16, service: Name },
    /// A port that is given twice.
    #[error("{} port {port} is published twice", protocol.upper())]
    PortTwice { protocol: Protocol, port: u16 },
    /// A port that Overlay itself uses.
    #[error("{} port {port} is the {use_} of the node {hostname}", protocol.upper())]
    PortOfNode { protocol: Protocol, port: u16, use_: PortUse, hostname: String },
    /// A node with a port that a service publishes.
    #[error(
        "the node {hostname} uses {} port {port} as its {use_}, which the service {service} publishes",
        protocol.upper()
    )]
    NodePortPublished { protocol: Protocol, port: u16, use_: PortUse, hostname: String, service: Name },
    /// A port that the service does not publish.
    #[error("the service {service} does not publish {} port {ports}", protocol.upper())]
    NotPublished { protocol: Protocol, ports: PortRange, service: Name },
    /// A subnet without an address for a virtual one.
    #[error(
        "the subnet {subnet} of the network {network} has no free address left for the service {service}"
    )]
    NoVipLeft { subnet: IpNet, network: Name, service: Name },
    /// An address that is a service's.
    #[error("{address} of the network {network} is the virtual address of the service {service}")]
    AddressIsVip { address: IpAddr, network: Name, service: Name },
    /// A network that a service is in.
    #[error("the network {network} is in use by the service {service}")]
    NetworkInUse { network: Name, service: Name },
}

/// What a node uses a port for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortUse {
    /// VXLAN.
    Data,
    /// Gossip.
    Gossip,
    /// Requests of other nodes.
    Api,
}

impl std::fmt::Display for PortUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Data => "data port",
            Self::Gossip => "gossip port",
            Self::Api => "manager API's port",
        })
    }
}

impl ServiceError {
    /// What kind it is, for programs.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchService { .. } => ErrorCode::NotFound,
            Self::ServiceExists { .. }
            | Self::PortPublished { .. }
            | Self::PortOfNode { .. }
            | Self::NodePortPublished { .. }
            | Self::NoVipLeft { .. }
            | Self::AddressIsVip { .. }
            | Self::NetworkInUse { .. } => ErrorCode::Conflict,
            Self::AmbiguousService { .. }
            | Self::NoNetwork { .. }
            | Self::TooManyPorts { .. }
            | Self::PortTwice { .. }
            | Self::NotPublished { .. } => ErrorCode::Invalid,
        }
    }

    /// What to do about it, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSuchService { .. } => "`overlayctl service ls` lists the services".to_owned(),
            Self::AmbiguousService { .. } => "give more digits of the id, or the service's name".to_owned(),
            Self::ServiceExists { .. } => {
                "choose another name; `overlayctl service ls` lists the services".to_owned()
            }
            Self::NoNetwork { .. } => {
                "a service is in at least one network, which its backends are in".to_owned()
            }
            Self::TooManyPorts { .. } => {
                "publish ports in a row as one range, as in 8000-8010:80-90".to_owned()
            }
            Self::PortPublished { service, .. } => format!(
                "publish another port, or take this one from {service} with `overlayctl service update --publish-rm`"
            ),
            Self::PortTwice { .. } => {
                "give each published port once; `service update --publish-rm` takes one back".to_owned()
            }
            Self::PortOfNode { .. } => "publish another port; Overlay needs this one itself".to_owned(),
            Self::NodePortPublished { .. } => {
                "give the node another port in its configuration, or remove the service".to_owned()
            }
            Self::NotPublished { service, .. } => {
                format!("`overlayctl service inspect {service}` shows what it publishes, range by range")
            }
            Self::NoVipLeft { .. } => {
                "create the service with --endpoint-mode dnsrr, or in a network with a larger subnet"
                    .to_owned()
            }
            Self::AddressIsVip { .. } => {
                "choose another address, or leave it out to have a free one chosen".to_owned()
            }
            Self::NetworkInUse { service, .. } => format!(
                "remove the service first with `overlayctl service rm {service}`, or take it out of the network \
                 with `overlayctl service update {service} --network-rm`"
            ),
        })
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self { code: error.code(), error: error.to_string(), hint: error.hint() }
    }
}
