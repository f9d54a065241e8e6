//! What services take of the agent's time: filling a Maglev table, and deciding what the data path should know.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Result;
use overlay::config::Config;
use overlay::facts::{NodeFact, View};
use overlay::intent::Intent;
use overlay::lb::{BackendSlot, Member, Members, Slot as _, maglev};
use overlay::model::{
    Affinity, Availability, Endpoint, EndpointId, EndpointMode, Labels, MacAddr, Membership, Name, Network,
    NetworkId, Node, NodeId, Protocol, Publish, PublishMode, Seconds, Service, ServiceId, SourceIp,
    Unavailable, Vni, Weight,
};
use overlay::reconcile::desired::{self, Found, Host};
use overlay::reconcile::links::Underlay;
use overlay::reconcile::plan::plan_services;
use overlay::reconcile::tables::{ServiceAction, ServiceTables};

use crate::report::median;

const ROUNDS: usize = 5;

pub(crate) fn print() -> Result<()> {
    println!("{:<36}{:>10}{:>10}", "a Maglev table", "places", "ms");
    for backends in [10, 100, 1_000] {
        let members: Members = (1..=backends).filter_map(member).collect();
        let size = maglev::size(&members);
        let took = timed(|| maglev::table(id(0), &members, size));
        println!("{:<36}{size:>10}{took:>10.2}", format!("of {backends} backends"));
    }
    println!(
        "\n{:<36}{:>10}{:>10}{:>10}{:>10}",
        "a pass over all services, ms", "places", "first", "idle", "change"
    );
    for (services, backends) in [(1, 10), (1, 1_000), (100, 10), (1_000, 10)] {
        let title = format!("{services} with {backends} backends each");
        Cluster::new(services, backends)?.print(&title);
    }
    println!();
    Ok(())
}

/// Milliseconds, the median of some rounds.
fn timed<T>(mut body: impl FnMut() -> T) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        black_box(body());
        started.elapsed().as_secs_f64() * 1e3
    });
    median(&rounds.collect::<Vec<_>>())
}

fn bytes(n: u32) -> [u8; 16] {
    u128::from(n).to_be_bytes()
}

fn id(n: u32) -> ServiceId {
    ServiceId::from_bytes(bytes(n))
}

fn member(n: u32) -> Option<(EndpointId, Member)> {
    let member = Member { slot: BackendSlot::new(n)?, weight: Weight::default() };
    Some((EndpointId::from_bytes(bytes(n)), member))
}

/// What a node that holds no endpoint knows of a cluster whose other node holds them all.
struct Cluster {
    intent: Intent,
    view: View,
}

impl Cluster {
    fn new(services: u32, backends: u32) -> Result<Self> {
        let network = Network {
            id: NetworkId::from_bytes(bytes(1)),
            name: "bench".parse()?,
            vni: Vni::new(4097)?,
            subnets: Vec::new(),
            mtu: None,
            internal: false,
            allow_overlap: false,
            labels: BTreeMap::new(),
        };
        let mut cluster = Self { intent: Intent::default(), view: View::default() };
        let holder = holder();
        let part = cluster.view.part_mut(holder.id);
        part.fact =
            Some(NodeFact { vtep: IpAddr::from([192, 0, 2, 2]), underlay_mtu: 1500, version: String::new() });
        for number in 0..services {
            let service = service(number, network.id)?;
            for backend in number * backends..(number + 1) * backends {
                let endpoint = endpoint(backend, network.id, service.name.clone())?;
                part.endpoints.insert(endpoint.id, endpoint);
            }
            cluster.intent.services.insert(service.id, service);
        }
        cluster.intent.networks.insert(network.id, network);
        cluster.intent.nodes.insert(holder.id, holder);
        Ok(cluster)
    }

    fn print(mut self, title: &str) {
        let nothing = ServiceTables::default();
        let first = timed(|| self.plan(&nothing));
        let mut tables = nothing.clone();
        self.plan(&nothing).iter().for_each(|action| tables.apply(action));
        let idle = timed(|| self.plan(&tables));
        self.view.part_mut(holder().id).endpoints.pop_first();
        let change = timed(|| self.plan(&tables));
        let places: u32 =
            tables.services.values().filter_map(|entry| Some(entry.all.v4?.region.size())).sum();
        println!("{title:<36}{places:>10}{first:>10.2}{idle:>10.2}{change:>10.2}");
    }

    fn plan(&self, observed: &ServiceTables) -> Vec<ServiceAction> {
        let config = Config::default();
        let underlay = Underlay {
            device: String::new(),
            ifindex: 2,
            kind: None,
            vtep: IpAddr::from([192, 0, 2, 1]),
            mtu: 1500,
            egress4: None,
            egress6: None,
        };
        let host =
            Host { me: NodeId::from_bytes(bytes(1)), config: &config, underlay: Some(&underlay), mark: 1 };
        let (attachments, ifindexes, addresses) = Default::default();
        let found =
            Found { ifindexes: &ifindexes, addresses: &addresses, tables: observed, now: Duration::ZERO };
        let wanted = desired::services(&host, &self.intent, &self.view, &attachments, found, true);
        plan_services(&wanted, observed)
    }
}

/// The node that holds all endpoints.
fn holder() -> Node {
    Node {
        id: NodeId::from_bytes(bytes(2)),
        hostname: String::new(),
        addr: IpAddr::from([192, 0, 2, 2]),
        gossip_port: 7946,
        api_port: 2377,
        data_port: 4789,
        manager: false,
        underlay: Vec::new(),
        version: String::new(),
        facts_key: String::new(),
        availability: Availability::Active,
        drained_at: 0,
        labels: Labels::new(),
        ca_generation: 1,
        key: String::new(),
    }
}

fn service(number: u32, network: NetworkId) -> Result<Service> {
    let port = u16::try_from(number + 1)?.to_string().parse()?;
    Ok(Service {
        id: id(number),
        name: format!("s{number}").parse()?,
        networks: vec![network],
        publish: vec![Publish::new(port, 80, Protocol::Tcp, PublishMode::Ingress)?],
        endpoint_mode: EndpointMode::Vip,
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Seconds(10),
        unavailable: Unavailable::Reject,
        vips: Vec::new(),
        drained: Default::default(),
        labels: BTreeMap::new(),
    })
}

fn endpoint(number: u32, network: NetworkId, service: Name) -> Result<Endpoint> {
    let [_, _, high, low] = number.to_be_bytes();
    Ok(Endpoint {
        id: EndpointId::from_bytes(bytes(number)),
        network,
        name: format!("c{number}").parse()?,
        mac: MacAddr::local_from([2, 0, 0, 0, high, low]),
        ip4: Some(Ipv4Addr::new(10, 1, high, low)),
        ip6: None,
        aliases: Vec::new(),
        labels: BTreeMap::new(),
        forward: false,
        service: Some(Membership { service, weight: Weight::default() }),
    })
}
