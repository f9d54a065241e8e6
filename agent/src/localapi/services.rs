//! Services and their backends: intent, so every change is proposed to the managers; and which nodes have put a
//! change into effect.

use axum::extract::{Path, State};
use overlay::api::{
    ApiError, BackendRow, BackendState, BackendUpdate, Changed, Confirm, Confirmed, EndpointRow, ErrorCode,
    ServiceChanged, ServiceCreate, ServiceDetail, ServiceRow, ServiceUpdate, Unconfirmed,
};
use overlay::attach;
use overlay::intent::{self, Command, CreateService, Intent, Reply, ServiceChange, Serving, apply};
use overlay::model::{NetworkId, Node, Publish, Service, ServiceId};

use super::{Answer, Body, Context, Json, endpoints, freshness, parse, ports};
use crate::clock;
use crate::manager::when_applied;
use crate::refusal::internal;
use crate::state::MemberHandle;

pub(super) async fn list(State(context): State<Context>) -> Answer<Vec<ServiceRow>> {
    let member = context.member()?;
    let (intent, rows) = (member.intent(), endpoints::rows(&context, &member));
    let row = |service: &Service| {
        let backends = backends(&intent, &rows, service);
        let active = backends.iter().filter(|backend| backend.state == BackendState::Active).count();
        ServiceRow { service: service.clone(), backends: backends.len(), backends_active: active }
    };
    let mut services: Vec<_> = intent.services.values().map(row).collect();
    services.sort_by(|one, other| one.service.name.cmp(&other.service.name));
    Ok(Json(services))
}

pub(super) async fn create(State(context): State<Context>, body: Body) -> Answer<ServiceChanged> {
    let wish: ServiceCreate = parse(&body)?;
    let member = context.member()?;
    freshness::catch_up(&member).await?;
    let request = CreateService {
        id: ServiceId::from_bytes(rand::random()),
        name: wish.name,
        networks: network_ids(&member.intent(), &wish.networks)?,
        publish: wish.publish,
        endpoint_mode: wish.endpoint_mode,
        source_ip: wish.source_ip,
        affinity: wish.affinity,
        stop_grace_period: wish.stop_grace_period,
        unavailable: wish.unavailable,
        labels: wish.labels,
    };
    let publish = request.publish.clone();
    Ok(Json(put(&member, Command::CreateService(request), &publish).await?))
}

