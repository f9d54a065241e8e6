//! What the leader of the managers sees to by itself. Each duty is a task of its own that ends with the leadership
//! ([`crate::manager::Role::while_leading`]), and each of its steps a command in the log, or a change of the log's own
//! membership, so that a new leader goes on where the last one stopped.

mod ca;
mod keys;
mod voters;

use overlay::model::{Node, NodeId};
use tokio::sync::watch;

use super::{LONGEST_WAIT, Peers, when_applied};

pub use ca::CaSteward;
pub use keys::KeySteward;
pub(super) use voters::keep as keep_voters;

/// The host names of those of `nodes` that do not say within [`LONGEST_WAIT`] that they hold that version of the intent.
/// For this node, `me`, `applied` tells.
async fn missing(
    me: NodeId,
    peers: &Peers,
    applied: &watch::Receiver<u64>,
    nodes: Vec<Node>,
    version: u64,
) -> Vec<String> {
    let (here, others): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(|node| node.id == me);
    let mut applied = applied.clone();
    let (mine, answers) = tokio::join!(
        when_applied(&mut applied, version, LONGEST_WAIT),
        peers.applied(others, version, LONGEST_WAIT),
    );
    let mine = here.into_iter().map(|node| (node, Ok(mine)));
    let holds = |answer: &Result<u64, String>| answer.as_ref().is_ok_and(|held| *held >= version);
    let missing = answers.into_iter().chain(mine).filter(|(_, answer)| !holds(answer));
    missing.map(|(node, _)| node.hostname).collect()
}
