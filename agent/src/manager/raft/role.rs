//! The manager's role of this node: the Raft library runs while intent has this node as a manager.
//!
//! It is started and stopped while the agent runs, and nothing else of the agent depends on it. A disk that fails stops it;
//! it is tried again every few seconds, and its [`Status`] says why it does not run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, EmptyNode, Raft, RaftMetrics, SnapshotPolicy};
use overlay::intent::{Intent, Secrets, State};
use overlay::model::NodeId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::journal::Journal;
use super::links::Links;
use super::machine::Machine;
use super::requests::Unanswered;
use super::store::LogStore;
use super::types::{Managers, Offload as _};
use crate::identity::Credentials;
use crate::manager::steward::keep_voters;
use crate::manager::watching::{self, Moment};
use crate::store::{Key, NEW_LOG, Store, StoreError};

/// After how long a role that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a manager that is no longer wanted asks the others whether it still counts.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long a manager without a leader still passes for one who knows.
const LONELY: Duration = Duration::from_secs(5);

/// How often the leader is heard of.
const HEARTBEAT_MS: u64 = 250;
/// How long the leader's word holds after it was last heard of, and the most that a manager waits then before it wants to
/// lead itself.
const LEASE_MS: u64 = 1000;
/// After how long without an answer of a majority a leader counts as none.
const UNHEARD_MS: u64 = 2 * LEASE_MS;
/// The least that it waits, and how much longer than the manager before it in the list: seldom do two want it at once.
const ELECTION_MS: u64 = 500;
const STAGGER_MS: u64 = 100;
/// How long a piece of a snapshot may take, and its size.
const SNAPSHOT_MS: u64 = 10_000;
const SNAPSHOT_PIECE: u64 = 1 << 20;
/// How many entries lead to a snapshot, how many that are in one stay, and how many a manager may be behind before it is
/// sent one.
const SNAPSHOT_AFTER: u64 = 1000;
const KEPT_ENTRIES: u64 = 500;
const FAR_BEHIND: u64 = 2000;

/// How the manager's role of this node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it runs.
    pub running: bool,
    /// The leader, if this manager knows one.
    pub leader: Option<NodeId>,
    /// How often the managers have elected.
    pub term: u64,
    /// The managers that decide.
    pub voters: BTreeSet<NodeId>,
    /// Why it does not run though it should; stays until it runs.
    pub last_error: Option<String>,
}

pub(super) type Metrics = RaftMetrics<NodeId, EmptyNode>;

/// The role while it runs; clones share it.
#[derive(Clone)]
pub(in crate::manager) struct Running {
    pub(in crate::manager) raft: Raft<Managers>,
    pub(in crate::manager) links: Links,
    pub(in crate::manager) intent: watch::Receiver<Arc<Intent>>,
    pub(in crate::manager) secrets: watch::Receiver<Arc<Secrets>>,
    /// What followers are sent.
    pub(in crate::manager) moments: watch::Receiver<Arc<Moment>>,
    /// Held while a manager is taken away: the next one sees what that leaves.
    pub(super) leaving: Arc<tokio::sync::Mutex<()>>,
}

/// The manager's role of this node, running or not; clones share it.
#[derive(Clone)]
pub struct Role {
    pub(super) me: NodeId,
    running: watch::Receiver<Option<Running>>,
    status: watch::Receiver<Status>,
}

/// What keeps the role as it should be. Dropped, it ends it; better by [`RoleTask::stop`].
pub struct RoleTask {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl RoleTask {
    /// Ends the role in good order: its file is closed afterwards.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the manager's role ended badly");
        }
    }
}

impl Role {
    /// Keeps this node's role as `intent`, its copy, says. Its file is beside the store's; `credentials` are what it shows
    /// other managers, which take it for one once its certificate says so.
    pub fn start(
        credentials: Arc<Credentials>,
        store: Store,
        intent: watch::Receiver<Arc<Intent>>,
    ) -> (Self, RoleTask) {
        let me = credentials.now().identity.node;
        let (running, status) = (watch::Sender::new(None), watch::Sender::new(Status::default()));
        let role = Self { me, running: running.subscribe(), status: status.subscribe() };
        let (stop, stopped) = watch::channel(());
        let links = Links::new(credentials, intent.clone());
        let keeper = Keeper { me, store, links, intent, stopped, running, status };
        // It ends with the keeper, which has the other end of what it waits for.
        let steward = role.clone();
        tokio::spawn(role.clone().while_leading(move || keep_voters(steward.clone())));
        (role, RoleTask { stop, task: tokio::spawn(keeper.run()) })
    }

    /// This node.
    pub const fn node(&self) -> NodeId {
        self.me
    }

