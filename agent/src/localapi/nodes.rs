//! Nodes: who is in the cluster and how they are, and what users want of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use overlay::api::{
    ApiError, Changed, ErrorCode, ManagerState, NodeDetail, NodeRemove, NodeRole, NodeRow, NodeStatus,
    NodeUpdate,
};
use overlay::intent::{Command, Intent, NodeChange};
use overlay::model::{Node, NodeId, Role};
use tokio::time::{sleep, timeout};

use super::freshness::Managers;
use super::services::version_with;
use super::{Answer, Body, Context, Json, freshness, parse};
use crate::clock;
use crate::gossip::Snapshot;
use crate::manager::Standing;
use crate::state::MemberHandle;

/// How long a node may take to become a manager, or to be one no more, and how often that is looked at.
const ROLE_CHANGES: Duration = Duration::from_secs(20);
const ROLE_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn list(
    State(context): State<Context>,
    Extension(Managers(standing)): Extension<Managers>,
) -> Answer<Vec<NodeRow>> {
    let member = context.member()?;
    let rows = Rows::of(&member, standing);
    let mut rows: Vec<_> = rows.intent.nodes.values().map(|node| rows.row(node)).collect();
    rows.sort_by(|a, b| (&a.hostname, a.id).cmp(&(&b.hostname, b.id)));
    Ok(Json(rows))
}

pub(super) async fn inspect(
    State(context): State<Context>,
    Extension(Managers(standing)): Extension<Managers>,
    Path(reference): Path<String>,
) -> Answer<NodeDetail> {
    let member = context.member()?;
    let rows = Rows::of(&member, standing);
    let node = rows.intent.node(&reference)?;
    Ok(Json(NodeDetail {
        row: rows.row(node),
        labels: node.labels.clone(),
        gossip_port: node.gossip_port,
        api_port: node.api_port,
        data_port: node.data_port,
        underlay: node.underlay.clone(),
    }))
}

pub(super) async fn update(
    State(context): State<Context>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<Changed> {
    let NodeUpdate { availability, labels_rm, labels_add } = parse(&body)?;
    let member = context.member()?;
    freshness::catch_up(&member).await?;
    let node = member.intent().node(&reference)?.id;
    let change = NodeChange { availability, labels_rm, labels_add };
    let at = clock::unix_seconds();
    member.log.propose(Command::UpdateNode { node, change: change.clone(), at }).await?;
    let is = |intent: &Intent| intent.nodes.get(&node).is_some_and(|node| change.is_made(node));
    version_with(&member, is).await
}

pub(super) async fn set_role(
    State(context): State<Context>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<Changed> {
    let NodeRole { role } = parse(&body)?;
    let member = context.member()?;
    freshness::catch_up(&member).await?;
    let (node, manager) = (member.intent().node(&reference)?.id, role == Role::Manager);
    member.log.propose(Command::SetRole { node, manager }).await?;
    taken_up(&member, node, manager).await?;
    let is = |intent: &Intent| intent.nodes.get(&node).is_some_and(|node| node.manager == manager);
    version_with(&member, is).await
}

/// Once the managers count on a new manager, or no longer on a former one.
async fn taken_up(member: &MemberHandle, node: NodeId, manager: bool) -> Result<(), ApiError> {
    let taken_up = async {
        loop {
            let standing = member.log.read().await;
            if standing.is_ok_and(|standing| standing.voters.contains_key(&node) == manager) {
                return;
            }
            sleep(ROLE_PAUSE).await;
        }
    };
    timeout(ROLE_CHANGES, taken_up).await.map_err(|_| {
        let hostname = member.intent().hostname(node);
        let what = if manager { "has not caught up with the managers" } else { "still counts as a manager" };
        ApiError::new(ErrorCode::Unavailable, format!("{hostname} {what} yet"))
            .hint("the change is noted, and is made as soon as the managers answer; see `overlayctl node ls`")
    })
}

pub(super) async fn remove(
    State(context): State<Context>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<NodeRow> {
    let NodeRemove { force } = parse(&body)?;
    let member = context.member()?;
    freshness::catch_up(&member).await?;
    let rows = Rows::of(&member, None);
    let row = rows.row(rows.intent.node(&reference)?);
    if row.this {
        return Err(conflict("this node cannot remove itself")
            .hint("`overlayctl cluster leave` takes it out of the cluster")
            .into());
    }
    if row.status != NodeStatus::Down && !force {
        return Err(conflict(format!("the node {} is alive", row.hostname))
            .hint("run `overlayctl cluster leave` on it; or use --force, and it is cut off at once")
            .into());
    }
    member.log.propose(Command::RemoveNode { id: row.id, force }).await?;
    Ok(Json(row))
}

fn conflict(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Conflict, text)
}

/// What a row is made from.
struct Rows<'a> {
    member: &'a MemberHandle,
    intent: Arc<Intent>,
    snapshot: Arc<Snapshot>,
    /// If the managers could be asked.
    standing: Option<Standing>,
}

impl<'a> Rows<'a> {
    fn of(member: &'a MemberHandle, standing: Option<Standing>) -> Self {
        Self { member, intent: member.intent(), snapshot: member.snapshot(), standing }
    }

    fn manager(&self, node: &Node) -> ManagerState {
        let alive = self.snapshot.alive.contains(&node.id);
        let reachable = match &self.standing {
            Some(standing) if standing.leader == node.id => return ManagerState::Leader,
            // One that catches up yet is asked nothing that would tell.
            Some(standing) => standing.voters.get(&node.id).copied().unwrap_or(alive),
            None => alive,
        };
        if reachable { ManagerState::Reachable } else { ManagerState::Unreachable }
    }

    fn row(&self, node: &Node) -> NodeRow {
        let view = &self.snapshot.view;
        NodeRow {
            id: node.id,
            hostname: node.hostname.clone(),
            this: node.id == self.member.node,
            status: match self.snapshot.alive.contains(&node.id) {
                true if view.is_restarting(node.id) => NodeStatus::Restarting,
                true => NodeStatus::Ready,
                false => NodeStatus::Down,
            },
            availability: node.availability,
            manager: node.manager.then(|| self.manager(node)),
            addr: node.addr,
            version: view.node(node.id).map_or(&node.version, |fact| &fact.version).clone(),
        }
    }
}
