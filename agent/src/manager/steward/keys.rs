//! Changes the cluster's gossip keys, every twelve hours and when somebody wants it: a node that was removed knows those
//! that there are.
//!
//! Three steps, each a command in the log, so that a new leader goes on where the last one stopped: the new key is added,
//! then used, then the old one is dropped. Before each of the last two, every node that is alive has confirmed the step
//! before, or had time enough to: nobody seals with a key that another lacks.

use std::sync::Arc;
use std::time::Duration;

use overlay::hex;
use overlay::intent::{Command, GossipKeys, Hidden, Intent};
use overlay::model::NodeId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::clock::unix_seconds;
use crate::gossip::Snapshot;
use crate::manager::{IntentLog, Peers};

/// How long a key is used, in seconds.
const LIFETIME: u64 = 12 * 60 * 60;
/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(60);
/// After so long, a command that was not taken is proposed again.
const AGAIN: Duration = Duration::from_secs(1);
/// A step waits no longer than this for nodes that do not confirm the one before, where somebody is to be kept out: such a
/// node finds its way back once it hears of the keys.
const URGENT: Duration = Duration::from_secs(10);
/// The same where there is no hurry, as when a key is just old.
const PATIENT: Duration = Duration::from_secs(600);

/// A step of a rotation.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: Command,
    /// Whether every node has to know the keys as they are before it is taken.
    confirmed: bool,
}

/// The next step, if one is due at `now` (in seconds since 1970); `draw` makes a new key.
fn next_step(gossip: &GossipKeys, now: u64, draw: impl FnOnce() -> Hidden) -> Option<Step> {
    let next = gossip.current.wrapping_add(1);
    let other = gossip.keys.keys().copied().find(|id| *id != gossip.current);
    let confirmed = |command| Some(Step { command, confirmed: true });
    match other {
        // Ids follow one another, so they tell which key is the newer one.
        Some(id) if id == next => confirmed(Command::UseGossipKey { id }),
        Some(id) => confirmed(Command::DropGossipKey { id }),
        // A time far ahead is one of a clock that was wrong.
        None if gossip.wanted || now.abs_diff(gossip.rotated_at) >= LIFETIME => {
            let command = Command::AddGossipKey { id: next, key: draw(), at: now };
            Some(Step { command, confirmed: false })
        }
        None => None,
    }
}

/// Changes the keys, for as long as this manager leads.
#[derive(Clone)]
pub struct KeySteward {
    /// This node.
    pub me: NodeId,
    /// Where the intent is.
    pub log: Arc<dyn IntentLog>,
    /// Who can be asked.
    pub peers: Arc<Peers>,
    /// Who is alive.
    pub facts: watch::Receiver<Arc<Snapshot>>,
    /// The version of the intent that this node itself holds.
    pub applied: watch::Receiver<u64>,
}

impl KeySteward {
    /// Does so until it is dropped.
    pub async fn run(mut self) {
        // Before, it is not known who is alive and to be waited for.
        drop(self.facts.wait_for(|facts| facts.settled).await);
        let mut intents = self.log.watch();
        let mut urgent = false;
        // The step that is next, and since when.
        let mut waiting: Option<(Command, Instant)> = None;
        loop {
            let intent = Arc::clone(&intents.borrow_and_update());
            let step = intent.cluster.as_ref().and_then(|cluster| {
                urgent |= cluster.gossip.wanted;
                next_step(&cluster.gossip, unix_seconds(), fresh)
            });
            let Some(step) = step else {
                (urgent, waiting) = (false, None);
                // Neither is told to end: the log outlives this.
                drop(timeout(TICK, intents.changed()).await);
                continue;
            };
            let since = match waiting.take() {
                Some((command, since)) if command == step.command => since,
                _ => Instant::now(),
            };
            if step.confirmed {
                let deadline = since + if urgent { URGENT } else { PATIENT };
                tokio::select! {
                    () = self.confirmed(&intent, deadline) => {}
                    _ = intents.changed() => {
                        // It may be wanted at once now.
                        waiting = Some((step.command, since));
                        continue;
                    }
                }
            }
            self.propose(step.command).await;
        }
    }

    async fn propose(&self, command: Command) {
        match self.log.propose(command.clone()).await {
            Ok(_) => info!(step = ?command, "gossip keys change"),
            // Another leader may have taken it; what is next, the intent will tell.
            Err(error) => {
                warn!(step = ?command, %error, "a change of the gossip keys was not taken");
                sleep(AGAIN).await;
            }
        }
    }

    /// Waits until every node that is alive holds the intent, but no longer than that.
    async fn confirmed(&self, intent: &Intent, deadline: Instant) {
        loop {
            let round = Instant::now() + AGAIN;
            let missing = self.missing(intent).await;
            if missing.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                return warn!(nodes = ?missing, "gossip keys change, though these nodes have not confirmed the last step");
            }
            sleep_until(round).await;
        }
    }

    /// The nodes that are alive and do not say that they hold the intent.
    async fn missing(&self, intent: &Intent) -> Vec<String> {
        let alive = self.facts.borrow().alive.clone();
        let wanted = intent.nodes.values().filter(|node| node.id == self.me || alive.contains(&node.id));
        super::missing(self.me, &self.peers, &self.applied, wanted.cloned().collect(), intent.version).await
    }
}

fn fresh() -> Hidden {
    hex::encode(&rand::random::<[u8; 32]>()).into()
}

#[cfg(test)]
mod tests;
