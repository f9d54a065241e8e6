//! What a node remembers of the endpoints that it holds itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Endpoint;

/// A local endpoint and the network namespace that it was put into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What every node knows of it.
    pub endpoint: Endpoint,
    /// Where its interface is.
    pub netns: NetnsRef,
    /// The interface's name inside the namespace.
    pub ifname: String,
}

impl Attachment {
    /// How many digits of the endpoint's id are in the name of the host's end.
    const DIGITS: usize = 11;

    /// The name of the host's end of the veth pair, at most 15 bytes (IFNAMSIZ), `prefix` at most 4 of them.
    pub fn host_ifname(&self, prefix: &str) -> String {
        let id = self.endpoint.id.to_string();
        format!("{prefix}{}", id.get(..Self::DIGITS).unwrap_or(&id))
    }

    /// Whether [`Attachment::host_ifname`] may have made that name: others' veth pairs may start with `prefix` too.
    pub fn is_host_ifname(name: &str, prefix: &str) -> bool {
        name.strip_prefix(prefix).is_some_and(|digits| {
            digits.len() == Self::DIGITS
                && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
}

/// A network namespace: where it was found, and which one it was. The path may later lead to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsRef {
    /// A path like `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub path: PathBuf,
    /// The namespace that it led to.
    pub id: NetnsId,
}

/// A network namespace's identity while it lives: the device and inode number of its nsfs file
/// (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// The nsfs device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
}
