use proptest::prelude::*;

use super::*;
use crate::fixtures::{World, apply, attach_request, attachment, cluster, create, netns, network, node_id};
use crate::intent::{Command, Reply};

pub(super) fn random(n: u8) -> Random {
    Random { id: [n; 16], mac: [n; 6] }
}

/// Plans for namespace and chance `n`, having what it needs granted, as the agent does.
pub(super) fn attach(
    world: &mut World,
    request: &api::EndpointAttach,
    n: u8,
) -> Result<Attachment, AttachError> {
    attach_in(world, request, n.into(), n)
}

fn attach_in(
    world: &mut World,
    request: &api::EndpointAttach,
    namespace: u64,
    n: u8,
) -> Result<Attachment, AttachError> {
    loop {
        match plan(request, netns(namespace), &world.situation(), random(n))? {
            Outcome::Ready(attachment) => {
                world.hold(attachment.clone());
                return Ok(attachment);
            }
            Outcome::NeedsBlock(needed) => {
                let reply = apply(&mut world.intent, &Command::GrantBlock(needed))?;
                assert!(matches!(reply, Reply::Block(_)));
            }
        }
    }
}

pub(super) fn refused(world: &World, request: &api::EndpointAttach) -> String {
    let error = plan(request, netns(9), &world.situation(), random(9)).unwrap_err();
    error.to_string()
}

#[test]
fn what_is_left_out_is_chosen() {
    let mut world = World::new();
    network(&mut world.intent, create(2, "both", &["10.2.0.0/20", "fd00::/64"])).unwrap();
    world.ifnames.insert("eth0".to_owned());
    let attached = attach(&mut world, &attach_request("both", "web"), 7).unwrap();
    assert_eq!(attached.ifname, "eth1");
    assert_eq!(attached.endpoint.mac, MacAddr::local_from([7; 6]));
    assert_eq!(attached.endpoint.ip4, Some("10.2.8.7".parse().unwrap()));
    assert_eq!(attached.endpoint.ip6, Some("fd00::1:7".parse().unwrap()));
}

#[test]
fn what_is_given_is_kept() {
    let mut world = World::new();
    let request = api::EndpointAttach {
        ip: Some("10.1.0.9".parse().unwrap()),
        mac: Some("02:00:00:00:00:09".parse().unwrap()),
        ifname: Some("net0".to_owned()),
        aliases: vec!["www".parse().unwrap()],
        ..attach_request("mynet", "web")
    };
    let attached = attach(&mut world, &request, 1).unwrap();
    assert_eq!(attached.endpoint.ip4, request.ip);
    assert_eq!(Some(attached.endpoint.mac), request.mac);
    assert_eq!(attached.ifname, "net0");
    assert_eq!(attached.endpoint.aliases, request.aliases);
}

#[test]
fn a_block_is_asked_for_only_when_none_has_room() {
    let mut world = World::new();
    let mynet = world.network("mynet");
    let needed = |address: Option<&str>| {
        Outcome::NeedsBlock(GrantBlock {
            network: mynet.id,
            node: node_id(1),
            subnet: mynet.subnets[0].net,
            address: address.map(|address| address.parse().unwrap()),
        })
    };
    let certain =
        api::EndpointAttach { ip: Some("10.1.0.9".parse().unwrap()), ..attach_request("mynet", "web") };
    let ask = |world: &World, request: &api::EndpointAttach| {
        plan(request, netns(99), &world.situation(), random(99)).unwrap()
    };
    assert_eq!(ask(&world, &certain), needed(Some("10.1.0.9")));
    assert_eq!(ask(&world, &attach_request("mynet", "web")), needed(None));
    // A block of a /24 has four addresses.
    for n in 0..4 {
        attach(&mut world, &attach_request("mynet", &format!("c{n}")), n).unwrap();
    }
    assert_eq!(world.intent.grants[&mynet.id].blocks.len(), 1);
    assert_eq!(ask(&world, &attach_request("mynet", "web")), needed(None));
}

