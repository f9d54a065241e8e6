//! What one manager asks another: the Raft library's requests, and what only the leader can answer.

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use hyper::StatusCode;
use openraft::error::RaftError;
use overlay::intent::Command;
use overlay::model::NodeId;
use serde::Serialize;

use super::requests::Unanswered;
use super::role::Role;
use crate::manager::routes::{Refusal, decode, encode};
use crate::manager::wire::{MAX_RAFT, RAFT_APPEND, RAFT_PROPOSE, RAFT_READ, RAFT_SNAPSHOT, RAFT_VOTE};

/// The routes, which must be closed to all but managers.
pub(in crate::manager) fn router(role: Role) -> Router {
    Router::new()
        .route(RAFT_APPEND, post(append))
        .route(RAFT_VOTE, post(vote))
        .route(RAFT_SNAPSHOT, post(snapshot))
        .route(RAFT_PROPOSE, post(propose))
        .route(RAFT_READ, post(read))
        .layer(DefaultBodyLimit::max(MAX_RAFT))
        .with_state(role)
}

async fn append(State(role): State<Role>, body: Bytes) -> Result<Response, Refusal> {
    answer(role.running()?.raft.append_entries(decode(&body)?).await)
}

async fn vote(State(role): State<Role>, body: Bytes) -> Result<Response, Refusal> {
    answer(role.running()?.raft.vote(decode(&body)?).await)
}

async fn snapshot(State(role): State<Role>, body: Bytes) -> Result<Response, Refusal> {
    answer(role.running()?.raft.install_snapshot(decode(&body)?).await)
}

async fn propose(State(role): State<Role>, body: Bytes) -> Result<Response, Refusal> {
    let command: Command = decode(&body)?;
    encode(&role.propose_here(&command).await?)
}

async fn read(State(role): State<Role>) -> Result<Response, Refusal> {
    encode(&role.read_here().await?)
}

/// What the library refuses goes to the library at the other end; that it does not run any more is no answer.
fn answer<A: Serialize, E: Serialize>(outcome: Result<A, RaftError<NodeId, E>>) -> Result<Response, Refusal> {
    match outcome {
        Ok(answer) => encode(&Ok::<A, E>(answer)),
        Err(RaftError::APIError(error)) => encode(&Err::<A, E>(error)),
        Err(RaftError::Fatal(error)) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

impl From<Unanswered> for Refusal {
    fn from(error: Unanswered) -> Self {
        (error.status(), error.to_string())
    }
}
