//! Whether ports that shall be published are free on the nodes.

use std::collections::BTreeSet;

use overlay::api::{ApiError, ErrorCode};
use overlay::model::{Node, NodeId, PortRange, Protocol, Publish, PublishMode, Service};

use crate::manager::{HeldPort, held_here};
use crate::refusal::internal;
use crate::state::MemberHandle;

/// Refuses to publish what a process holds on a node that is alive. What nodes could not be asked is returned as
/// warnings. A port in the host mode is asked for nowhere yet: it counts where a backend is attached.
pub(super) async fn refuse_held(member: &MemberHandle, publish: &[Publish]) -> Result<Vec<String>, ApiError> {
    let ports = ports(publish, PublishMode::Ingress);
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let alive: BTreeSet<NodeId> = member.snapshot().alive.iter().copied().collect();
    let (here, others): (Vec<Node>, Vec<Node>) =
        member.intent().nodes.values().cloned().partition(|node| node.id == member.node);
    let (asked, down): (Vec<Node>, Vec<Node>) = others.into_iter().partition(|node| alive.contains(&node.id));
    let (own, answers) = tokio::join!(here_now(ports.clone()), member.peers.held(asked, &ports));
    if let (Some(node), Some(held)) = (here.first(), own?.first()) {
        return Err(taken(held, &node.hostname));
    }
    let mut warnings = Vec::new();
    for (node, answer) in answers {
        match answer {
            Ok(held) => {
                if let Some(held) = held.first() {
                    return Err(taken(held, &node.hostname));
                }
            }
            Err(cause) => warnings.push(format!(
                "the node {} could not be asked whether the ports are free there: {cause}",
                node.hostname
            )),
        }
    }
    warnings.extend(down.iter().map(|node| {
        format!("the node {} is down and was not asked whether the ports are free there", node.hostname)
    }));
    Ok(warnings)
}

/// Refuses a backend here for a service whose ports of the host mode a process of this node holds.
pub(super) async fn refuse_host_mode(member: &MemberHandle, service: &Service) -> Result<(), ApiError> {
    let ports = ports(&service.publish, PublishMode::Host);
    match here_now(ports).await?.first() {
        Some(held) => Err(taken(held, &member.intent().hostname(member.node))),
        None => Ok(()),
    }
}

fn ports(publish: &[Publish], mode: PublishMode) -> Vec<(Protocol, PortRange)> {
    let of_mode = publish.iter().filter(|publish| publish.mode() == mode);
    of_mode.map(|publish| (publish.protocol(), publish.published())).collect()
}

async fn here_now(ports: Vec<(Protocol, PortRange)>) -> Result<Vec<HeldPort>, ApiError> {
    tokio::task::spawn_blocking(move || held_here(&ports)).await.map_err(internal)
}

fn taken(held: &HeldPort, hostname: &str) -> ApiError {
    let HeldPort { protocol, port, holder } = held;
    let error = format!("{} port {port} is held by {holder} on the node {hostname}", protocol.upper());
    ApiError::new(ErrorCode::Conflict, error).hint("stop it there, or publish another port")
}
