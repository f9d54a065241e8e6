//! The managers and their clients, from the first start until all have recovered.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::error::Fatal;
use openraft::storage::RaftStateMachine;
use openraft::{ChangeMembers, Config, EmptyNode, Raft, SnapshotPolicy};
use overlay::intent::{Cluster, Command, GossipKeys, Intent, Secrets, State, apply};
use overlay::model::{Node, NodeId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::clients::Client;
use super::disk::{Disk, Plug};
use super::history::History;
use super::network::{Net, Port};
use super::observed::Observed;
use super::runtime::Simulated;
use crate::manager::raft::beginning::begin_in;
use crate::manager::raft::journal::Journal;
use crate::manager::raft::machine::Machine;
use crate::manager::raft::store::LogStore;

const CLIENTS: usize = 4;
/// How long the managers may take, once nothing fails any more, until all of them have all.
const RECOVERY: Duration = Duration::from_secs(60);

/// One manager's host.
pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) disk: Disk,
    pub(super) boot: Option<Boot>,
}

/// One boot of it.
#[derive(Clone)]
pub(super) struct Boot {
    pub(super) raft: Raft<Simulated>,
    pub(super) intent: watch::Receiver<Arc<Intent>>,
    plug: Plug,
    on: Arc<AtomicBool>,
}

pub(super) struct World {
    pub(super) rng: SmallRng,
    pub(super) net: Net,
    pub(super) hosts: Vec<Host>,
    history: History,
    /// Those that are on, for clients.
    boots: watch::Sender<Vec<(NodeId, Boot)>>,
}

impl World {
    /// A cluster of one manager, and others that are to become managers.
    pub(super) fn new(managers: u8, mut rng: SmallRng) -> Self {
        let net = Net::new(SmallRng::seed_from_u64(rng.random()));
        let hosts = (1..=managers).map(|number| Host { id: id(number), disk: Disk::default(), boot: None });
        let hosts = hosts.collect();
        Self { rng, net, hosts, history: History::default(), boots: watch::Sender::default() }
    }

