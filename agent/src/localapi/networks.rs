//! Networks: intent, so every change is proposed to the managers.

use axum::extract::{Path, State};
use overlay::api::{ApiError, EndpointRow, ErrorCode, NetworkCreate, NetworkDetail, NetworkService};
use overlay::intent::{Command, CreateNetwork, Intent, Reply};
use overlay::model::{Network, NetworkId};
use overlay::reconcile::desired;

use super::{Answer, Body, Context, Json, freshness, parse};
use crate::refusal::internal;
use crate::state::MemberHandle;

pub(super) async fn list(State(context): State<Context>) -> Answer<Vec<Network>> {
    let mut networks: Vec<_> = context.member()?.intent().networks.values().cloned().collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(networks))
}

pub(super) async fn create(State(context): State<Context>, body: Body) -> Answer<Network> {
    let wish: NetworkCreate = parse(&body)?;
    let member = context.member()?;
    let command = Command::CreateNetwork(CreateNetwork {
        id: NetworkId::from_bytes(rand::random()),
        name: wish.name,
        subnets: wish.subnets,
        gateways: wish.gateways,
        mtu: wish.mtu,
        internal: wish.internal,
        allow_overlap: wish.allow_overlap,
        labels: wish.labels,
    });
    let Reply::Network(network) = member.log.propose(command).await? else {
        return Err(internal(anyhow::anyhow!("the manager answered something else than a network")).into());
    };
    freshness::seen(&member, |intent| intent.networks.contains_key(&network.id)).await;
    Ok(Json(network))
}

pub(super) async fn inspect(
    State(context): State<Context>,
    Path(reference): Path<String>,
) -> Answer<NetworkDetail> {
    let (shared, member) = (context.shared(), context.member()?);
    let network = freshness::find_here(&member, |intent| intent.network(&reference).cloned()).await?;
    let endpoints = rows_of(&context, &member, &network);
    let effective_mtu =
        desired::effective_mtu(&network, &member.snapshot().view, shared.local.underlay.as_ref());
    let services = services_in(&member.intent(), &network);
    Ok(Json(NetworkDetail { network, effective_mtu, endpoints, services }))
}

pub(super) async fn remove(State(context): State<Context>, Path(reference): Path<String>) -> Answer<Network> {
    let member = context.member()?;
    let network = freshness::find(&member, |intent| intent.network(&reference).cloned()).await?;
    let rows = rows_of(&context, &member, &network);
    if let Some(first) = rows.first() {
        return Err(in_use(&network, first, rows.len()).into());
    }
    member.log.propose(Command::RemoveNetwork { id: network.id }).await?;
    freshness::seen(&member, |intent| !intent.networks.contains_key(&network.id)).await;
    Ok(Json(network))
}

fn services_in(intent: &Intent, network: &Network) -> Vec<NetworkService> {
    let inside = intent.services.values().filter(|service| service.networks.contains(&network.id));
    let mut services: Vec<_> = inside
        .map(|service| NetworkService {
            name: service.name.clone(),
            vips: service.vips_in(network.id).collect(),
        })
        .collect();
    services.sort_by(|one, other| one.name.cmp(&other.name));
    services
}

fn rows_of(context: &Context, member: &MemberHandle, network: &Network) -> Vec<EndpointRow> {
    let mut rows = super::endpoints::rows(context, member);
    rows.retain(|row| row.endpoint.network == network.id);
    rows
}

fn in_use(network: &Network, first: &EndpointRow, count: usize) -> ApiError {
    let others = if count == 1 { String::new() } else { format!(" and {} more", count - 1) };
    let error = format!(
        "network {} is in use by endpoint {} on node {}{others}",
        network.name, first.endpoint.name, first.hostname
    );
    ApiError::new(ErrorCode::Conflict, error)
        .hint(format!("detach them first; `overlayctl endpoint ls --network {}` lists them", network.name))
}
