//! What the event loop shows of itself to those who only look: the local API above all.

use std::collections::BTreeMap;
use std::sync::Arc;

use overlay::api::Failure;
use overlay::intent::Intent;
use overlay::model::{Attachment, EndpointId, NodeId};
use overlay::reconcile::links::Underlay;
use overlay::reconcile::mesh::Mesh;
use overlay_abi::DropReason;
use tokio::sync::watch;

use crate::gossip::Snapshot;
use crate::manager::{IntentLog, ManagerLink, Peers, Status};

/// The state at one moment.
#[derive(Default)]
pub struct Shared {
    /// The membership, if there is one.
    pub member: Option<MemberHandle>,
    /// The endpoints here.
    pub attachments: BTreeMap<EndpointId, Attachment>,
    /// What only this node knows.
    pub local: Local,
}

/// What only this node knows, and keeps to itself.
#[derive(Default)]
pub struct Local {
    /// Where the underlay is, once known.
    pub underlay: Option<Underlay>,
    /// What the reconciler retries.
    pub failures: Vec<Failure>,
    /// Where the mesh runs.
    pub mesh: Mesh,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<DropReason, u64>,
}

/// A membership in effect, for those who only look or propose.
#[derive(Clone)]
pub struct MemberHandle {
    /// This node.
    pub node: NodeId,
    /// Where intent is.
    pub log: Arc<dyn IntentLog>,
    /// The facts.
    pub facts: watch::Receiver<Arc<Snapshot>>,
    /// Whether the manager is reached.
    pub manager: watch::Receiver<ManagerLink>,
    /// How the manager's role of this node is.
    pub role: watch::Receiver<Status>,
    /// The other nodes, to be asked.
    pub peers: Arc<Peers>,
    /// The version of the intent that this node's kernel holds.
    pub applied: watch::Receiver<u64>,
}

impl MemberHandle {
    /// The newest intent here.
    pub fn intent(&self) -> Arc<Intent> {
        Arc::clone(&self.log.watch().borrow())
    }

    /// The newest facts here.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.facts.borrow())
    }
}
