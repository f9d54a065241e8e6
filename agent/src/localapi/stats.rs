//! What was counted for services: every node alive is asked for its share.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use overlay::api::{BackendStats, DropCount, EndpointRow, ServiceStats, Stats, Unconfirmed};
use overlay::flows::Backend;
use overlay::intent::Intent;
use overlay::model::{Node, Service};
use overlay::traffic::Traffic;
use overlay_abi::DropReason;

use super::{Answer, Context, Json, endpoints, flows, freshness, services};
use crate::state::MemberHandle;

pub(super) async fn all(State(context): State<Context>) -> Answer<Stats> {
    let member = context.member()?;
    let mut services: Vec<_> = member.intent().services.values().cloned().collect();
    services.sort_by(|one, other| one.name.cmp(&other.name));
    of(&context, &member, &services).await
}

pub(super) async fn one(State(context): State<Context>, Path(reference): Path<String>) -> Answer<Stats> {
    let member = context.member()?;
    let service = freshness::find_here(&member, |intent| intent.service(&reference).cloned()).await?;
    of(&context, &member, &[service]).await
}

async fn of(context: &Context, member: &MemberHandle, wanted: &[Service]) -> Answer<Stats> {
    let services::Others { asked, down } = services::others(member);
    let (own, answers) =
        tokio::join!(flows::aside(context, |observer| observer.traffic()), member.peers.traffic(asked),);
    let (mut sum, mut missing) = (own?, Vec::new());
    for (Node { hostname, .. }, answer) in answers {
        match answer {
            Ok(traffic) => sum.add(traffic),
            Err(cause) => missing.push(Unconfirmed { hostname, cause }),
        }
    }
    let (intent, rows) = (member.intent(), endpoints::rows(context, member));
    let services = wanted.iter().map(|service| stats(&intent, &rows, service, &sum)).collect();
    Ok(Json(Stats { services, missing, down }))
}

fn stats(intent: &Intent, rows: &[EndpointRow], service: &Service, sum: &Traffic) -> ServiceStats {
    let backends = services::backends(intent, rows, service).into_iter().map(|row| {
        let backend = Backend { service: service.id, endpoint: row.id };
        let counts = sum.backends.get(&backend).copied().unwrap_or_default();
        BackendStats { id: row.id, name: row.name, hostname: row.hostname, counts }
    });
    ServiceStats {
        id: service.id,
        name: service.name.clone(),
        backends: backends.collect(),
        drops: drops(service, sum),
    }
}

fn drops(service: &Service, sum: &Traffic) -> BTreeMap<String, DropCount> {
    let of_service = sum.drops.iter().filter(|((of, _), _)| *of == service.id);
    let count = |((_, name), packets): (&(_, String), &u64)| {
        let known = DropReason::ALL.iter().find(|reason| reason.name() == name);
        let meaning = known.map_or("An agent of another version knows.", |reason| reason.meaning());
        (name.clone(), DropCount { packets: *packets, meaning: meaning.to_owned() })
    };
    of_service.map(count).collect()
}
