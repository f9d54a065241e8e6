use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fixtures::{apply, create, create_service, init, node, node_id};
use crate::model::{Availability, EndpointId, EndpointMode, Protocol, Publish, PublishMode};

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

/// Subnets with few addresses, one of each family.
const SMALL: [&str; 2] = ["10.1.0.0/29", "fd00::/126"];

pub(super) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => Just(init()),
        2 => put_node(),
        4 => create_network(),
        1 => (0u8..6).prop_map(|n| Command::RemoveNetwork { id: NetworkId::from_bytes([n; 16]) }),
        1 => (1u8..9, any::<bool>()).prop_map(|(n, force)| Command::RemoveNode { id: node_id(n), force }),
        2 => (1u8..9, any::<bool>()).prop_map(|(n, manager)| Command::SetRole { node: node_id(n), manager }),
        1 => admit(),
        4 => trust(),
        2 => release(0..6, &NETS),
        6 => create_a_service(),
        4 => update_service(),
        1 => service_id().prop_map(|id| Command::RemoveService { id }),
        1 => drain(),
        1 => (1u8..5, prop::option::of(availability()), any::<bool>(), any::<u64>()).prop_map(|(n, availability, on, at)| {
            let labels_add = on.then(|| ("rack".to_owned(), n.to_string())).into_iter().collect();
            let change = NodeChange { availability, labels_rm: vec!["rack".to_owned()], labels_add };
            Command::UpdateNode { node: node_id(n), change, at }
        }),
        12 => grant(0..6, &[&NETS[..], &["10.0.0.0/20", "10.0.16.0/20"]].concat()),
    ]
}

/// What happens in network 1, which is so small that services and blocks get in each other's way.
fn command_in_a_small_network() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => grant(1..2, &SMALL),
        2 => release(1..2, &SMALL),
        2 => (0u8..6).prop_map(|n| Command::CreateService(create_service(n, &format!("s{n}"), &[1], &[]))),
        1 => service_id().prop_map(|id| Command::RemoveService { id }),
    ]
}

fn admit() -> impl Strategy<Value = Command> {
    (1u8..9, 0u8..3, any::<bool>(), prop::option::of(1u8..9)).prop_map(|(n, issuer, manager, replaces)| {
        let node = Node { manager, key: format!("key {issuer}"), ..node(n) };
        Command::AdmitNode(AdmitNode { node, issuer: ca(issuer).cert, replaces: replaces.map(node_id) })
    })
}

/// The CA that the cluster begins with, or one that comes later.
fn ca(n: u8) -> CaKeys {
    let cert = if n == 0 { "certificate".to_owned() } else { format!("certificate {n}") };
    CaKeys { cert, key: format!("private {n}").into() }
}

/// Tokens, gossip keys and CAs, and a beginning anew.
fn trust() -> impl Strategy<Value = Command> {
    let n = 0u8..3;
    prop_oneof![
        (any::<bool>(), n.clone())
            .prop_map(|(manager, n)| Command::RotateToken { manager, secret: n.to_string().into() }),
        (n.clone(), n.clone(), any::<u64>()).prop_map(|(id, key, at)| Command::AddGossipKey {
            id,
            key: key.to_string().into(),
            at
        }),
        n.clone().prop_map(|id| Command::UseGossipKey { id }),
        n.clone().prop_map(|id| Command::DropGossipKey { id }),
        Just(Command::WantGossipKey),
        n.clone().prop_map(|n| Command::AddCa(ca(n))),
        n.clone().prop_map(|n| Command::UseCa { cert: ca(n).cert }),
        n.clone().prop_map(|n| Command::DropCa { cert: ca(n).cert }),
        (1u8..9, n)
            .prop_map(|(node, n)| Command::NoteCertificate { node: node_id(node), issuer: ca(n).cert }),
        (1u8..9, 0u64..9).prop_map(|(n, epoch)| Command::ForceNewCluster { node: node_id(n), epoch }),
        (1u8..9, 0u64..9).prop_map(|(n, epoch)| Command::Restore {
            state: Box::default(),
            node: node(n),
            epoch
        }),
    ]
}

