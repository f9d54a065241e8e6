use std::net::IpAddr;

use super::*;
use crate::fixtures::{apply, cluster, create, init, network, node, node_id};

fn grant(intent: &mut Intent, network: &Network, n: u8, address: Option<&str>) -> Result<Block, IntentError> {
    let request = GrantBlock {
        network: network.id,
        node: node_id(n),
        subnet: network.subnets[0].net,
        address: address.map(|address| address.parse().unwrap()),
    };
    match apply(intent, &Command::GrantBlock(request))? {
        Reply::Block(block) => Ok(block),
        other => panic!("{other:?}"),
    }
}

fn text(block: Block) -> String {
    format!("{}+{}", block.first, block.count)
}

#[test]
fn a_cluster_begins_once_and_first() {
    let mut intent = Intent::default();
    assert_eq!(apply(&mut intent, &Command::PutNode(node(1))), Err(IntentError::NotInitialized));
    assert_eq!(apply(&mut intent, &init()), Ok(Reply::Done));
    assert_eq!(intent.version, 1);
    assert_eq!(apply(&mut intent, &init()), Err(IntentError::AlreadyInitialized));
}

#[test]
fn a_node_that_says_the_same_again_changes_nothing() {
    let mut intent = cluster(2);
    let before = intent.clone();
    apply(&mut intent, &Command::PutNode(node(2))).unwrap();
    assert_eq!(intent, before);
    let renamed = Node { hostname: "other".to_owned(), ..node(2) };
    apply(&mut intent, &Command::PutNode(renamed)).unwrap();
    assert_eq!(intent.version, before.version + 1);
}

