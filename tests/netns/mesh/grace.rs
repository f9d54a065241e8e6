//! A drained backend's connections go on for the grace period of its service, and end with it; nobody else notices.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use overlay::api::BackendState;
use overlay::model::Protocol;
use overlay_harness::load::{Load, Report};
use overlay_harness::{Lab, Node, eventually};

use super::{Hook, attach_backend, cluster, create_service, lead_to, targets};
use crate::services::state;

const WEB: u16 = 8080;
const OTHER: u16 = 8081;

/// Lasting conversations with each address, by each protocol.
const EACH: usize = 4;

/// Answers to each of them that span what happens at a step.
const ANSWERS: u64 = 20;

/// How soon a grace period ends, in seconds.
const GRACE: u64 = 3;

/// It is over within that, and noticed.
const OVER: Duration = Duration::from_secs(20);

#[test]
fn connections_go_on_for_the_grace_period_and_end_with_it_in_tc() {
    connections_go_on_for_the_grace_period_and_end_with_it(Hook::Tc);
}

#[test]
fn connections_go_on_for_the_grace_period_and_end_with_it_in_xdp() {
    connections_go_on_for_the_grace_period_and_end_with_it(Hook::Xdp);
}

/// Clients ask a node that has no backend.
fn connections_go_on_for_the_grace_period_and_end_with_it(hook: Hook) {
    Lab::run(hook.three_nodes(), |lab| {
        let nodes: [&Node; 3] = lab.nodes();
        let [n1, n2, n3] = nodes;
        let outside = cluster(lab)?;
        create_service(n1, "web", WEB)?;
        create_service(n1, "other", OTHER)?;
        let grace = |seconds: u64| {
            n1.ctl(&["service", "update", "web", "--stop-grace-period", &format!("{seconds}s")])
        };
        grace(3600)?;
        let _a = attach_backend(lab, n1, "web", "a", "1")?;
        let _b = attach_backend(lab, n2, "web", "b", "1")?;
        let _o = attach_backend(lab, n1, "other", "o", "1")?;
        let (web, other) = (targets(&[n3], WEB), targets(&[n3], OTHER));
        lead_to(&outside, &web, &["a", "b"])?;
        lead_to(&outside, &other, &["o"])?;
        let others = Load::start(outside.client(), &other, 1)?;

        let load = Load::start(outside.client(), &web, EACH)?;
        let drained = Instant::now();
        n1.ctl(&["service", "drain", "web.b", "--wait"])?;
        are(&nodes, BackendState::Draining)?;
        lead_to(&outside, &web, &["a"])?;
        load.goes_on(ANSWERS)?;
        are_whole(&load.reports(), |_| true, &["a", "b"])?;
        grace(drained.elapsed().as_secs() + GRACE)?;
        eventually("those of the backend have left", OVER, || have_left(&load.reports(), "b"))?;
        are(&nodes, BackendState::Drained)?;
        load.goes_on(ANSWERS)?;
        are_whole(&load.stop(), |report| !report.touches("b"), &["a", "b"])?;

        n1.ctl(&["service", "drain", "web.b", "--undo", "--wait"])?;
        are(&nodes, BackendState::Active)?;
        lead_to(&outside, &web, &["a", "b"])?;
        let load = Load::start(outside.client(), &web, EACH)?;
        grace(GRACE)?;
        n1.ctl(&["node", "update", "n2", "--availability", "drain", "--wait"])?;
        eventually("those of the node have left", OVER, || have_left(&load.reports(), "b"))?;
        are(&nodes, BackendState::NodeDrained)?;
        are_whole(&load.stop(), |report| !report.touches("b"), &["a", "b"])?;

        others.goes_on(ANSWERS)?;
        hook.has_served(n3)?;
        are_whole(&others.stop(), |_| true, &["o"])
    });
}

/// Every node shows that of the backend.
fn are(nodes: &[&Node], wanted: BackendState) -> Result<()> {
    for node in nodes {
        let shown = state(node, "b")?;
        ensure!(shown == wanted, "{shown:?} on {}", node.name());
    }
    Ok(())
}

/// Every conversation that counts must have lost nothing; each of the servers must have had one.
pub(crate) fn are_whole(
    reports: &[Report],
    counts: impl Fn(&Report) -> bool,
    servers: &[&str],
) -> Result<()> {
    for server in servers {
        ensure!(reports.iter().any(|report| report.touches(server)), "nobody came to {server}");
    }
    let broken: Vec<_> = reports.iter().filter(|report| counts(report) && !report.is_whole()).collect();
    ensure!(broken.is_empty(), "{} of {}: {broken:#?}", broken.len(), reports.len());
    Ok(())
}

/// Who talked with a backend that is gone was told so, over TCP, or talks with another one.
pub(crate) fn have_left(reports: &[Report], backend: &str) -> Result<()> {
    let told = |report: &&Report| match report.protocol {
        Protocol::Tcp => report.failures.iter().any(|failure| failure.contains("reset")),
        Protocol::Udp => report.servers.last().is_some_and(|server| server != backend),
    };
    let stay: Vec<_> = reports.iter().filter(|report| report.touches(backend) && !told(report)).collect();
    ensure!(stay.is_empty(), "{stay:#?}");
    Ok(())
}
