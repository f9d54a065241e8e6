//! Endpoints: attached and detached here, listed from every node's facts.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use overlay::api::{ApiError, EndpointAttach, EndpointLocal, EndpointRow, ErrorCode};
use overlay::attach::{self, Random};
use overlay::intent::{Command, GrantBlock, Reply};
use overlay::model::{Attachment, Endpoint, NetnsRef, NodeId};

use super::{Answer, Body, Context, Json, freshness, parse, ports};
use crate::eventloop::{AttachRequest, Attached, Request};
use crate::kernel::netlink::Netlink;
use crate::kernel::netns;
use crate::refusal::internal;
use crate::state::{MemberHandle, Shared};

/// One block for each address family, and one more try for a block that somebody else emptied meanwhile.
const TRIES: usize = 4;

pub(super) async fn list(State(context): State<Context>) -> Answer<Vec<EndpointRow>> {
    let member = context.member()?;
    Ok(Json(rows(&context, &member)))
}

pub(super) async fn attach(State(context): State<Context>, body: Body) -> Answer<EndpointRow> {
    let request: EndpointAttach = parse(&body)?;
    let member = context.member()?;
    freshness::find_here(&member, |intent| intent.network(&request.network).map(drop)).await?;
    if let Some(service) = &request.service {
        let service = freshness::find_here(&member, |intent| intent.service(service).cloned()).await?;
        ports::refuse_host_mode(&member, &service).await?;
    }
    let netns = netns::resolve(&request.netns)?;
    for _ in 0..TRIES {
        let wish = wish(&request, &netns).await?;
        match context.ask(|reply| Request::Attach(Box::new(wish), reply)).await? {
            Attached::Done(attachment) => return Ok(Json(row_of(&context, &member, &attachment)?)),
            Attached::NeedsBlock(grant) => obtain(&member, grant).await?,
        }
    }
    Err(ApiError::new(ErrorCode::Unavailable, "no addresses could be had for the endpoint")
        .hint("other endpoints took each granted block first; try again")
        .into())
}

pub(super) async fn inspect(
    State(context): State<Context>,
    Path(reference): Path<String>,
) -> Answer<EndpointRow> {
    let member = context.member()?;
    let (node, endpoint) = resolve(&context.shared(), &member, &reference)?;
    Ok(Json(row(&context, &member, node, endpoint)?))
}

pub(super) async fn detach(
    State(context): State<Context>,
    Path(reference): Path<String>,
) -> Answer<EndpointRow> {
    let member = context.member()?;
    let (node, endpoint) = resolve(&context.shared(), &member, &reference)?;
    let row = row(&context, &member, node, endpoint)?;
    if node != member.node {
        let (name, host) = (&row.endpoint.name, &row.hostname);
        return Err(ApiError::new(ErrorCode::Conflict, format!("endpoint {name} is on node {host}"))
            .hint(format!("detach it there: run `overlayctl endpoint detach {name}` on {host}"))
            .into());
    }
    context.ask(|reply| Request::Detach(row.endpoint.id, reply)).await?;
    Ok(Json(row))
}

/// Every endpoint known here, by network and name.
pub(super) fn rows(context: &Context, member: &MemberHandle) -> Vec<EndpointRow> {
    let shared = context.shared();
    let local = shared.attachments.values().map(|attachment| (member.node, attachment.endpoint.clone()));
    let remote = member.snapshot();
    let remote = remote.view.endpoints().filter(|(node, _)| *node != member.node);
    let all = local.chain(remote.map(|(node, endpoint)| (node, endpoint.clone())));
    // An endpoint whose network is gone has no row: it is about to be detached.
    let mut rows: Vec<_> =
        all.filter_map(|(node, endpoint)| row(context, member, node, endpoint).ok()).collect();
    rows.sort_by(|a, b| (&a.network_name, &a.endpoint.name).cmp(&(&b.network_name, &b.endpoint.name)));
    rows
}

fn resolve(shared: &Shared, member: &MemberHandle, reference: &str) -> Result<(NodeId, Endpoint), ApiError> {
    let (intent, snapshot) = (member.intent(), member.snapshot());
    let found =
        attach::resolve_endpoint(reference, member.node, &intent, &snapshot.view, &shared.attachments)?;
    Ok((found.owner, found.endpoint.clone()))
}

fn row_of(
    context: &Context,
    member: &MemberHandle,
    attachment: &Attachment,
) -> Result<EndpointRow, ApiError> {
    row(context, member, member.node, attachment.endpoint.clone())
}

fn row(
    context: &Context,
    member: &MemberHandle,
    node: NodeId,
    endpoint: Endpoint,
) -> Result<EndpointRow, ApiError> {
    let intent = member.intent();
    let Some(network) = intent.networks.get(&endpoint.network) else {
        return Err(ApiError::new(
            ErrorCode::NotFound,
            format!("endpoint {}'s network is gone", endpoint.name),
        ));
    };
    let hostname = intent.hostname(node);
    let local = context.shared().attachments.get(&endpoint.id).map(|attachment| EndpointLocal {
        netns: attachment.netns.path.display().to_string(),
        ifname: attachment.ifname.clone(),
        host_ifname: attachment.host_ifname(&context.config.veth_prefix),
    });
    Ok(EndpointRow { endpoint, network_name: network.name.clone(), node, hostname, local })
}

async fn wish(request: &EndpointAttach, netns: &NetnsRef) -> Result<AttachRequest, ApiError> {
    let ifnames: BTreeSet<_> = Netlink::interfaces_in(netns).await.map_err(internal)?;
    let random = Random { id: rand::random(), mac: rand::random() };
    Ok(AttachRequest { request: request.clone(), netns: netns.clone(), ifnames, random })
}

/// Has a manager grant a block, and waits until the grant is seen here.
async fn obtain(member: &MemberHandle, grant: GrantBlock) -> Result<(), ApiError> {
    let network = grant.network;
    let Reply::Block(block) = member.log.propose(Command::GrantBlock(grant)).await? else {
        return Err(internal(anyhow::anyhow!("the manager answered something else than a block")));
    };
    freshness::seen(member, |intent| {
        intent.grants.get(&network).is_some_and(|grants| grants.blocks.contains(&block))
    })
    .await;
    Ok(())
}
