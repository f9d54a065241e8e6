//! What `flow ls` and `flow flush` show and end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use overlay::api::FlowRow;
use overlay::flows::{FlowProtocol, FlowScope, FlowState};
use overlay::model::Protocol;
use overlay_harness::client::Conversation;
use overlay_harness::{Lab, Netns, Node, Topology, eventually};

use crate::mesh::{PROTOCOLS, attach_backend, cluster, create_service, lead_to, targets};
use crate::services::detail;
use crate::steps::{SOON, refused};

const PORT: u16 = 8080;
const TARGET: u16 = crate::mesh::TARGET;
const PATIENCE: Duration = Duration::from_secs(5);
/// For how many seconds UDP's flows are kept in these labs.
const UDP: &str = "[idle]\nudp = 2\nudp_stream = 2\n";

#[test]
fn flows_are_listed_where_they_are_and_can_be_ended() {
    Lab::run(Topology::of(3), |lab| {
        let [n1, n2, n3] = lab.nodes();
        let outside = cluster(lab)?;
        create_service(n1, "web", PORT)?;
        create_service(n1, "other", PORT + 1)?;
        let backend = attach_backend(lab, n2, "web", "web1", "1")?;
        lead_to(&outside, &targets(&[n1], PORT), &["web1"])?;
        let vip = detail(n1, "web")?.service.vips[0].address;
        let inside = lab.attach(n3, "blue", "client", &[])?;

        let published = SocketAddr::new(n1.address(false), PORT);
        let own = SocketAddr::new(backend.endpoint.ip4(), TARGET);
        let (mut by_mesh, client) = open(outside.client(), published)?;
        let (mut by_vip, asker) = open(&inside.netns, SocketAddr::new(vip, TARGET))?;

        let mesh = the_flow(n1, FlowScope::Mesh, client, published)?;
        let back = the_flow(n2, FlowScope::Return, own, client)?;
        let asked = the_flow(n3, FlowScope::Vip, asker, SocketAddr::new(vip, TARGET))?;
        let answered = the_flow(n3, FlowScope::VipReturn, own, asker)?;
        for flow in [&mesh, &back, &asked, &answered] {
            ensure!(
                (flow.service.as_deref(), flow.backend.as_deref()) == (Some("web"), Some("web1"))
                    && (flow.protocol, flow.state) == (FlowProtocol::Tcp, FlowState::Established)
                    && !flow.backend_gone,
                "{flow:?}"
            );
        }
        ensure!(back.translated == Some(published), "{back:?}");
        let text = n1.ctl(&["flow", "ls"])?;
        ensure!(text.contains(&client.to_string()) && text.contains("ESTABLISHED"), "{text}");

        ensure!(list(n1, &["--service", "other"])?.is_empty(), "{text}");
        ensure!(shows(n1, &["--backend", "web.web1", "--protocol", "tcp"], &mesh)?, "{text}");
        ensure!(!shows(n1, &["--protocol", "udp"], &mesh)?, "{text}");
        ensure!(list(n1, &["--limit", "1"])?.len() == 1, "{text}");
        let said = n1.ctl_says(&["flow", "ls", "--limit", "1"])?;
        ensure!(said.starts_with("1 of "), "{said}");
        refused(n1, &["flow", "ls", "--service", "wbe"], &["wbe"])?;
        refused(n1, &["flow", "flush", "--backend", "web.web2"], &["web.web2"])?;

        ensure!(n1.ctl(&["flow", "flush", "--service", "other"])? == "0\n");
        ensure!(shows(n1, &[], &mesh)?, "flushed for another service");
        ensure!(n1.ctl(&["flow", "flush", "--backend", "web.web1"])?.trim().parse::<usize>()? >= 1);
        ensure!(list(n1, &["--service", "web"])?.is_empty(), "{:?}", list(n1, &[]));
        n2.ctl(&["flow", "flush", "--all"])?;
        n3.ctl(&["flow", "flush", "--all"])?;
        ensure!(list(n2, &[])?.is_empty() && list(n3, &[])?.is_empty());
        // The only backend is chosen again, so both connections go on.
        for conversation in [&mut by_mesh, &mut by_vip] {
            ensure!(conversation.ask(b"still there?")? == "web1");
        }
        the_flow(n1, FlowScope::Mesh, client, published).map(drop)
    });
}

#[test]
fn a_flow_ends_with_the_idle_time_of_the_configuration() {
    Lab::run(Topology::of(2).config(UDP), |lab| {
        let [n1, n2] = lab.nodes();
        let outside = cluster(lab)?;
        create_service(n1, "web", PORT)?;
        let _backend = attach_backend(lab, n2, "web", "web1", "1")?;
        lead_to(&outside, &targets(&[n1], PORT), &["web1"])?;
        for protocol in PROTOCOLS {
            let target = SocketAddr::new(n1.address(false), PORT);
            outside.client().run(|| Conversation::open(protocol, target, PATIENCE)?.ask(b"a question"))?;
        }
        let of = |protocol| list(n1, &["--protocol", protocol, "--service", "web"]);
        eventually("the flows of UDP have ended", SOON, || {
            let flows = of("udp")?;
            ensure!(flows.is_empty(), "{flows:?}");
            Ok(())
        })?;
        ensure!(!of("tcp")?.is_empty(), "TCP's keep their time");
        Ok(())
    });
}

fn list(node: &Node, filter: &[&str]) -> Result<Vec<FlowRow>> {
    node.ctl_json(&[&["flow", "ls"], filter].concat())
}

/// Whether a flow is listed, however it has gone on.
fn shows(node: &Node, filter: &[&str], flow: &FlowRow) -> Result<bool> {
    let which = |flow: &FlowRow| (flow.scope, flow.from, flow.to);
    Ok(list(node, filter)?.iter().any(|listed| which(listed) == which(flow)))
}

/// A connection that was answered, and its own end.
fn open(from: &Netns, to: SocketAddr) -> Result<(Conversation, SocketAddr)> {
    let open = || from.run(|| Conversation::open(Protocol::Tcp, to, PATIENCE));
    let mut conversation = eventually("the service is reached", SOON, || {
        let mut conversation = open()?;
        conversation.ask(b"anyone?")?;
        Ok(conversation)
    })?;
    let seen = conversation.exchange(b"who asks?")?.seen;
    Ok((conversation, seen))
}

fn the_flow(node: &Node, scope: FlowScope, from: SocketAddr, to: SocketAddr) -> Result<FlowRow> {
    let flows = list(node, &[])?;
    let found = flows.iter().find(|flow| (flow.scope, flow.from, flow.to) == (scope, from, to));
    found.cloned().with_context(|| format!("no {scope:?} from {from} to {to} on {}: {flows:#?}", node.name()))
}
