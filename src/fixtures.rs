//! What the core's tests are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::api::EndpointAttach;
use crate::attach::Situation;
use crate::facts::{NodeFact, View};
use crate::intent::{
    self, CaKeys, Cluster, Command, CreateNetwork, CreateService, GossipKeys, Intent, IntentError, Reply,
    Secrets, State,
};
use crate::model::{
    Affinity, Attachment, Availability, EndpointId, EndpointMode, MacAddr, Membership, NetnsId, NetnsRef,
    Network, NetworkId, Node, NodeId, Protocol, Publish, PublishMode, Seconds, Service, ServiceId, SourceIp,
    Unavailable, Weight,
};

pub(crate) fn node_id(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

/// Node `n`, at 192.0.2.`n`, called `host-n`.
pub(crate) fn node(n: u8) -> Node {
    Node {
        id: node_id(n),
        hostname: format!("host-{n}"),
        addr: IpAddr::from([192, 0, 2, n]),
        gossip_port: 7946,
        api_port: 2377,
        data_port: 4789,
        manager: n == 1,
        underlay: vec!["192.0.2.0/24".parse().unwrap()],
        version: "0.1.0".to_owned(),
        facts_key: String::new(),
        availability: Availability::Active,
        drained_at: 0,
        labels: BTreeMap::new(),
        ca_generation: 1,
        key: String::new(),
    }
}

pub(crate) fn fact(n: u8, underlay_mtu: u16) -> NodeFact {
    NodeFact { vtep: IpAddr::from([192, 0, 2, n]), underlay_mtu, version: "0.1.0".to_owned() }
}

pub(crate) fn init() -> Command {
    let text = |text: &str| text.to_owned();
    let cluster = Cluster {
        id: text("00"),
        epoch: 1,
        ca_cert: text("certificate"),
        next_ca_cert: None,
        old_ca_cert: None,
        ca_generation: 1,
        gossip: GossipKeys { keys: [(0, text("key"))].into(), ..GossipKeys::default() },
        cert_lifetime: Cluster::CERT_LIFETIME,
    };
    let ca = CaKeys { cert: text("certificate"), key: text("private").into() };
    let secrets = Secrets {
        ca: Some(ca),
        next_ca: None,
        worker_secret: text("worker's").into(),
        manager_secret: text("manager's").into(),
    };
    Command::InitCluster { cluster: cluster.into(), node: node(1), secrets: secrets.into() }
}

/// Applies a command that has nothing to do with secrets.
pub(crate) fn apply(intent: &mut Intent, command: &Command) -> Result<Reply, IntentError> {
    let mut state = State::of(std::mem::take(intent));
    let reply = intent::apply(&mut state, command);
    *intent = state.intent;
    reply
}

/// A cluster of nodes 1 to `nodes`.
pub(crate) fn cluster(nodes: u8) -> Intent {
    let mut intent = Intent::default();
    apply(&mut intent, &init()).unwrap();
    for n in 2..=nodes {
        apply(&mut intent, &Command::PutNode(node(n))).unwrap();
    }
    intent
}

pub(crate) fn create(n: u8, name: &str, subnets: &[&str]) -> CreateNetwork {
    CreateNetwork {
        id: NetworkId::from_bytes([n; 16]),
        name: name.parse().unwrap(),
        subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
        gateways: Vec::new(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: BTreeMap::new(),
    }
}

pub(crate) fn network(intent: &mut Intent, request: CreateNetwork) -> Result<Network, IntentError> {
    match apply(intent, &Command::CreateNetwork(request))? {
        Reply::Network(network) => Ok(network),
        other => panic!("{other:?}"),
    }
}

/// A service of the networks that [`create`] made with those numbers.
pub(crate) fn create_service(n: u8, name: &str, networks: &[u8], publish: &[Publish]) -> CreateService {
    CreateService {
        id: ServiceId::from_bytes([n; 16]),
        name: name.parse().unwrap(),
        networks: networks.iter().map(|n| NetworkId::from_bytes([*n; 16])).collect(),
        publish: publish.to_vec(),
        endpoint_mode: EndpointMode::Vip,
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Seconds(10),
        unavailable: Unavailable::Reject,
        labels: BTreeMap::new(),
    }
}

pub(crate) fn service(intent: &mut Intent, request: CreateService) -> Result<Service, IntentError> {
    match apply(intent, &Command::CreateService(request))? {
        Reply::Service(service) => Ok(service),
        other => panic!("{other:?}"),
    }
}

/// TCP ports, published in the ingress mode.
pub(crate) fn publish(ports: &str, target: u16) -> Publish {
    Publish::new(ports.parse().unwrap(), target, Protocol::Tcp, PublishMode::Ingress).unwrap()
}

pub(crate) fn netns(n: u64) -> NetnsRef {
    NetnsRef { path: format!("/run/netns/c{n}").into(), id: NetnsId { dev: 4, ino: n } }
}

pub(crate) fn attach_request(network: &str, name: &str) -> EndpointAttach {
    EndpointAttach {
        netns: "c1".to_owned(),
        network: network.to_owned(),
        name: name.parse().unwrap(),
        ip: None,
        ip6: None,
        mac: None,
        ifname: None,
        aliases: Vec::new(),
        labels: BTreeMap::new(),
        forward: false,
        service: None,
        weight: None,
    }
}

/// An endpoint in `network`, with what `n` makes unique, at that address.
pub(crate) fn attachment(n: u8, network: &Network, ip4: [u8; 4]) -> Attachment {
    Attachment {
        endpoint: crate::model::Endpoint {
            id: EndpointId::from_bytes([n; 16]),
            network: network.id,
            name: format!("c{n}").parse().unwrap(),
            mac: MacAddr::local_from([2, 0, 0, 0, 0, n]),
            ip4: Some(ip4.into()),
            ip6: None,
            aliases: Vec::new(),
            labels: BTreeMap::new(),
            forward: false,
            service: None,
        },
        netns: netns(n.into()),
        ifname: "eth0".to_owned(),
    }
}

/// Service `n`, called `s<n>`, which is reached by nothing yet.
pub(crate) fn bare_service(n: u8, networks: &[&Network]) -> Service {
    Service {
        id: ServiceId::from_bytes([n; 16]),
        name: format!("s{n}").parse().unwrap(),
        networks: networks.iter().map(|network| network.id).collect(),
        publish: Vec::new(),
        endpoint_mode: EndpointMode::Vip,
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Seconds(10),
        unavailable: Unavailable::Reject,
        vips: Vec::new(),
        drained: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// What makes an endpoint a backend of [`bare_service`] `n`.
pub(crate) fn membership(n: u8, weight: u16) -> Option<Membership> {
    Some(Membership { service: format!("s{n}").parse().unwrap(), weight: Weight::new(weight).unwrap() })
}

/// What one node knows, owned.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) me: NodeId,
    pub(crate) intent: Intent,
    pub(crate) view: View,
    pub(crate) attachments: BTreeMap<EndpointId, Attachment>,
    pub(crate) ifnames: BTreeSet<String>,
    pub(crate) released: BTreeSet<(NetworkId, IpAddr)>,
    /// Since the Unix epoch.
    pub(crate) now: Duration,
}

impl World {
    /// Node 1 of a cluster of three, with a network `mynet` (10.1.0.0/24).
    pub(crate) fn new() -> Self {
        let mut intent = cluster(3);
        network(&mut intent, create(1, "mynet", &["10.1.0.0/24"])).unwrap();
        Self {
            me: node_id(1),
            intent,
            view: View::default(),
            attachments: BTreeMap::new(),
            ifnames: BTreeSet::from(["lo".to_owned()]),
            released: BTreeSet::new(),
            now: Duration::ZERO,
        }
    }

    pub(crate) fn network(&self, name: &str) -> Network {
        self.intent.network(name).unwrap().clone()
    }

    pub(crate) fn hold(&mut self, attachment: Attachment) {
        self.attachments.insert(attachment.endpoint.id, attachment);
    }

    /// Another node holds it.
    pub(crate) fn elsewhere(&mut self, n: u8, attachment: Attachment) {
        let part = self.view.part_mut(node_id(n));
        part.fact = Some(fact(n, 1500));
        part.endpoints.insert(attachment.endpoint.id, attachment.endpoint);
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            me: self.me,
            intent: &self.intent,
            view: &self.view,
            attachments: &self.attachments,
            ifnames_taken: &self.ifnames,
            released: &self.released,
        }
    }
}