fn put_node() -> impl Strategy<Value = Command> {
    let underlay = prop::collection::vec(select(&NETS[..]), 0..2);
    (1u8..9, 1u8..9, any::<bool>(), underlay).prop_map(|(n, addr, other_family, underlay)| {
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

/// Ports few enough to clash, with each other and with the nodes' own.
fn publish() -> impl Strategy<Value = Publish> {
    let ports = (select(&[1u16, 80, 2377, 4789, 7946, 65535][..]), 0u16..4);
    let protocol = select(&[Protocol::Tcp, Protocol::Udp][..]);
    (ports, protocol, select(&[PublishMode::Ingress, PublishMode::Host][..])).prop_map(
        |((first, more), protocol, mode)| {
            let range = format!("{first}-{}", first.saturating_add(more)).parse().unwrap();
            Publish::new(range, 1, protocol, mode).unwrap()
        },
    )
}

fn networks() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..6, 0..3)
}

fn mode() -> impl Strategy<Value = EndpointMode> {
    prop_oneof![4 => Just(EndpointMode::Vip), 1 => Just(EndpointMode::Dnsrr)]
}

fn availability() -> impl Strategy<Value = Availability> {
    select(&[Availability::Active, Availability::Pause, Availability::Drain][..])
}

fn service_id() -> impl Strategy<Value = ServiceId> {
    (0u8..6).prop_map(|n| ServiceId::from_bytes([n; 16]))
}

fn create_a_service() -> impl Strategy<Value = Command> {
    let publish = prop::collection::vec(publish(), 0..2);
    (0u8..6, select(&["a", "b", "B", "c"][..]), networks(), publish, mode()).prop_map(
        |(n, name, networks, publish, endpoint_mode)| {
            let request = create_service(n, name, &networks, &publish);
            Command::CreateService(CreateService { endpoint_mode, ..request })
        },
    )
}

fn update_service() -> impl Strategy<Value = Command> {
    let ids = |networks: Vec<u8>| networks.iter().map(|n| NetworkId::from_bytes([*n; 16])).collect();
    let publish_rm = prop::collection::vec(publish(), 0..2);
    let publish_add = prop::collection::vec(publish(), 0..2);
    (service_id(), networks(), networks(), publish_rm, publish_add, prop::option::weighted(0.2, mode()))
        .prop_map(move |(id, networks_rm, networks_add, publish_rm, publish_add, endpoint_mode)| {
            let change = ServiceChange {
                networks_rm: ids(networks_rm),
                networks_add: ids(networks_add),
                publish_rm: publish_rm
                    .iter()
                    .map(|publish| (publish.protocol(), publish.published()))
                    .collect(),
                publish_add,
                endpoint_mode,
                ..ServiceChange::default()
            };
            Command::UpdateService { id, change }
        })
}

fn drain() -> impl Strategy<Value = Command> {
    (service_id(), any::<u8>(), any::<Option<u64>>()).prop_map(|(service, n, since)| Command::DrainBackend {
        service,
        endpoint: EndpointId::from_bytes([n; 16]),
        since,
    })
}

fn release(networks: Range<u8>, nets: &[&'static str]) -> impl Strategy<Value = Command> + use<> {
    (networks, 1u8..5, select(nets.to_vec()), 0u8..9).prop_map(|(network, n, subnet, offset)| {
        let first = match subnet.parse::<ipnet::IpNet>().unwrap().network() {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() + u32::from(offset)).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() + u128::from(offset)).into()),
        };
        let network = NetworkId::from_bytes([network; 16]);
        let block = Block { node: node_id(n), first, count: 1, granted: 0 };
        Command::ReleaseBlock(ReleaseBlock { network, block })
    })
}

