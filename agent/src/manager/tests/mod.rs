//! A manager and its workers over real sockets on the loopback device.

mod cluster;
mod hostile;
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
use super::{Founded, Here, IntentLog, Joined, Local, Remote, Server, init_cluster, join};
use crate::store::{Key, Store};

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
        api_port: 1,
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
    store.get(Key::Intent).unwrap().unwrap()
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
    pub(super) log: Arc<Local>,
    server: Server,
}

impl Manager {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut node = node();
        let founded = init_cluster(&store, node.clone()).unwrap();
        let listen = SocketAddr::new(node.addr, 0);
        let log = Arc::new(Local::open(store, listen).unwrap());
        let server = serve(listen, &log, &founded).await;
        node.manager = true;
        node.api_port = server.local_addr().port();
        log.propose(Command::PutNode(node)).await.unwrap();
        Self { dir, founded, log, server }
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
        let log = Remote::start(store.clone(), &joined.identity, Vec::new()).unwrap();
        seen(log.status(), |link| link.reachable).await;
        Worker { _dir: dir, joined, store, log }
    }
}

async fn serve(listen: SocketAddr, log: &Arc<Local>, founded: &Founded) -> Server {
    let secrets = log.secrets();
    let log = Arc::clone(log) as Arc<dyn IntentLog>;
    let here = here(watch::channel(0).1);
    Server::start(listen, log, &founded.identity, Some(secrets), here).await.unwrap()
}

/// What a node answers from, whose data path has counted nothing.
fn here(applied: watch::Receiver<u64>) -> Here {
    Here { applied, traffic: Arc::new(|| Ok(Traffic::default())) }
}

/// A node that joined, and follows.
pub(super) struct Worker {
    _dir: TempDir,
    joined: Joined,
    store: Store,
    log: Remote,
}
