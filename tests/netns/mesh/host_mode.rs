//! Ports that are published in host mode: open on the nodes that have a backend, each for its own ones.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use overlay_harness::client::Conversation;
use overlay_harness::{Lab, Node, Outside, eventually};

use super::{Hook, PROTOCOLS, TARGET, attach_backend, cluster, lead_to, targets};
use crate::steps::SOON;

const PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_port_in_host_mode_is_open_where_a_backend_is_in_tc() {
    Lab::run(Hook::Tc.three_nodes(), is_open_where_a_backend_is);
}

#[test]
fn a_port_in_host_mode_is_open_where_a_backend_is_in_xdp() {
    Lab::run(Hook::Xdp.three_nodes(), is_open_where_a_backend_is);
}

fn is_open_where_a_backend_is(lab: &Lab) -> Result<()> {
    let [n1, n2, n3] = lab.nodes();
    let outside = cluster(lab)?;
    let publish = |protocol| format!("published={PORT},target={TARGET},protocol={protocol},mode=host");
    let [tcp, udp] = PROTOCOLS.map(publish);
    n1.ctl(&["service", "create", "web", "--network", "blue", "--publish", &tcp, "--publish", &udp])?;
    let second = attach_backend(lab, n2, "web", "web2", "1")?;
    lead_to(&outside, &targets(&[n2], PORT), &["web2"])?;
    is_closed(&outside, &[n1, n3])?;
    let _third = attach_backend(lab, n3, "web", "web3", "1")?;
    lead_to(&outside, &targets(&[n3], PORT), &["web3"])?;
    lead_to(&outside, &targets(&[n2], PORT), &["web2"])?;
    is_closed(&outside, &[n1])?;
    drop(second);
    n2.ctl(&["endpoint", "detach", "blue/web2"])?;
    is_closed(&outside, &[n1, n2])?;
    lead_to(&outside, &targets(&[n3], PORT), &["web3"])
}

/// The hosts themselves refuse, as they do for any port that nobody listens on.
fn is_closed(outside: &Outside, nodes: &[&Node]) -> Result<()> {
    for (protocol, target) in targets(nodes, PORT) {
        eventually(&format!("{protocol} to {target} is refused"), SOON, || {
            refused(outside, protocol, target)
        })?;
    }
    Ok(())
}

fn refused(outside: &Outside, protocol: overlay::model::Protocol, target: SocketAddr) -> Result<()> {
    let ask = || Conversation::open(protocol, target, PATIENCE)?.ask(b"anyone?");
    let said =
        format!("{:#}", outside.client().run(ask).err().unwrap_or_else(|| anyhow::anyhow!("an answer")));
    ensure!(said.contains("refused"), "{said}");
    Ok(())
}
