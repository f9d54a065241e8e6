//! What one change among 100,000 endpoints costs a node: desired tables, and the plan that leads to them. Nothing is
//! written: what the kernel takes for an entry does not depend on the number of the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use overlay::config::Config;
use overlay::facts::{NodeFact, View};
use overlay::intent::{Cluster, Command, CreateNetwork, GossipKeys, Intent, State, apply};
use overlay::model::{
    Attachment, Availability, Endpoint, EndpointId, Labels, MacAddr, NetnsId, NetnsRef, NetworkId, Node,
    NodeId,
};
use overlay::reconcile::desired::{DesiredTables, Host};
use overlay::reconcile::links::Underlay;
use overlay::reconcile::plan;
use overlay::reconcile::tables::Tables;

use crate::agent::{milliseconds, resident_megabytes};
use crate::report::{percentile, progress};

const NODES: u32 = 1_000;
const ENDPOINTS: u32 = 100;
const NETWORKS: u32 = 10;
const CHANGES: u32 = 50;

/// What a node holds, and what it reconciles with.
struct World {
    intent: Intent,
    view: View,
    attachments: BTreeMap<EndpointId, Attachment>,
    ifindexes: BTreeMap<String, u32>,
    config: Config,
    underlay: Underlay,
}

pub(crate) fn print() -> Result<()> {
    progress("making 100,000 endpoints");
    let mut world = World::new()?;
    let held = resident_megabytes(std::process::id())?;
    let mut kept = DesiredTables::default();
    let started = Instant::now();
    let mut observed = world.update(&mut kept).clone();
    let first = milliseconds(started);
    let (mut desired, mut plans) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let added = endpoint(1 + change * 17, ENDPOINTS + change);
        world.view.part_mut(node(1 + change * 17)).endpoints.insert(added.id, added);

        let started = Instant::now();
        let wanted = world.update(&mut kept);
        desired.push(milliseconds(started));
        let started = Instant::now();
        let plan = plan::plan_tables(wanted, &observed, true);
        plans.push(milliseconds(started));

        ensure!(plan.len() == 3, "an endpoint is a MAC and two addresses, not {plan:?}");
        plan.iter().for_each(|action| observed.apply(action));
    }
    let all = resident_megabytes(std::process::id())?;
    progress("");
    let title = format!("one endpoint added to {NODES} x {ENDPOINTS} in {NETWORKS} networks, ms");
    println!("\n{title:<56}{:>8}{:>8}", "median", "max");
    for (what, times) in [("desired tables", desired), ("plan", plans)] {
        println!("{what:<56}{:>8.1}{:>8.1}", percentile(&times, 50), percentile(&times, 100));
    }
    println!("{:<56}{first:>8.1}", "all desired tables, at the agent's start");
    println!("{:<56}{held:>8.1}", "resident memory, MB: intent, facts");
    println!("{:<56}{:>8.1}", "the tables, desired and observed, and claims on them", all - held);
    Ok(())
}

impl World {
    /// Node 0 of the cluster, with endpoints in all networks.
    fn new() -> Result<Self> {
        let mut state = State::default();
        let text = String::new;
        apply(&mut state, &begin())?;
        for number in 1..NODES {
            apply(&mut state, &Command::PutNode(description(number)))?;
        }
        for number in 0..NETWORKS {
            apply(&mut state, &Command::CreateNetwork(network(number)?))?;
        }

        let mut view = View::default();
        for number in 0..NODES {
            let part = view.part_mut(node(number));
            part.fact = Some(NodeFact { vtep: vtep(number), underlay_mtu: 1500, version: text() });
            part.endpoints = (0..ENDPOINTS).map(|it| endpoint(number, it)).map(|it| (it.id, it)).collect();
        }
        let config = Config::default();
        let attachments: BTreeMap<_, _> =
            view.endpoints_of(node(0)).map(|it| (it.id, attachment(it.clone()))).collect();
        let names = attachments.values().map(|it| it.host_ifname(&config.veth_prefix));
        let ifindexes = [config.vxlan_device.clone()].into_iter().chain(names).zip(10..).collect();
        let underlay = Underlay {
            device: "eth0".to_owned(),
            ifindex: 2,
            kind: None,
            vtep: vtep(0),
            mtu: 1500,
            egress4: None,
            egress6: None,
        };
        Ok(Self { intent: state.intent, view, attachments, ifindexes, config, underlay })
    }

    fn update<'a>(&self, tables: &'a mut DesiredTables) -> &'a Tables {
        let host = Host { me: node(0), config: &self.config, underlay: Some(&self.underlay), mark: 1 };
        tables.update(&host, &self.intent, &self.view, &self.attachments, &self.ifindexes)
    }
}

/// How a cluster begins, with node 0.
pub(crate) fn begin() -> Command {
    let text = String::new;
    let cluster = Cluster {
        id: text(),
        epoch: 1,
        ca_cert: text(),
        next_ca_cert: None,
        old_ca_cert: None,
        ca_generation: 1,
        gossip: GossipKeys::default(),
        cert_lifetime: Cluster::CERT_LIFETIME,
    };
    Command::InitCluster { cluster: cluster.into(), node: description(0), secrets: Box::default() }
}

/// Sixteen bytes without an order that means anything, as random ids are; the same for the same numbers.
pub(crate) fn scattered(kind: u64, number: u32) -> [u8; 16] {
    // SplitMix64 by G. Steele and others: each step a bijection that leaves no pattern.
    let word = |salt: u64| {
        let mut mixed = (u64::from(number) << 8 | kind << 4 | salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    (u128::from(word(1)) << 64 | u128::from(word(2))).to_be_bytes()
}

pub(crate) fn node(number: u32) -> NodeId {
    NodeId::from_bytes(scattered(1, number))
}

fn vtep(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc612_0001 + number).into()
}

pub(crate) fn description(number: u32) -> Node {
    Node {
        id: node(number),
        hostname: format!("node-{number}"),
        addr: vtep(number),
        gossip_port: 7946,
        api_port: 2377,
        data_port: 4789,
        manager: number == 0,
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

fn network_id(number: u32) -> NetworkId {
    NetworkId::from_bytes(scattered(2, number))
}

fn network(number: u32) -> Result<CreateNetwork> {
    Ok(CreateNetwork {
        id: network_id(number),
        name: format!("network-{number}").parse().context("a name")?,
        subnets: vec![format!("10.{number}.0.0/16").parse()?, format!("fd00:{number}::/64").parse()?],
        gateways: Vec::new(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: Labels::new(),
    })
}

/// An endpoint of a node, in one network after the other.
fn endpoint(owner: u32, number: u32) -> Endpoint {
    let unique = owner * 1_000 + number;
    let network = number % NETWORKS;
    let host = owner * 15 + number / NETWORKS + 2;
    let bytes = scattered(3, unique);
    Endpoint {
        id: EndpointId::from_bytes(bytes),
        network: network_id(network),
        name: format!("endpoint-{unique}").parse().expect("a name as the model wants it"),
        mac: MacAddr::local_from([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]),
        ip4: Some(Ipv4Addr::from_bits(0x0a00_0000 | network << 16 | host)),
        ip6: Some(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(network) << 96 | u128::from(host))),
        aliases: Vec::new(),
        labels: Labels::new(),
        forward: false,
        service: None,
    }
}

fn attachment(endpoint: Endpoint) -> Attachment {
    let netns = NetnsRef { path: "/run/netns/c".into(), id: NetnsId { dev: 4, ino: 1 } };
    Attachment { endpoint, netns, ifname: "eth0".to_owned() }
}
