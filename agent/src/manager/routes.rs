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
use overlay::intent::{AdmitNode, Command, Intent, IntentError, Secrets};
use overlay::model::{Availability, Labels, Node, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::IntentLog;
use super::raft::{self, Answer, Role, Unanswered};
use super::server::{Stopped, stop};
use super::watching::Watcher;
use super::wire::{
    Held, JOIN, JoinAnswer, JoinRefusal, JoinRequest, MAX_JOIN, MAX_QUESTION, MAX_REQUEST, PROPOSE, Proposed,
    READ, REQUEST_TIMEOUT, WATCH,
};
use crate::identity::{Authority, Secret};

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
struct Context {
    /// Who is a member, as this node knows.
    log: Arc<dyn IntentLog>,
    role: Role,
    /// Ends what is streamed.
    stopped: Stopped,
}

impl Context {
    fn is_manager(&self, peer: Peer) -> bool {
        let intent = Arc::clone(&self.log.watch().borrow());
        peer.node.and_then(|node| intent.nodes.get(&node)).is_some_and(|node| node.manager)
    }
}

/// An answer other than 200: the status and the cause.
pub(super) type Refusal = (StatusCode, String);

/// What every node answers, `peers`, and what a manager answers besides.
pub(super) fn router(log: Arc<dyn IntentLog>, role: Role, stopped: Stopped, peers: Router) -> Router {
    let context = Context { log, role: role.clone(), stopped };
    let intent = Router::new()
        .route(PROPOSE, post(propose).layer(DefaultBodyLimit::max(MAX_REQUEST)))
        .route(READ, post(read).layer(DefaultBodyLimit::max(MAX_QUESTION)))
        .route(WATCH, get(follow))
        .with_state(context.clone());
    let managers = raft::router(role).layer(from_fn_with_state(context.clone(), managers_only));
    let nothing = || async { StatusCode::NOT_FOUND };
    let members = peers.merge(intent).merge(managers).fallback(nothing);
    Router::new()
        .route(JOIN, post(join).layer(DefaultBodyLimit::max(MAX_JOIN)))
        .with_state(context.clone())
        .merge(members.layer(from_fn_with_state(context, members_only)))
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
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Some(node) = peer.node else {
        return (StatusCode::FORBIDDEN, "only members may do this, and no certificate was shown")
            .into_response();
    };
    let member = context.log.watch().borrow().nodes.contains_key(&node);
    if !member {
        return (StatusCode::FORBIDDEN, format!("node {node} is not a member of this cluster"))
            .into_response();
    }
    next.run(request).await
}

/// Refuses all members but managers.
async fn managers_only(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if !context.is_manager(peer) {
        return (StatusCode::FORBIDDEN, "only managers may do this").into_response();
    }
    next.run(request).await
}

async fn propose(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let command: Command = decode(&body)?;
    if !context.is_manager(peer) && !may_propose(peer.node, &command) {
        return Err((StatusCode::FORBIDDEN, "a node speaks for itself alone".to_owned()));
    }
    let Answer { version, outcome } = context.role.propose(&command).await?;
    encode(&outcome.map(|reply| Proposed { version, reply }))
}

async fn read(State(context): State<Context>) -> Result<Response, Refusal> {
    encode(&context.role.read().await?)
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
    let watcher = Watcher::new(context.role.running()?.moments, node, held);
    let Context { role, mut stopped, .. } = context;
    let end = Box::pin(async move {
        tokio::select! {
            () = stop(&mut stopped) => {}
            () = role.left_behind() => {}
        }
    });
    let lines = stream::unfold((watcher, end), |(mut watcher, mut end)| async move {
        let lines = tokio::select! {
            () = &mut end => return None,
            lines = watcher.next() => lines?,
        };
        Some((Ok::<_, std::convert::Infallible>(lines), (watcher, end)))
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
    let running = context.role.running()?;
    let secrets = Arc::clone(&running.secrets.borrow());
    let Some(authority) = secrets.ca.clone().map(Authority::from) else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "there is no cluster here yet".to_owned()));
    };
    let Some(manager) = role_of_secret(&secrets, &request.secret) else {
        return Ok(Err(JoinRefusal::WrongSecret));
    };
    let id = request.node.id;
    let (chain, key) = match authority.sign(&request.csr, id) {
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
    let replaces = forgotten(&running.intent.borrow(), from, &node);
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

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    postcard::from_bytes(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("malformed body: {error}")))
}

pub(super) fn encode<T: Serialize>(answer: &T) -> Result<Response, Refusal> {
    let body = postcard::to_stdvec(answer)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
