//! A network between the managers that delays every message, loses some, and is cut in one direction or both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, Raft, RaftNetwork, RaftNetworkFactory};
use overlay::model::NodeId;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::time::sleep;

use super::runtime::Simulated;

/// The longest that a message is under way, mostly and seldom, in ms.
const DELAY_MS: (u64, u64) = (20, 400);

/// The network; clones share it.
#[derive(Clone)]
pub(super) struct Net(pub(super) Arc<Mutex<Wires>>);

pub(super) struct Wires {
    pub(super) rng: SmallRng,
    /// The managers that are on.
    pub(super) up: BTreeMap<NodeId, Raft<Simulated>>,
    /// From whom nothing reaches whom.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// The share of messages that are lost.
    pub(super) loss: f64,
}

type Failure<E> = RPCError<NodeId, EmptyNode, RaftError<NodeId, E>>;

impl Net {
    pub(super) fn new(rng: SmallRng) -> Self {
        Self(Arc::new(Mutex::new(Wires { rng, up: BTreeMap::new(), cut: BTreeSet::new(), loss: 0.0 })))
    }

    /// A message on its way: whether it arrives.
    async fn carry(&self, from: NodeId, to: NodeId) -> bool {
        let (delay, lost) = {
            let wires = &mut *self.0.lock().unwrap();
            let longest = if wires.rng.random_bool(0.05) { DELAY_MS.1 } else { DELAY_MS.0 };
            let delay = Duration::from_millis(wires.rng.random_range(1..=longest));
            (delay, wires.rng.random_bool(wires.loss))
        };
        sleep(delay).await;
        let wires = self.0.lock().unwrap();
        !lost && !wires.cut.contains(&(from, to)) && wires.up.contains_key(&to)
    }
}

/// The network, as one manager sees it.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) net: Net,
    pub(super) me: NodeId,
    /// Whether this boot of it is on.
    pub(super) on: Arc<AtomicBool>,
}

impl RaftNetworkFactory<Simulated> for Port {
    type Network = Wire;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> Wire {
        Wire { port: self.clone(), to: target }
    }
}

/// The way from one manager to another.
pub(super) struct Wire {
    port: Port,
    to: NodeId,
}

impl Wire {
    /// Asks; the other one answers even if nobody waits for it any more. What is lost is never answered: the library itself
    /// bounds how long it waits.
    async fn ask<A, E, F>(
        &self,
        answer: impl FnOnce(Raft<Simulated>) -> F + Send + 'static,
    ) -> Result<A, Failure<E>>
    where
        A: Send + 'static,
        E: std::error::Error + Send + 'static,
        F: Future<Output = Result<A, RaftError<NodeId, E>>> + Send,
    {
        let (Port { net, me: from, on }, to) = (self.port.clone(), self.to);
        let asked = tokio::spawn(async move {
            if !on.load(Ordering::Relaxed) || !net.carry(from, to).await {
                return None;
            }
            let raft = net.0.lock().unwrap().up.get(&to)?.clone();
            let answer = answer(raft).await;
            net.carry(to, from).await.then_some(answer)
        });
        match asked.await.unwrap_or(None) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(self.to, error))),
            None => std::future::pending().await,
        }
    }
}

impl RaftNetwork<Simulated> for Wire {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Simulated>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failure<openraft::error::Infallible>> {
        self.ask(async move |raft: Raft<Simulated>| raft.append_entries(request).await).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Simulated>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failure<InstallSnapshotError>> {
        self.ask(async move |raft: Raft<Simulated>| raft.install_snapshot(request).await).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failure<openraft::error::Infallible>> {
        self.ask(async move |raft: Raft<Simulated>| raft.vote(request).await).await
    }
}
