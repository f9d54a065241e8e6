//! A worker's log: it follows a manager, and keeps a copy on the disk to start from when none is reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use overlay::intent::{Command, Intent, IntentError, Reply, Revision};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::client::{self, ClientError};
use super::watching::Followed;
use super::wire::{PROPOSE, Proposed, SILENCE, WATCH};
use super::{IntentLog, ManagerError, ManagerLink, ProposeError};
use crate::identity::Identity;
use crate::store::{Key, Store};

/// The pauses between attempts to reach a manager.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a proposal that took effect waits to be seen here as well.
const CATCH_UP: Duration = Duration::from_secs(3);

/// Proposes through any manager, and follows one. It stops following when it is dropped.
pub struct Remote {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

struct Shared {
    store: Store,
    tls: Arc<ClientConfig>,
    /// Managers' addresses that were given, besides those in the intent.
    seeds: Vec<SocketAddr>,
    intent: watch::Sender<Arc<Intent>>,
    link: watch::Sender<ManagerLink>,
}

impl Remote {
    /// Starts from the copy in the store, and follows the managers in it, or at `seeds`, from then on: the
    /// address that this node joined through, or none after a restart.
    ///
    /// # Errors
    /// The store's, the identity's, and [`ManagerError::NoManager`] without any address to try.
    pub fn start(store: Store, identity: &Identity, seeds: Vec<SocketAddr>) -> Result<Self, ManagerError> {
        let intent: Intent = store.get(Key::IntentCopy)?.unwrap_or_default();
        let addr = candidates(&intent, &seeds, None).first().copied().ok_or(ManagerError::NoManager)?;
        let shared = Arc::new(Shared {
            store,
            tls: identity.client_config()?,
            seeds,
            intent: watch::Sender::new(Arc::new(intent)),
            link: watch::Sender::new(ManagerLink { addr, reachable: false, last_error: None }),
        });
        let follower = tokio::spawn(Arc::clone(&shared).follow());
        Ok(Self { shared, follower })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl IntentLog for Remote {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(self.shared.propose(command))
    }

    fn watch(&self) -> watch::Receiver<Arc<Intent>> {
        self.shared.intent.subscribe()
    }

    fn status(&self) -> watch::Receiver<ManagerLink> {
        self.shared.link.subscribe()
    }
}

impl Shared {
    async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let mut last = ProposeError::Internal { cause: ManagerError::NoManager.to_string() };
        for addr in self.candidates() {
            let outcome: Result<Result<Proposed, IntentError>, _> =
                client::post(addr, &self.tls, PROPOSE, &command).await;
            match outcome {
                Ok(proposed) => {
                    let proposed = proposed?;
                    let mut intent = self.intent.subscribe();
                    let seen = intent.wait_for(|intent| intent.version >= proposed.version);
                    // It took effect in any case; the follower brings it once it can.
                    let _ = timeout(CATCH_UP, seen).await;
                    return Ok(proposed.reply);
                }
                // What was not sent may be sent to another.
                Err(error @ (ClientError::Connect(_) | ClientError::Untrusted(_))) => {
                    last = ProposeError::Unreachable { addr, cause: error.to_string() };
                }
                Err(ClientError::Lost(cause)) => return Err(ProposeError::Unreachable { addr, cause }),
                Err(error @ ClientError::Status { .. }) => {
                    return Err(ProposeError::Internal {
                        cause: format!("the manager at {addr} answers {error}"),
                    });
                }
            }
        }
        Err(last)
    }

    /// Follows one manager after the other, for ever.
    async fn follow(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            for addr in self.candidates() {
                let cause = self.follow_one(addr, &mut failures).await;
                self.set_link(ManagerLink { addr, reachable: false, last_error: Some(cause) });
            }
            sleep(pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Follows a manager until that fails; returns why it did. A word from it resets `failures`.
    async fn follow_one(&self, addr: SocketAddr, failures: &mut u32) -> String {
        let held = Arc::clone(&self.intent.borrow());
        let path = format!("{WATCH}?held={}", Revision::of(&held));
        let mut body = match client::get(addr, &self.tls, &path).await {
            Ok(body) => body,
            Err(error) => return error.to_string(),
        };
        let mut followed = Followed::new(held);
        loop {
            let data = match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return format!("the connection broke: {error}"),
                Ok(None) => return "the manager ended the connection".to_owned(),
                Err(_) => return format!("nothing was heard for {} s", SILENCE.as_secs()),
            };
            *failures = 0;
            match followed.receive(&data) {
                Ok(Some(intent)) => self.take(addr, intent).await,
                Ok(None) => {}
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Makes the manager's intent this node's, if it is newer: a manager may be behind the one that was followed before.
    /// What is seen is on the disk already, unless the disk fails.
    async fn take(&self, addr: SocketAddr, intent: Arc<Intent>) {
        let mut last_error = None;
        if Revision::of(&intent) > Revision::of(&self.intent.borrow()) {
            let (store, copy) = (self.store.clone(), Arc::clone(&intent));
            let kept = tokio::task::spawn_blocking(move || store.put(Key::IntentCopy, &*copy)).await;
            last_error = match kept {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            self.intent.send_replace(intent);
        }
        self.set_link(ManagerLink { addr, reachable: true, last_error });
    }

    /// Logs what is new about the link, once however often it is tried.
    fn set_link(&self, link: ManagerLink) {
        self.link.send_if_modified(|current| {
            if *current == link {
                return false;
            }
            let ManagerLink { addr: manager, reachable, last_error } = &link;
            match last_error {
                Some(cause) => tracing::warn!(%manager, reachable, %cause, "trouble in following a manager"),
                None => tracing::info!(%manager, "the manager is followed"),
            };
            *current = link;
            true
        });
    }

    fn candidates(&self) -> Vec<SocketAddr> {
        let link = self.link.borrow().clone();
        candidates(&self.intent.borrow(), &self.seeds, link.reachable.then_some(link.addr))
    }
}

/// The addresses to try, best first: the one that is reached now, the managers in the intent, what was given.
fn candidates(intent: &Intent, seeds: &[SocketAddr], reached: Option<SocketAddr>) -> Vec<SocketAddr> {
    let managers = intent.nodes.values().filter(|node| node.manager);
    let managers = managers.map(|node| SocketAddr::new(node.addr, node.api_port));
    let mut addresses = Vec::new();
    for addr in reached.into_iter().chain(managers).chain(seeds.iter().copied()) {
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    addresses
}

/// Drawn from a range that doubles with every failure, so that followers do not come back all at once.
fn pause(failures: u32) -> Duration {
    let longest = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_add(1)));
    rand::random_range(SHORTEST_PAUSE..=longest.min(LONGEST_PAUSE))
}
