//! Connections to the other managers: kept, a few to each, made again when one fails, and how the other managers answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use overlay::intent::Intent;
use overlay::model::NodeId;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::identity::{Credentials, manager_name};
use crate::manager::client::{ClientError, Connection};

/// How many connections to one manager are kept while they have nothing to do.
const KEPT: usize = 4;
/// After how long without an answer a manager counts as unreachable. The leader asks each several times a second.
const SILENCE: Duration = Duration::from_secs(3);

/// The way to the other managers; clones share it.
#[derive(Clone)]
pub(crate) struct Links(Arc<Shared>);

struct Shared {
    credentials: Arc<Credentials>,
    intent: watch::Receiver<Arc<Intent>>,
    targets: Mutex<BTreeMap<NodeId, Arc<Target>>>,
}

#[derive(Default)]
struct Target {
    kept: Mutex<Vec<Connection>>,
    /// The connection being made, which outlives a request that does not wait for it to the end.
    made: tokio::sync::Mutex<Option<JoinHandle<Result<Connection, ClientError>>>>,
    heard: Mutex<Option<Instant>>,
}

impl Links {
    /// To the managers at the addresses that `intent` names.
    pub(crate) fn new(credentials: Arc<Credentials>, intent: watch::Receiver<Arc<Intent>>) -> Self {
        Self(Arc::new(Shared { credentials, intent, targets: Mutex::default() }))
    }

    /// Posts a value and reads one, both postcard. May be dropped at any time.
    pub(super) async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        to: NodeId,
        path: &str,
        query: &Q,
    ) -> Result<A, ClientError> {
        let target = Arc::clone(lock(&self.0.targets).entry(to).or_default());
        let mut connection = self.connection(to, &target).await?;
        let answer = connection.post(path, query).await;
        // A node whose role does not run answers too, and is of no use as a manager.
        if answer.is_ok() {
            *lock(&target.heard) = Some(Instant::now());
        }
        if let Ok(_) | Err(ClientError::Status { .. }) = &answer {
            let mut kept = lock(&target.kept);
            if kept.len() < KEPT {
                kept.push(connection);
            }
        }
        answer
    }

    /// Whether this manager has done of late what it was asked for.
    pub(in crate::manager) fn reaches(&self, node: NodeId) -> bool {
        let target = lock(&self.0.targets).get(&node).cloned();
        target.is_some_and(|target| lock(&target.heard).is_some_and(|heard| heard.elapsed() < SILENCE))
    }

    /// What people call a manager: its host name and address.
    pub(super) fn name(&self, node: NodeId) -> String {
        let intent = self.0.intent.borrow();
        match intent.nodes.get(&node) {
            Some(node) => node.in_words(),
            None => node.short(),
        }
    }

    async fn connection(&self, to: NodeId, target: &Target) -> Result<Connection, ClientError> {
        let tls = self.0.credentials.client_config();
        loop {
            let kept = lock(&target.kept).pop();
            match kept {
                Some(kept) if kept.serves(&tls) => return Ok(kept),
                Some(_) => {}
                None => break,
            }
        }
        let addr = self.addr(to)?;
        let mut made = target.made.lock().await;
        let making = made.get_or_insert_with(|| tokio::spawn(async move { open(to, addr, &tls).await }));
        let outcome = making.await;
        *made = None;
        outcome.map_err(|error| ClientError::Connect(error.to_string()))?
    }

    fn addr(&self, node: NodeId) -> Result<SocketAddr, ClientError> {
        let intent = self.0.intent.borrow();
        let node = intent.nodes.get(&node);
        let addr = node.map(|node| SocketAddr::new(node.addr, node.api_port));
        addr.ok_or_else(|| ClientError::Connect("the intent does not name it".to_owned()))
    }
}

async fn open(to: NodeId, addr: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Connection, ClientError> {
    let connection = Connection::open(addr, tls, manager_name()).await?;
    match connection.node() {
        Some(node) if node == to => Ok(connection),
        _ => Err(ClientError::Connect(format!("another node answers at {addr}"))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that holds one of these panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
