//! What a large cluster's intent weighs, and what a change to it takes: applying a command, working out what followers are
//! sent of it, and putting that into effect with one of them.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use overlay::intent::{Command, CreateNetwork, CreateService, GrantBlock, Intent, IntentDelta, State, apply};
use overlay::model::{
    Affinity, EndpointMode, Labels, NetworkId, Protocol, Publish, PublishMode, Service, ServiceId, SourceIp,
    Unavailable,
};

use crate::agent::{milliseconds, resident_megabytes};
use crate::reconcile::{begin, description, node, scattered};
use crate::report::{percentile, progress};

const NODES: u32 = 1_000;
const NETWORKS: u32 = 1_000;
/// Networks in which every node holds a block.
const WIDE: u32 = 10;
const SERVICES: u32 = 5_000;
const CHANGES: u32 = 500;

pub(crate) fn print() -> Result<()> {
    progress("making the intent");
    let before = resident_megabytes(std::process::id())?;
    let started = Instant::now();
    let mut state = large()?;
    let made = milliseconds(started) / f64::from(NODES + NETWORKS + NODES * WIDE + SERVICES);
    let held = resident_megabytes(std::process::id())? - before;
    let blocks: usize = state.intent.grants.values().map(|grants| grants.blocks.len()).sum();
    progress("");
    println!("{NODES} nodes, {NETWORKS} networks, {SERVICES} services, {blocks} blocks\n");

    println!("{:<56}{:>10}{:>10}", "", "MB", "ms");
    size("intent as JSON: what a new follower is sent", || serde_json::to_vec(&state.intent))?;
    size("intent in postcard", || postcard::to_stdvec(&state.intent))?;
    size("state in postcard: a snapshot", || postcard::to_stdvec(&state))?;
    let json = serde_json::to_vec(&state.intent)?;
    let read = timed(|| serde_json::from_slice::<Intent>(&json));
    println!("{:<56}{:>10}{read:>10.1}", "reading that JSON", "");
    let copied = timed(|| state.intent.clone());
    println!("{:<56}{held:>10.1}{copied:>10.1}", "memory, and the time to copy it");
    println!("{:<56}{:>10}{made:>10.3}", "a command while it grew", "");

    println!(
        "\n{:<36}{:>10}{:>10}{:>12}{:>12}{:>10}",
        "a change, ms", "p50", "p99", "comparing", "catching up", "bytes"
    );
    for (name, command) in KINDS {
        progress(name);
        Changes::of(&mut state, command)?.print(name);
    }
    Ok(())
}

/// Commands that raise and lower what there is by turns, by their number.
type Kind = fn(u32) -> Result<Command>;

const KINDS: [(&str, Kind); 4] = [
    ("create and remove a network", |number| {
        let id = NetworkId::from_bytes(scattered(2, NETWORKS + number / 2));
        Ok(if number % 2 == 0 {
            create_network(NETWORKS + number / 2)?
        } else {
            Command::RemoveNetwork { id }
        })
    }),
    ("create and remove a service", |number| {
        let id = ServiceId::from_bytes(scattered(4, SERVICES + number / 2));
        Ok(if number % 2 == 0 {
            create_service(SERVICES + number / 2)?
        } else {
            Command::RemoveService { id }
        })
    }),
    ("grant a node one more block", |number| grant(number % WIDE, number)),
    ("describe a node anew", |number| {
        let version = format!("1.{number}");
        Ok(Command::PutNode(overlay::model::Node { version, ..description(number % NODES) }))
    }),
];

/// What each of many changes took, in milliseconds, and the size of what followers are sent of it.
#[derive(Default)]
struct Changes {
    applied: Vec<f64>,
    compared: Vec<f64>,
    caught_up: Vec<f64>,
    sizes: Vec<f64>,
}

