//! Record type 2: an endpoint. Its id is the key's, and its body holds the rest in binary form: an endpoint is
//! the record there are 100,000 of.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Key;
use crate::model::{Endpoint, EndpointId, Labels, MacAddr, Membership, Name, NetworkId};

pub(super) const KIND: u8 = 2;

#[derive(Serialize, Deserialize)]
struct Body {
    network: [u8; 16],
    name: Name,
    mac: [u8; 6],
    ip4: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
    aliases: Vec<Name>,
    labels: Labels,
    forward: bool,
    service: Option<Membership>,
}

pub(super) const fn key(id: EndpointId) -> Key {
    Key { kind: KIND, id: *id.as_bytes() }
}

pub(super) fn encode(endpoint: &Endpoint) -> Vec<u8> {
    super::encode(&Body {
        network: *endpoint.network.as_bytes(),
        name: endpoint.name.clone(),
        mac: endpoint.mac.bytes(),
        ip4: endpoint.ip4,
        ip6: endpoint.ip6,
        aliases: endpoint.aliases.clone(),
        labels: endpoint.labels.clone(),
        forward: endpoint.forward,
        service: endpoint.service.clone(),
    })
}

pub(super) fn decode(key: &Key, body: &[u8]) -> Option<Endpoint> {
    let body: Body = super::decode(body)?;
    Some(Endpoint {
        id: EndpointId::from_bytes(key.id),
        network: NetworkId::from_bytes(body.network),
        name: body.name,
        mac: MacAddr::new(body.mac).ok()?,
        ip4: body.ip4,
        ip6: body.ip6,
        aliases: body.aliases,
        labels: body.labels,
        forward: body.forward,
        service: body.service,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Weight;

    #[test]
    fn pinned_bytes() {
        let endpoint = Endpoint {
            id: EndpointId::from_bytes([7; 16]),
            network: NetworkId::from_bytes([3; 16]),
            name: "web".parse().unwrap(),
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]).unwrap(),
            ip4: Some(Ipv4Addr::new(10, 0, 0, 2)),
            ip6: None,
            aliases: vec!["www".parse().unwrap()],
            labels: Labels::from([("a".to_owned(), "b".to_owned())]),
            forward: true,
            service: Some(Membership { service: "shop".parse().unwrap(), weight: Weight::new(300).unwrap() }),
        };
        let bytes = [
            &[3; 16][..],              // network
            &[3, b'w', b'e', b'b'],    // name
            &[2, 0, 0, 0, 0, 1],       // MAC address
            &[1, 10, 0, 0, 2],         // IPv4 address
            &[0],                      // no IPv6 address
            &[1, 3, b'w', b'w', b'w'], // aliases
            &[1, 1, b'a', 1, b'b'],    // labels
            &[1],                      // forwards
            b"\x01\x04shop",           // a backend of that service
            &[0xac, 0x02],             // with a weight of 300
        ]
        .concat();
        assert_eq!(encode(&endpoint), bytes);
        assert_eq!(decode(&key(endpoint.id), &bytes), Some(endpoint.clone()));

        let mut multicast = bytes.clone();
        multicast[20] = 3;
        assert_eq!(
            decode(&key(endpoint.id), &multicast),
            None,
            "an invalid value can't be built from the wire"
        );
        assert_eq!(decode(&key(endpoint.id), &bytes[..30]), None);
    }
}
