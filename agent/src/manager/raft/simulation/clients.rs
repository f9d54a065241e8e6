//! Clients that ask for networks, blocks and services, and look at what there is.

use std::time::Duration;

use overlay::model::NodeId;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::history::History;
use super::wishes::wish;
use super::world::Boot;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Client {
    rng: SmallRng,
    managers: watch::Receiver<Vec<(NodeId, Boot)>>,
    history: History,
    began: Instant,
}

impl Client {
    pub(super) fn new(
        rng: SmallRng,
        managers: watch::Receiver<Vec<(NodeId, Boot)>>,
        history: History,
        began: Instant,
    ) -> Self {
        Self { rng, managers, history, began }
    }

    pub(super) async fn work(mut self, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            sleep(Duration::from_millis(self.rng.random_range(5..200))).await;
            let Some(leader) = self.leader() else { continue };
            if self.rng.random_bool(0.3) {
                self.read(&leader).await;
            } else {
                self.write(&leader).await;
            }
        }
    }

    /// The manager that some manager takes for the leader.
    fn leader(&mut self) -> Option<Boot> {
        let managers = self.managers.borrow();
        let (_, asked) = managers.choose(&mut self.rng)?;
        let leader = asked.raft.metrics().borrow().current_leader?;
        managers.iter().find(|(id, _)| *id == leader).map(|(_, boot)| boot.clone())
    }

    async fn read(&self, leader: &Boot) {
        let asked = self.began.elapsed();
        let Ok(Ok(_)) = timeout(PATIENCE, leader.raft.ensure_linearizable()).await else { return };
        let version = leader.intent.borrow().version;
        self.history.read(asked, self.began.elapsed(), version);
    }

    async fn write(&mut self, leader: &Boot) {
        let command = wish(&mut self.rng, &leader.intent.borrow());
        let asked = self.began.elapsed();
        // Without an answer, it may or may not have been carried out.
        let Ok(Ok(written)) = timeout(PATIENCE, leader.raft.client_write(command.clone())).await else {
            return;
        };
        self.history.wrote(asked, self.began.elapsed(), written.log_id.index, command, written.data);
    }
}
