//! Clients that stay with their backend.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use overlay::model::Protocol;
use overlay_harness::client::ask_often;
use overlay_harness::{Lab, Node, Outside, eventually};

use super::{Hook, MANY, TARGET, attach_backend, cluster};
use crate::steps::{SOON, all_list};

const PORT: u16 = 8080;

#[test]
fn a_client_stays_with_its_backend_in_tc() {
    a_client_stays_with_its_backend(Hook::Tc);
}

#[test]
fn a_client_stays_with_its_backend_in_xdp() {
    a_client_stays_with_its_backend(Hook::Xdp);
}

/// By whichever node it comes; and with its latest one, though a table leads back to the one before.
fn a_client_stays_with_its_backend(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        let create = ["service", "create", "web", "--network", "blue", "--affinity", "client-ip:600"];
        n1.ctl(&[&create[..], &["--publish", &format!("{PORT}:{TARGET}")]].concat())?;
        let _backends = [
            attach_backend(lab, n1, "web", "a", "1")?,
            attach_backend(lab, n2, "web", "b", "1")?,
            attach_backend(lab, n2, "web", "c", "1")?,
        ];
        all_list(&nodes, &["blue/a", "blue/b", "blue/c"])?;
        for ipv6 in [false, true] {
            let targets = nodes.map(|node| SocketAddr::new(node.address(ipv6), PORT));
            let first = eventually("all nodes lead to one backend", SOON, || home(&outside, &targets))?;
            n1.ctl(&["service", "drain", &format!("web.{first}"), "--wait"])?;
            let second = home(&outside, &targets)?;
            ensure!(second != first, "{first} takes new flows");
            n1.ctl(&["service", "drain", &format!("web.{first}"), "--undo", "--wait"])?;
            let third = home(&outside, &targets)?;
            ensure!(third == second, "from {second} to {third}");
        }
        hook.has_served(n3)
    });
}

/// The only backend that any of these targets leads to. Over TCP: a datagram may come from the port of an earlier flow, and
/// that stays where it was.
fn home(outside: &Outside, targets: &[SocketAddr]) -> Result<String> {
    let mut home = None;
    for target in targets {
        let counts = ask_often(outside.client(), Protocol::Tcp, *target, MANY)?;
        let Some((server, MANY)) = counts.first_key_value().map(|(server, count)| (server, *count)) else {
            bail!("{target} leads to {counts:?}");
        };
        ensure!(
            home.get_or_insert_with(|| server.clone()) == server,
            "{target} leads to {server}, not {home:?}"
        );
    }
    home.context("a target")
}
