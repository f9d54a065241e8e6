//! Why a configuration is refused.

use std::path::PathBuf;

use super::Config;
use crate::model::PortRange;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum ConfigError {
    /// No TOML, or a value of the wrong type.
    #[error("{}", what.trim_end())]
    Malformed { what: String },
    /// A key that there is not.
    #[error("unknown key `{key}`{}", nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    UnknownKey { key: String, nearest: Option<&'static str> },
    /// Port 0.
    #[error("{key} is 0: a port is from 1 to 65535")]
    PortZero { key: &'static str },
    /// No time at all.
    #[error("{key} is 0: a flow would end before its answer comes")]
    IdleZero { key: &'static str },
    /// Two ports of one protocol.
    #[error("{first} and {second} are both {port}, and both {protocol}")]
    SamePort { first: &'static str, second: &'static str, port: u16, protocol: &'static str },
    /// Ports for endpoints that are taken.
    #[error("egress_ports are {ports}, and {key} is {port}, one of them")]
    EgressPorts { ports: PortRange, key: &'static str, port: u16 },
    /// A device's name that the kernel does not take.
    #[error("{key}: {what}")]
    InterfaceName { key: &'static str, what: String },
    /// A prefix that leaves no room for an endpoint's id, or that other software uses.
    #[error("veth_prefix is {prefix:?}: {why}")]
    VethPrefix { prefix: String, why: &'static str },
    /// An address that no other node can reach this one at.
    #[error("advertise_addr is {addr}, where no other node reaches this one")]
    AdvertiseAddr { addr: std::net::IpAddr },
    /// Something that must not be empty.
    #[error("{key} is empty")]
    Empty { key: &'static str },
    /// A path that a Unix socket cannot have (unix(7)).
    #[error("the path of the socket, {}, has {length} bytes: the kernel takes at most 107", path.display())]
    SocketPath { path: PathBuf, length: usize },
}

impl ConfigError {
    /// What to do about it, where the message does not say it already.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { .. } => Some(format!("the keys are {}", Config::KEYS.join(", "))),
            Self::SamePort { second, .. } => Some(format!("give {second} another port")),
            Self::EgressPorts { .. } => Some("choose egress_ports that nothing on this host uses".to_owned()),
            Self::VethPrefix { .. } => {
                Some("choose 1 to 4 letters that no other software uses, like \"ovl\"".to_owned())
            }
            Self::SocketPath { .. } => Some("choose a shorter path".to_owned()),
            Self::AdvertiseAddr { .. } => {
                Some("give an address of an interface of this machine that the other nodes reach".to_owned())
            }
            Self::Malformed { .. }
            | Self::PortZero { .. }
            | Self::IdleZero { .. }
            | Self::InterfaceName { .. }
            | Self::Empty { .. } => None,
        }
    }
}