    /// Lets clients work for a while, and things fail.
    pub(super) async fn live(&mut self, time: Duration) {
        self.form().await;
        let (stop, began) = (watch::Sender::new(false), Instant::now());
        let clients = (0..CLIENTS).map(|_| {
            let rng = SmallRng::seed_from_u64(self.rng.random());
            let client = Client::new(rng, self.boots.subscribe(), self.history.clone(), began);
            tokio::spawn(client.work(stop.subscribe()))
        });
        let clients: Vec<_> = clients.collect();
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(Duration::from_millis(self.rng.random_range(50..1500))).await;
            self.disturb().await;
        }
        self.recover().await;
        // In a hard life, this is the only time in which clients are answered.
        sleep(Duration::from_secs(3)).await;
        stop.send_replace(true);
        for client in clients {
            client.await.unwrap();
        }
    }

    /// Makes all of them managers, one after the other, the first with a state that it has already.
    async fn form(&mut self) {
        let first = self.hosts[0].id;
        self.begin(initial());
        for index in 0..self.hosts.len() {
            self.start(index).await;
        }
        let leader = self.hosts[0].boot.clone().unwrap().raft;
        let won = leader.wait(Some(RECOVERY)).current_leader(first, "it is alone").await;
        won.unwrap();
        for host in &self.hosts[1..] {
            leader.add_learner(host.id, EmptyNode {}, true).await.unwrap();
            leader.change_membership(ChangeMembers::AddVoterIds([host.id].into()), true).await.unwrap();
        }
    }

    fn begin(&self, state: State) {
        let (plugged, _plug) = self.hosts[0].disk.plug_in();
        let journal = Journal::on(plugged, Path::new("simulated")).unwrap();
        begin_in(&journal, self.hosts[0].id, state).unwrap();
    }

    pub(super) async fn start(&mut self, index: usize) {
        let Host { id, disk, boot } = &mut self.hosts[index];
        let (plugged, plug) = disk.plug_in();
        // A disk that takes no writes lets nothing begin.
        let Ok(journal) = Journal::on(plugged, Path::new("simulated")) else { return };
        let machine = Machine::<Simulated>::open(journal.clone()).expect("what was synced is damaged");
        let intent = machine.intent();
        let mut observed = Observed::new(machine, self.history.clone());
        drop(observed.applied_state().await);
        let on = Arc::new(AtomicBool::new(true));
        let port = Port { net: self.net.clone(), me: *id, on: Arc::clone(&on) };
        let config = Arc::new(config(index as u64).validate().unwrap());
        let Ok(raft) = Raft::new(*id, config, port, LogStore::new(*id, journal), observed).await else {
            return;
        };
        self.net.0.lock().unwrap().up.insert(*id, raft.clone());
        *boot = Some(Boot { raft, intent, plug, on });
        self.show();
    }

    /// The machine stops in the middle of whatever it does.
    pub(super) async fn crash(&mut self, index: usize) {
        let seed = self.rng.random();
        let Host { id, disk, boot } = &mut self.hosts[index];
        let Some(boot) = boot.take() else { return };
        boot.on.store(false, Ordering::Relaxed);
        disk.lose_power(&boot.plug, seed);
        self.net.0.lock().unwrap().up.remove(id);
        self.show();
        let state = boot.raft.metrics().borrow().running_state.clone();
        assert_ne!(state, Err(Fatal::Panicked), "the library panicked");
        // What is left of it runs against a dead disk, and reaches nobody.
        tokio::spawn(async move { boot.raft.shutdown().await });
    }

    fn show(&self) {
        let on = self.hosts.iter().filter_map(|host| Some((host.id, host.boot.clone()?)));
        self.boots.send_replace(on.collect());
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |host: &Host| {
            let boot = host.boot.as_ref()?;
            Some(boot.raft.metrics().borrow().current_leader == Some(host.id))
        };
        self.hosts.iter().position(|host| leads(host) == Some(true))
    }

    /// Nothing fails any more: soon all managers have all there is.
    async fn recover(&mut self) {
        {
            let mut wires = self.net.0.lock().unwrap();
            wires.cut.clear();
            wires.loss = 0.0;
        }
        for index in 0..self.hosts.len() {
            self.hosts[index].disk.fill(false);
            let failed = self.hosts[index]
                .boot
                .as_ref()
                .is_some_and(|boot| boot.raft.metrics().borrow().running_state.is_err());
            if failed {
                self.crash(index).await;
            }
            if self.hosts[index].boot.is_none() {
                self.start(index).await;
            }
        }
        let recovered = timeout(RECOVERY, self.all_have_all()).await;
        assert!(recovered.is_ok(), "the managers do not recover: {}", self.describe());
    }

    async fn all_have_all(&self) {
        let index = loop {
            let leader = self.leader().and_then(|leader| self.hosts[leader].boot.as_ref());
            let Some(leader) = leader else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let written = leader.raft.client_write(Command::WantGossipKey);
            if let Ok(Ok(written)) = timeout(Duration::from_secs(5), written).await {
                break written.log_id.index;
            }
            sleep(Duration::from_millis(100)).await;
        };
        for host in &self.hosts {
            let raft = &host.boot.as_ref().unwrap().raft;
            raft.wait(None).applied_index_at_least(Some(index), "all there is").await.unwrap();
        }
    }

    fn describe(&self) -> String {
        let one = |host: &Host| match &host.boot {
            Some(boot) => boot.raft.metrics().borrow().to_string(),
            None => format!("{} is off", host.id),
        };
        self.hosts.iter().map(one).collect::<Vec<_>>().join("\n")
    }

    /// What must have come of it; a digest of what happened.
    pub(super) fn check(&self) -> Vec<u8> {
        self.history.check();
        let (writes, reads) = self.history.size();
        assert!(writes > 0 && reads > 0, "{writes} commands and {reads} reads were answered");
        self.history.digest()
    }
}

const fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// A cluster's first state, alike every time.
fn initial() -> State {
    let text = |text: &str| text.to_owned();
    let cluster = Cluster {
        id: text("00"),
        epoch: 1,
        ca_cert: text("certificate"),
        next_ca_cert: None,
        old_ca_cert: None,
        ca_generation: 1,
        gossip: GossipKeys { keys: [(0, text("key"))].into(), ..GossipKeys::default() },
        cert_lifetime: Cluster::CERT_LIFETIME,
    };
    let node = |number: u8| {
        let (hostname, addr) = (format!("n{number}"), [192, 0, 2, number].into());
        Node { id: id(number), hostname, addr, manager: number == 1, ..crate::manager::tests::node() }
    };
    let begin =
        Command::InitCluster { cluster: cluster.into(), node: node(1), secrets: Secrets::default().into() };
    let mut state = State::default();
    for command in [begin, Command::PutNode(node(2)), Command::PutNode(node(3))] {
        apply(&mut state, &command).unwrap();
    }
    state
}

/// As the managers', but with snapshots all the time, and with election timeouts that leave nothing to chance.
fn config(rank: u64) -> Config {
    let election_timeout_min = 700 + 60 * rank;
    Config {
        heartbeat_interval: 250,
        election_timeout_min,
        election_timeout_max: election_timeout_min + 1,
        install_snapshot_timeout: 2000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(20),
        max_in_snapshot_log_to_keep: 5,
        replication_lag_threshold: 30,
        ..Config::default()
    }
}
