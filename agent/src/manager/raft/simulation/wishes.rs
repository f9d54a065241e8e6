//! What clients ask for: of few names, ports and addresses, so that they get in each other's way.

use overlay::intent::{
    Command, CreateNetwork, CreateService, GrantBlock, Intent, ReleaseBlock, ServiceChange,
};
use overlay::model::{
    Affinity, EndpointMode, Labels, Network, NetworkId, PortRange, Protocol, Publish, PublishMode, Service,
    ServiceId, SourceIp, Unavailable,
};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};

/// A command of one who sees that intent. It may be refused.
pub(super) fn wish(rng: &mut SmallRng, intent: &Intent) -> Command {
    let network = intent.networks.values().choose(rng);
    let service = intent.services.values().choose(rng);
    match (rng.random_range(0..12), network, service) {
        (0, Some(network), _) => Command::RemoveNetwork { id: network.id },
        (1..=3, Some(network), _) => grant(rng, intent, network),
        (4, ..) => release(rng, intent).unwrap_or_else(|| create_network(rng)),
        (5 | 6, Some(_), _) => create_service(rng, intent),
        (7 | 8, _, Some(service)) => update(rng, intent, service),
        (9, _, Some(service)) => Command::RemoveService { id: service.id },
        _ => create_network(rng),
    }
}

/// Every other one has so small a subnet that its addresses run out.
fn create_network(rng: &mut SmallRng) -> Command {
    let small = rng.random_bool(0.5).then(|| format!("198.51.100.{}/29", 8 * rng.random_range(0..8)));
    Command::CreateNetwork(CreateNetwork {
        id: NetworkId::from_bytes(rng.random()),
        name: format!("net{}", rng.random_range(0..20)).parse().unwrap(),
        subnets: small.iter().map(|net| net.parse().unwrap()).collect(),
        gateways: Vec::new(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: Labels::new(),
    })
}

/// A block, or an address that a user asked for: one that a service has, for instance.
fn grant(rng: &mut SmallRng, intent: &Intent, network: &Network) -> Command {
    let node = *intent.nodes.keys().choose(rng).unwrap();
    let subnet = network.subnets[0].net;
    let vip = intent.vips_in(network.id).into_iter().choose(rng);
    let address = match rng.random_range(0..4) {
        0 => vip,
        1 => subnet.hosts().take(6).choose(rng),
        _ => None,
    };
    Command::GrantBlock(GrantBlock { network: network.id, node, subnet, address })
}

fn release(rng: &mut SmallRng, intent: &Intent) -> Option<Command> {
    let (network, grants) = intent.grants.iter().choose(rng)?;
    let block = grants.blocks.choose(rng)?;
    Some(Command::ReleaseBlock(ReleaseBlock { network: *network, block: *block }))
}

fn create_service(rng: &mut SmallRng, intent: &Intent) -> Command {
    Command::CreateService(CreateService {
        id: ServiceId::from_bytes(rng.random()),
        name: format!("service{}", rng.random_range(0..12)).parse().unwrap(),
        networks: networks(rng, intent),
        publish: vec![publish(rng)],
        endpoint_mode: mode(rng),
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Service::STOP_GRACE_PERIOD,
        unavailable: Unavailable::Reject,
        labels: Labels::new(),
    })
}

fn update(rng: &mut SmallRng, intent: &Intent, service: &Service) -> Command {
    let published = service.publish.iter().map(|publish| (publish.protocol(), publish.published()));
    let change = ServiceChange {
        networks_add: networks(rng, intent),
        networks_rm: service.networks.iter().copied().filter(|_| rng.random_bool(0.3)).collect(),
        publish_add: vec![publish(rng)],
        publish_rm: published.filter(|_| rng.random_bool(0.5)).collect(),
        endpoint_mode: rng.random_bool(0.3).then(|| mode(rng)),
        ..ServiceChange::default()
    };
    Command::UpdateService { id: service.id, change }
}

fn networks(rng: &mut SmallRng, intent: &Intent) -> Vec<NetworkId> {
    let count = rng.random_range(1..3);
    intent.networks.keys().copied().sample(rng, count)
}

/// One to three of eight ports.
fn publish(rng: &mut SmallRng) -> Publish {
    let first = rng.random_range(80..86);
    let ports = PortRange::new(first, first + rng.random_range(0..3)).unwrap();
    let protocol = *[Protocol::Tcp, Protocol::Udp].choose(rng).unwrap();
    Publish::new(ports, 8000, protocol, PublishMode::Ingress).unwrap()
}

fn mode(rng: &mut SmallRng) -> EndpointMode {
    if rng.random_bool(0.8) { EndpointMode::Vip } else { EndpointMode::Dnsrr }
}
