//! The manager API's requests, once TLS has told who asks.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use overlay::intent::{AdmitNode, Cluster, Command, Intent, IntentError, Secrets};
use overlay::model::{Availability, Labels, Node, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use super::watching::{Moment, Watcher};
use super::wire::{
    Held, JOIN, JoinAnswer, JoinRefusal, JoinRequest, MAX_JOIN, MAX_REQUEST, PROPOSE, Proposed,
    REQUEST_TIMEOUT, WATCH,
};
use super::{IntentLog, ProposeError};
use crate::identity::{Authority, Secret, Signed};

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    /// The node whose certificate the client showed, if it showed one.
    pub(super) node: Option<NodeId>,
    /// The address that it asks from.
    pub(super) addr: IpAddr,
}

/// What the requests work on.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) log: Arc<dyn IntentLog>,
    pub(super) secrets: watch::Receiver<Arc<Secrets>>,
    /// What followers are sent; closed when the server stops.
    pub(super) moments: watch::Receiver<Arc<Moment>>,
}

/// An answer other than 200: the status and the cause.
pub(super) type Refusal = (StatusCode, String);

/// What every node answers, `peers`, and what a manager answers besides.
pub(super) fn router(log: &Arc<dyn IntentLog>, peers: Router, manager: Option<Context>) -> Router {
    let members = |router: Router| router.layer(from_fn_with_state(Arc::clone(log), members_only));
    let Some(context) = manager else {
        let nothing = || async { (StatusCode::NOT_FOUND, "this node is no manager") };
        return members(peers).fallback(nothing).layer(from_fn(in_time));
    };
    let intent = Router::new()
        .route(PROPOSE, post(propose).layer(DefaultBodyLimit::max(MAX_REQUEST)))
        .route(WATCH, get(follow))
        .with_state(context.clone());
    let nothing = || async { StatusCode::NOT_FOUND };
    Router::new()
        .route(JOIN, post(join).layer(DefaultBodyLimit::max(MAX_JOIN)))
        .with_state(context)
        .merge(members(peers.merge(intent).fallback(nothing)))
        .layer(from_fn(in_time))
}

/// Bounds how long a request is read and worked on; what it streams afterwards is not bound.
async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    }
}

/// Refuses all but members before a byte of the body is read.
async fn members_only(
    State(log): State<Arc<dyn IntentLog>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(node) = peer.node else {
        return (StatusCode::FORBIDDEN, "only members may do this, and no certificate was shown")
            .into_response();
    };
    let member = log.watch().borrow().nodes.contains_key(&node);
    if !member {
        return (StatusCode::FORBIDDEN, format!("node {node} is not a member of this cluster"))
            .into_response();
    }
    next.run(request).await
}

async fn propose(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let command: Command = decode(&body)?;
    if !may_propose(peer.node, &command) {
        return Err((StatusCode::FORBIDDEN, "a node speaks for itself alone".to_owned()));
    }
    let outcome = match context.log.propose(command).await {
        Ok(reply) => Ok(Proposed { version: context.log.watch().borrow().version, reply }),
        Err(ProposeError::Refused(error)) => Err(error),
        Err(error) => return Err(failed(&error)),
    };
    encode(&outcome)
}

/// Any member may change what the cluster has in common, but not what is another node's.
fn may_propose(peer: Option<NodeId>, command: &Command) -> bool {
    match command {
        Command::PutNode(node) => peer == Some(node.id),
        // It leaves.
        Command::RemoveNode { id, .. } => peer == Some(*id),
        Command::GrantBlock(grant) => peer == Some(grant.node),
        Command::ReleaseBlock(release) => peer == Some(release.node),
        Command::CreateNetwork(_)
        | Command::RemoveNetwork { .. }
        | Command::CreateService(_)
        | Command::UpdateService { .. }
        | Command::RemoveService { .. }
        | Command::DrainBackend { .. }
        | Command::UpdateNode { .. } => true,
        _ => false,
    }
}

async fn follow(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Query(Held { held }): Query<Held>,
) -> Result<Response, Refusal> {
    let node = peer.node.ok_or((StatusCode::FORBIDDEN, "only members may follow".to_owned()))?;
    let watcher = Watcher::new(context.moments, node, held);
    let lines = stream::unfold(watcher, |mut watcher| async move {
        let lines = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(lines), watcher))
    });
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
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
        Err(refusal) => tracing::warn!(%node, ?refusal, "a node was not let in"),
    }
    encode(&outcome)
}

async fn admit(
    context: &Context,
    from: IpAddr,
    request: JoinRequest,
) -> Result<Result<JoinAnswer, JoinRefusal>, Refusal> {
    let secrets = Arc::clone(&context.secrets.borrow());
    let Some(authority) = secrets.ca.clone().map(Authority::from) else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "there is no cluster here yet".to_owned()));
    };
    let Some(manager) = role_of_secret(&secrets, &request.secret) else {
        return Ok(Err(JoinRefusal::WrongSecret));
    };
    let id = request.node.id;
    let intent = Arc::clone(&context.log.watch().borrow());
    let lifetime = intent.cluster.as_ref().map_or(Cluster::CERT_LIFETIME, |cluster| cluster.cert_lifetime);
    let Signed { chain, key } = match authority.sign(&request.csr, id, manager, lifetime) {
        Ok(signed) => signed,
        Err(error) => return Ok(Err(JoinRefusal::BadRequest(error.to_string()))),
    };
    let node = Node {
        manager,
        availability: Availability::Active,
        labels: Labels::new(),
        ca_generation: 0,
        key,
        ..request.node
    };
    let replaces = forgotten(&intent, from, &node);
    let admit = AdmitNode { node, issuer: authority.cert().to_owned(), replaces };
    match context.log.propose(Command::AdmitNode(admit)).await {
        Ok(_) => {}
        Err(ProposeError::Refused(IntentError::NodeExists { .. })) => {
            return Ok(Err(JoinRefusal::AlreadyMember));
        }
        Err(ProposeError::Refused(error)) => return Ok(Err(JoinRefusal::Refused(error))),
        Err(error) => return Err(failed(&error)),
    }
    let intent = Intent::clone(&context.log.watch().borrow());
    Ok(Ok(JoinAnswer { chain, ca: authority.cert().to_owned(), intent }))
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

fn failed(error: &ProposeError) -> Refusal {
    let status = match error {
        ProposeError::Unreachable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    postcard::from_bytes(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("malformed body: {error}")))
}

pub(super) fn encode<T: Serialize>(answer: &T) -> Result<Response, Refusal> {
    let body = postcard::to_stdvec(answer)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
