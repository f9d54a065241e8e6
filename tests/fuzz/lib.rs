//! The decoders that hostile bytes reach, as functions of bytes: a panic in one is a finding. `targets/` runs them under
//! libFuzzer (`make fuzz`); the test `corpus` runs them on every seed and on mutations of it.
//!
//! The decoder of sealed datagrams is private to the agent, which tests it itself; what they carry is here.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use overlay::api::{ClusterInit, ClusterJoin, EndpointAttach, NetworkCreate, ServiceCreate, ServiceUpdate};
use overlay::config::Config;
use overlay::facts::{Delta, NodeFact, Pull, Store};
use overlay::intent::{
    AdmitNode, CaKeys, Command, CreateNetwork, CreateService, GossipKeys, GrantBlock, ServiceChange, State,
    apply,
};
use overlay::model::{
    Availability, Endpoint, EndpointId, EndpointMode, Labels, MacAddr, NetworkId, Node, NodeId, PortRange,
    Protocol, Publish, PublishMode, Seconds, ServiceId, SourceIp, Unavailable,
};
use overlay_packet::{Address, arp, ip, vxlan};
use overlayd::gossip::fuzzing;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A decoder, and what uses its result.
pub type Target = fn(&[u8]);

/// The targets by name; each has a file in `targets/fuzz_targets` and a folder in `corpus`.
pub const TARGETS: [(&str, Target); 6] = [
    ("api", api),
    ("command", command),
    ("config", config),
    ("exchange", exchange),
    ("facts", facts),
    ("packet", packet),
];

/// Bodies of the local API's requests.
pub fn api(bytes: &[u8]) {
    fn body<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
        if let Ok(body) = serde_json::from_slice::<T>(bytes) {
            serde_json::to_vec(&body).expect("what was read can be written");
        }
    }
    body::<ClusterInit>(bytes);
    body::<ClusterJoin>(bytes);
    body::<NetworkCreate>(bytes);
    body::<EndpointAttach>(bytes);
    body::<ServiceCreate>(bytes);
    body::<ServiceUpdate>(bytes);
}

/// Commands to a manager: what decodes is applied to a small cluster's intent.
pub fn command(bytes: &[u8]) {
    let Ok(command) = postcard::from_bytes::<Command>(bytes) else { return };
    let mut state = State::default();
    for seed in commands() {
        // That a later seed needs more than a cluster is no matter here.
        let _ = apply(&mut state, &seed);
    }
    let _ = apply(&mut state, &command);
}

/// The configuration file.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = Config::from_toml(text)
    {
        let _ = (error.to_string(), error.hint());
    }
}

/// All frames that one side of an exchange sends: a node takes either side against them.
pub fn exchange(bytes: &[u8]) {
    fuzzing::exchange(bytes);
}

/// What datagrams and exchanges carry: merged, shown, compared and handed on.
pub fn facts(bytes: &[u8]) {
    if let Ok(pull) = postcard::from_bytes::<Pull>(bytes) {
        let mut owner = owner();
        owner.merge(delta());
        owner.own_chunks(pull.from, pull.to, 1300);
    }
    let Ok(delta) = postcard::from_bytes::<Delta>(bytes) else { return };
    let alive = BTreeSet::from([delta.owner]);
    let mut store = Store::new(NodeId::from_bytes([9; 16]), 1);
    for _ in 0..2 {
        store.merge(delta.clone());
        store.view(&alive);
        store.digest(&alive);
        store.deltas(u64::MAX, &[], &alive);
        store.gaps().for_each(drop);
    }
}

/// Frames from the underlay and from endpoints, header by header.
pub fn packet(bytes: &[u8]) {
    if let Some(frame) = bytes.first_chunk()
        && let Some(request) = arp::parse(frame)
    {
        arp::reply(&request, [2; 6]);
    }
    if let Some(header) = bytes.first_chunk() {
        vxlan::vni(header);
    }
    if let Some(header) = bytes.first_chunk() {
        vxlan::udp_destination(header);
    }
    let mut header = ip::Header::EMPTY;
    if let Some(first) = bytes.first_chunk() {
        *header.bytes_mut() = *first;
        for v4 in [true, false] {
            if header.is_valid(v4) {
                let _ = (header.source(), header.destination(), header.protocol(), header.length());
                let _ = (header.total(), header.is_fragment(), header.is_later_fragment());
            }
        }
    }
}

