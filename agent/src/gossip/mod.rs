//! How facts travel: membership and failure detection by SWIM (the `foca` crate), and above it three simple
//! mechanisms of ours that each cover for the other: push, pull on a gap, and anti-entropy. The rules by which
//! facts merge are the core's ([`overlay::facts`]).
//!
//! One UDP socket carries sealed datagrams, one TCP listener on the same port carries exchanges under mutual
//! TLS. One task owns all state; nothing here takes a lock.
//!
//! A fact is taken with its owner's signature alone, whoever brings it (`vouch`). All else that goes by datagrams, membership
//! above all, is any member's word: whoever holds the cluster's current key can read and write them, in any name; exchanges also demand the certificate of a node
//! that the intent knows. A node that was removed is out of everyone's view at once, and out of earshot when the key that it
//! knew is dropped.
//!
//! | module | is |
//! |---|---|
//! | `node` | the state machine: all decisions, no socket, no clock |
//! | `membership` | SWIM's settings and identity |
//! | `vouch` | signatures of facts |
//! | `keys`, `seal`, `replay`, `wire` | datagrams |
//! | `exchange` | anti-entropy's conversation, over any stream |
//! | `serving` | who may begin one here, and how many at a time |
//! | `driver` | sockets, TLS, timers |

mod driver;
mod exchange;
#[cfg(test)]
mod forgery;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod hostile;
mod keys;
mod membership;
mod node;
mod replay;
#[cfg(any(test, feature = "fuzzing"))]
mod samples;
mod seal;
mod serving;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod timers;
mod vouch;
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay::facts::{NodeFact, View};
use overlay::model::{Endpoint, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::identity::Credentials;
use driver::{Command, Driver};
pub use keys::Keys;
use node::PUSHED_WITHIN;
pub use vouch::{FactsKey, Signer};

/// What gossip needs to start.
pub struct GossipConfig {
    /// This node.
    pub me: NodeId,
    /// This boot: higher than at every boot before, and never the same twice. What a node says under a lower one is refused,
    /// and two boots under the same one would seal different datagrams with the same nonces.
    pub generation: u64,
    /// Where to listen, UDP and TCP. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where others reach it. Port 0 stands for the one listened on.
    pub advertise: SocketAddr,
    /// The secrets that all nodes of the cluster share, now and whenever they change.
    pub keys: watch::Receiver<Keys>,
    /// What proves this node's facts; the intent has its public key.
    pub signer: Signer,
    /// What this node shows to others, and whom it trusts.
    pub credentials: Arc<Credentials>,
}

/// A node of the cluster, as the intent knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Where its gossip listens.
    pub addr: SocketAddr,
    /// What proves its facts; of a node without it, none are taken.
    pub facts_key: Option<FactsKey>,
}

/// What gossip knows at a moment.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The facts of the nodes that are alive. The same `Arc` as before if nothing in it changed.
    pub view: Arc<View>,
    /// The nodes of the intent that are alive, and this node. Suspected ones are among them, and those whose agent has
    /// stopped and is to be back.
    pub alive: BTreeSet<NodeId>,
    /// The other nodes of the intent whose facts this node lacks.
    pub missing: BTreeSet<NodeId>,
    /// Whether the view has been as good as it gets: a node that had settled told all that it knew, or every other one of the
    /// intent was heard of, or has had time enough to be; and nobody is up whose facts are missing.
    pub synced: bool,
    /// Whether what the view lacks is gone: every other node of the intent was heard of since the start, or has had time
    /// enough to be. Nodes that restart together know nothing of one another at first.
    pub settled: bool,
    /// What was counted since the start.
    pub counters: Counters,
}