fn grant(networks: Range<u8>, nets: &[&'static str]) -> impl Strategy<Value = Command> + use<> {
    let address = prop::option::weighted(0.3, 0u32..9);
    (networks, 1u8..5, select(nets.to_vec()), address).prop_map(|(network, n, subnet, offset)| {
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

/// The command, which gives back the block that there is, if there is one.
pub(super) fn aimed(intent: &Intent, command: &Command) -> Command {
    match command {
        Command::ReleaseBlock(release) => {
            let held = intent.block_of(release.network, release.block.first);
            let block = held.copied().unwrap_or(release.block);
            Command::ReleaseBlock(ReleaseBlock { network: release.network, block })
        }
        other => other.clone(),
    }
}

/// What must hold of every intent.
pub(super) fn check(intent: &Intent) {
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

/// What must hold of who is a member, and of what members trust.
fn check_trust(State { intent, secrets }: &State) {
    assert!((1..=MOST_MANAGERS).contains(&intent.managers().count()));
    assert!(!intent.nodes.keys().any(|id| intent.removed.contains(id)), "{:?}", intent.removed);
    let cluster = intent.cluster.as_ref().unwrap();
    assert!(cluster.gossip.keys.contains_key(&cluster.gossip.current), "{:?}", cluster.gossip);
    assert!(cluster.gossip.keys.len() <= 2);
    assert_eq!(secrets.ca.as_ref().unwrap().cert, cluster.ca_cert, "who signs is whom all trust");
    assert_eq!(secrets.next_ca.as_ref().map(|ca| &ca.cert), cluster.next_ca_cert.as_ref());
    assert!(cluster.next_ca_cert.is_none() || cluster.old_ca_cert.is_none());
    let certificates: BTreeSet<&str> = cluster.trusted().collect();
    assert_eq!(certificates.len(), cluster.trusted().count());
    let generations: BTreeSet<u64> =
        certificates.iter().map(|cert| cluster.generation_of(cert).unwrap()).collect();
    for node in intent.nodes.values() {
        assert!(generations.contains(&node.ca_generation), "nobody trusts the certificate of {node:?}");
    }
}

/// What must hold of every intent's services.
fn check_services(intent: &Intent) {
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    let mut vips = BTreeSet::new();
    for node in intent.nodes.values() {
        ports.extend([(Protocol::Udp, node.data_port), (Protocol::Udp, node.gossip_port)]);
        ports.extend([(Protocol::Tcp, node.api_port), (Protocol::Tcp, node.gossip_port)]);
    }
    for service in intent.services.values() {
        assert!(names.insert(service.name.as_str().to_lowercase()), "{service:?}");
        for publish in &service.publish {
            for port in publish.published().ports() {
                assert!(ports.insert((publish.protocol(), port)), "port {port} is taken twice: {service:?}");
            }
        }
        assert!(!service.networks.is_empty());
        let mut wanted = BTreeSet::new();
        for id in &service.networks {
            let subnets = &intent.networks[id].subnets;
            assert!(wanted.insert((*id, None)), "in a network twice: {service:?}");
            wanted.extend(subnets.iter().map(|subnet| (*id, Some(subnet.net))));
        }
        wanted.retain(|(_, subnet)| subnet.is_some() && service.endpoint_mode == EndpointMode::Vip);
        for vip in &service.vips {
            let network = &intent.networks[&vip.network];
            let subnet = network.subnet_of(vip.address).unwrap();
            assert!(wanted.remove(&(network.id, Some(subnet.net))), "two in one subnet: {service:?}");
            assert!(subnet.is_endpoint(vip.address), "{vip:?}");
            assert_eq!(intent.block_of(network.id, vip.address), None);
            assert!(vips.insert(*vip), "{vip:?} is two services'");
        }
        assert!(wanted.is_empty(), "no address in {wanted:?}: {service:?}");
    }
}

/// An update keeps id and name, and each address in a network that the service was in and still is.
fn check_kept(before: &Intent, after: &Intent) {
    for (id, old) in &before.services {
        let Some(new) = after.services.get(id) else { continue };
        assert_eq!((&old.id, &old.name), (&new.id, &new.name));
        let still = |vip: &&crate::model::Vip| new.networks.contains(&vip.network);
        if new.endpoint_mode == EndpointMode::Vip {
            assert!(old.vips.iter().filter(still).all(|vip| new.vips.contains(vip)), "{old:?} {new:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_sequence_of_commands_keeps_intent_sound(commands in prop::collection::vec(command(), 1..80)) {
        let mut state = State::default();
        super::apply(&mut state, &init()).unwrap();
        let mut replay = state.clone();
        for command in &commands {
            let (before, command) = (state.clone(), aimed(&state.intent, command));
            let reply = super::apply(&mut state, &command);
            prop_assert_eq!(&reply, &super::apply(&mut replay, &command));
            let mut as_before = before.clone();
            as_before.intent.version = state.intent.version;
            prop_assert_eq!(state.intent.version, before.intent.version + u64::from(as_before != state));
            if reply.is_err() {
                prop_assert_eq!(&state, &before);
            }
            check(&state.intent);
            check_trust(&state);
            check_services(&state.intent);
            check_kept(&before.intent, &state.intent);
        }
        prop_assert_eq!(&state, &replay);

        let json = serde_json::to_vec(&state).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<State>(&json).unwrap(), &state);
        let binary = postcard::to_stdvec(&state).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<State>(&binary).unwrap(), &state);
    }

    #[test]
    fn blocks_and_virtual_addresses_never_meet(
        commands in prop::collection::vec(command_in_a_small_network(), 1..60),
    ) {
        let mut intent = Intent::default();
        apply(&mut intent, &init()).unwrap();
        apply(&mut intent, &Command::CreateNetwork(create(1, "mynet", &SMALL))).unwrap();
        for command in &commands {
            // A refusal is as good: what holds after it is what counts.
            let command = aimed(&intent, command);
            let _ = apply(&mut intent, &command);
            check(&intent);
            check_services(&intent);
        }
    }
}
