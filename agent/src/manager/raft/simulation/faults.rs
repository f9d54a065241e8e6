//! What goes wrong: crashes, cuts, loss, full disks, and changes of who decides in the middle of it.

use std::time::Duration;

use openraft::ChangeMembers;
use openraft::error::Fatal;
use overlay::model::NodeId;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use tokio::time::timeout;

use super::world::World;

impl World {
    /// One thing that fails, or works again.
    pub(super) async fn disturb(&mut self) {
        let index = self.rng.random_range(0..self.hosts.len());
        let leader = self.leader();
        match self.rng.random_range(0..12) {
            0 | 1 => self.crash(index).await,
            2 => {
                if let Some(leader) = leader {
                    self.crash(leader).await;
                }
            }
            3 | 4 => self.start_one().await,
            5 => self.isolate(leader.unwrap_or(index)),
            6 => self.split(),
            7 => self.cut_one_way(),
            8 => self.net.0.lock().unwrap().cut.clear(),
            9 => self.net.0.lock().unwrap().loss = *[0.0, 0.05, 0.3].choose(&mut self.rng).unwrap(),
            10 => self.hosts[index].disk.fill(self.rng.random_bool(0.5)),
            _ => self.change_voters(index).await,
        }
        self.restart_the_failed().await;
    }

    async fn start_one(&mut self) {
        if let Some(index) = self.hosts.iter().position(|host| host.boot.is_none()) {
            self.start(index).await;
        }
    }

    /// A manager whose storage failed is started again, as the agent does it.
    async fn restart_the_failed(&mut self) {
        for index in 0..self.hosts.len() {
            let failed = self.hosts[index].boot.as_ref().is_some_and(|boot| {
                let state = boot.raft.metrics().borrow().running_state.clone();
                assert_ne!(state, Err(Fatal::Panicked), "the library panicked");
                state.is_err()
            });
            if failed && self.rng.random_bool(0.5) {
                self.crash(index).await;
                self.start(index).await;
            }
        }
    }

    fn isolate(&mut self, index: usize) {
        let alone = self.hosts[index].id;
        let mut wires = self.net.0.lock().unwrap();
        for host in &self.hosts {
            wires.cut.extend([(alone, host.id), (host.id, alone)]);
        }
    }

    fn split(&mut self) {
        let sides: Vec<_> = self.hosts.iter().map(|host| (host.id, self.rng.random_bool(0.5))).collect();
        let mut wires = self.net.0.lock().unwrap();
        for (one, side) in &sides {
            wires
                .cut
                .extend(sides.iter().filter(|(_, other)| other != side).map(|(other, _)| (*one, *other)));
        }
    }

    fn cut_one_way(&mut self) {
        let ids: Vec<NodeId> = self.hosts.iter().map(|host| host.id).collect();
        let (from, to) = (ids.choose(&mut self.rng).unwrap(), ids.choose(&mut self.rng).unwrap());
        self.net.0.lock().unwrap().cut.insert((*from, *to));
    }

    /// Takes a manager out of those who decide, or in again.
    async fn change_voters(&mut self, index: usize) {
        let Some(leader) = self.leader().and_then(|leader| self.hosts[leader].boot.clone()) else { return };
        let (id, metrics) = (self.hosts[index].id, leader.raft.metrics().borrow().clone());
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let change = match voters.contains(&id) {
            true if voters.len() > 2 => ChangeMembers::RemoveVoters([id].into()),
            true => return,
            false => ChangeMembers::AddVoterIds([id].into()),
        };
        tokio::spawn(timeout(Duration::from_secs(5), async move {
            drop(leader.raft.change_membership(change, true).await);
        }));
    }
}
