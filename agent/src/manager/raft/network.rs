//! The Raft library's network, over [`Links`]: each request is one of the manager API.

use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, RaftNetwork, RaftNetworkFactory};
use overlay::model::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::links::Links;
use super::types::Managers;
use crate::manager::client::ClientError;
use crate::manager::wire::{RAFT_APPEND, RAFT_SNAPSHOT, RAFT_VOTE};

type Failure<E> = RPCError<NodeId, EmptyNode, RaftError<NodeId, E>>;

impl RaftNetworkFactory<Managers> for Links {
    type Network = Line;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> Line {
        Line { links: self.clone(), target }
    }
}

/// The way to one manager.
pub(crate) struct Line {
    links: Links,
    target: NodeId,
}

impl Line {
    async fn ask<Q: Serialize, A: DeserializeOwned, E>(&self, path: &str, query: &Q) -> Result<A, Failure<E>>
    where
        E: std::error::Error + DeserializeOwned,
    {
        let answer: Result<Result<A, E>, ClientError> = self.links.post(self.target, path, query).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refusal)) => {
                Err(RPCError::RemoteError(RemoteError::new(self.target, RaftError::APIError(refusal))))
            }
            // The library leaves a manager that cannot be reached alone for a moment, and asks others again at once.
            Err(error @ (ClientError::Connect(_) | ClientError::Untrusted(_) | ClientError::Excluded(_))) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl RaftNetwork<Managers> for Line {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Managers>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failure<openraft::error::Infallible>> {
        self.ask(RAFT_APPEND, &request).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Managers>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failure<InstallSnapshotError>> {
        self.ask(RAFT_SNAPSHOT, &request).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failure<openraft::error::Infallible>> {
        self.ask(RAFT_VOTE, &request).await
    }
}
