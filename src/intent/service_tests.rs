use std::time::Duration;

use super::*;
use crate::fixtures::{apply, cluster, create, create_service, network, node, node_id, publish, service};
use crate::model::{
    Affinity, Availability, EndpointId, EndpointMode, Protocol, Publish, PublishMode, Seconds, Vip,
};

/// A cluster of two nodes with the networks 1 (10.1.0.0/24 and fd00:1::/64) and 2 (10.2.0.0/24).
fn networks() -> Intent {
    let mut intent = cluster(2);
    network(&mut intent, create(1, "one", &["10.1.0.0/24", "fd00:1::/64"])).unwrap();
    network(&mut intent, create(2, "two", &["10.2.0.0/24"])).unwrap();
    intent
}

fn change(intent: &mut Intent, service: &Service, change: ServiceChange) -> Result<Service, IntentError> {
    match apply(intent, &Command::UpdateService { id: service.id, change })? {
        Reply::Service(service) => Ok(service),
        other => panic!("{other:?}"),
    }
}

fn addresses(service: &Service) -> Vec<String> {
    service.vips.iter().map(|vip| vip.address.to_string()).collect()
}

#[test]
fn a_service_has_an_address_in_each_subnet_of_its_networks() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1, 2], &[])).unwrap();
    assert_eq!(addresses(&web), ["10.1.0.127", "fd00:1::ffff", "10.2.0.127"]);
    let api = service(&mut intent, create_service(2, "api", &[2, 2], &[])).unwrap();
    assert_eq!((addresses(&api), api.networks.len()), (vec!["10.2.0.126".to_owned()], 1));
    let dns = CreateService { endpoint_mode: EndpointMode::Dnsrr, ..create_service(3, "dns", &[1], &[]) };
    assert_eq!(service(&mut intent, dns).unwrap().vips, []);
}

#[test]
fn a_service_proposed_twice_is_one_service() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[])).unwrap();
    let version = intent.version;
    assert_eq!(service(&mut intent, create_service(1, "web", &[1], &[])), Ok(web));
    assert_eq!(intent.version, version);
}

#[test]
fn services_that_cannot_be() {
    let mut intent = networks();
    service(&mut intent, create_service(1, "web", &[1], &[publish("8000-8010", 80)])).unwrap();
    let before = intent.clone();
    let mut refuse = |name: &str, networks: &[u8], ports: &[Publish]| {
        let error = service(&mut intent, create_service(2, name, networks, ports)).unwrap_err();
        assert_eq!(intent, before, "{error}");
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let udp =
        |ports: &str| Publish::new(ports.parse().unwrap(), 1, Protocol::Udp, PublishMode::Host).unwrap();
    let messages = [
        refuse("web", &[1], &[]),
        refuse("WEB", &[1], &[]),
        refuse("api", &[], &[]),
        refuse("api", &[1, 9], &[]),
        refuse("api", &[1], &[publish("8005-9000", 80)]),
        refuse("api", &[1], &[publish("1-7999", 1)]),
        refuse("api", &[1], &[publish("80-90", 80), publish("90", 80)]),
        refuse("api", &[1], &[publish("2377", 80)]),
        refuse("api", &[1], &[publish("7900-7999", 80)]),
        refuse("api", &[1], &[udp("1-65535")]),
        refuse("api", &[1], &(1..102).map(|port| publish(&port.to_string(), port)).collect::<Vec<_>>()),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    a service called web exists already
    a service called web exists already
    the service api would be in no network
    no network is called "09090909090909090909090909090909"
    TCP port 8005 is published by the service web
    TCP port 7946 is the gossip port of the node host-1
    TCP port 90 is published twice
    TCP port 2377 is the manager API's port of the node host-1
    TCP port 7946 is the gossip port of the node host-1
    UDP port 4789 is the data port of the node host-1
    101 published ports and ranges: a service has at most 100
    "#);
    service(&mut intent, create_service(2, "api", &[1], &[udp("8000-8010")])).unwrap();
}

#[test]
fn a_service_goes_and_comes_back() {
    let mut intent = networks();
    let request = create_service(1, "web", &[1], &[publish("80", 80)]);
    let web = service(&mut intent, request.clone()).unwrap();
    apply(&mut intent, &Command::RemoveService { id: web.id }).unwrap();
    assert_eq!(
        apply(&mut intent, &Command::RemoveService { id: web.id }).unwrap_err().to_string(),
        format!("no service is called {:?}", web.id.to_string())
    );
    assert_eq!(service(&mut intent, request), Ok(web), "its port and addresses were free again");
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[publish("80", 80), publish("81", 80)]))
        .unwrap();
    let version = intent.version;
    assert_eq!(change(&mut intent, &web, ServiceChange::default()), Ok(web.clone()));
    assert_eq!(intent.version, version);

    let wish = ServiceChange {
        networks_add: vec![NetworkId::from_bytes([2; 16])],
        publish_rm: vec![(Protocol::Tcp, "80".parse().unwrap())],
        publish_add: vec![publish("8080", 80), publish("81", 80)],
        affinity: Some("client-ip".parse().unwrap()),
        labels_add: [("team".to_owned(), "web".to_owned())].into(),
        ..ServiceChange::default()
    };
    let changed = change(&mut intent, &web, wish).unwrap();
    let new = Vip { network: NetworkId::from_bytes([2; 16]), address: "10.2.0.127".parse().unwrap() };
    let wanted = Service {
        networks: vec![web.networks[0], new.network],
        publish: vec![publish("81", 80), publish("8080", 80)],
        affinity: "client-ip:10800".parse::<Affinity>().unwrap(),
        vips: [&web.vips[..], &[new]].concat(),
        labels: [("team".to_owned(), "web".to_owned())].into(),
        ..web.clone()
    };
    assert_eq!(changed, wanted);

    let left = ServiceChange {
        networks_rm: vec![web.networks[0]],
        labels_rm: vec!["team".to_owned()],
        ..ServiceChange::default()
    };
    let left = change(&mut intent, &web, left).unwrap();
    assert_eq!((left.vips, left.labels), (vec![new], web.labels.clone()));
}

