//! A node asks a manager to make it a member.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::StatusCode;
use overlay::intent::Intent;
use overlay::model::Node;

use super::client::{ClientError, post};
use super::wire::{JOIN, JoinAnswer, JoinRefusal, JoinRequest};
use super::{JoinError, copy};
use crate::identity::{Identity, Request, Token, joining_client_config};
use crate::store::{Key, Store, StoreError};

/// A fresh member's papers.
#[derive(Debug)]
pub struct Joined {
    /// Its identity.
    pub identity: Identity,
    /// The intent, with it in the list of nodes.
    pub intent: Arc<Intent>,
}

impl Joined {
    /// Stores both, or none of them; [`super::Remote::start`] then finds the intent in the store. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        store.write(|batch| {
            batch.put(Key::Identity, &self.identity)?;
            copy::put(batch, &self.intent)
        })
    }
}

/// Joins the cluster that `token` is for through its manager at `manager`. The token's digest lets this node
/// know the cluster before it shows it the secret. `node` describes this node, under an id drawn for this
/// attempt: the cluster refuses one that it has already.
///
/// # Errors
/// Every kind of [`JoinError`].
pub async fn join(token: &Token, manager: SocketAddr, node: Node) -> Result<Joined, JoinError> {
    let id = node.id;
    let request = Request::new(id)?;
    let tls = joining_client_config(token.ca)?;
    let query = JoinRequest { secret: token.secret.to_string(), csr: request.csr().to_owned(), node };
    let mut answer = post(manager, &tls, JOIN, &query).await;
    if matches!(answer, Err(ClientError::Lost(_))) {
        // It may have been let in: the same request again is answered again.
        answer = post(manager, &tls, JOIN, &query).await;
    }
    let answer: Result<JoinAnswer, JoinRefusal> = answer.map_err(|error| not_answered(manager, error))?;
    let answer = answer.map_err(|refusal| match refusal {
        JoinRefusal::WrongSecret => JoinError::WrongSecret { addr: manager },
        JoinRefusal::AlreadyMember => JoinError::AlreadyMember(id),
        JoinRefusal::BadRequest(cause) => JoinError::Failed { addr: manager, cause },
        JoinRefusal::Refused(error) => JoinError::Refused(error),
    })?;
    // Who answers has shown that it is of the token's cluster: what it says of the CAs is as good.
    let trusted = answer.intent.cluster.as_ref().map(|cluster| cluster.trusted().collect());
    let identity = request.complete(answer.chain, trusted.unwrap_or(answer.ca))?;
    Ok(Joined { identity, intent: Arc::new(answer.intent) })
}

fn not_answered(addr: SocketAddr, error: ClientError) -> JoinError {
    use rustls::{CertificateError, Error};
    match error {
        ClientError::Untrusted(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => JoinError::WrongCluster { addr },
        ClientError::Untrusted(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => JoinError::NoManager { addr },
        ClientError::Connect(cause) | ClientError::Lost(cause) => JoinError::Unreachable { addr, cause },
        ClientError::Status { status: StatusCode::NOT_FOUND, .. } => JoinError::NoManager { addr },
        ClientError::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => {
            JoinError::TooManyGuesses { addr }
        }
        error @ (ClientError::Untrusted(_) | ClientError::Excluded(_) | ClientError::Status { .. }) => {
            JoinError::Failed { addr, cause: error.to_string() }
        }
    }
}
