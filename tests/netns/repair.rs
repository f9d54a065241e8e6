//! Whatever somebody takes away from under the agent, it puts back.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::command::output;
use overlay_harness::lab::FORMING;
use overlay_harness::{Attached, Lab, Node, Topology, eventually};

use crate::steps::{SOON, attach_each, create_network, talk};

const VXLAN_DEVICE: &str = "overlay0";

#[test]
fn what_is_taken_away_is_put_back() {
    Lab::run(Topology::of(2), |lab| {
        let nodes: [&Node; 2] = lab.nodes();
        let [n1, _] = nodes;
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &nodes)?;
        let [a, b] = attach_each(lab, "blue", nodes)?;
        let whole = Observed::of(n1, &a)?;
        ensure!(whole.interfaces.iter().any(|name| name == VXLAN_DEVICE), "{whole:?}");

        n1.netns().ip(&format!("link delete {VXLAN_DEVICE}"))?;
        is_repaired("the VXLAN device", n1, &a, &b, &whole)?;

        let local = a.row.local.as_ref().context("where the endpoint's interface is")?;
        n1.netns().ip(&format!("link delete {}", local.host_ifname))?;
        is_repaired("an endpoint's veth pair", n1, &a, &b, &whole)?;

        n1.netns().ip(&format!("link set {} down", local.host_ifname))?;
        is_repaired("the state of a veth pair's host end", n1, &a, &b, &whole)?;

        for kind in ["map", "link"] {
            let pins = pins_of(n1, kind);
            ensure!(!pins.is_empty(), "no {kind} is pinned below {}", n1.bpf_dir().display());
            for pin in pins {
                std::fs::remove_file(&pin)?;
                is_repaired(&format!("the pinned {kind} {}", pin.display()), n1, &a, &b, &whole)?;
            }
        }
        // The pins lead to what is in use: the next life of the agent continues with it.
        n1.kill()?;
        talk(&a, &b)?;
        n1.start()?;
        n1.wait_ready(FORMING)?;
        is_repaired("the agent", n1, &a, &b, &whole)
    });
}

/// What is there of one node and one of its endpoints.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    interfaces: Vec<String>,
    pins: Vec<PathBuf>,
    endpoint_interfaces: Vec<String>,
}

impl Observed {
    fn of(node: &Node, endpoint: &Attached) -> Result<Self> {
        Ok(Self {
            interfaces: node.netns().interfaces()?,
            pins: node.pins(),
            endpoint_interfaces: endpoint.netns.interfaces()?,
        })
    }
}

fn is_repaired(what: &str, node: &Node, a: &Attached, b: &Attached, whole: &Observed) -> Result<()> {
    eventually(&format!("{what} is repaired"), SOON, || {
        let now = Observed::of(node, a)?;
        ensure!(now == *whole, "it was {whole:#?}, and is {now:#?}");
        Ok(())
    })?;
    talk(a, b)?;
    talk(b, a)
}

fn pins_of(node: &Node, kind: &str) -> Vec<PathBuf> {
    let is_kind =
        |pin: &PathBuf| output(Command::new("bpftool").args([kind, "show", "pinned"]).arg(pin)).is_ok();
    node.pins().into_iter().filter(is_kind).collect()
}
