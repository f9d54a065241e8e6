//! Nodes, facts and endpoints by their numbers, for tests and fuzzing.

use std::net::{Ipv4Addr, SocketAddr};

use overlay::facts::NodeFact;
use overlay::model::{Endpoint, EndpointId, Labels, MacAddr, NetworkId, NodeId};

use super::Keys;

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