#[test]
fn updates_that_cannot_be() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[publish("80-81", 80)])).unwrap();
    service(&mut intent, create_service(2, "api", &[1], &[publish("90", 80)])).unwrap();
    let before = intent.clone();
    let mut refuse = |wish: ServiceChange| {
        let error = change(&mut intent, &web, wish).unwrap_err();
        assert_eq!(intent, before, "{error}");
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let none = ServiceChange::default;
    let messages = [
        refuse(ServiceChange { networks_rm: web.networks.clone(), ..none() }),
        refuse(ServiceChange { publish_rm: vec![(Protocol::Tcp, "80".parse().unwrap())], ..none() }),
        refuse(ServiceChange { publish_rm: vec![(Protocol::Udp, "80-81".parse().unwrap())], ..none() }),
        refuse(ServiceChange { publish_add: vec![publish("90", 90)], ..none() }),
        refuse(ServiceChange { publish_add: vec![publish("81", 99)], ..none() }),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r"
    the service web would be in no network
    the service web does not publish TCP port 80
    the service web does not publish UDP port 80-81
    TCP port 90 is published by the service api
    TCP port 81 is published twice
    ");
}

#[test]
fn virtual_addresses_and_blocks_keep_apart() {
    let mut intent = cluster(1);
    let mynet = network(&mut intent, create(1, "mynet", &["10.1.0.0/28"])).unwrap();
    let web = service(&mut intent, create_service(1, "web", &[1], &[])).unwrap();
    assert_eq!(addresses(&web), ["10.1.0.7"]);
    let subnet = mynet.subnets[0].net;
    let grant = |address: Option<&str>| {
        let address = address.map(|address| address.parse().unwrap());
        Command::GrantBlock(GrantBlock { network: mynet.id, node: node_id(1), subnet, address })
    };
    let error = apply(&mut intent, &grant(Some("10.1.0.7"))).unwrap_err();
    insta::assert_snapshot!(error, @"10.1.0.7 of the network mynet is the virtual address of the service web");
    let granted = std::iter::from_fn(|| apply(&mut intent, &grant(None)).ok()).count();
    assert_eq!(granted, 16 - 4, "all but the network's address, broadcast, gateway and the virtual one");

    let error = service(&mut intent, create_service(2, "api", &[1], &[])).unwrap_err();
    insta::assert_snapshot!(error, @"the subnet 10.1.0.0/28 of the network mynet has no free address left for the service api");
    let mut block = |first: &str| {
        let block = *intent.block_of(mynet.id, first.parse().unwrap()).unwrap();
        let release = ReleaseBlock { network: mynet.id, block };
        apply(&mut intent, &Command::ReleaseBlock(release)).unwrap();
        addresses(&service(&mut intent, create_service(first.len() as u8, first, &[1], &[])).unwrap())
    };
    assert_eq!(block("10.1.0.9"), ["10.1.0.9"]);
    assert_eq!(block("10.1.0.14"), ["10.1.0.14"]);
}

#[test]
fn a_network_with_a_service_stays() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[])).unwrap();
    let error = apply(&mut intent, &Command::RemoveNetwork { id: web.networks[0] }).unwrap_err();
    assert_eq!(error.to_string(), "the network one is in use by the service web");
    apply(&mut intent, &Command::RemoveService { id: web.id }).unwrap();
    apply(&mut intent, &Command::RemoveNetwork { id: web.networks[0] }).unwrap();
}

#[test]
fn a_node_whose_port_is_published_is_refused() {
    let mut intent = networks();
    service(&mut intent, create_service(1, "web", &[1], &[publish("8000-9000", 80)])).unwrap();
    let error = apply(&mut intent, &Command::PutNode(Node { api_port: 8377, ..node(3) })).unwrap_err();
    insta::assert_snapshot!(error, @"the node host-3 uses TCP port 8377 as its manager API's port, which the service web publishes");
    apply(&mut intent, &Command::PutNode(Node { data_port: 8472, ..node(3) })).unwrap();
}

