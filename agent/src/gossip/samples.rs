//! Nodes, facts and endpoints by their numbers, for tests and fuzzing.

use std::net::{Ipv4Addr, SocketAddr};

use overlay::facts::{NodeFact, Store, Version};
use overlay::model::{Endpoint, EndpointId, Labels, MacAddr, NetworkId, NodeId};

use super::vouch::{Digest, Voucher, digest_of};
use super::{Keys, Peer, Signer};

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

pub(super) fn addr(number: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, number), 7946).into()
}

/// The cluster's only key.
pub(super) fn keys() -> Keys {
    Keys::one(1, [1; 32])
}

/// What a node signs with.
pub(super) fn signer(node: NodeId) -> Signer {
    let id = node.as_bytes();
    let mut secret = [0; 32];
    secret[..16].copy_from_slice(id);
    Signer::new(&secret)
}

/// The owner's word for what it states in its own store.
pub(super) fn voucher(owner: NodeId, store: &Store) -> (Version, Voucher) {
    let (version, statement) = store.statement(owner).expect("its own store has no gap");
    (version, signer(owner).vouch(&digest_of(&statement), Digest::default()))
}

/// A node of the intent.
pub(super) fn peer(node: NodeId, addr: SocketAddr) -> Peer {
    Peer { node, addr, facts_key: Some(signer(node).key()) }
}

pub(super) fn fact(number: u8) -> NodeFact {
    NodeFact { vtep: Ipv4Addr::new(192, 0, 2, number).into(), underlay_mtu: 1500, version: "0.1.0".into() }
}

pub(super) fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        id: EndpointId::from_bytes([number; 16]),
        network: NetworkId::from_bytes([1; 16]),
        name: format!("endpoint-{number}").parse().expect("a name"),
        mac: MacAddr::local_from([number; 6]),
        ip4: Some(Ipv4Addr::new(10, 0, 0, number)),
        ip6: None,
        aliases: vec![],
        labels: Labels::new(),
        forward: false,
        service: None,
    }
}
