//! Endpoints that are more than hosts: what they forward arrives whole, whichever offloads they have.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use overlay_harness::traffic::{Ping, Responder, tcp_transfer, who_answers};
use overlay_harness::{Attached, Lab, Netns, Topology, eventually};

use crate::steps::{SOON, create_network, name};

/// More than GSO packets hold, and not a multiple of anything.
const TRANSFER: usize = 3_000_017;

/// The subnets of the second network.
const GREEN: [&str; 2] = ["10.78.0.0/24", "fd78::/64"];

/// What `ethtool -K` calls the offloads that merge and cut packets.
const OFFLOADS: [&str; 2] = ["tso", "gro"];

#[test]
fn a_router_between_two_networks() {
    routed(Topology::of(2));
}

#[test]
fn a_router_between_two_networks_over_ipv6() {
    routed(Topology::of(2).over_ipv6());
}

fn routed(topology: Topology) {
    Lab::run(topology, |lab| {
        let [n1, n2] = lab.nodes();
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &[n1, n2])?;
        n1.ctl(&["network", "create", "green", "--subnet", GREEN[0], "--subnet", GREEN[1]])?;
        eventually("n2 knows green", SOON, || n2.network("green"))?;
        // The router's packets leave for the node that they came from, for another one, and for its own.
        let ends = [
            (lab.attach(n1, "blue", "a", &[])?, lab.attach(n1, "green", "b", &[])?),
            (lab.attach(n1, "blue", "c", &[])?, lab.attach(n2, "green", "d", &[])?),
        ];
        let router = lab.attach(n2, "blue", "router", &["--forward"])?;
        let second = n2.attach(&router.netns, "green", "router", &["--forward"])?;
        forward(&router.netns)?;
        let green = Attached { netns: router.netns.clone(), row: second };
        for (blue, other) in &ends {
            for (end, beyond, by) in [(blue, GREEN, &router), (other, crate::steps::SUBNETS, &green)] {
                end.netns.ip(&format!("route add {} via {}", beyond[0], by.ip4()))?;
                end.netns.ip(&format!("route add {} via {}", beyond[1], by.ip6()))?;
            }
        }
        whichever_offloads(&[&router.netns, n2.netns()], || {
            ends.iter().try_for_each(|(blue, green)| exchange(blue, green).and(exchange(green, blue)))
        })
    });
}

/// Makes a namespace forward, in both families.
fn forward(netns: &Netns) -> Result<()> {
    set(netns, "net/ipv4/ip_forward", "1")?;
    set(netns, "net/ipv6/conf/all/forwarding", "1")
}

fn set(netns: &Netns, sysctl: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{sysctl}");
    netns.run(|| std::fs::write(&path, value).with_context(|| path.clone()))
}

/// Does it with the offloads of every interface in these namespaces on, and off.
fn whichever_offloads(netns: &[&Netns], mut check: impl FnMut() -> Result<()>) -> Result<()> {
    for state in ["on", "off"] {
        for netns in netns {
            for interface in netns.interfaces()? {
                let mut ethtool = Command::new("ethtool");
                ethtool.args(["-K", &interface]);
                netns.output(ethtool.args(OFFLOADS.iter().flat_map(|offload| [*offload, state])))?;
            }
        }
        check().with_context(|| format!("with {OFFLOADS:?} {state}"))?;
    }
    Ok(())
}

/// Pings, datagrams and a stream, by both families.
fn exchange(from: &Attached, to: &Attached) -> Result<()> {
    let _responder = Responder::start(&to.netns, &name(to))?;
    for address in [to.ip4(), to.ip6()] {
        eventually(&format!("{} reaches {address}", name(from)), SOON, || {
            Ping::to(address).all_answered(&from.netns)
        })?;
        for bytes in [1, 1200, 8000] {
            let who = who_answers(&from.netns, address, bytes)?;
            ensure!(who == name(to), "{address} is {who} and not {}", name(to));
        }
        tcp_transfer(&from.netns, &to.netns, address, TRANSFER)?;
    }
    Ok(())
}