#[test]
fn a_drained_backend_and_a_drained_node_take_no_flows() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[])).unwrap();
    let [one, other] = [1, 2].map(|n| EndpointId::from_bytes([n; 16]));
    let mut takes = |command: Option<Command>| {
        let version = intent.version;
        if let Some(command) = command {
            apply(&mut intent, &command).unwrap();
            assert_eq!(intent.version, version + 1);
            apply(&mut intent, &command).unwrap();
            assert_eq!(intent.version, version + 1, "the same again changes nothing");
        }
        let web = &intent.services[&web.id];
        let serving = |backend, node| intent.serving(web, backend, Some(node_id(node)), Duration::ZERO);
        [serving(one, 1) == Serving::All, serving(other, 2) == Serving::All]
    };
    let drain =
        |drained: bool| Command::DrainBackend { service: web.id, endpoint: one, since: drained.then_some(1) };
    let set = |availability| Command::UpdateNode {
        node: node_id(2),
        change: NodeChange { availability: Some(availability), ..NodeChange::default() },
        at: 1,
    };
    assert_eq!(takes(None), [true, true]);
    assert_eq!(takes(Some(drain(true))), [false, true]);
    assert_eq!(takes(Some(set(Availability::Drain))), [false, false]);
    assert_eq!(takes(Some(drain(false))), [true, false]);
    assert_eq!(takes(Some(set(Availability::Pause))), [true, true]);

    let version = intent.version;
    apply(&mut intent, &Command::PutNode(node(2))).unwrap();
    assert_eq!(intent.version, version, "a node that describes itself does not become available by that");
}

#[test]
fn existing_flows_go_on_for_the_grace_period_of_the_first_drain() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[])).unwrap();
    let backend = EndpointId::from_bytes([1; 16]);
    let drain = |since| Command::DrainBackend { service: web.id, endpoint: backend, since };
    let set = |availability, at| {
        let change = NodeChange { availability: Some(availability), ..NodeChange::default() };
        Command::UpdateNode { node: node_id(1), change, at }
    };
    // What it serves at two moments, and when a period ends after the first of them.
    let mut told = |command: Command, moments: [u64; 2]| {
        apply(&mut intent, &command).unwrap();
        let moments = moments.map(Duration::from_secs);
        let serving = |now| intent.serving(&intent.services[&web.id], backend, Some(node_id(1)), now);
        (moments.map(serving), intent.next_grace_end(moments[0]).map(|end| end.as_secs()))
    };
    let (all, existing, nothing) = (Serving::All, Serving::Existing, Serving::Nothing);
    assert_eq!(told(drain(Some(100)), [109, 110]), ([existing, nothing], Some(110)));
    assert_eq!(told(drain(Some(105)), [109, 110]), ([existing, nothing], Some(110)), "drained once more");
    assert_eq!(told(set(Availability::Drain, 95), [104, 105]), ([existing, nothing], Some(105)));
    assert_eq!(told(set(Availability::Drain, 200), [105, 109]), ([nothing, nothing], Some(110)));
    assert_eq!(told(drain(None), [104, 105]), ([existing, nothing], Some(105)));
    assert_eq!(told(set(Availability::Active, 200), [105, u64::MAX]), ([all, all], None));
    assert_eq!(told(set(Availability::Drain, 200), [105, 210]), ([existing, nothing], Some(210)));
    let change = ServiceChange { stop_grace_period: Some(Seconds(0)), ..ServiceChange::default() };
    let update = Command::UpdateService { id: web.id, change };
    assert_eq!(told(update, [199, 200]), ([existing, nothing], Some(200)));
    assert_eq!(told(drain(Some(u64::MAX)), [200, u64::MAX]), ([nothing, nothing], Some(u64::MAX)));
}

#[test]
fn references_to_services_and_nodes() {
    let mut intent = networks();
    let web = service(&mut intent, create_service(1, "web", &[1], &[])).unwrap();
    service(
        &mut intent,
        CreateService { id: ServiceId::from_bytes([0x12; 16]), ..create_service(2, "api", &[1], &[]) },
    )
    .unwrap();
    assert_eq!(intent.service("web"), Ok(&web));
    assert_eq!(intent.service("01"), Ok(&web));
    assert!(matches!(intent.service(""), Err(ServiceError::NoSuchService { .. })));
    assert_eq!(intent.node("host-2"), Ok(&node(2)));
    assert_eq!(intent.node(&node(2).id.short()), Ok(&node(2)));
    apply(&mut intent, &Command::PutNode(Node { hostname: "host-2".to_owned(), ..node(3) })).unwrap();
    assert!(matches!(intent.node("host-2"), Err(IntentError::AmbiguousNode { .. })));
    assert!(matches!(intent.node("0"), Err(IntentError::AmbiguousNode { .. })));
    assert!(matches!(intent.node("host"), Err(IntentError::NodeNotFound { .. })));
}
