//! What a node may ask of the managers. A manager's certificate may propose anything, as it also hands on what users and
//! other nodes asked of it; a worker's speaks for its own node alone.

use overlay::intent::{Command, Intent};
use overlay::model::{EndpointId, NodeId};

use crate::identity::Certified;

/// Whether the one who shows that certificate is a manager: by the certificate, and by the intent as well.
pub(super) fn is_manager(intent: &Intent, shown: &Certified) -> bool {
    shown.manager && intent.is_manager(shown.node)
}

/// Whether the one who shows that certificate may propose this. `holder` tells which node is known to hold an endpoint.
pub(super) fn may_propose(
    intent: &Intent,
    shown: &Certified,
    command: &Command,
    holder: impl FnOnce(EndpointId) -> Option<NodeId>,
) -> bool {
    let me = shown.node;
    match command {
        _ if is_manager(intent, shown) => true,
        Command::PutNode(node) => node.id == me && intent.nodes.contains_key(&me),
        // It leaves.
        Command::RemoveNode { id, .. } => *id == me,
        Command::GrantBlock(grant) => grant.node == me,
        Command::ReleaseBlock(release) => release.block.node == me,
        // It forgets an endpoint that was drained. That one may be gone from the facts already, but is not another's.
        Command::DrainBackend { endpoint, since: None, .. } => {
            holder(*endpoint).is_none_or(|holder| holder == me)
        }
        // It uses the certificate that it shows.
        Command::NoteCertificate { node, issuer } => {
            *node == me && shown.issuer_among([issuer.as_str()].into_iter()).is_some()
        }
        _ => false,
    }
}
