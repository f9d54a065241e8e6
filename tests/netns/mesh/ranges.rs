//! Ranges of ports as wide as they may be, of a service with as odd a name as it may have.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use overlay_harness::client::ask_often;
use overlay_harness::{Lab, Node, Server, eventually};

use super::{Hook, PROTOCOLS, cluster};
use crate::steps::{SOON, refused};

/// All that Overlay itself leaves; over TCP but for those that the nodes' own connections come from.
const RANGES: [&str; 7] = [
    "1-2376:1-2376/tcp",
    "2378-7945:2378-7945/tcp",
    "7947-32767:7947-32767/tcp",
    "61000-65535:61000-65535/tcp",
    "1-4788:1-4788/udp",
    "4790-7945:4790-7945/udp",
    "7947-65535:7947-65535/udp",
];

/// At the limits of these ranges, and between.
const PORTS: [u16; 5] = [1, 2376, 7945, 7947, 65535];

/// The longest, of everything that a name may have.
const NAME: &str = "0-_.--..__A.service-that-is-named.as_oddly-as-any.may_BE.64-1--";

#[test]
fn all_ports_are_served_in_tc() {
    all_ports_are_served(Hook::Tc);
}

#[test]
fn all_ports_are_served_in_xdp() {
    all_ports_are_served(Hook::Xdp);
}

fn all_ports_are_served(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, _, n3] = nodes;
        let outside = cluster(lab)?;
        let create = ["service", "create", NAME, "--network", "blue"];
        for (range, said) in [
            ("1-65535:1-65535/tcp", "TCP port 7946 is the gossip port"),
            ("4789-4790:1-2/udp", "UDP port 4789"),
            ("7946:1/udp", "UDP port 7946"),
        ] {
            refused(n1, &[&create[..], &["--publish", range]].concat(), &[said])?;
        }
        for range in
            ["0-1:1-2/tcp", "65535-65536:1-2/tcp", "2-1:1-2/tcp", "1-2:1-3/tcp", "1-2:65535-65536/tcp"]
        {
            let said = n1.ctl_fails(&[&create[..], &["--publish", range]].concat())?;
            ensure!(said.contains("invalid value") && said.contains(range), "{range}: {said}");
        }
        n1.ctl(&[&create[..], &RANGES.map(|range| ["--publish", range]).concat()].concat())?;

        let netns = lab.namespace("backend")?;
        let servers = PORTS.map(|port| Server::start(&netns, &port.to_string(), port));
        let _servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
        n1.attach(&netns, "blue", "backend", &["--service", NAME])?;
        for (protocol, port) in PROTOCOLS.into_iter().flat_map(|protocol| PORTS.map(|port| (protocol, port)))
        {
            for ipv6 in [false, true] {
                let target = SocketAddr::new(n3.address(ipv6), port);
                eventually(&format!("{protocol} to {target} is served"), SOON, || {
                    let counts = ask_often(outside.client(), protocol, target, 1)?;
                    ensure!(counts.keys().eq([&port.to_string()]), "it comes to {counts:?}");
                    Ok(())
                })?;
            }
        }
        // What is no service's still works.
        ensure!(n3.ctl(&["service", "ps", NAME])?.contains("backend"));
        hook.has_served(n3)?;
        n1.ctl(&["service", "rm", NAME]).map(drop)
    });
}
