//! Brings the rotation of the cluster's CA to its end, which a user began by adding the next one.
//!
//! Each step is a command in the log, so that a new leader goes on where the last one stopped: once every member trusts the
//! new CA, it signs; every node then renews its certificate and has that noted; once all have, the old CA is dropped. A
//! member that is down is waited for: it would trust nobody when it came back.

use std::sync::Arc;
use std::time::Duration;

use overlay::intent::{Command, Intent};
use overlay::model::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::missing;
use crate::manager::{IntentLog, Peers};

/// After so long, the nodes are asked again, and a command that was not taken is proposed again.
const AGAIN: Duration = Duration::from_secs(1);

/// A step of a rotation.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: Command,
    /// Whether every member has to hold the intent as it is before it is taken.
    confirmed: bool,
}

/// The next step, if there is one to take by what the intent says.
fn next_step(intent: &Intent) -> Option<Step> {
    let cluster = intent.cluster.as_ref()?;
    if let Some(cert) = cluster.next_ca_cert.clone() {
        return Some(Step { command: Command::UseCa { cert }, confirmed: true });
    }
    let cert = cluster.old_ca_cert.clone()?;
    let renewed = intent.nodes.values().all(|node| node.ca_generation == cluster.ca_generation);
    renewed.then_some(Step { command: Command::DropCa { cert }, confirmed: false })
}

/// Goes on with a rotation, for as long as this manager leads.
#[derive(Clone)]
pub struct CaSteward {
    /// This node.
    pub me: NodeId,
    /// Where the intent is.
    pub log: Arc<dyn IntentLog>,
    /// Who can be asked.
    pub peers: Arc<Peers>,
    /// The version of the intent that this node itself holds.
    pub applied: watch::Receiver<u64>,
}

impl CaSteward {
    /// Does so until it is dropped.
    pub async fn run(self) {
        let mut intents = self.log.watch();
        let mut waited_for = Vec::new();
        loop {
            let intent = Arc::clone(&intents.borrow_and_update());
            let Some(Step { command, confirmed }) = next_step(&intent) else {
                waited_for.clear();
                // It is not told to end: the log outlives this.
                drop(intents.changed().await);
                continue;
            };
            if confirmed {
                let all = intent.nodes.values().cloned().collect();
                let missing = missing(self.me, &self.peers, &self.applied, all, intent.version).await;
                if !missing.is_empty() {
                    if missing != waited_for {
                        warn!(nodes = ?missing, "the rotation of the CA waits for nodes that do not trust the new one yet");
                    }
                    waited_for = missing;
                    drop(timeout(AGAIN, intents.changed()).await);
                    continue;
                }
            }
            match self.log.propose(command).await {
                Ok(_) => info!("the rotation of the CA goes on"),
                // Another leader may have taken it; what is next, the intent will tell.
                Err(error) => {
                    warn!(%error, "a step of the rotation of the CA was not taken");
                    drop(timeout(AGAIN, intents.changed()).await);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
