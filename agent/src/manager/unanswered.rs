//! What it means to a node that a manager did not answer it, or said no.

use std::net::SocketAddr;

use hyper::StatusCode;

use super::client::ClientError;
use super::{Exclusion, ProposeError};

/// Why a manager is followed no more.
pub(super) struct Lost {
    /// It does not let this node in.
    pub(super) excluded: Option<Exclusion>,
    /// In words.
    pub(super) cause: String,
}

impl From<String> for Lost {
    fn from(cause: String) -> Self {
        Self { excluded: None, cause }
    }
}

impl From<ClientError> for Lost {
    fn from(error: ClientError) -> Self {
        let excluded = match &error {
            ClientError::Excluded(excluded) => Some(*excluded),
            _ => None,
        };
        Self { excluded, cause: error.to_string() }
    }
}

/// Whether another manager may be asked after one did not answer.
pub(super) enum Tried {
    /// This one has surely changed nothing.
    Next(ProposeError),
    /// It may have, or would say the same again.
    Final(ProposeError),
}

/// What a manager's silence, or its no, means for what was asked.
pub(super) fn unanswered(addr: SocketAddr, error: ClientError) -> Tried {
    match error {
        ClientError::Connect(_) | ClientError::Untrusted(_) => {
            Tried::Next(ProposeError::Unreachable { addr, cause: error.to_string() })
        }
        ClientError::Excluded(excluded) => Tried::Next(ProposeError::Excluded(excluded)),
        ClientError::Lost(cause) => Tried::Final(ProposeError::Unreachable { addr, cause }),
        ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, cause } => {
            Tried::Next(ProposeError::Unavailable { cause })
        }
        ClientError::Status { status: StatusCode::NOT_FOUND, cause } => {
            Tried::Next(ProposeError::Unreachable { addr, cause })
        }
        ClientError::Status { status: StatusCode::GATEWAY_TIMEOUT, cause } => {
            Tried::Final(ProposeError::Unavailable { cause })
        }
        ClientError::Status { status: StatusCode::CONFLICT, cause } => {
            Tried::Final(ProposeError::Unsafe { cause })
        }
        error @ ClientError::Status { .. } => {
            Tried::Final(ProposeError::Internal { cause: format!("the manager at {addr} answers {error}") })
        }
    }
}
