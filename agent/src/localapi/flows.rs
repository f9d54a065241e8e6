//! This node's flows. They are read and ended on a thread of their own: there may be a quarter of a million.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use overlay::api::{ApiError, ErrorCode, FlowFlush, FlowList, FlowQuery, FlowRow, FlowsFlushed};
use overlay::attach;
use overlay::flows::{Backends, FlowEntry, Owner, Recent, Selection};
use overlay::model::{EndpointId, Name};

use super::{Answer, Body, Context, Json, freshness, parse};
use crate::kernel::bpf::Observer;
use crate::refusal::internal;
use crate::state::MemberHandle;

pub(super) async fn list(State(context): State<Context>, body: Body) -> Answer<FlowList> {
    let query: FlowQuery = parse(&body)?;
    let member = context.member()?;
    let mut selection =
        selection(&context, &member, query.service.as_deref(), query.backend.as_deref()).await?;
    selection.protocol = query.protocol;
    let idle = context.config.idle;
    let mut recent = Recent::new(query.limit.min(FlowQuery::MOST));
    let (recent, backends) = aside(&context, move |observer| {
        let backends = observer.backends()?;
        observer.each_flow(|flow| {
            if flow.is_live(&idle) && selection.has(&flow, backends.owner(&flow)) {
                recent.add(flow);
            }
        })?;
        Ok((recent, backends))
    })
    .await?;
    Ok(Json(FlowList { flows: rows(&context, &member, &recent, &backends), total: recent.total() }))
}

pub(super) async fn flush(State(context): State<Context>, body: Body) -> Answer<FlowsFlushed> {
    let FlowFlush { all, service, backend } = parse(&body)?;
    let selects = service.is_some() || backend.is_some();
    if all == selects {
        return Err(ApiError::new(ErrorCode::Invalid, "which flows are to end is not clear")
            .hint("name a service or a backend, or else say that all are meant")
            .into());
    }
    let member = context.member()?;
    let selection = selection(&context, &member, service.as_deref(), backend.as_deref()).await?;
    let flows = aside(&context, move |observer| {
        let backends = observer.backends()?;
        observer.end_flows(|flow| selection.has(flow, backends.owner(flow)))
    })
    .await?;
    tracing::info!(flows, ?service, ?backend, "flows ended");
    Ok(Json(FlowsFlushed { flows }))
}

/// Has something read where it may take its time.
pub(super) async fn aside<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Observer) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let observer = Arc::clone(&context.observer);
    tokio::task::spawn_blocking(move || work(&observer)).await.map_err(internal)?.map_err(internal)
}

async fn selection(
    context: &Context,
    member: &MemberHandle,
    service: Option<&str>,
    backend: Option<&str>,
) -> Result<Selection, ApiError> {
    let mut selection = Selection::default();
    if let Some(service) = service {
        let service = freshness::find_here(member, |intent| intent.service(service).cloned()).await?;
        selection.service = Some(service.id);
    }
    if let Some(backend) = backend {
        let (shared, intent, snapshot) = (context.shared(), member.intent(), member.snapshot());
        let (_, found) =
            attach::resolve_backend(backend, member.node, &intent, &snapshot.view, &shared.attachments)?;
        selection.backend = Some(found.endpoint.id);
    }
    Ok(selection)
}

fn rows(context: &Context, member: &MemberHandle, recent: &Recent, backends: &Backends) -> Vec<FlowRow> {
    let intent = member.intent();
    let owners: Vec<(&FlowEntry, Owner)> = recent.flows().map(|flow| (flow, backends.owner(flow))).collect();
    let of = |owner: &Owner| match owner {
        Owner::Backend(backend) => Some(*backend),
        Owner::Nobody | Owner::Gone => None,
    };
    let shown = owners.iter().filter_map(|(_, owner)| Some(of(owner)?.endpoint)).collect();
    let endpoints = names(context, member, &shown);
    let networks: BTreeMap<_, _> =
        intent.networks.values().map(|network| (network.vni, &network.name)).collect();
    let row = |(flow, owner): &(&FlowEntry, Owner)| {
        let backend = of(owner);
        let service = |id| intent.services.get(&id).map_or_else(|| id.short(), |it| it.name.to_string());
        let endpoint = |id| endpoints.get(&id).map_or_else(|| id.short(), ToString::to_string);
        FlowRow {
            scope: flow.scope,
            protocol: flow.protocol,
            network_name: flow.vni.and_then(|vni| networks.get(&vni).copied().cloned()),
            from: flow.from,
            to: flow.to,
            translated: flow.translated,
            service: backend.map(|backend| service(backend.service)),
            backend: backend.map(|backend| endpoint(backend.endpoint)),
            backend_gone: *owner == Owner::Gone,
            state: flow.state,
            idle_seconds: u32::try_from(flow.idle.as_secs()).unwrap_or(u32::MAX),
        }
    };
    owners.iter().map(row).collect()
}

/// What these endpoints are called, as far as they are known.
pub(super) fn names(
    context: &Context,
    member: &MemberHandle,
    endpoints: &BTreeSet<EndpointId>,
) -> BTreeMap<EndpointId, Name> {
    let (shared, snapshot) = (context.shared(), member.snapshot());
    let here = shared.attachments.values().map(|attachment| &attachment.endpoint);
    let known = snapshot.view.endpoints().map(|(_, endpoint)| endpoint).chain(here);
    let meant = known.filter(|endpoint| endpoints.contains(&endpoint.id));
    meant.map(|endpoint| (endpoint.id, endpoint.name.clone())).collect()
}
