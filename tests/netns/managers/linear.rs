//! What the managers tell is what one machine could tell, whatever happens to them, and packets go on all the while.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use overlay::api::EndpointRow;
use overlay::model::{Network, Service};
use overlay_harness::{Lab, Mesh, Node, Topology};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::clients::Clients;
use super::faults::{self, Fault};
use super::history::History;
use crate::steps::{attach_each, create_network};

/// Clients that ask at once.
const CLIENTS: u64 = 4;
/// Names the run whose schedule is to be repeated, as far as clocks and processes let it.
const SEED: &str = "OVERLAY_SEED";

#[test]
fn three_managers_are_as_one() {
    Lab::run(Topology::of(3), |lab| under_faults(lab, lab.nodes::<3>(), 12));
}

#[cfg(feature = "long")]
#[test]
fn long_three_managers_are_as_one() {
    Lab::run(Topology::of(3), |lab| under_faults(lab, lab.nodes::<3>(), 150));
}

#[cfg(feature = "long")]
#[test]
fn long_five_managers_are_as_one() {
    Lab::run(Topology::of(5), |lab| under_faults(lab, lab.nodes::<5>(), 150));
}

fn under_faults<const N: usize>(lab: &Lab, managers: [&Node; N], faults: usize) -> Result<()> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed}"))?,
        Err(_) => rand::random(),
    };
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    lab.form_managers()?;
    faults::whole(&managers)?;
    create_network(managers[0], "base", &[], &managers)?;
    let endpoints = attach_each(lab, "base", managers)?;
    let probes = Mesh::start(&endpoints.iter().collect::<Vec<_>>())?;

    let clients = Clients::of(&managers);
    let quiet = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (clients, seed) = (&clients, random.random());
                scope.spawn(move || clients.run(seed))
            })
            .collect();
        let attaching = scope.spawn(|| attach_until(lab, &managers, &quiet));
        let happened = (0..faults).try_for_each(|number| {
            let fault = Fault::ALL[number % Fault::ALL.len()];
            println!("{number}: {fault:?}");
            faults::happen(fault, &managers, &mut random)?;
            faults::whole(&managers).with_context(|| format!("after {fault:?}"))
        });
        clients.stop();
        quiet.store(true, Ordering::Relaxed);
        let asked: Vec<_> = asking.into_iter().map(joined).collect();
        let attached = joined(attaching);
        happened?;
        asked.into_iter().collect::<Result<()>>()?;
        attached
    })?;
    let history: History = clients.finish(managers[0])?;
    let (asked, answered) = history.size();
    println!("{asked} questions, {answered} answers");
    ensure!(answered > asked / 2, "hardly anything was answered, so this shows nothing");
    history.check()?;
    nothing_twice(&managers)?;
    probes.stop_without_loss()
}

/// Takes addresses, and so blocks, at all nodes in turns; a manager that is away refuses.
fn attach_until(lab: &Lab, nodes: &[&Node], quiet: &AtomicBool) -> Result<()> {
    let mut attached = 0;
    for number in 0.. {
        if quiet.load(Ordering::Relaxed) {
            break;
        }
        let node = nodes[number % nodes.len()];
        let netns = lab.namespace(&format!("guest-{number}"))?;
        // Each network that a node has nothing of yet takes a block.
        let network = format!("guests-{}", number / nodes.len());
        if number % nodes.len() == 0 {
            let _ = node.ctl_output(&["network", "create", &network])?;
        }
        let name = format!("guest-{number}");
        let flags = ["endpoint", "attach", "--netns", netns.name(), "--network", &network, "--name", &name];
        attached += usize::from(node.ctl_output(&flags)?.status.success());
    }
    ensure!(attached > nodes.len(), "only {attached} endpoints were attached");
    Ok(())
}

/// VNIs, subnets, published ports, virtual addresses and endpoints' addresses are each one's alone.
fn nothing_twice(nodes: &[&Node]) -> Result<()> {
    let networks: Vec<Network> = nodes[0].ctl_json(&["network", "ls"])?;
    alone("VNI", networks.iter().map(|network| network.vni.to_string()))?;
    let subnets = networks.iter().flat_map(|network| network.subnets.iter().map(|it| it.net.to_string()));
    alone("subnet", subnets)?;
    let services: Vec<Service> = nodes[0].ctl_json(&["service", "ls"])?;
    let published = services.iter().flat_map(|service| &service.publish);
    alone("port", published.map(|publish| format!("{} {}", publish.protocol(), publish.published())))?;
    let vips = services.iter().flat_map(|service| &service.vips);
    let vips: Vec<String> = vips.map(|vip| format!("{} {}", vip.network, vip.address)).collect();
    let endpoints: Vec<EndpointRow> = nodes[0].ctl_json(&["endpoint", "ls"])?;
    let addresses = endpoints.iter().flat_map(|row| {
        let network = row.endpoint.network;
        row.endpoint.addresses().map(move |address| format!("{network} {address}"))
    });
    alone("address", addresses.chain(vips))
}

fn alone(what: &str, values: impl Iterator<Item = String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for value in values {
        ensure!(seen.insert(value.clone()), "the {what} {value} was given twice");
    }
    Ok(())
}

fn joined<T>(handle: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
