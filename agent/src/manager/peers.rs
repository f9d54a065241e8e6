//! What any node asks of any other, at once and for a bounded time: whether ports are free there, whether its
//! kernel holds an intent, and what its data path counted. Nothing is kept of it: who wants to know asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use futures_util::{StreamExt as _, stream};
use overlay::model::{EndpointId, Node, NodeId, PortRange, Protocol};
use overlay::traffic::Traffic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use super::client::{ClientError, Connection};
use super::routes::{Refusal, decode, encode};
use super::wire::{APPLIED, HELD, HeldPort, MAX_QUESTION, TRAFFIC, WhenApplied};
use crate::identity::{Credentials, server_name};
use crate::kernel::ports::{self, Holder};

/// How many nodes are asked at a time.
const AT_A_TIME: usize = 128;
/// How long a node may take for an answer, besides what it was told to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that a node waits before it answers, whatever it was told.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The other nodes, to be asked.
pub struct Peers {
    credentials: Arc<Credentials>,
}

impl Peers {
    /// Asks in this node's name.
    pub const fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials }
    }

    /// What each of `nodes` holds of `ports`, or why that is not known.
    pub async fn held(
        &self,
        nodes: Vec<Node>,
        ports: &[(Protocol, PortRange)],
    ) -> Vec<(Node, Result<Vec<HeldPort>, String>)> {
        self.ask(nodes, HELD, &ports, ANSWER_TIMEOUT).await
    }

    /// The version of the intent that the kernel of each of `nodes` holds, or why that is not known. Each answers
    /// when it is `version`, or after `wait`, at most [`LONGEST_WAIT`].
    pub async fn applied(
        &self,
        nodes: Vec<Node>,
        version: u64,
        wait: Duration,
    ) -> Vec<(Node, Result<u64, String>)> {
        let wait = wait.min(LONGEST_WAIT);
        self.ask(nodes, APPLIED, &WhenApplied { version, wait }, wait + ANSWER_TIMEOUT).await
    }

    /// What the data path of each of `nodes` counted for services, or why that is not known.
    pub async fn traffic(&self, nodes: Vec<Node>) -> Vec<(Node, Result<Traffic, String>)> {
        self.ask(nodes, TRAFFIC, &(), ANSWER_TIMEOUT).await
    }

    /// Asks each of `nodes` the same; the answers are in the order of host names.
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        nodes: Vec<Node>,
        path: &str,
        query: &Q,
        limit: Duration,
    ) -> Vec<(Node, Result<A, String>)> {
        let one = async |node: Node| {
            let addr = SocketAddr::new(node.addr, node.api_port);
            let answer = match timeout(limit, self.ask_one(node.id, addr, path, query)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
            };
            (node, answer)
        };
        let mut answers: Vec<_> =
            stream::iter(nodes.into_iter().map(one)).buffer_unordered(AT_A_TIME).collect().await;
        answers.sort_by(|(one, _), (other, _)| (&one.hostname, one.id).cmp(&(&other.hostname, other.id)));
        answers
    }

    async fn ask_one<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: NodeId,
        addr: SocketAddr,
        path: &str,
        query: &Q,
    ) -> Result<A, ClientError> {
        let mut connection = Connection::open(addr, &self.credentials.client_config(), server_name()).await?;
        if connection.node() != Some(node) {
            return Err(ClientError::Connect("another node answers there".to_owned()));
        }
        connection.post(path, query).await
    }
}

/// Which node is known to hold an endpoint.
pub type HolderOf = Arc<dyn Fn(EndpointId) -> Option<NodeId> + Send + Sync>;

/// What a node answers from.
#[derive(Clone)]
pub struct Here {
    /// The version of the intent that its kernel holds.
    pub applied: watch::Receiver<u64>,
    /// What its data path counted for services. It may block.
    pub traffic: Arc<dyn Fn() -> anyhow::Result<Traffic> + Send + Sync>,
    /// Which node it knows to hold an endpoint.
    pub holder: HolderOf,
}

/// The routes that answer.
pub(super) fn router(here: Here) -> Router {
    Router::new()
        .route(HELD, post(answer_held))
        .route(APPLIED, post(answer_applied))
        .route(TRAFFIC, post(answer_traffic))
        .layer(DefaultBodyLimit::max(MAX_QUESTION))
        .with_state(here)
}

async fn answer_held(body: Bytes) -> Result<Response, Refusal> {
    let ports: Vec<(Protocol, PortRange)> = decode(&body)?;
    let held = tokio::task::spawn_blocking(move || held_here(&ports)).await;
    encode(&held.unwrap_or_default())
}

/// What processes of this node hold of `ports`. Reads `/proc`, so it blocks.
pub fn held_here(ports: &[(Protocol, PortRange)]) -> Vec<HeldPort> {
    let held = |(protocol, range): &(Protocol, PortRange)| {
        let (port, holder) = ports::lowest_held(*protocol, *range)?;
        let holder = match holder {
            Holder::Process(process) => ports::describe(process),
            Holder::Unseen => "a process outside of overlayd's container".to_owned(),
        };
        Some(HeldPort { protocol: *protocol, port, holder })
    };
    ports.iter().filter_map(held).collect()
}

async fn answer_applied(State(mut here): State<Here>, body: Bytes) -> Result<Response, Refusal> {
    let WhenApplied { version, wait } = decode(&body)?;
    encode(&when_applied(&mut here.applied, version, wait).await)
}

async fn answer_traffic(State(here): State<Here>) -> Result<Response, Refusal> {
    let failed = |error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"));
    let traffic = tokio::task::spawn_blocking(move || (here.traffic)()).await;
    encode(&traffic.map_err(anyhow::Error::new).flatten().map_err(failed)?)
}

/// The version of the intent that this node's kernel holds, once it is `version`, or after `wait`.
pub async fn when_applied(applied: &mut watch::Receiver<u64>, version: u64, wait: Duration) -> u64 {
    let reached = applied.wait_for(|held| *held >= version);
    drop(timeout(wait.min(LONGEST_WAIT), reached).await);
    *applied.borrow()
}
