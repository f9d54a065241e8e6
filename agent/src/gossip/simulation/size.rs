//! Large clusters: how fast news and deaths get around, and what rest costs. The times are the simulation's, not the
//! machine's, and come out the same in every run.
//!
//! The nodes start with all facts and members, as exchanges would have left them, and share the records that they hold
//! alike; all else that a real node has of its own takes place. So memory grows with the square of their number, but not
//! by all records times all nodes: that alone would be 20 GB for 1,000.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use overlay::facts::{Store, View};
use overlay::model::{Endpoint, EndpointId, Labels, MacAddr, NetworkId};

use super::world::{Vouchers, World, id};
use crate::gossip::samples::{fact, voucher};

pub(super) const ENDPOINTS: usize = 100;
const LOSS: f64 = 0.01;
const ADDITIONS: usize = 10;
const DEATHS: usize = 5;
const REST: Duration = Duration::from_secs(30);

/// What everything is to happen within.
const ADDED_WITHIN: Duration = Duration::from_secs(2);
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(10);
const RETURNED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_hundred_nodes() {
    run(100);
}

// It takes an optimized build and a few minutes: `make sim`.
#[cfg(not(debug_assertions))]
#[test]
fn a_thousand_nodes() {
    run(1000);
}

fn run(size: usize) {
    let started = Instant::now();
    let mut world = loaded(size);
    println!("{size} nodes with {ENDPOINTS} endpoints each, {:.0} % loss", LOSS * 100.0);

    let before = world.sent;
    world.run_for(REST);
    let rate = |bytes: usize| bytes as f64 / size as f64 / REST.as_secs_f64() / 1000.0;
    let (datagrams, exchanges) = (rate(world.sent.0 - before.0), rate(world.sent.1 - before.1));
    println!("at rest, KB/s a node: {datagrams:.2} in datagrams, {exchanges:.2} in exchanges (without TLS)");

    let mut times = Vec::new();
    for addition in 0..ADDITIONS {
        let owner = (addition * 37 + 1) % size;
        let added = endpoint(owner, ENDPOINTS + addition);
        world.state_all(owner, endpoints(owner).chain([added.clone()]).collect());
        let is_shown = |view: &View| view.endpoints_of(id(owner)).any(|shown| *shown == added);
        times.push(until_everywhere(&mut world, Duration::from_millis(1), ADDED_WITHIN, is_shown));
        world.run_for(Duration::from_secs(1));
    }
    report("an added endpoint is everywhere after", &mut times);

    let (mut deaths, mut returns) = (Vec::new(), Vec::new());
    for death in 0..DEATHS {
        let dead = (death * 53 + 2) % size;
        world.nodes[dead] = None;
        let step = Duration::from_millis(20);
        let is_withdrawn = |view: &View| view.endpoints_of(id(dead)).next().is_none();
        deaths.push(until_everywhere(&mut world, step, WITHDRAWN_WITHIN, is_withdrawn));

        world.boot(dead, 2);
        world.state_all(dead, endpoints(dead).collect());
        let is_back = |view: &View| (0..size).all(|owner| view.endpoints_of(id(owner)).count() >= ENDPOINTS);
        returns.push(until_everywhere(&mut world, step, RETURNED_WITHIN, is_back));
        world.run_for(Duration::from_secs(5));
    }
    report("a dead node's endpoints are nowhere after", &mut deaths);
    report("a returning node's are everywhere, and it has all others', after", &mut returns);
    let (simulated, took) = (world.now.as_secs_f64(), started.elapsed().as_secs_f64());
    println!("simulated {simulated:.0} s in {took:.1} s, with {:.1} GB of memory", memory());
}

/// The most memory that this process has held so far, in GB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1e6
}

/// What so many nodes state, and their words for it.
pub(super) fn everything(size: usize) -> (Store, Vouchers) {
    let (mut facts, mut vouchers) = (Store::new(id(size), 1), Vouchers::new());
    for owner in 0..size {
        let mut store = Store::new(id(owner), 1);
        let endpoints: Vec<_> = endpoints(owner).collect();
        facts.merge(store.state(&fact(owner as u8), &endpoints).unwrap());
        vouchers.insert(id(owner), voucher(id(owner), &store));
    }
    (facts, vouchers)
}

/// A cluster at rest in which everyone knows everything.
fn loaded(size: usize) -> World {
    let (facts, vouchers) = everything(size);
    // Decoded once, for all.
    let everyone = (0..size).map(id).collect();
    assert_eq!(facts.view(&everyone).endpoint_count(), size * ENDPOINTS);

    let mut world = World::new(size);
    world.loss = LOSS;
    (0..size).for_each(|owner| world.state_all(owner, endpoints(owner).collect()));
    (0..size).for_each(|index| world.load(index, &facts, &vouchers));
    let knows_all = |view: &View| view.endpoint_count() == size * ENDPOINTS;
    until_everywhere(&mut world, Duration::from_millis(100), Duration::from_secs(10), knows_all);
    world.run_for(Duration::from_secs(30));
    world
}

/// Runs in steps until every living node's view is so; panics if it takes longer than `limit`.
fn until_everywhere(
    world: &mut World,
    step: Duration,
    limit: Duration,
    wanted: impl Fn(&View) -> bool,
) -> Duration {
    let start = world.now;
    let mut missing: Vec<usize> = (0..world.nodes.len()).collect();
    loop {
        world.run_for(step);
        missing.retain(|index| world.nodes[*index].is_some() && !wanted(&world.snapshot(*index).view));
        if missing.is_empty() {
            return world.now - start;
        }
        assert!(world.now - start < limit, "after {limit:?} still not so on {missing:?}");
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let (median, max) = (times[times.len() / 2].as_secs_f64(), times[times.len() - 1].as_secs_f64());
    println!("{what} {median:.3} s (median of {}), {max:.3} s (max)", times.len());
}

pub(super) fn endpoints(owner: usize) -> impl Iterator<Item = Endpoint> {
    (0..ENDPOINTS).map(move |number| endpoint(owner, number))
}

fn endpoint(owner: usize, number: usize) -> Endpoint {
    let unique = (owner * 1000 + number) as u32;
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&unique.to_be_bytes());
    Endpoint {
        id: EndpointId::from_bytes(bytes),
        network: NetworkId::from_bytes([1; 16]),
        name: format!("endpoint-{unique}").parse().unwrap(),
        mac: MacAddr::local_from([2, 0, bytes[0], bytes[1], bytes[2], bytes[3]]),
        ip4: Some(Ipv4Addr::from_bits(0x0a00_0000 + unique)),
        ip6: None,
        forward: false,
        service: None,
        aliases: vec![],
        labels: Labels::new(),
    }
}
