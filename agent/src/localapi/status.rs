//! How the node is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::State;
use overlay::api::{DropCount, GossipStatus, ManagerStatus, MeshStatus, RoleStatus, Status, UnderlayStatus};
use overlay::intent::Intent;
use overlay::model::{Node, NodeId};
use overlay::reconcile::mesh::Mesh;

use super::{Answer, Context, Json};
use crate::eventloop::Request;
use crate::gossip::{Counters, Snapshot};
use crate::manager::ManagerLink;
use crate::state::{Local, MemberHandle};

/// So many nodes are named where something is missing of them.
const MOST_NAMES: usize = 5;

pub(super) async fn status(State(context): State<Context>) -> Answer<Status> {
    context.ask(Request::Refresh).await?;
    let shared = context.shared();
    let member = shared.member.as_ref();
    let (intent, snapshot) = match member {
        Some(member) => (member.intent(), member.snapshot()),
        None => Default::default(),
    };
    let is_up = |node: &NodeId| intent.nodes.contains_key(node) && !snapshot.view.is_restarting(*node);
    let waiting_for = waiting_for(member, &shared.local);
    let remote =
        snapshot.view.endpoints().filter(|(node, _)| Some(*node) != member.map(|member| member.node));
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: member.map(|member| member.node),
        hostname: crate::describe::hostname(&context.config),
        ready: waiting_for.is_empty(),
        waiting_for,
        manager: member.map(|member| {
            let link = member.manager.borrow();
            let cause = link.last_error.clone();
            ManagerStatus { addr: link.addr, reachable: link.reachable, cause }
        }),
        manager_role: member.and_then(|member| manager_role(member, &intent)),
        intent_version: intent.version,
        nodes_alive: snapshot.alive.iter().filter(|node| is_up(node)).count(),
        nodes_total: intent.nodes.len(),
        networks: intent.networks.len(),
        endpoints_local: shared.attachments.len(),
        endpoints_total: shared.attachments.len() + remote.count(),
        underlay: shared.local.underlay.as_ref().map(|underlay| UnderlayStatus {
            device: underlay.device.clone(),
            vtep: underlay.vtep,
            mtu: underlay.mtu,
        }),
        mesh: mesh(&shared.local.mesh),
        failures: shared.local.failures.clone(),
        drops: drops(&shared.local),
        gossip: gossip(&snapshot.counters),
    }))
}

fn waiting_for(member: Option<&MemberHandle>, local: &Local) -> Vec<String> {
    let Some(member) = member else {
        return vec!["a cluster: run `overlayctl cluster init` or `overlayctl cluster join`".to_owned()];
    };
    let mut waiting = Vec::new();
    if let Some(excluded) = member.manager.borrow().excluded {
        waiting.push(format!("a cluster: {excluded}: {}", excluded.hint()));
    }
    if let Some(cause) = &member.role.status().borrow().last_error {
        waiting.push(format!("the manager's role of this node, which is tried again: {cause}"));
    }
    if let Some(cause) = &*member.certificate.borrow() {
        waiting.push(format!("this node's certificate, which is tried again: {cause}"));
    }
    if !member.intent().nodes.contains_key(&member.node) {
        waiting.push("intent: no manager has been reached yet".to_owned());
    }
    waiting.extend(facts_waited_for(&member.intent(), &member.snapshot(), &member.manager.borrow()));
    if local.underlay.is_none() {
        waiting.push("an underlay: no device holds the advertised address".to_owned());
    }
    waiting.extend(
        local.failures.iter().map(|failure| format!("the kernel: {}: {}", failure.action, failure.cause)),
    );
    waiting
}

/// Which nodes' facts this one needs before it is ready, in words. One whose manager API it follows is there, whatever gossip
/// has heard.
fn facts_waited_for(intent: &Intent, snapshot: &Snapshot, link: &ManagerLink) -> Option<String> {
    let is_followed = |node: &Node| link.reachable && SocketAddr::new(node.addr, node.api_port) == link.addr;
    let is_due = |node: &Node| {
        // Once there was time enough, who was not heard of is taken for dead.
        !snapshot.synced && (!snapshot.settled || snapshot.alive.contains(&node.id)) || is_followed(node)
    };
    let missing = snapshot.missing.iter().filter_map(|node| intent.nodes.get(node));
    let mut names: Vec<&str> = missing.filter(|node| is_due(node)).map(|node| &*node.hostname).collect();
    if names.is_empty() {
        return (!snapshot.synced).then(|| "facts: no peer has sent its full state yet".to_owned());
    }
    names.sort_unstable();
    let more = names.split_off(names.len().min(MOST_NAMES)).len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "facts: those of {}{more} have not come; does gossip reach them, over UDP and TCP?",
        names.join(", ")
    ))
}

/// Nothing, for a worker.
fn manager_role(member: &MemberHandle, intent: &Intent) -> Option<RoleStatus> {
    let status = member.role.status().borrow().clone();
    let wanted = intent.is_manager(member.node);
    (wanted || status.running || status.last_error.is_some()).then(|| RoleStatus {
        running: status.running,
        leader: status.leader.map(|leader| intent.hostname(leader)),
        error: status.last_error,
    })
}

fn mesh(mesh: &Mesh) -> Option<MeshStatus> {
    match mesh {
        Mesh::Idle => None,
        Mesh::Xdp { why } => Some(MeshStatus { hook: "xdp".to_owned(), why: why.clone() }),
        Mesh::Tc { why } => Some(MeshStatus { hook: "tc".to_owned(), why: why.clone() }),
    }
}

fn drops(local: &Local) -> BTreeMap<String, DropCount> {
    let count = |(reason, packets): (&overlay_abi::DropReason, &u64)| {
        (reason.name().to_owned(), DropCount { packets: *packets, meaning: reason.meaning().to_owned() })
    };
    local.drops.iter().map(count).collect()
}

fn gossip(counters: &Counters) -> GossipStatus {
    let refused = counters.refused().into_iter().filter(|(_, packets, _)| *packets > 0);
    let count = |(reason, packets, meaning): (&str, u64, &str)| {
        (reason.to_owned(), DropCount { packets, meaning: meaning.to_owned() })
    };
    GossipStatus {
        refused: refused.map(count).collect(),
        pushes_sent: counters.pushes_sent,
        pushes_received: counters.pushes_received,
        pulls_sent: counters.pulls_sent,
        pulls_answered: counters.pulls_answered,
        syncs: counters.syncs,
        syncs_failed: counters.syncs_failed,
        syncs_served: counters.syncs_served,
    }
}

#[cfg(test)]
mod tests;
