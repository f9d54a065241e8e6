//! Changes the cluster's gossip keys, every twelve hours and when somebody wants it: a node that was removed knows those
//! that there are.
//!
//! Three steps, each a command in the log, so that a new leader goes on where the last one stopped: the new key is added,
//! then used, then the old one is dropped. Before each of the last two, every node that is alive has confirmed the step
//! before, or had time enough to: nobody seals with a key that another lacks. That time runs from when the step before took
//! effect, however often the intent changes meanwhile.

use std::pin::pin;
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
        // A step that was not taken though it could have been.
        let mut refused: Option<Command> = None;
        loop {
            let intent = Arc::clone(&intents.borrow_and_update());
            let Some(step) = due(&intent, &mut urgent) else {
                (urgent, refused) = (false, None);
                // Neither is told to end: the log outlives this.
                drop(timeout(TICK, intents.changed()).await);
                continue;
            };
            let is_free = !step.confirmed || refused.as_ref() == Some(&step.command);
            if is_free || self.confirmed(&mut intents, intent.version, &step, &mut urgent).await {
                refused = self.propose(step.command).await.err();
            }
        }
    }

    /// Returns the command if it was not taken.
    async fn propose(&self, command: Command) -> Result<(), Command> {
        let Err(error) = self.log.propose(command.clone()).await else {
            info!(step = ?command, "gossip keys change");
            return Ok(());
        };
        // Another leader may have taken it; what is next, the intent will tell.
        warn!(step = ?command, %error, "a change of the gossip keys was not taken");
        sleep(AGAIN).await;
        Err(command)
    }

    /// Waits until every node that is alive holds that version of the intent, the first that this step was due in, but no
    /// longer than there is time for, whatever else changes meanwhile. `false` if the step is no longer due.
    async fn confirmed(
        &self,
        intents: &mut watch::Receiver<Arc<Intent>>,
        version: u64,
        step: &Step,
        urgent: &mut bool,
    ) -> bool {
        let since = Instant::now();
        let missing = watch::Sender::new(Vec::new());
        let mut asking = pin!(self.ask_until_held(version, &missing));
        loop {
            let deadline = since + if *urgent { URGENT } else { PATIENT };
            tokio::select! {
                () = &mut asking => return true,
                () = sleep_until(deadline) => break,
                _ = intents.changed() => {
                    // It may be wanted at once now.
                    let due = due(&intents.borrow_and_update(), urgent);
                    if due.is_none_or(|due| due.command != step.command) {
                        return false;
                    }
                }
            }
        }
        warn!(nodes = ?*missing.borrow(), "gossip keys change, though these nodes have not confirmed the last step");
        true
    }

    /// Asks the nodes that are alive until each says that it holds that version. Tells who did not, each time.
    async fn ask_until_held(&self, version: u64, missing: &watch::Sender<Vec<String>>) {
        loop {
            let round = Instant::now() + AGAIN;
            let alive = self.facts.borrow().alive.clone();
            let intent = Arc::clone(&self.log.watch().borrow());
            let asked = intent.nodes.values().filter(|node| node.id == self.me || alive.contains(&node.id));
            let asked = asked.cloned().collect();
            let lacking = super::missing(self.me, &self.peers, &self.applied, asked, version).await;
            if lacking.is_empty() {
                return;
            }
            missing.send_replace(lacking);
            sleep_until(round).await;
        }
    }
}

/// The step that is due now; `urgent` becomes true where somebody wants it.
fn due(intent: &Intent, urgent: &mut bool) -> Option<Step> {
    let gossip = &intent.cluster.as_ref()?.gossip;
    *urgent |= gossip.wanted;
    next_step(gossip, unix_seconds(), fresh)
}

fn fresh() -> Hidden {
    hex::encode(&rand::random::<[u8; 32]>()).into()
}

#[cfg(test)]
mod tests;