#[test]
fn clashes_with_what_is_known() {
    let mut world = World::new();
    let mynet = world.network("mynet");
    network(&mut world.intent, create(2, "other", &["10.2.0.0/24"])).unwrap();
    let mut there = attachment(2, &mynet, [10, 1, 0, 2]);
    there.endpoint.aliases = vec!["db".parse().unwrap()];
    world.elsewhere(2, there.clone());
    world.ifnames.insert("net0".to_owned());
    apply(
        &mut world.intent,
        &Command::GrantBlock(GrantBlock {
            network: mynet.id,
            node: node_id(3),
            subnet: mynet.subnets[0].net,
            address: Some("10.1.0.3".parse().unwrap()),
        }),
    )
    .unwrap();

    let base = attach_request("mynet", "web");
    let ip = |text: &str| api::EndpointAttach { ip: Some(text.parse().unwrap()), ..base.clone() };
    let mac = |mac| api::EndpointAttach { mac: Some(mac), ..base.clone() };
    let ifname = |name: &str| api::EndpointAttach { ifname: Some(name.to_owned()), ..base.clone() };
    let alias = |name: &str| api::EndpointAttach { aliases: vec![name.parse().unwrap()], ..base.clone() };
    let messages = [
        attach_request("nonet", "web"),
        attach_request("mynet", "c2"),
        attach_request("mynet", "DB"),
        alias("c2"),
        alias("web"),
        ip("10.1.0.2"),
        ip("10.1.0.3"),
        ip("10.1.0.1"),
        ip("10.2.0.5"),
        api::EndpointAttach { ip6: Some("fd00::5".parse().unwrap()), ..base.clone() },
        mac(there.endpoint.mac),
        mac(MacAddr::gateway(mynet.vni)),
        ifname("net0"),
        ifname("a/b"),
    ]
    .map(|request| refused(&world, &request));
    insta::assert_snapshot!(messages.join("\n"), @r#"
    no network is called "nonet"
    the name c2 is taken in the network mynet, by the endpoint c2 on host-2
    the name DB is taken in the network mynet, by the endpoint c2 on host-2
    the name c2 is taken in the network mynet, by the endpoint c2 on host-2
    the name web is given twice
    the address 10.1.0.2 is taken in the network mynet, by the endpoint c2 on host-2
    10.1.0.3 of the network mynet is in a block of addresses that the node host-3 hands out
    10.1.0.1 is the gateway in the subnet 10.1.0.0/24 of the network mynet
    10.2.0.5 is outside of the subnet 10.1.0.0/24 of the network mynet
    the network mynet has no IPv6 subnet for fd00::5
    the MAC address 02:00:00:00:00:02 is taken in the network mynet, by the endpoint c2 on host-2
    the MAC address 02:6f:76:00:10:01 is the gateway's in the network mynet
    the namespace /run/netns/c9 has an interface called net0 already
    "a/b" is not an interface's name: it has no '/', ':', '%' or white space
    "#);
    // In another network, the same name and MAC are free.
    let elsewhere = api::EndpointAttach { mac: Some(there.endpoint.mac), ..attach_request("other", "c2") };
    attach(&mut world, &elsewhere, 9).unwrap();
}

#[test]
fn a_namespace_is_in_a_network_once() {
    let mut world = World::new();
    let overlapping =
        crate::intent::CreateNetwork { allow_overlap: true, ..create(2, "twin", &["10.1.0.0/25"]) };
    network(&mut world.intent, overlapping).unwrap();
    network(&mut world.intent, create(3, "other", &["10.2.0.0/24"])).unwrap();
    attach(&mut world, &attach_request("mynet", "web"), 9).unwrap();
    assert_eq!(
        refused(&world, &attach_request("mynet", "web2")),
        "the namespace is in the network mynet already, as the endpoint web"
    );
    assert_eq!(
        refused(&world, &attach_request("twin", "web2")),
        "the namespace is in the network mynet as the endpoint web, and that network's subnets overlap those of twin"
    );
    // The first network's interface may not be there yet.
    assert!(!world.ifnames.contains("eth0"));
    let second = attach_in(&mut world, &attach_request("other", "web"), 9, 8).unwrap();
    assert_eq!(second.ifname, "eth1");
}

#[test]
fn what_the_view_says_of_this_node_does_not_count() {
    let mut world = World::new();
    let gone = attachment(2, &world.network("mynet"), [10, 1, 0, 2]);
    world.elsewhere(1, gone);
    let again =
        api::EndpointAttach { ip: Some("10.1.0.2".parse().unwrap()), ..attach_request("mynet", "c2") };
    attach(&mut world, &again, 2).unwrap();
}

#[test]
fn errors_reach_users_with_code_and_hint() {
    let world = World::new();
    let error = plan(&attach_request("nonet", "web"), netns(1), &world.situation(), random(1)).unwrap_err();
    let error = api::ApiError::from(error);
    assert_eq!(error.code, api::ErrorCode::NotFound);
    assert_eq!(error.error, "no network is called \"nonet\"");
    assert_eq!(error.hint.unwrap(), "`overlayctl network ls` lists the networks");
}

#[test]
fn references() {
    let mut world = World::new();
    let mynet = world.network("mynet");
    let other = network(&mut world.intent, create(2, "other", &["10.2.0.0/24"])).unwrap();
    world.hold(attachment(0x11, &mynet, [10, 1, 0, 2]));
    let mut twin = attachment(0x12, &other, [10, 2, 0, 2]);
    twin.endpoint.name = "c17".parse().unwrap();
    world.elsewhere(2, twin);
    let find = |reference: &str| {
        resolve_endpoint(reference, world.me, &world.intent, &world.view, &world.attachments)
            .map(|found| (found.owner, found.endpoint.id.as_bytes()[0]))
            .map_err(|error| error.to_string())
    };
    assert_eq!(find("mynet/c17"), Ok((node_id(1), 0x11)));
    assert_eq!(find("other/c17"), Ok((node_id(2), 0x12)));
    assert_eq!(find("12"), Ok((node_id(2), 0x12)));
    assert_eq!(find(&"11".repeat(16)), Ok((node_id(1), 0x11)));
    let ambiguous = "may be any of mynet/c17 (111111111111), other/c17 (121212121212)";
    assert_eq!(find("c17"), Err(format!("\"c17\" {ambiguous}")));
    assert_eq!(find("1"), Err(format!("\"1\" {ambiguous}")));
    for nothing in ["", "c18", "nonet/c17", "13"] {
        assert_eq!(find(nothing), Err(format!("no endpoint is called {nothing:?}")));
    }
}

proptest! {
    /// Nodes that know nothing of each other's endpoints: grants alone keep addresses apart.
    #[test]
    fn no_address_is_given_twice(steps in prop::collection::vec(
        (0usize..3, prop::option::weighted(0.2, 0u8..16), any::<bool>(), any::<[u8; 16]>()), 1..60)
    ) {
        let mut intent = cluster(3);
        network(&mut intent, create(1, "mynet", &["10.1.0.0/26"])).unwrap();
        let mut worlds: Vec<World> =
            (1..=3).map(|n| World { me: node_id(n), intent: intent.clone(), ..World::new() }).collect();
        for (index, (node, wanted, detach, id)) in steps.into_iter().enumerate() {
            let world = &mut worlds[node];
            if detach {
                world.attachments.pop_first();
                continue;
            }
            let request = api::EndpointAttach {
                ip: wanted.map(|last| [10, 1, 0, last].into()),
                ..attach_request("mynet", &format!("c{index}"))
            };
            let mut mac = [0; 6];
            mac[5] = index as u8;
            let random = Random { id, mac };
            // The node's own intent may be old: only the grant that it gets is sure to be new.
            while let Ok(outcome) = plan(&request, netns(index as u64), &world.situation(), random) {
                match outcome {
                    Outcome::Ready(attachment) => {
                        world.hold(attachment);
                        break;
                    }
                    Outcome::NeedsBlock(needed) => match apply(&mut intent, &Command::GrantBlock(needed)) {
                        Ok(_) => world.intent = intent.clone(),
                        Err(_) => break,
                    },
                }
            }
            let mut seen = BTreeSet::new();
            for attachment in worlds.iter().flat_map(|world| world.attachments.values()) {
                prop_assert!(seen.insert(attachment.endpoint.ip4), "{:?} twice", attachment.endpoint.ip4);
            }
        }
    }
}

fn asks_for_nine() -> api::EndpointAttach {
    api::EndpointAttach { ip: Some("10.1.0.9".parse().unwrap()), ..attach_request("mynet", "web1") }
}

#[test]
fn single_addresses_go_back_once_nobody_has_them() {
    let mut world = World::new();
    let attachment = attach(&mut world, &asks_for_nine(), 1).unwrap();
    let mut release = Release::default();
    for _ in 0..3 {
        assert_eq!(release.looked(world.me, &world.intent, &world.attachments), [], "it is in use");
    }
    world.attachments.clear();
    let commands = release.detached(world.me, &world.intent, &attachment.endpoint);
    let [command] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(release.detached(world.me, &world.intent, &attachment.endpoint), [], "it is on its way");

    world.released = release.pending();
    assert_eq!(
        refused(&world, &asks_for_nine()),
        "the address 10.1.0.9 of the network mynet is being given back to the managers"
    );

    apply(&mut world.intent, command).unwrap();
    release.arrived(world.me, &world.intent);
    world.released = release.pending();
    world.me = node_id(2);
    assert_eq!(attach(&mut world, &asks_for_nine(), 3).unwrap().endpoint.ip4, asks_for_nine().ip);
}

#[test]
fn a_release_that_comes_twice_leaves_a_later_grant_alone() {
    let mut world = World::new();
    let attachment = attach(&mut world, &asks_for_nine(), 1).unwrap();
    world.attachments.clear();
    let mut release = Release::default();
    let commands = release.detached(world.me, &world.intent, &attachment.endpoint);
    let [command] = commands.as_slice() else { panic!("{commands:?}") };
    apply(&mut world.intent, command).unwrap();

    attach(&mut world, &asks_for_nine(), 2).unwrap();
    release.arrived(world.me, &world.intent);
    assert!(release.pending().is_empty(), "what is on its way is not what is held");
    apply(&mut world.intent, command).unwrap();
    let held = world.intent.block_of(attachment.endpoint.network, asks_for_nine().ip.unwrap().into());
    assert_eq!(held.map(|block| block.node), Some(world.me));
}

#[test]
fn an_address_that_lies_idle_goes_back_at_the_second_look() {
    let mut world = World::new();
    attach(&mut world, &asks_for_nine(), 1).unwrap();
    world.attachments.clear();
    let mut release = Release::default();
    assert_eq!(release.looked(world.me, &world.intent, &world.attachments), [], "it may be about to be used");
    assert_eq!(release.looked(world.me, &world.intent, &world.attachments).len(), 1);
    assert_eq!(release.looked(world.me, &world.intent, &world.attachments), [], "it is on its way");
}