pub(super) async fn update(
    State(context): State<Context>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<ServiceChanged> {
    let wish: ServiceUpdate = parse(&body)?;
    let member = context.member()?;
    let id = freshness::find(&member, |intent| intent.service(&reference).map(|service| service.id)).await?;
    let change = ServiceChange {
        networks_rm: network_ids(&member.intent(), &wish.networks_rm)?,
        networks_add: network_ids(&member.intent(), &wish.networks_add)?,
        publish_rm: wish.publish_rm.iter().map(|gone| (gone.protocol, gone.published)).collect(),
        publish_add: wish.publish_add,
        endpoint_mode: wish.endpoint_mode,
        source_ip: wish.source_ip,
        affinity: wish.affinity,
        stop_grace_period: wish.stop_grace_period,
        unavailable: wish.unavailable,
        labels_rm: wish.labels_rm,
        labels_add: wish.labels_add,
    };
    let publish = change.publish_add.clone();
    Ok(Json(put(&member, Command::UpdateService { id, change }, &publish).await?))
}

pub(super) async fn inspect(
    State(context): State<Context>,
    Path(reference): Path<String>,
) -> Answer<ServiceDetail> {
    let member = context.member()?;
    let service = freshness::find_here(&member, |intent| intent.service(&reference).cloned()).await?;
    let (intent, rows) = (member.intent(), endpoints::rows(&context, &member));
    let networks = service.networks.iter().filter_map(|id| intent.networks.get(id));
    let network_names = networks.map(|network| network.name.clone()).collect();
    let backends = backends(&intent, &rows, &service);
    Ok(Json(ServiceDetail { service, network_names, backends }))
}

pub(super) async fn remove(State(context): State<Context>, Path(reference): Path<String>) -> Answer<Service> {
    let member = context.member()?;
    let service = freshness::find(&member, |intent| intent.service(&reference).cloned()).await?;
    member.log.propose(Command::RemoveService { id: service.id }).await?;
    freshness::seen(&member, |intent| !intent.services.contains_key(&service.id)).await;
    Ok(Json(service))
}

pub(super) async fn drain(
    State(context): State<Context>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<Changed> {
    let BackendUpdate { drained } = parse(&body)?;
    let member = context.member()?;
    freshness::catch_up(&member).await?;
    let (service, endpoint) = {
        let (shared, intent, snapshot) = (context.shared(), member.intent(), member.snapshot());
        let (service, found) =
            attach::resolve_backend(&reference, member.node, &intent, &snapshot.view, &shared.attachments)?;
        (service.id, found.endpoint.id)
    };
    let since = drained.then(clock::unix_seconds);
    member.log.propose(Command::DrainBackend { service, endpoint, since }).await?;
    let there = |intent: &Intent| {
        intent.services.get(&service).is_some_and(|it| it.drained.contains_key(&endpoint) == drained)
    };
    version_with(&member, there).await
}

pub(super) async fn confirm(State(context): State<Context>, body: Body) -> Answer<Confirmed> {
    let Confirm { version, wait } = parse(&body)?;
    let member = context.member()?;
    let Others { asked, down } = others(&member);
    let mut applied = member.applied.clone();
    let (own, mut answers) = tokio::join!(
        when_applied(&mut applied, version, wait.duration()),
        member.peers.applied(asked, version, wait.duration()),
    );
    answers.extend(member.intent().nodes.get(&member.node).map(|node| (node.clone(), Ok(own))));
    let mut outcome = Confirmed { down, ..Confirmed::default() };
    for (Node { hostname, .. }, answer) in answers {
        match answer {
            Ok(held) if held >= version => outcome.confirmed.push(hostname),
            Ok(_) => outcome
                .missing
                .push(Unconfirmed { hostname, cause: "it has not put it into effect yet".to_owned() }),
            Err(cause) => outcome.missing.push(Unconfirmed { hostname, cause }),
        }
    }
    Ok(Json(outcome))
}

/// The other nodes of the cluster.
pub(super) struct Others {
    /// Those alive, which can be asked.
    pub(super) asked: Vec<Node>,
    /// The host names of those that are down.
    pub(super) down: Vec<String>,
}

pub(super) fn others(member: &MemberHandle) -> Others {
    let alive = member.snapshot().alive.clone();
    let others =
        member.intent().nodes.values().filter(|node| node.id != member.node).cloned().collect::<Vec<_>>();
    let (asked, down): (Vec<Node>, Vec<Node>) = others.into_iter().partition(|node| alive.contains(&node.id));
    Others { asked, down: down.into_iter().map(|node| node.hostname).collect() }
}

fn network_ids(intent: &Intent, references: &[String]) -> Result<Vec<NetworkId>, ApiError> {
    references.iter().map(|reference| Ok(intent.network(reference)?.id)).collect()
}

/// Creates or updates a service that newly publishes `publish`, and waits until that is seen here.
async fn put(
    member: &MemberHandle,
    command: Command,
    publish: &[Publish],
) -> Result<ServiceChanged, ApiError> {
    let warnings = match ports::refuse_held(member, publish).await {
        Ok(warnings) => warnings,
        // Another service's port, or one of Overlay's own, says more than the process that has it open.
        Err(held) => {
            apply(&mut intent::State::of(Intent::clone(&member.intent())), &command)?;
            return Err(held);
        }
    };
    let Reply::Service(service) = member.log.propose(command).await? else {
        return Err(internal(anyhow::anyhow!("the manager answered something else than a service")));
    };
    freshness::seen(member, |intent| intent.services.get(&service.id) == Some(&service)).await;
    Ok(ServiceChanged { service, warnings })
}

/// The version of the intent here, once it has what was asked for.
pub(super) async fn version_with(member: &MemberHandle, is: impl Fn(&Intent) -> bool) -> Answer<Changed> {
    freshness::seen(member, &is).await;
    let intent = member.intent();
    if !is(&intent) {
        let error = ApiError::new(
            ErrorCode::Unavailable,
            "the managers have made the change, but it is not seen here yet",
        );
        return Err(error.hint("`overlayctl status` shows whether a manager is reached").into());
    }
    Ok(Json(Changed { version: intent.version }))
}

/// The service's backends, by node and name.
pub(super) fn backends(intent: &Intent, rows: &[EndpointRow], service: &Service) -> Vec<BackendRow> {
    let mut backends: Vec<BackendRow> = rows
        .iter()
        .filter(|row| service.is_backend(&row.endpoint))
        .map(|row| BackendRow {
            id: row.endpoint.id,
            name: row.endpoint.name.clone(),
            network_name: row.network_name.clone(),
            addresses: row.endpoint.addresses().collect(),
            node: row.node,
            hostname: row.hostname.clone(),
            weight: row.endpoint.service.as_ref().map(|membership| membership.weight).unwrap_or_default(),
            state: state(intent, row, service),
        })
        .collect();
    backends.sort_by(|one, other| (&one.hostname, &one.name).cmp(&(&other.hostname, &other.name)));
    backends
}

fn state(intent: &Intent, row: &EndpointRow, service: &Service) -> BackendState {
    let drained = service.drained.contains_key(&row.endpoint.id);
    let serving = intent.serving(service, row.endpoint.id, Some(row.node), clock::since_epoch());
    match (serving, drained) {
        (Serving::All, _) => BackendState::Active,
        (Serving::Existing, true) => BackendState::Draining,
        (Serving::Existing, false) => BackendState::NodeDraining,
        (Serving::Nothing, true) => BackendState::Drained,
        (Serving::Nothing, false) => BackendState::NodeDrained,
    }
}
