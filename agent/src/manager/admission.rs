//! Who becomes a member, and who gets a new certificate.
//!
//! Anybody may ask to join, so that costs little, and guessing a token is hopeless and bounded besides. Whoever shows one
//! becomes what it is the token of.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use overlay::intent::{AdmitNode, Cluster, Command, Intent, IntentError, Secrets};
use overlay::model::{Availability, Labels, Node, NodeId, Seconds};

use super::raft::{Answer, Unanswered};
use super::routes::{Context, Peer, Refusal, decode, encode};
use super::wire::{JOIN, JoinAnswer, JoinRefusal, JoinRequest, MAX_JOIN, MAX_RENEW, RENEW, RenewRequest};
use crate::identity::{Authority, Secret, Signed};
use crate::strangers::refusals::Kind;

/// The route that is open to anybody.
pub(super) fn open(context: Context) -> Router {
    Router::new()
        .route(JOIN, post(join).layer(DefaultBodyLimit::max(MAX_JOIN)))
        .layer(from_fn_with_state(context.clone(), few_guesses))
        .with_state(context)
}

/// The route that is open to members.
pub(super) fn for_members(context: Context) -> Router {
    Router::new().route(RENEW, post(renew).layer(DefaultBodyLimit::max(MAX_RENEW))).with_state(context)
}

/// Refuses who has guessed often enough, before a byte of the body is read.
async fn few_guesses(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if context.refusals.guesses_no_more(peer.addr, Instant::now()) {
        return too_many_guesses(&context, peer.addr).into_response();
    }
    next.run(request).await
}

fn too_many_guesses(context: &Context, from: IpAddr) -> Refusal {
    context.refusals.log(Kind::Guesses, from, "too many wrong tokens");
    (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens were shown".to_owned())
}

async fn join(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request: JoinRequest = decode(&body)?;
    let node = request.node.id;
    let outcome = admit(&context, peer.addr, request).await?;
    match &outcome {
        Ok(_) => tracing::info!(%node, "a node joined"),
        Err(refusal) => context.refusals.log(Kind::Join, peer.addr, &format!("{refusal:?}")),
    }
    encode(&outcome)
}

async fn admit(
    context: &Context,
    from: IpAddr,
    request: JoinRequest,
) -> Result<Result<JoinAnswer, JoinRefusal>, Refusal> {
    let running = context.role.running()?;
    let (authority, secrets) = signer(&running.secrets.borrow())?;
    let role = role_of_secret(&secrets, &request.secret);
    if !context.refusals.guesses(from, role.is_some(), Instant::now()) {
        return Err(too_many_guesses(context, from));
    }
    let Some(manager) = role else { return Ok(Err(JoinRefusal::WrongSecret)) };
    let intent = Arc::clone(&running.intent.borrow());
    let id = request.node.id;
    let Signed { chain, key } = match authority.sign(&request.csr, id, manager, lifetime(&intent)) {
        Ok(signed) => signed,
        Err(error) => return Ok(Err(JoinRefusal::BadRequest(error.to_string()))),
    };
    let node = Node {
        manager,
        availability: Availability::Active,
        drained_at: 0,
        labels: Labels::new(),
        ca_generation: 0,
        key,
        ..request.node
    };
    let replaces = forgotten(&intent, from, &node);
    let admit = AdmitNode { node, issuer: authority.cert().to_owned(), replaces };
    let Answer { version, outcome } = context.role.propose(&Command::AdmitNode(admit)).await?;
    match outcome {
        Ok(_) => {}
        Err(IntentError::NodeExists { .. }) => return Ok(Err(JoinRefusal::AlreadyMember)),
        Err(error) => return Ok(Err(JoinRefusal::Refused(error))),
    }
    // The leader has it; this manager a moment later.
    let mut intent = running.intent;
    let intent = match intent.wait_for(|intent| intent.version >= version).await {
        Ok(intent) => Intent::clone(&intent),
        Err(_) => return Err(Unanswered::NoManager.into()),
    };
    Ok(Ok(JoinAnswer { chain, ca: authority.cert().to_owned(), intent }))
}

/// Signs a member's new key, in the role that the intent gives it now.
async fn renew(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let RenewRequest { csr } = decode(&body)?;
    let running = context.role.running()?;
    let (authority, _) = signer(&running.secrets.borrow())?;
    let intent = Arc::clone(&running.intent.borrow());
    let node = peer.node().and_then(|node| intent.nodes.get(&node));
    let node = node.ok_or((StatusCode::FORBIDDEN, "this node is not a member of the cluster".to_owned()))?;
    let signed = authority.sign(&csr, node.id, node.manager, lifetime(&intent));
    let signed = signed.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    tracing::info!(node = %node.id.short(), manager = node.manager, "a certificate was renewed");
    encode(&signed.chain)
}

/// Who signs now, and the secrets that it is of.
fn signer(secrets: &Arc<Secrets>) -> Result<(Authority, Arc<Secrets>), Refusal> {
    match secrets.ca.clone() {
        Some(ca) => Ok((ca.into(), Arc::clone(secrets))),
        None => Err((StatusCode::SERVICE_UNAVAILABLE, "there is no cluster here yet".to_owned())),
    }
}

fn lifetime(intent: &Intent) -> Seconds {
    intent.cluster.as_ref().map_or(Cluster::CERT_LIFETIME, |cluster| cluster.cert_lifetime)
}

/// Whether the secret that a newcomer shows makes it a manager; `None` if it is neither token's.
fn role_of_secret(secrets: &Secrets, shown: &str) -> Option<bool> {
    let shown: Secret = shown.parse().ok()?;
    // Both are always compared, so that time tells nothing.
    let (worker, manager) = (shown.is(&secrets.worker_secret.0), shown.is(&secrets.manager_secret.0));
    (worker || manager).then_some(manager)
}

/// The member that a newcomer was before its state was wiped: who asks from the address that it wants to
/// advertise has that address, and two agents cannot share its gossip port.
fn forgotten(intent: &Intent, from: IpAddr, newcomer: &Node) -> Option<NodeId> {
    let same_place = |node: &&Node| (node.addr, node.gossip_port) == (newcomer.addr, newcomer.gossip_port);
    let known = intent.nodes.values().filter(|node| node.id != newcomer.id).find(same_place)?;
    (from == newcomer.addr).then_some(known.id)
}
