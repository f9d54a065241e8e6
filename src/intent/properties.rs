use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fixtures::{create, init, node, node_id};

/// Subnets small and near enough that they run out and clash.
const NETS: [&str; 9] = [
    "10.1.0.0/29",
    "10.1.0.0/24",
    "10.1.0.128/25",
    "10.0.0.0/16",
    "192.0.2.0/26",
    "fd00::/126",
    "fd00::/64",
    "172.16.0.0/22",
    "fe00::/8",
];

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => Just(init()),
        2 => put_node(),
        4 => create_network(),
        1 => (0u8..6).prop_map(|n| Command::RemoveNetwork { id: NetworkId::from_bytes([n; 16]) }),
        1 => (1u8..5).prop_map(|n| Command::RemoveNode { id: node(n).id }),
        2 => release(),
        12 => grant(),
    ]
}

fn put_node() -> impl Strategy<Value = Command> {
    let underlay = prop::collection::vec(select(&NETS[..]), 0..2);
    (1u8..5, 1u8..5, any::<bool>(), underlay).prop_map(|(n, addr, other_family, underlay)| {
        let addr = if other_family && addr == 4 { "2001:db8::1".parse().unwrap() } else { node(addr).addr };
        let underlay = underlay.iter().map(|net| net.parse().unwrap()).collect();
        Command::PutNode(Node { addr, underlay, ..node(n) })
    })
}

fn create_network() -> impl Strategy<Value = Command> {
    let subnets = prop::collection::vec(select(&NETS[..]), 0..3);
    (0u8..6, select(&["a", "b", "c", "d"][..]), subnets, any::<bool>(), prop::option::of(500u16..1400))
        .prop_map(|(n, name, subnets, allow_overlap, mtu)| {
            Command::CreateNetwork(CreateNetwork { allow_overlap, mtu, ..create(n, name, &subnets) })
        })
}

fn release() -> impl Strategy<Value = Command> {
    (0u8..6, 1u8..5, select(&NETS[..]), 0u8..9).prop_map(|(network, n, subnet, offset)| {
        let first = match subnet.parse::<ipnet::IpNet>().unwrap().network() {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() + u32::from(offset)).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() + u128::from(offset)).into()),
        };
        let network = NetworkId::from_bytes([network; 16]);
        Command::ReleaseBlock(ReleaseBlock { network, node: node(n).id, first })
    })
}

fn grant() -> impl Strategy<Value = Command> {
    let nets: Vec<&str> = NETS.into_iter().chain(["10.0.0.0/20", "10.0.16.0/20"]).collect();
    let address = prop::option::weighted(0.3, 0u32..9);
    (0u8..6, 1u8..5, select(nets), address).prop_map(|(network, n, subnet, offset)| {
        let subnet: ipnet::IpNet = subnet.parse().unwrap();
        let address = offset.map(|offset| match subnet.network() {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() + offset).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() + u128::from(offset)).into()),
        });
        Command::GrantBlock(GrantBlock {
            network: NetworkId::from_bytes([network; 16]),
            node: node_id(n),
            subnet,
            address,
        })
    })
}

/// What must hold of every intent.
fn check(intent: &Intent) {
    let networks: Vec<&Network> = intent.networks.values().collect();
    assert_eq!(networks.iter().map(|network| network.vni).collect::<BTreeSet<_>>().len(), networks.len());
    assert_eq!(networks.iter().map(|network| &network.name).collect::<BTreeSet<_>>().len(), networks.len());
    for (index, one) in networks.iter().enumerate() {
        for other in &networks[..index] {
            assert!(!one.overlaps(other) || one.allow_overlap || other.allow_overlap, "{one:?} {other:?}");
        }
        for underlay in intent.nodes.values().flat_map(|node| &node.underlay) {
            assert!(!one.subnets.iter().any(|subnet| subnet.overlaps(underlay)), "{one:?} {underlay}");
        }
        assert!(one.subnets.windows(2).all(|pair| pair[0].gateway.is_ipv4() && pair[1].gateway.is_ipv6()));
        assert!(one.mtu.is_none_or(|mtu| one.mtu_range().contains(&mtu)));
    }
    for (id, grants) in &intent.grants {
        let network = &intent.networks[id];
        let mut seen = BTreeSet::new();
        for block in &grants.blocks {
            assert!(intent.nodes.contains_key(&block.node));
            let subnet = network.subnet_of(block.first).unwrap();
            assert!(block.addresses().any(|address| subnet.is_endpoint(address)));
            for address in block.addresses() {
                assert!(subnet.net.contains(&address));
                assert!(seen.insert(address), "{address} granted twice");
                assert_eq!(grants.block_of(address), Some(block));
            }
        }
        assert!(grants.blocks.is_sorted_by_key(|block| block.first));
    }
    let nodes: Vec<&Node> = intent.nodes.values().collect();
    assert!(nodes.windows(2).all(|pair| pair[0].addr.is_ipv4() == pair[1].addr.is_ipv4()));
    let addresses: BTreeSet<_> = nodes.iter().map(|node| (node.addr, node.gossip_port)).collect();
    assert_eq!(addresses.len(), nodes.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_sequence_of_commands_keeps_intent_sound(commands in prop::collection::vec(command(), 1..80)) {
        let mut intent = Intent::default();
        apply(&mut intent, &init()).unwrap();
        let mut replay = intent.clone();
        for command in &commands {
            let before = intent.clone();
            let reply = apply(&mut intent, command);
            prop_assert_eq!(&reply, &apply(&mut replay, command));
            let unchanged = Intent { version: intent.version, ..before.clone() } == intent;
            prop_assert_eq!(intent.version, before.version + u64::from(!unchanged));
            if reply.is_err() {
                prop_assert_eq!(&intent, &before);
            }
            check(&intent);
        }
        prop_assert_eq!(&intent, &replay);

        let json = serde_json::to_vec(&intent).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Intent>(&json).unwrap(), &intent);
        let binary = postcard::to_stdvec(&intent).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Intent>(&binary).unwrap(), &intent);
    }
}
