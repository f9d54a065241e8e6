//! What there is no room for. Everything else works on.

use crate::model::Name;

/// One of the data path's arrays is full.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Shortage {
    /// The service does not work on this node.
    #[error("the service {service} is one more than this node's data path has room for")]
    Services {
        /// The service.
        service: Name,
    },
    /// Some of the service's backends get no flows from this node.
    #[error("the service {service} has more backends than this node's data path has room left for")]
    Backends {
        /// The service.
        service: Name,
    },
    /// The shares of the service's backends are coarser than they should be, or there is no table at all and so no
    /// backend.
    #[error("the service {service} needs a larger table than this node's data path has room left for")]
    Tables {
        /// The service.
        service: Name,
    },
    /// Published ports are answered on some of the host's addresses only.
    #[error("this host has more addresses than its data path has room for")]
    Addresses,
}

impl Shortage {
    /// What is not as it should be, in words for people.
    pub fn action(&self) -> String {
        match self {
            Self::Services { service } => format!("serve the service {service}"),
            Self::Backends { service } => format!("lead to all backends of the service {service}"),
            Self::Tables { service } => format!("write the full table of the service {service}"),
            Self::Addresses => "answer published ports on all addresses of this host".to_owned(),
        }
    }
}