impl Changes {
    fn of(state: &mut State, command: Kind) -> Result<Self> {
        let mut changes = Self::default();
        let mut follower = state.intent.clone();
        for number in 0..CHANGES {
            let command = command(number)?;
            let before = state.intent.clone();
            let started = Instant::now();
            apply(state, &command)?;
            changes.applied.push(milliseconds(started));

            let started = Instant::now();
            let line = serde_json::to_vec(&IntentDelta::between(&before, &state.intent))?;
            changes.compared.push(milliseconds(started));
            changes.sizes.push(line.len() as f64);

            let started = Instant::now();
            let change: IntentDelta = serde_json::from_slice(&line)?;
            change.apply_to(&mut follower)?;
            changes.caught_up.push(milliseconds(started));
        }
        ensure!(follower == state.intent, "who follows is somewhere else");
        Ok(changes)
    }

    fn print(&self, name: &str) {
        progress("");
        let Self { applied, compared, caught_up, sizes } = self;
        println!(
            "{name:<36}{:>10.3}{:>10.3}{:>12.2}{:>12.3}{:>10.0}",
            percentile(applied, 50),
            percentile(applied, 99),
            percentile(compared, 50),
            percentile(caught_up, 50),
            percentile(sizes, 50)
        );
    }
}

fn size<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
    mut write: impl FnMut() -> Result<Vec<u8>, E>,
) -> Result<()> {
    let bytes = write()?.len();
    println!("{what:<56}{:>10.2}{:>10.1}", bytes as f64 / 1e6, timed(write));
    Ok(())
}

/// Milliseconds, the median of some rounds.
fn timed<T>(mut body: impl FnMut() -> T) -> f64 {
    let rounds = (0..11).map(|_| {
        let started = Instant::now();
        let made = black_box(body());
        let took = milliseconds(started);
        drop(made);
        took
    });
    percentile(&rounds.collect::<Vec<_>>(), 50)
}

fn large() -> Result<State> {
    let mut state = State::default();
    apply(&mut state, &begin())?;
    let nodes = (1..NODES).map(|number| Ok(Command::PutNode(description(number))));
    let networks = (0..NETWORKS).map(create_network);
    let grants = (0..WIDE).flat_map(|network| (0..NODES).map(move |number| grant(network, number)));
    let services = (0..SERVICES).map(create_service);
    for command in nodes.chain(networks).chain(grants).chain(services) {
        apply(&mut state, &command?)?;
    }
    Ok(state)
}

/// A network; the first ones are so large that every node gets blocks.
fn create_network(number: u32) -> Result<Command> {
    let subnets =
        if number < WIDE { vec![format!("172.{}.0.0/15", 16 + 2 * number).parse()?] } else { vec![] };
    Ok(Command::CreateNetwork(CreateNetwork {
        id: NetworkId::from_bytes(scattered(2, number)),
        name: format!("network-{number}").parse()?,
        subnets,
        gateways: Vec::new(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: Labels::new(),
    }))
}

fn grant(network: u32, number: u32) -> Result<Command> {
    let subnet = format!("172.{}.0.0/15", 16 + 2 * network).parse()?;
    let network = NetworkId::from_bytes(scattered(2, network));
    Ok(Command::GrantBlock(GrantBlock { network, node: node(number % NODES), subnet, address: None }))
}

fn create_service(number: u32) -> Result<Command> {
    let port = u16::try_from(10_000 + number).context("a port")?;
    let ports = port.to_string().parse()?;
    Ok(Command::CreateService(CreateService {
        id: ServiceId::from_bytes(scattered(4, number)),
        name: format!("service-{number}").parse()?,
        networks: vec![NetworkId::from_bytes(scattered(2, number % NETWORKS))],
        publish: vec![Publish::new(ports, 80, Protocol::Tcp, PublishMode::Ingress)?],
        endpoint_mode: EndpointMode::Vip,
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Service::STOP_GRACE_PERIOD,
        unavailable: Unavailable::Reject,
        labels: Labels::new(),
    }))
}