    /// How it is.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// All that the managers hold, as this one knows it.
    ///
    /// # Errors
    /// [`Unanswered::NotTaken`] or [`Unanswered::NoManager`], where the role does not run.
    pub(in crate::manager) async fn state(&self) -> Result<State, Unanswered> {
        let mut running = self.running()?;
        loop {
            let intent = Intent::clone(&running.intent.borrow_and_update());
            let state = State { intent, secrets: Secrets::clone(&running.secrets.borrow()) };
            // Secrets are shown a moment before the intent that goes with them.
            if state.is_whole() {
                return Ok(state);
            }
            running.intent.changed().await.map_err(|_| Unanswered::NoManager)?;
        }
    }

    /// What the managers alone know.
    ///
    /// # Errors
    /// As [`Role::state`].
    pub fn secrets(&self) -> Result<Arc<Secrets>, Unanswered> {
        Ok(Arc::clone(&self.running()?.secrets.borrow()))
    }

    /// Does `duty` whenever this manager is the leader, for as long as it is; the duty may be dropped at any point.
    pub async fn while_leading<F: Future<Output = ()>>(self, duty: impl Fn() -> F) {
        let mut status = self.status();
        let leads = |status: &Status| status.leader == Some(self.me);
        while status.wait_for(leads).await.is_ok() {
            tokio::select! {
                _ = status.wait_for(|status| !leads(status)) => {}
                // One that comes to an end has nothing more to do under this leader.
                () = async { duty().await; std::future::pending().await } => {}
            }
        }
    }

    /// Once this manager has known no leader for a while: what it has of the intent may be old, and others may know better.
    pub(in crate::manager) async fn left_behind(&self) {
        let mut status = self.status.clone();
        loop {
            let lonely = status.wait_for(|status| status.leader.is_none()).await.is_ok();
            if !lonely {
                return;
            }
            if timeout(LONELY, status.wait_for(|status| status.leader.is_some())).await.is_err() {
                return;
            }
        }
    }

    pub(in crate::manager) fn running(&self) -> Result<Running, Unanswered> {
        let running = self.running.borrow().clone();
        running.ok_or_else(|| match &self.status.borrow().last_error {
            None => Unanswered::NoManager,
            Some(cause) => {
                Unanswered::NotTaken(format!("the manager's role of this node does not run: {cause}"))
            }
        })
    }
}

struct Keeper {
    me: NodeId,
    store: Store,
    links: Links,
    intent: watch::Receiver<Arc<Intent>>,
    stopped: watch::Receiver<()>,
    running: watch::Sender<Option<Running>>,
    status: watch::Sender<Status>,
}

/// Why the role ends.
enum End {
    /// The other managers go on without this one.
    Released,
    /// Its storage failed above all.
    Failed(String),
}

/// What a manager is to the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// It decides.
    Voter,
    /// It is sent the log, and decides nothing yet.
    Learner,
    Nowhere,
}