#[test]
fn nodes_that_cannot_be_members() {
    let mut intent = cluster(2);
    network(&mut intent, create(1, "mynet", &["10.1.0.0/24"])).unwrap();
    let mut refuse = |node: Node| {
        let error = apply(&mut intent, &Command::PutNode(node)).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    assert_eq!(
        refuse(Node { underlay: vec!["10.0.0.0/8".parse().unwrap()], ..node(3) }),
        "the node host-3 is in 10.0.0.0/8 with an interface of its own, which overlaps 10.1.0.0/24 of the network mynet"
    );
    assert_eq!(
        refuse(Node { addr: "2001:db8::3".parse().unwrap(), ..node(3) }),
        "the node host-3 advertises 2001:db8::3, and the node host-1 192.0.2.1: all nodes must use one address family"
    );
    assert_eq!(
        refuse(Node { addr: node(2).addr, ..node(3) }),
        "the node host-2 is at 192.0.2.2 with gossip port 7946 already"
    );
    apply(&mut intent, &Command::PutNode(Node { addr: node(2).addr, gossip_port: 7947, ..node(3) })).unwrap();
}

#[test]
fn the_pool_skips_what_is_in_use() {
    let mut intent = cluster(1);
    let underlay = vec!["10.0.0.0/20".parse().unwrap(), "10.0.32.0/24".parse().unwrap()];
    apply(&mut intent, &Command::PutNode(Node { underlay, ..node(1) })).unwrap();
    let first = network(&mut intent, create(1, "a", &[])).unwrap();
    let second = network(&mut intent, create(2, "b", &["fd00::/64"])).unwrap();
    let subnets = |network: &Network| {
        network.subnets.iter().map(|subnet| format!("{} {}", subnet.net, subnet.gateway)).collect::<Vec<_>>()
    };
    assert_eq!(subnets(&first), ["10.0.16.0/20 10.0.16.1"]);
    assert_eq!(subnets(&second), ["10.0.48.0/20 10.0.48.1", "fd00::/64 fd00::1"]);
    assert_eq!((first.vni.get(), second.vni.get()), (4097, 4098));
}

#[test]
fn the_pool_ends() {
    let mut intent = cluster(1);
    apply(&mut intent, &Command::PutNode(Node { underlay: vec!["10.0.0.0/8".parse().unwrap()], ..node(1) }))
        .unwrap();
    let error = network(&mut intent, create(1, "a", &[])).unwrap_err();
    insta::assert_snapshot!(error, @"the default pool 10.0.0.0/8 has no /20 left that overlaps neither a network nor what a node is in");
}

#[test]
fn a_freed_vni_is_the_lowest_again() {
    let mut intent = cluster(1);
    let first = network(&mut intent, create(1, "a", &[])).unwrap();
    network(&mut intent, create(2, "b", &[])).unwrap();
    apply(&mut intent, &Command::RemoveNetwork { id: first.id }).unwrap();
    assert_eq!(network(&mut intent, create(3, "c", &[])).unwrap().vni, first.vni);
}

#[test]
fn a_network_proposed_twice_is_one_network() {
    let mut intent = cluster(1);
    let first = network(&mut intent, create(1, "a", &[])).unwrap();
    let version = intent.version;
    assert_eq!(network(&mut intent, create(1, "a", &[])), Ok(first));
    assert_eq!(intent.version, version);
}

#[test]
fn networks_that_cannot_be() {
    let mut intent = cluster(1);
    network(&mut intent, create(1, "mynet", &["10.1.0.0/24"])).unwrap();
    let before = intent.clone();
    let mut refuse = |change: &dyn Fn(&mut CreateNetwork), subnets: &[&str]| {
        let mut request = create(2, "other", subnets);
        change(&mut request);
        let error = network(&mut intent, request).unwrap_err();
        assert_eq!(intent, before, "{error}");
        error.to_string()
    };
    let as_is = |_: &mut CreateNetwork| {};
    let messages = [
        refuse(&|request| request.name = "mynet".parse().unwrap(), &[]),
        refuse(&as_is, &["10.1.0.0/16"]),
        refuse(&as_is, &["192.0.2.0/25"]),
        refuse(&|request| request.allow_overlap = true, &["192.0.2.0/25"]),
        refuse(&as_is, &["10.2.0.0/24", "10.3.0.0/24"]),
        refuse(&as_is, &["10.2.0.7/24"]),
        refuse(&|request| request.gateways = vec!["10.9.0.1".parse().unwrap()], &["10.2.0.0/24"]),
        refuse(
            &|request| request.gateways = ["10.2.0.1", "10.2.0.2"].map(|text| text.parse().unwrap()).into(),
            &["10.2.0.0/24"],
        ),
        refuse(&|request| request.mtu = Some(575), &["10.2.0.0/24"]),
        refuse(&|request| request.mtu = Some(1279), &["10.2.0.0/24", "fd00::/64"]),
        refuse(&|request| request.mtu = Some(65486), &["10.2.0.0/24"]),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    a network called mynet exists already
    the subnet 10.1.0.0/16 overlaps 10.1.0.0/24 of the network mynet
    the subnet 192.0.2.0/25 overlaps 192.0.2.0/24, which the node host-1 is in with an interface of its own
    the subnet 192.0.2.0/25 overlaps 192.0.2.0/24, which the node host-1 is in with an interface of its own
    two subnets of one family, 10.2.0.0/24 and 10.3.0.0/24: a network has at most one of IPv4 and one of IPv6
    10.2.0.7/24 has host bits set; the subnet is 10.2.0.0/24
    the gateway 10.9.0.1 is in none of the network's subnets (10.2.0.0/24)
    two gateways, 10.2.0.1 and 10.2.0.2, in the subnet 10.2.0.0/24: it has one
    an MTU of 575 bytes: this network's is from 576 to 65485
    an MTU of 1279 bytes: this network's is from 1280 to 65485
    an MTU of 65486 bytes: this network's is from 576 to 65485
    ");
}

#[test]
fn overlap_is_allowed_where_the_new_network_allows_it() {
    let mut intent = cluster(1);
    network(&mut intent, create(1, "a", &["10.1.0.0/24"])).unwrap();
    let request = CreateNetwork { allow_overlap: true, ..create(2, "b", &["10.1.0.0/24"]) };
    network(&mut intent, request).unwrap();
    assert!(matches!(
        network(&mut intent, create(3, "c", &["10.1.0.0/24"])),
        Err(IntentError::NetworkOverlap { .. })
    ));
}

#[test]
fn removing_a_network_drops_its_grants() {
    let mut intent = cluster(1);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/24"])).unwrap();
    grant(&mut intent, &mynet, 1, None).unwrap();
    apply(&mut intent, &Command::RemoveNetwork { id: mynet.id }).unwrap();
    assert_eq!(intent.grants, Default::default());
    assert_eq!(
        apply(&mut intent, &Command::RemoveNetwork { id: mynet.id }),
        Err(IntentError::NoSuchNetwork { reference: mynet.id.to_string() })
    );
}

#[test]
fn blocks_start_in_the_middle_and_wrap() {
    let mut intent = cluster(2);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/20"])).unwrap();
    assert_eq!(text(grant(&mut intent, &mynet, 1, None).unwrap()), "10.1.8.0+64");
    assert_eq!(text(grant(&mut intent, &mynet, 2, None).unwrap()), "10.1.8.64+64");
    for _ in 0..30 {
        grant(&mut intent, &mynet, 1, None).unwrap();
    }
    assert_eq!(text(grant(&mut intent, &mynet, 2, None).unwrap()), "10.1.0.0+64");
}

#[test]
fn the_last_addresses_are_granted_in_smaller_blocks() {
    let mut intent = cluster(2);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/25"])).unwrap();
    // One address taken by hand halves what is left around it.
    grant(&mut intent, &mynet, 2, Some("10.1.0.64")).unwrap();
    let blocks: Vec<Block> = std::iter::from_fn(|| grant(&mut intent, &mynet, 1, None).ok()).collect();
    assert_eq!(text(blocks[0]), "10.1.0.66+2");
    // Neither the pair of the network's address and the gateway, nor the gateway alone.
    assert!(
        blocks.iter().all(|block| block.addresses().any(|address| mynet.subnets[0].is_endpoint(address)))
    );
    let addresses = blocks.iter().flat_map(Block::addresses);
    let usable = addresses.filter(|address| mynet.subnets[0].is_endpoint(*address)).count();
    assert_eq!(usable, 128 - 3 - 1);
    assert_eq!(
        grant(&mut intent, &mynet, 1, None).unwrap_err().to_string(),
        "the subnet 10.1.0.0/25 of the network mynet has no free address left to grant"
    );
}

#[test]
fn a_certain_address() {
    let mut intent = cluster(2);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/20"])).unwrap();
    assert_eq!(text(grant(&mut intent, &mynet, 1, Some("10.1.0.9")).unwrap()), "10.1.0.9+1");
    let block = grant(&mut intent, &mynet, 1, None).unwrap();
    let before = intent.clone();
    assert_eq!(grant(&mut intent, &mynet, 1, Some("10.1.8.9")), Ok(block));
    assert_eq!(
        grant(&mut intent, &mynet, 2, Some("10.1.8.9")).unwrap_err().to_string(),
        "10.1.8.9 of the network mynet is in a block of addresses that the node host-1 hands out"
    );
    for bad in ["10.1.0.0", "10.1.0.1", "10.1.15.255", "10.2.0.1", "fd00::1"] {
        let error = grant(&mut intent, &mynet, 1, Some(bad)).unwrap_err();
        assert!(matches!(error, IntentError::NotForEndpoints { .. }), "{bad}: {error}");
    }
    assert_eq!(intent, before);
}

#[test]
fn ipv6_blocks() {
    let mut intent = cluster(1);
    let mut mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/24", "fd00::/64"])).unwrap();
    mynet.subnets.remove(0);
    assert_eq!(text(grant(&mut intent, &mynet, 1, None).unwrap()), "fd00::1:0+64");
    assert_eq!(text(grant(&mut intent, &mynet, 1, None).unwrap()), "fd00::1:40+64");
    assert_eq!(text(grant(&mut intent, &mynet, 1, Some("fd00::2")).unwrap()), "fd00::2+1");
}

#[test]
fn a_picked_address_is_free_and_starts_where_chance_says() {
    let mut intent = cluster(1);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/20"])).unwrap();
    grant(&mut intent, &mynet, 1, None).unwrap();
    let grants = &intent.grants[&mynet.id];
    let pick = |used: &[&str], random: u128| {
        let used = used.iter().map(|address| address.parse().unwrap()).collect();
        grants
            .pick(node_id(1), &mynet.subnets[0], &used, random.to_be_bytes())
            .map(|address| address.to_string())
    };
    assert_eq!(pick(&[], 5).unwrap(), "10.1.8.5");
    assert_eq!(pick(&["10.1.8.5"], 64 + 5).unwrap(), "10.1.8.6");
    assert_eq!(pick(&["10.1.8.63"], 63).unwrap(), "10.1.8.0");
    let all: Vec<String> = (0..64).map(|last| format!("10.1.8.{last}")).collect();
    assert_eq!(pick(&all.iter().map(String::as_str).collect::<Vec<_>>(), 9), None);
    assert_eq!(grants.pick(node_id(2), &mynet.subnets[0], &Default::default(), [0; 16]), None);
}

#[test]
fn the_block_of_an_address() {
    let mut intent = cluster(1);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/20"])).unwrap();
    grant(&mut intent, &mynet, 1, None).unwrap();
    let held = |address: &str| intent.block_of(mynet.id, address.parse::<IpAddr>().unwrap()).is_some();
    assert!(held("10.1.8.0") && held("10.1.8.63"));
    assert!(!held("10.1.7.255") && !held("10.1.8.64") && !held("fd00::1"));
}
