//! Endpoints come and go, and leave nothing behind: no device, no entry in a map, no address, no open file, no memory.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use overlay_harness::command::output;
use overlay_harness::{Lab, Mesh, Node, Topology, eventually};

use crate::steps::{SOON, all_list, attach_each, create_network, memory};

/// How many endpoints a node has at once, beside the one that stays.
const AT_ONCE: usize = 23;

/// How often they come and go once all is warm: three nodes' are more than 200 endpoints, and with those of the first
/// round more than the network has addresses.
const ROUNDS: usize = 3;

/// What an agent's memory may grow by in these rounds: the tombstones of what is gone are kept for an hour.
const GROWTH_KB: u64 = 4 * 1024;

#[test]
fn endpoints_come_and_go_without_a_trace() {
    Lab::run(Topology::of(3), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        lab.form_cluster()?;
        create_network(nodes[0], "blue", &[], &nodes)?;
        let [a, b, c] = &attach_each(lab, "blue", nodes)?;
        let mesh = Mesh::start(&[a, b, c])?;
        // The first round warms up: blocks of addresses, connections, the allocator's reserves.
        round(lab, &nodes, 0)?;
        let before =
            nodes.iter().map(|node| Ok((Held::by(node)?, memory(node)?))).collect::<Result<Vec<_>>>()?;
        for number in 1..=ROUNDS {
            round(lab, &nodes, number)?;
        }
        for (node, (held, memory_before)) in nodes.into_iter().zip(before) {
            eventually(&format!("{} holds what it held before", node.name()), SOON, || {
                let now = Held::by(node)?;
                // An exchange with a peer may have been open at first; a file for each endpoint would be many.
                let same = now.interfaces == held.interfaces && now.entries == held.entries;
                ensure!(same && now.files <= held.files, "before: {held:#?}\nnow: {now:#?}");
                Ok(())
            })?;
            let memory_now = memory(node)?;
            ensure!(
                memory_now < memory_before + GROWTH_KB,
                "{}'s agent: {memory_before} kB before, {memory_now} kB now",
                node.name()
            );
        }
        mesh.stop_without_loss()
    });
}

/// All nodes at once attach their endpoints and detach them again.
fn round(lab: &Lab, nodes: &[&Node; 3], number: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let threads = nodes.map(|node| scope.spawn(move || come_and_go(lab, node, number)));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    all_list(nodes, &["blue/n1", "blue/n2", "blue/n3"])
}

fn come_and_go(lab: &Lab, node: &Node, round: usize) -> Result<()> {
    let names = (0..AT_ONCE).map(|number| format!("{}-{round}-{number}", node.name()));
    let attached: Vec<_> = names.map(|name| lab.attach(node, "blue", &name, &[])).collect::<Result<_>>()?;
    for endpoint in attached {
        node.ctl(&["endpoint", "detach", &endpoint.row.endpoint.name.to_string()])?;
        endpoint.netns.delete()?;
    }
    Ok(())
}

/// What endpoints take of a node.
#[derive(Debug)]
struct Held {
    interfaces: Vec<String>,
    /// Each pin, and how many entries the map has that it leads to.
    entries: Vec<(String, usize)>,
    /// What the agent has open: sockets, namespaces, BPF programs and maps.
    files: usize,
}

impl Held {
    fn by(node: &Node) -> Result<Self> {
        let entries = |pin: &Path| {
            let dump = output(Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(pin)).ok()?;
            Some(serde_json::from_str::<Vec<serde_json::Value>>(&dump).ok()?.len())
        };
        Ok(Self {
            interfaces: node.netns().interfaces()?,
            entries: node
                .pins()
                .iter()
                .map(|pin| (pin.display().to_string(), entries(pin).unwrap_or_default()))
                .collect(),
            files: std::fs::read_dir(format!("/proc/{}/fd", node.pid()?))?.count(),
        })
    }
}
