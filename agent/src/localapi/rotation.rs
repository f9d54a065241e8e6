//! New keys for the cluster: its certificate authority's, and gossip's. A rotation is begun here, and brought to its end by
//! the managers; how far it is, the intent tells.

use axum::extract::State;
use overlay::api::{ApiError, Rotation};
use overlay::intent::{Cluster, Command, Intent};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Answer, Context, Json};
use crate::identity::{Authority, CaDigest, IdentityError};
use crate::refusal::not_member;

pub(super) async fn ca(State(context): State<Context>) -> Answer<Rotation> {
    let member = context.member()?;
    let intent = member.intent();
    let cluster = intent.cluster.as_ref().ok_or_else(not_member)?;
    let newest = cluster.next_ca_cert.as_ref().unwrap_or(&cluster.ca_cert);
    let others = [&cluster.next_ca_cert, &cluster.old_ca_cert];
    let under_way = others.into_iter().any(Option::is_some);
    // Before the new one signs, it must be trusted everywhere, which takes no certificate.
    let waiting_for = if under_way { behind(&intent, cluster) } else { Vec::new() };
    Ok(Json(Rotation { newest: digest(newest)?, under_way, waiting_for }))
}

/// The nodes whose certificate the CA that signs now has not signed.
fn behind(intent: &Intent, cluster: &Cluster) -> Vec<String> {
    let behind = intent.nodes.values().filter(|node| node.ca_generation < cluster.ca_generation);
    let mut hostnames: Vec<_> = behind.map(|node| node.hostname.clone()).collect();
    hostnames.sort();
    hostnames
}

fn digest(cert: &str) -> Result<String, IdentityError> {
    Ok(CaDigest::of(&CertificateDer::from_pem_slice(cert.as_bytes())?).to_string())
}

pub(super) async fn rotate_ca(State(context): State<Context>) -> Answer<Rotation> {
    let member = context.member()?;
    let intent = member.intent();
    let cluster = intent.cluster.as_ref().ok_or_else(not_member)?;
    let authority = Authority::new(&cluster.id)?;
    let newest = authority.digest()?.to_string();
    member.log.propose(Command::AddCa(authority.keys().clone())).await?;
    Ok(Json(Rotation { newest, under_way: true, waiting_for: Vec::new() }))
}

pub(super) async fn key(State(context): State<Context>) -> Answer<Rotation> {
    Ok(Json(key_rotation(&context.member()?.intent())?))
}

pub(super) async fn rotate_key(State(context): State<Context>) -> Answer<Rotation> {
    let member = context.member()?;
    member.log.propose(Command::WantGossipKey).await?;
    Ok(Json(key_rotation(&member.intent())?))
}

/// The managers wait a bounded time for each step, so nobody holds it up.
fn key_rotation(intent: &Intent) -> Result<Rotation, ApiError> {
    let keys = &intent.cluster.as_ref().ok_or_else(not_member)?.gossip;
    let next = keys.current.wrapping_add(1);
    let newest = if keys.wanted || keys.keys.contains_key(&next) { next } else { keys.current };
    let under_way = keys.wanted || keys.keys.len() > 1;
    Ok(Rotation { newest: format!("key {newest}"), under_way, waiting_for: Vec::new() })
}
