//! Refusals of the local API that several of its requests, or what they set off, share.

use overlay::api::{ApiError, ErrorCode};
use overlay::model::EndpointId;

/// The node is in no cluster.
pub fn not_member() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "this node is in no cluster")
        .hint("make one with `overlayctl cluster init`, or join one with `overlayctl cluster join`")
}

/// The node is in a cluster already.
pub fn already_member() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "this node is in a cluster already")
        .hint("stop the agent and run `overlayd cleanup` to make it forget the cluster")
}

/// The endpoint is not one of this node's.
pub fn not_local(id: EndpointId) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("endpoint {} is not on this node", id.short()))
        .hint("detach it on its own node; `overlayctl endpoint ls` names it")
}

/// The kernel did not take an attachment.
pub fn attach_failed(cause: &str) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("the endpoint could not be attached: {cause}"))
        .hint("nothing was left behind; see the agent's log for the step that failed")
}

/// The agent itself failed.
pub fn internal(error: impl Into<anyhow::Error>) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("{:#}", error.into())).hint("see the agent's log")
}
