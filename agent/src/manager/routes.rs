//! The manager API's requests, once TLS has told who asks.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use overlay::intent::{Command, Intent};
use overlay::model::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::peers::HolderOf;
use super::permissions::{is_manager, may_propose};
use super::raft::{self, Answer, Role};
use super::server::{Stopped, stop};
use super::watching::Watcher;
use super::wire::{
    Held, MAX_QUESTION, MAX_REQUEST, PROPOSE, Proposed, READ, REQUEST_TIMEOUT, UNKNOWN_NODE, WATCH,
};
use super::{IntentLog, admission};
use crate::identity::Certified;
use crate::strangers::refusals::{Kind, Refusals};

/// Who asks.
#[derive(Clone)]
pub(super) struct Peer {
    /// What the certificate says that the client showed, if it showed one.
    pub(super) shown: Option<Arc<Certified>>,
    /// The address that it asks from.
    pub(super) addr: IpAddr,
}

impl Peer {
    pub(super) fn node(&self) -> Option<NodeId> {
        self.shown.as_ref().map(|shown| shown.node)
    }
}

/// What the requests work on.
#[derive(Clone)]
pub(super) struct Context {
    /// Who is a member, as this node knows.
    pub(super) log: Arc<dyn IntentLog>,
    pub(super) role: Role,
    pub(super) refusals: Arc<Refusals>,
    /// Which node is known to hold an endpoint.
    pub(super) holder: HolderOf,
    /// Ends what is streamed.
    pub(super) stopped: Stopped,
}

impl Context {
    fn intent(&self) -> Arc<Intent> {
        Arc::clone(&self.log.watch().borrow())
    }

    fn refuse(&self, kind: Kind, peer: &Peer, cause: String) -> Refusal {
        self.refusals.log(kind, peer.addr, &cause);
        (if kind == Kind::NoMember { UNKNOWN_NODE } else { StatusCode::FORBIDDEN }, cause)
    }
}

/// An answer other than 200: the status and the cause.
pub(super) type Refusal = (StatusCode, String);

/// What every node answers, `peers`, and what a manager answers besides.
pub(super) fn router(context: Context, peers: Router) -> Router {
    let intent = Router::new()
        .route(PROPOSE, post(propose).layer(DefaultBodyLimit::max(MAX_REQUEST)))
        .route(READ, post(read).layer(DefaultBodyLimit::max(MAX_QUESTION)))
        .route(WATCH, get(follow))
        .with_state(context.clone());
    let managers =
        raft::router(context.role.clone()).layer(from_fn_with_state(context.clone(), managers_only));
    let nothing = || async { StatusCode::NOT_FOUND };
    let renewal = admission::for_members(context.clone());
    let members = peers.merge(intent).merge(renewal).merge(managers).fallback(nothing);
    admission::open(context.clone())
        .merge(members.layer(from_fn_with_state(context.clone(), members_only)))
        .layer(from_fn_with_state(context.refusals, in_time))
}

/// Bounds how long a request is read and worked on; what it streams afterwards is not bound.
async fn in_time(
    State(refusals): State<Arc<Refusals>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let response = match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    };
    if let Some(kind) = Kind::of_answer(response.status()) {
        refusals.log(kind, peer.addr, &format!("{path}: {}", response.status()));
    }
    response
}

/// Refuses all but members before a byte of the body is read.
async fn members_only(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let Some(node) = peer.node() else {
        let cause = "only members may do this, and no certificate was shown".to_owned();
        return Err(context.refuse(Kind::Stranger, &peer, cause));
    };
    if !context.intent().nodes.contains_key(&node) {
        let cause = format!("node {node} is not a member of this cluster");
        return Err(context.refuse(Kind::NoMember, &peer, cause));
    }
    Ok(next.run(request).await)
}

/// Refuses all members but managers.
async fn managers_only(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let manager = peer.shown.as_ref().is_some_and(|shown| is_manager(&context.intent(), shown));
    if !manager {
        let cause = "only managers may do this".to_owned();
        return Err(context.refuse(Kind::NoManager, &peer, cause));
    }
    Ok(next.run(request).await)
}

async fn propose(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let command: Command = decode(&body)?;
    let allowed = |shown: &Arc<Certified>| may_propose(&context.intent(), shown, &command, &*context.holder);
    if !peer.shown.as_ref().is_some_and(allowed) {
        let cause = "this node is a worker, and speaks for itself alone".to_owned();
        return Err(context.refuse(Kind::Command, &peer, cause));
    }
    let Answer { version, outcome } = context.role.propose(&command).await?;
    encode(&outcome.map(|reply| Proposed { version, reply }))
}

async fn read(State(context): State<Context>) -> Result<Response, Refusal> {
    encode(&context.role.read().await?)
}

async fn follow(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Query(Held { held }): Query<Held>,
) -> Result<Response, Refusal> {
    let node = peer.node().ok_or((StatusCode::FORBIDDEN, "only members may follow".to_owned()))?;
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

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    postcard::from_bytes(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("malformed body: {error}")))
}

pub(super) fn encode<T: Serialize>(answer: &T) -> Result<Response, Refusal> {
    let body = postcard::to_stdvec(answer)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