/// What gossip counts, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams refused: longer than any that a node sends.
    pub refused_oversized: u64,
    /// Datagrams refused: too short for a header and a seal.
    pub refused_truncated: u64,
    /// Datagrams refused: of another version, or sealed well but not decodable.
    pub refused_malformed: u64,
    /// Datagrams refused: sealed with a cluster key that this node does not hold.
    pub refused_unknown_key: u64,
    /// Datagrams refused: not sealed with the cluster's key, or altered.
    pub refused_forged: u64,
    /// Datagrams refused: seen before, too old to tell, or of an older boot.
    pub refused_replayed: u64,
    /// Pushes and what exchanges brought of one owner, refused: not the owner's own word.
    pub refused_not_owner: u64,
    /// Pushes refused: of a node that the intent does not know, here and now; and all datagrams of such nodes, where there
    /// are very many of them.
    pub refused_unknown_owner: u64,
    /// Push datagrams sealed; each goes to one member or to all.
    pub pushes_sent: u64,
    /// Push datagrams taken.
    pub pushes_received: u64,
    /// Pulls sent.
    pub pulls_sent: u64,
    /// Pulls answered.
    pub pulls_answered: u64,
    /// Exchanges begun here that succeeded.
    pub syncs: u64,
    /// Exchanges begun here that failed.
    pub syncs_failed: u64,
    /// Exchanges begun by others that succeeded.
    pub syncs_served: u64,
}

impl Counters {
    /// What was refused: each reason's name, how often it occurred, and what it means.
    pub const fn refused(&self) -> [(&'static str, u64, &'static str); 8] {
        [
            ("forged", self.refused_forged, "not sealed with the cluster's key, or altered on the way"),
            (
                "malformed",
                self.refused_malformed,
                "of another format version, or not decodable; do the nodes run the same version?",
            ),
            ("not_owner", self.refused_not_owner, "a node stated another node's facts, or altered them"),
            ("oversized", self.refused_oversized, "longer than any datagram that a node sends"),
            ("replayed", self.refused_replayed, "seen before, or from before its sender's last start"),
            ("truncated", self.refused_truncated, "too short to be a node's"),
            (
                "unknown_owner",
                self.refused_unknown_owner,
                "facts of a node that this one does not know: it has just joined, or was removed",
            ),
            (
                "unknown_key",
                self.refused_unknown_key,
                "sealed with a cluster key that this node does not hold (yet, or any more): the sender was removed, or one \
                 of the two has not heard of the latest keys; does it reach a manager?",
            ),
        ]
    }
}

/// Why gossip did not start.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// The port can't be listened on.
    #[error("gossip can't listen on {proto} {addr}: {source}\nhint: `ss -lnp 'sport = :{}'` shows who holds the port; the gossip port is configurable", addr.port())]
    Listen {
        /// UDP or TCP.
        proto: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
}

/// Running gossip. Dropping it stops it as well.
pub struct Gossip {
    addr: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    task: JoinHandle<()>,
}

impl Gossip {
    /// Listens and begins to find the others. `peers` are the members per intent, with or without this node.
    ///
    /// # Errors
    /// [`GossipError::Listen`] names the address that is taken.
    pub async fn start(config: GossipConfig, peers: watch::Receiver<Vec<Peer>>) -> Result<Self, GossipError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (driver, tcp, addr, snapshot) =
            Driver::listen(config, peers, inbox, commands.downgrade()).await?;
        let task = tokio::spawn(driver.run(tcp));
        Ok(Self { addr, commands, snapshot, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// States everything that this node knows; what differs from what it stated before is sent. Idempotent. The first
    /// statement after a start must be whole: what it lacks of the last boot's facts is withdrawn everywhere.
    pub fn state(&self, node: NodeFact, endpoints: Vec<Endpoint>) {
        // The driver only ends before its handle if it panicked, which `stop` reports.
        let _ = self.commands.send(Command::State(node, endpoints));
    }

    /// The newest snapshot; changes are signalled.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Asks the other nodes to keep what this one stated for that long, or until it is back: it is about to stop, and its data
    /// path goes on. Nothing may be stated afterwards.
    pub async fn leave(&self, hold: Duration) {
        let _ = self.commands.send(Command::Leave(hold));
        self.pushed().await;
    }

    /// Waits until what was stated so far has been pushed, with all repeats.
    pub async fn pushed(&self) {
        tokio::time::sleep(PUSHED_WITHIN).await;
    }

    /// Ends all tasks and closes the sockets, without telling the others: the data path stays as it is.
    pub async fn stop(self) {
        drop(self.commands);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "gossip ended badly");
        }
    }
}
