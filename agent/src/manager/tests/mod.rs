//! A manager and its workers over real sockets on the loopback device.

mod cluster;
mod hostile;
mod managers;
mod peers;
mod silence;
mod watched;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use overlay::intent::{Command, CreateNetwork, Intent, State};
use overlay::model::{Availability, Labels, NetworkId, Node, NodeId};
use overlay::traffic::Traffic;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

pub(super) use self::peers::serving;
use super::{Follower, Founded, Here, IntentLog, Joined, Role, RoleTask, Server, init_cluster, join};
use crate::identity::Identity;
use crate::store::{Key, Store, StoreError};

/// A number that no other test of this process has.
fn unique() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A node at a loopback address of its own, so that no other test can take a port that it gave up.
pub(super) fn node() -> Node {
    let [high, low] = unique().to_be_bytes();
    Node {
        id: NodeId::from_bytes(rand::random()),
        hostname: format!("test-{high}-{low}"),
        addr: IpAddr::V4(Ipv4Addr::new(127, 1, high, low)),
        gossip_port: 7946,
        api_port: 2377,
        data_port: 4789,
        manager: false,
        underlay: Vec::new(),
        version: "0".to_owned(),
        availability: Availability::Active,
        labels: Labels::new(),
        ca_generation: 0,
        key: String::new(),
    }
}

pub(super) fn network(name: &str) -> Command {
    Command::CreateNetwork(CreateNetwork {
        id: NetworkId::from_bytes(rand::random()),
        name: name.parse().unwrap(),
        subnets: Vec::new(),
        gateways: Vec::new(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: Labels::new(),
    })
}

/// A cluster's first state.
pub(super) fn initial() -> State {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    init_cluster(&store, node()).unwrap();
    drop(store);
    super::raft::stored(dir.path())
}

/// The intent in the line that a watch begins with.
fn whole(line: &[u8]) -> Intent {
    let mut line: BTreeMap<String, Intent> = serde_json::from_slice(line).unwrap();
    line.remove("whole").unwrap()
}

fn has(intent: &Intent, name: &str) -> bool {
    intent.network(name).is_ok()
}

/// Waits for an intent or link that is as it should be.
pub(super) async fn seen<T: Clone>(mut receiver: watch::Receiver<T>, condition: impl FnMut(&T) -> bool) -> T {
    let waited = timeout(Duration::from_secs(30), receiver.wait_for(condition)).await;
    waited.expect("did not come about").unwrap().clone()
}

/// The first node of a cluster, serving.
pub(super) struct Manager {
    dir: TempDir,
    pub(super) founded: Founded,
    pub(super) log: Arc<Follower>,
    role: Role,
    role_task: RoleTask,
    server: Server,
}

impl Manager {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let founded = init_cluster(&Store::open(dir.path()).unwrap(), node()).unwrap();
        Self::start_again(dir, founded).await
    }

    /// As the directory has it.
    async fn start_again(dir: TempDir, founded: Founded) -> Self {
        let (log, role, role_task, server) = start_node(&dir, &founded.identity).await;
        seen(role.status(), |status| status.leader.is_some()).await;
        seen(log.status(), |link| link.reachable).await;
        Self { dir, founded, log, role, role_task, server }
    }

    /// Ends in good order; its directory is free.
    async fn stop(self) -> (TempDir, Founded) {
        self.server.stop().await;
        self.role_task.stop().await;
        (self.dir, self.founded)
    }

    fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    async fn join(&self, node: Node) -> Result<Joined, super::JoinError> {
        join(&self.founded.token, self.addr(), node).await
    }

    pub(super) async fn worker(&self) -> Worker {
        let dir = tempfile::tempdir().unwrap();
        let joined = self.join(node()).await.unwrap();
        let store = Store::open(dir.path()).unwrap();
        joined.save(&store).unwrap();
        let log = Follower::start(store.clone(), &joined.identity, Vec::new()).unwrap();
        seen(log.status(), |link| link.reachable).await;
        Worker { dir, joined, store, log }
    }
}

async fn serve(listen: SocketAddr, log: &Arc<Follower>, role: &Role, identity: &Identity) -> Server {
    let log = Arc::clone(log) as Arc<dyn IntentLog>;
    Server::start(listen, log, identity, role.clone(), here(watch::channel(0).1)).await.unwrap()
}

/// A member, as its directory has it.
async fn start_node(dir: &TempDir, identity: &Identity) -> (Arc<Follower>, Role, RoleTask, Server) {
    let store = reopened(dir).await;
    let intent: Intent = store.get(Key::IntentCopy).unwrap().unwrap();
    let node = &intent.nodes[&identity.node];
    let listen = SocketAddr::new(node.addr, node.api_port);
    let log = Arc::new(Follower::start(store, identity, Vec::new()).unwrap());
    let tls = identity.client_config().unwrap();
    let (role, role_task) = Role::start(identity.node, dir.path().to_owned(), tls, log.watch());
    let server = serve(listen, &log, &role, identity).await;
    (log, role, role_task, server)
}

/// The store, once what was stopped lets go of it.
async fn reopened(dir: &TempDir) -> Store {
    let opened = async {
        loop {
            match Store::open(dir.path()) {
                Err(StoreError::Busy { .. }) => tokio::task::yield_now().await,
                outcome => return outcome.unwrap(),
            }
        }
    };
    timeout(Duration::from_secs(30), opened).await.expect("the store stays in use")
}

/// What a node answers from, whose data path has counted nothing.
fn here(applied: watch::Receiver<u64>) -> Here {
    Here { applied, traffic: Arc::new(|| Ok(Traffic::default())) }
}

/// A node that joined, and follows.
pub(super) struct Worker {
    dir: TempDir,
    joined: Joined,
    store: Store,
    log: Follower,
}
