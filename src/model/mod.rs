//! The entities and their newtypes. Nothing here decides anything: it only makes invalid values impossible.

mod attachment;
mod endpoint;
mod id;
mod ifname;
mod mac;
mod name;
mod network;
mod node;
mod publish;
mod role;
mod seconds;
mod service;
mod subnet;
mod vni;
mod words;

pub use attachment::{Attachment, NetnsId, NetnsRef};
pub use endpoint::Endpoint;
pub use id::{EndpointId, NetworkId, NodeId, ServiceId};
pub use ifname::check_ifname;
pub use mac::MacAddr;
pub use name::Name;
pub use network::{Labels, Network};
pub use node::{Availability, Node, UnderlayFamily};
pub use publish::{PortRange, Protocol, Publish, PublishMode};
pub use role::Role;
pub use seconds::Seconds;
pub use service::{Affinity, EndpointMode, Membership, Service, SourceIp, Unavailable, Vip, Weight};
pub use subnet::Subnet;
pub use vni::Vni;

/// A value that the model refuses, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Invalid {
    what: String,
}

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// Serializes through `Display` and `FromStr`, as people write the value, in every format.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
pub(crate) use words::words;
