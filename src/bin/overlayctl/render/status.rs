//! `status` for people: what is so, then what is wrong.

use std::collections::BTreeMap;

use overlay::api::{DropCount, ManagerStatus, RoleStatus, Status};

use super::table::table;

/// The state of a node.
pub(crate) fn status(status: &Status) -> String {
    let mut text: String =
        facts(status).into_iter().map(|(what, value)| format!("{what:<11}{value}\n")).collect();
    if !status.failures.is_empty() {
        text.push_str("\nWhat could not be put into effect, and is tried again and again:\n");
        text.push_str(&table(
            ["ATTEMPTS", "ACTION", "CAUSE"],
            status
                .failures
                .iter()
                .map(|failure| [failure.attempts.to_string(), failure.action.clone(), failure.cause.clone()]),
        ));
    }
    text.push_str(&counts("Packets dropped since the data path was first loaded", &status.drops));
    text.push_str(&counts("Gossip refused since the agent started", &status.gossip.refused));
    text
}

/// What was counted, unless nothing was.
fn counts(title: &str, counts: &BTreeMap<String, DropCount>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let rows = counts
        .iter()
        .map(|(reason, count)| [count.packets.to_string(), reason.clone(), count.meaning.clone()]);
    format!("\n{title}:\n{}", table(["PACKETS", "REASON", "MEANING"], rows))
}

fn facts(status: &Status) -> Vec<(&'static str, String)> {
    let node = match status.node {
        Some(id) => format!("{} ({id})", status.hostname),
        None => format!(
            "{} (in no cluster yet: `overlayctl cluster init` or `overlayctl cluster join`)",
            status.hostname
        ),
    };
    let manager = match &status.manager {
        Some(manager) if manager.reachable => format!("{}, reached", manager.addr),
        Some(ManagerStatus { addr, cause: Some(cause), .. }) => format!("{addr}, not reached: {cause}"),
        Some(manager) => format!("{}, not reached", manager.addr),
        None => "none".to_owned(),
    };
    let underlay = match &status.underlay {
        Some(underlay) => format!("{}, VTEP {}, MTU {}", underlay.device, underlay.vtep, underlay.mtu),
        None => "not known yet".to_owned(),
    };
    let mesh = match &status.mesh {
        Some(mesh) => format!("in {}: {}", mesh.hook, mesh.why),
        None => "off, as no port is published".to_owned(),
    };
    vec![
        ("Node:", node),
        ("State:", state(status)),
        ("Manager:", manager),
        ("Role:", role(status)),
        ("Nodes:", format!("{} of {} alive", status.nodes_alive, status.nodes_total)),
        ("Networks:", format!("{} (intent version {})", status.networks, status.intent_version)),
        ("Endpoints:", format!("{} here, {} in all", status.endpoints_local, status.endpoints_total)),
        ("Underlay:", underlay),
        ("Mesh:", mesh),
        ("Agent:", format!("overlayd {}", status.version)),
        ("Failures:", count(status.failures.len() as u64)),
        ("Drops:", count(status.drops.values().map(|drop| drop.packets).sum())),
    ]
}

fn role(status: &Status) -> String {
    match &status.manager_role {
        None if status.node.is_none() => "none".to_owned(),
        None => "worker".to_owned(),
        Some(RoleStatus { error: Some(cause), .. }) => format!("manager, does not run: {cause}"),
        Some(RoleStatus { running: false, .. }) => "manager, starting".to_owned(),
        Some(RoleStatus { leader: Some(leader), .. }) => format!("manager, the leader is {leader}"),
        Some(RoleStatus { leader: None, .. }) => "manager, knows no leader".to_owned(),
    }
}

fn state(status: &Status) -> String {
    if status.ready {
        return "ready".to_owned();
    }
    let reasons = status.waiting_for.iter().map(|what| format!("\n{:11}- {what}", ""));
    let waiting = if status.waiting_for.is_empty() { "" } else { ", waiting for:" };
    format!("not ready{waiting}{}", reasons.collect::<String>())
}

fn count(number: u64) -> String {
    if number == 0 { "none".to_owned() } else { number.to_string() }
}