impl Keeper {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            _ = stopped.changed() => {}
            () = self.keep() => {}
        }
        self.close().await;
    }

    async fn keep(&mut self) {
        loop {
            if !self.wanted() && !self.has_log() {
                if self.intent.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let end = match self.open().await {
                Ok(running) => self.attend(running).await,
                // Nobody counts on what it holds, though this node may be about to be a manager again.
                Err(_) if self.listed().await.is_some_and(|listed| listed != Listed::Voter) => {
                    self.forget().await;
                    sleep(ASK_AGAIN).await;
                    continue;
                }
                Err(cause) => End::Failed(cause),
            };
            self.close().await;
            match end {
                // Asked again now that nothing can reach this node as a manager any more: it may have been made one meanwhile.
                End::Released if self.listed().await == Some(Listed::Nowhere) => {
                    self.forget().await;
                    sleep(ASK_AGAIN).await;
                }
                End::Released => {}
                End::Failed(cause) => {
                    self.failed(cause);
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn wanted(&self) -> bool {
        self.intent.borrow().is_manager(self.me)
    }

    /// Whether this node keeps a log, or has lost one.
    fn has_log(&self) -> bool {
        Journal::exists(self.store.dir())
            || self.store.get::<()>(Key::ManagersLog).is_ok_and(|log| log.is_some())
    }

    async fn open(&self) -> Result<Running, String> {
        let store = self.store.clone();
        let opened = openraft::TokioRuntime::offload(move || {
            let journal = open_journal(&store)?;
            let machine = Machine::<Managers>::open(journal.clone())?;
            Ok((journal, machine))
        });
        let (journal, machine) = opened.await?.map_err(|error| in_words(&error))?;
        let (intent, secrets) = (machine.intent(), machine.secrets());
        let config = config(self.rank()).validate().map_err(|error| error.to_string())?;
        let links = self.links.clone();
        let raft =
            Raft::new(self.me, Arc::new(config), links.clone(), LogStore::new(self.me, journal), machine);
        let raft = raft.await.map_err(|error| error.to_string())?;
        let moments = watching::publish(intent.clone());
        Ok(Running { raft, links, intent, secrets, moments, leaving: Arc::default() })
    }

    /// This manager's place among the managers.
    fn rank(&self) -> u64 {
        let intent = self.intent.borrow();
        intent.managers().filter(|node| node.id < self.me).count().try_into().unwrap_or(0)
    }

    /// Lets others use the role until it ends.
    async fn attend(&mut self, running: Running) -> End {
        let mut metrics = running.raft.metrics();
        self.running.send_replace(Some(running));
        loop {
            let now = metrics.borrow_and_update().clone();
            if let Err(error) = &now.running_state {
                return End::Failed(error.to_string());
            }
            self.show(&now);
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() {
                    return End::Failed("the Raft library ended".to_owned());
                },
                () = self.released() => return End::Released,
            }
        }
    }

    fn show(&self, metrics: &Metrics) {
        let status = Status {
            running: true,
            leader: leader(metrics),
            term: metrics.current_term,
            voters: metrics.membership_config.membership().voter_ids().collect(),
            last_error: None,
        };
        self.status.send_if_modified(|shown| {
            if *shown == status {
                return false;
            }
            if !shown.running {
                tracing::info!("this node is a manager");
            }
            if shown.leader != status.leader {
                let leader = status.leader.map(|leader| self.links.name(leader));
                tracing::info!(leader, term = status.term, "the managers have another leader");
            }
            *shown = status;
            true
        });
    }

    /// Once this node is no manager any more, and the managers no longer count on it.
    async fn released(&self) {
        let mut intent = self.intent.clone();
        let me = self.me;
        let unwanted = |intent: &Arc<Intent>| !intent.is_manager(me);
        loop {
            if intent.wait_for(unwanted).await.is_err() {
                return std::future::pending().await;
            }
            if self.listed().await == Some(Listed::Nowhere) {
                return;
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// What this node surely is to the other managers, if one of them answers.
    async fn listed(&self) -> Option<Listed> {
        let others: Vec<NodeId> = self.intent.borrow().managers().map(|node| node.id).collect();
        for other in others.into_iter().filter(|other| *other != self.me) {
            if let Ok(standing) = self.links.standing(other).await {
                return Some(if standing.voters.contains_key(&self.me) {
                    Listed::Voter
                } else if standing.learners.contains(&self.me) {
                    Listed::Learner
                } else {
                    Listed::Nowhere
                });
            }
        }
        None
    }

    async fn close(&self) {
        self.status.send_modify(|status| {
            *status = Status { last_error: status.last_error.take(), ..Status::default() };
        });
        let Some(running) = self.running.send_replace(None) else { return };
        if let Err(error) = running.raft.shutdown().await {
            tracing::warn!(%error, "the Raft library ended badly");
        }
    }

    /// Removes what a former manager knows: the secrets are the managers' alone.
    async fn forget(&mut self) {
        let store = self.store.clone();
        let removed = openraft::TokioRuntime::offload(move || {
            // In this order: a log that nothing tells of is found, and removed, again.
            store.remove(Key::ManagersLog)?;
            Journal::remove(store.dir())
        });
        match removed.await {
            Ok(Ok(())) => {
                self.status.send_replace(Status::default());
                tracing::info!("this node is no manager any more");
            }
            Ok(Err(error)) => self.failed(error.to_string()),
            Err(cause) => self.failed(cause),
        }
    }

    /// Says why the role does not run, once however often it is tried.
    fn failed(&self, cause: String) {
        let known = self.status.borrow().last_error.as_ref() == Some(&cause);
        if !known {
            tracing::error!(%cause, "the manager's role of this node does not run; all else goes on");
            self.status.send_replace(Status { last_error: Some(cause), ..Status::default() });
        }
    }
}

/// The log, which is made where this node has kept none. One that is gone is not made anew: what this node has voted, and
/// which entries it has said to keep, would be forgotten, and with them what a majority has agreed on.
fn open_journal(store: &Store) -> Result<Journal, StoreError> {
    if store.get::<()>(Key::ManagersLog)?.is_some() {
        return Journal::open_kept(store.dir());
    }
    let journal = Journal::open(store.dir())?;
    store.put(Key::ManagersLog, &())?;
    Ok(journal)
}

/// Why the log cannot be used, and what to do about it.
fn in_words(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { .. } | StoreError::Gone { .. } => format!("{error}; {NEW_LOG}"),
        StoreError::Busy { .. } | StoreError::Io { .. } => error.to_string(),
    }
}

/// The leader, as this manager knows. One that was heard by no majority of late leads no longer, though it may not know it.
pub(super) fn leader(metrics: &Metrics) -> Option<NodeId> {
    let heard = metrics.millis_since_quorum_ack.is_some_and(|since| since < UNHEARD_MS);
    metrics.current_leader.filter(|leader| *leader != metrics.id || heard)
}

fn config(rank: u64) -> Config {
    Config {
        cluster_name: "overlay".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: (ELECTION_MS + STAGGER_MS * rank).min(LEASE_MS - 1),
        election_timeout_max: LEASE_MS,
        install_snapshot_timeout: SNAPSHOT_MS,
        snapshot_max_chunk_size: SNAPSHOT_PIECE,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_AFTER),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        replication_lag_threshold: FAR_BEHIND,
        ..Config::default()
    }
}