/// Seeds: target, file name, content; all but the text is encoded by the code under test.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let postcard = |command: &Command| postcard::to_stdvec(command).expect("a command encodes");
    let commands = commands();
    let mut seeds: Vec<_> = commands
        .iter()
        .enumerate()
        .map(|(number, command)| ("command", format!("command-{number}"), postcard(command)))
        .collect();
    let [begun, answered] = fuzzing::exchange_seeds();
    let pull = Pull { owner: NodeId::from_bytes([1; 16]), generation: 1, from: 0, to: 2 };
    let request = arp::Packet { request: true, sender_mac: [2; 6], sender: address(2), target: address(3) };
    let vxlan = [&[0x08, 0, 0, 0, 0, 0x10, 1, 0][..], &arp::reply(&request, [2; 6])].concat();
    seeds.extend([
        ("exchange", "begun".to_owned(), begun),
        ("exchange", "answered".to_owned(), answered),
        ("facts", "delta".to_owned(), postcard::to_stdvec(&delta()).expect("a delta encodes")),
        ("facts", "pull".to_owned(), postcard::to_stdvec(&pull).expect("a pull encodes")),
        ("packet", "arp".to_owned(), arp::reply(&request, [2; 6]).to_vec()),
        ("packet", "vxlan".to_owned(), vxlan),
        ("packet", "ip4".to_owned(), ip4()),
        ("config", "two-keys".to_owned(), b"data_port = 4790\nlog = \"debug\"\n".to_vec()),
        ("config", "unknown-key".to_owned(), b"data_prot = 4790\n".to_vec()),
        ("api", "network".to_owned(), br#"{"name":"mynet","subnets":["10.1.0.0/24"],"mtu":1400}"#.to_vec()),
        (
            "api",
            "attach".to_owned(),
            br#"{"netns":"c1","network":"mynet","name":"web","ip":"10.1.0.9"}"#.to_vec(),
        ),
        (
            "api",
            "service".to_owned(),
            br#"{"name":"web","networks":["mynet"],"publish":[{"published":"8000-8010","target":80}]}"#
                .to_vec(),
        ),
        ("api", "join".to_owned(), br#"{"token":"t","manager":"192.0.2.1:2377"}"#.to_vec()),
    ]);
    seeds
}

/// Where a target's corpus is.
pub fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn ip4() -> Vec<u8> {
    let mut header = vec![0; 64];
    ip::write4(&mut header, 0, 64, 17, &address(2), &address(3));
    header
}

fn address(last: u8) -> Address {
    Address::v4([10, 1, 0, last])
}

fn commands() -> Vec<Command> {
    let id = NodeId::from_bytes([1; 16]);
    let node = Node {
        id,
        hostname: "host-1".to_owned(),
        addr: Ipv4Addr::new(192, 0, 2, 1).into(),
        gossip_port: 7946,
        api_port: 2377,
        data_port: 4789,
        manager: true,
        underlay: vec![],
        version: "0.1.0".to_owned(),
        facts_key: String::new(),
        availability: Availability::Active,
        drained_at: 0,
        labels: Labels::new(),
        ca_generation: 1,
        key: String::new(),
    };
    let text = |text: &str| text.to_owned();
    let cluster = overlay::intent::Cluster {
        id: text("00"),
        ca_cert: text("certificate"),
        epoch: 1,
        next_ca_cert: None,
        old_ca_cert: None,
        ca_generation: 1,
        gossip: GossipKeys::default(),
        cert_lifetime: overlay::intent::Cluster::CERT_LIFETIME,
    };
    let network = NetworkId::from_bytes([2; 16]);
    let create = CreateNetwork {
        id: network,
        name: "mynet".parse().expect("a name"),
        subnets: vec!["10.1.0.0/24".parse().expect("a subnet")],
        gateways: vec![],
        mtu: Some(1400),
        internal: false,
        allow_overlap: false,
        labels: Labels::new(),
    };
    let subnet = "10.1.0.0/24".parse().expect("a subnet");
    vec![
        Command::InitCluster { cluster: cluster.into(), node: node.clone(), secrets: Box::default() },
        Command::PutNode(node.clone()),
        Command::CreateNetwork(create),
        Command::GrantBlock(GrantBlock { network, node: id, subnet, address: None }),
        create_service(network),
        Command::UpdateService { id: SERVICE, change: change(network) },
        Command::AdmitNode(AdmitNode {
            node: Node { id: NodeId::from_bytes([3; 16]), addr: Ipv4Addr::new(192, 0, 2, 2).into(), ..node },
            issuer: text("certificate"),
            replaces: None,
        }),
        Command::AddGossipKey { id: 1, key: text("key").into(), at: 7 },
        Command::AddCa(CaKeys { cert: text("next"), key: text("private").into() }),
        Command::NoteCertificate { node: id, issuer: text("next") },
        Command::ForceNewCluster { node: id, epoch: 2 },
    ]
}

const SERVICE: ServiceId = ServiceId::from_bytes([4; 16]);

fn publish() -> Publish {
    let ports = PortRange::new(8000, 8010).expect("a range");
    Publish::new(ports, 80, Protocol::Tcp, PublishMode::Ingress).expect("targets below 65536")
}

fn create_service(network: NetworkId) -> Command {
    Command::CreateService(CreateService {
        id: SERVICE,
        name: "web".parse().expect("a name"),
        networks: vec![network],
        publish: vec![publish()],
        endpoint_mode: EndpointMode::Vip,
        source_ip: SourceIp::Preserve,
        affinity: "client-ip:60".parse().expect("an affinity"),
        stop_grace_period: Seconds(10),
        unavailable: Unavailable::Reject,
        labels: Labels::new(),
    })
}

fn change(network: NetworkId) -> ServiceChange {
    ServiceChange {
        networks_add: vec![network],
        publish_rm: vec![(Protocol::Tcp, publish().published())],
        publish_add: vec![publish()],
        source_ip: Some(SourceIp::Snat),
        ..ServiceChange::default()
    }
}

fn owner() -> Store {
    Store::new(NodeId::from_bytes([1; 16]), 1)
}

fn delta() -> Delta {
    let endpoint = Endpoint {
        id: EndpointId::from_bytes([3; 16]),
        network: NetworkId::from_bytes([2; 16]),
        name: "web".parse().expect("a name"),
        mac: MacAddr::local_from([2, 0, 0, 0, 0, 1]),
        ip4: Some(Ipv4Addr::new(10, 1, 0, 2)),
        ip6: None,
        forward: false,
        service: None,
        aliases: vec![],
        labels: Labels::from([("team".to_owned(), "web".to_owned())]),
    };
    let fact = NodeFact {
        vtep: Ipv4Addr::new(192, 0, 2, 1).into(),
        underlay_mtu: 1500,
        version: "0.1.0".to_owned(),
    };
    owner().state(&fact, &[endpoint]).expect("the first statement changes something")
}
