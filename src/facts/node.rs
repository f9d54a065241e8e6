//! Record type 1: what a node states of itself. There is one a node, so its key has no id.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Key;

pub(super) const KIND: u8 = 1;
pub(super) const KEY: Key = Key { kind: KIND, id: [0; 16] };

/// What a node states of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFact {
    /// Its VTEP's address on the underlay.
    pub vtep: IpAddr,
    /// Its underlay device's MTU in bytes.
    pub underlay_mtu: u16,
    /// The version of its agent.
    pub version: String,
}

pub(super) fn encode(fact: &NodeFact) -> Vec<u8> {
    super::encode(fact)
}

pub(super) fn decode(body: &[u8]) -> Option<NodeFact> {
    super::decode(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_bytes() {
        let fact =
            NodeFact { vtep: "192.0.2.7".parse().unwrap(), underlay_mtu: 1500, version: "0.1.0".into() };
        let bytes = [0, 192, 0, 2, 7, 0xdc, 0x0b, 5, b'0', b'.', b'1', b'.', b'0'];
        assert_eq!(encode(&fact), bytes);
        assert_eq!(decode(&bytes), Some(fact.clone()));
        assert_eq!(decode(&[&bytes[..], &[9, 9]].concat()), Some(fact), "a later version's field is skipped");
        assert_eq!(decode(&bytes[..12]), None);
    }
}
