//! A manager and its workers over real sockets on the loopback device.

mod cluster;
mod fanout;
mod hostile;
mod managers;
mod peers;
mod silence;
mod trust;
mod watched;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use overlay::intent::{Cluster, Command, CreateNetwork, GrantBlock, Intent, State};
use overlay::model::{Availability, Labels, Network, NetworkId, Node, NodeId};
use overlay::traffic::Traffic;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(super) use self::peers::serving;
use super::{
    CaSteward, Exclusion, Follower, Founded, Here, IntentLog, Joined, Peers, Renewal, Role, RoleTask, Server,
    init_cluster, join, stored_intent,
};
use crate::identity::{Credentials, Identity};
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
        facts_key: String::new(),
        availability: Availability::Active,
        drained_at: 0,
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

/// What a worker may ask for: a block of its own, …
fn grant(network: &Network, node: NodeId) -> Command {
    let subnet = network.subnets[0].net;
    Command::GrantBlock(GrantBlock { network: network.id, node, subnet, address: None })
}

/// … and that it is called otherwise.
fn renamed(log: &Follower, node: NodeId, hostname: &str) -> Command {
    let known = log.watch().borrow().nodes[&node].clone();
    Command::PutNode(Node { hostname: hostname.to_owned(), ..known })
}

/// A cluster's first state.
pub(super) fn initial() -> State {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    init_cluster(&store, node(), Cluster::CERT_LIFETIME).unwrap();
    drop(store);
    super::raft::held(dir.path()).unwrap()
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
    credentials: Arc<Credentials>,
    helpers: Helpers,
}

impl Manager {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let founded =
            init_cluster(&Store::open(dir.path()).unwrap(), node(), Cluster::CERT_LIFETIME).unwrap();
        Self::start_again(dir, founded).await
    }

    /// As the directory has it.
    async fn start_again(dir: TempDir, founded: Founded) -> Self {
        let Running { log, role, role_task, server, credentials, helpers } = start_node(&dir).await;
        seen(role.status(), |status| status.leader.is_some()).await;
        seen(log.status(), |link| link.reachable).await;
        Self { dir, founded, log, role, role_task, server, credentials, helpers }
    }

    /// Ends in good order; its directory is free.
    async fn stop(self) -> (TempDir, Founded) {
        drop(self.helpers);
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
        let log = Follower::start(store.clone(), shown(&joined.identity), Vec::new()).unwrap();
        seen(log.status(), |link| link.reachable).await;
        Worker { dir, joined, store, log }
    }
}

/// What a member is made of.
struct Running {
    log: Arc<Follower>,
    role: Role,
    role_task: RoleTask,
    server: Server,
    credentials: Arc<Credentials>,
    helpers: Helpers,
}

/// What keeps a member's certificate good, and goes on with rotations of the CA, until it is dropped.
struct Helpers([JoinHandle<()>; 2]);

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A member, as its directory has it.
async fn start_node(dir: &TempDir) -> Running {
    let store = reopened(dir).await;
    let identity: Identity = store.get(Key::Identity).unwrap().unwrap();
    let intent: Intent = stored_intent(&store).unwrap();
    let node = &intent.nodes[&identity.node];
    let listen = SocketAddr::new(node.addr, node.api_port);
    let credentials = shown(&identity);
    let log = Arc::new(Follower::start(store.clone(), Arc::clone(&credentials), Vec::new()).unwrap());
    let (role, role_task) = Role::start(Arc::clone(&credentials), store.clone(), log.watch());
    let server = serve(listen, &log, &role, &credentials).await;
    let renewal = Renewal {
        credentials: Arc::clone(&credentials),
        log: Arc::clone(&log) as Arc<dyn IntentLog>,
        store,
        trouble: watch::Sender::new(None),
    };
    let steward = CaSteward {
        me: credentials.now().identity.node,
        log: Arc::clone(&log) as Arc<dyn IntentLog>,
        peers: Arc::new(Peers::new(Arc::clone(&credentials))),
        applied: follow_intent(log.watch()),
    };
    let leading = role.clone().while_leading(move || steward.clone().run());
    let helpers = Helpers([tokio::spawn(renewal.run()), tokio::spawn(leading)]);
    Running { log, role, role_task, server, credentials, helpers }
}

async fn serve(
    listen: SocketAddr,
    log: &Arc<Follower>,
    role: &Role,
    credentials: &Arc<Credentials>,
) -> Server {
    let here = here(follow_intent(log.watch()));
    let log = Arc::clone(log) as Arc<dyn IntentLog>;
    Server::start(listen, log, Arc::clone(credentials), role.clone(), here).await.unwrap()
}

/// What a member shows that has this identity.
pub(super) fn shown(identity: &Identity) -> Arc<Credentials> {
    Credentials::new(identity.clone()).unwrap()
}

/// A kernel that holds each intent at once.
fn follow_intent(mut intent: watch::Receiver<Arc<Intent>>) -> watch::Receiver<u64> {
    let (held, applied) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let version = intent.borrow_and_update().version;
            held.send_replace(version);
            if held.is_closed() || intent.changed().await.is_err() {
                return;
            }
        }
    });
    applied
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
    Here { applied, traffic: Arc::new(|| Ok(Traffic::default())), holder: Arc::new(|_| None) }
}

/// A node that joined, and follows.
pub(super) struct Worker {
    dir: TempDir,
    joined: Joined,
    store: Store,
    log: Follower,
}
