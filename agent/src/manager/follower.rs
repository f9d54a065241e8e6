//! Every node's log: it follows a manager, and keeps a copy on the disk to start from when none is reached.
//!
//! A manager follows itself first, like any other: its role may end, or begin, and nothing here changes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use overlay::intent::{Command, Intent, IntentError, Reply, Revision};
use overlay::model::{Node, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::client::{self, ClientError};
use super::copy::{Copy, stored_intent};
use super::exclusion::{Exclusion, Said};
use super::unanswered::{Lost, Tried, unanswered};
use super::watching::Followed;
use super::wire::{PROPOSE, Proposed, READ, SILENCE, Standing, WATCH};
use super::{IntentLog, ManagerError, ManagerLink, ProposeError};
use crate::identity::Credentials;
use crate::store::Store;

/// The pauses between attempts to reach a manager.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a proposal that took effect waits to be seen here as well.
const CATCH_UP: Duration = Duration::from_secs(3);
/// For how long another manager is asked after one that has not answered.
const PATIENCE: Duration = Duration::from_secs(8);

/// Proposes through any manager, and follows one. It stops following when it is dropped.
pub struct Follower {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

struct Shared {
    me: NodeId,
    copy: Arc<Mutex<Copy>>,
    credentials: Arc<Credentials>,
    /// Managers' addresses that were given, besides those in the intent.
    seeds: Vec<SocketAddr>,
    intent: watch::Sender<Arc<Intent>>,
    link: watch::Sender<ManagerLink>,
}

impl Follower {
    /// Starts from the copy in the store, and follows the managers in it, or at `seeds`, from then on: the
    /// address that this node joined through, or none after a restart.
    ///
    /// # Errors
    /// The store's, the credentials', and [`ManagerError::NoManager`] without any address to try.
    pub fn start(
        store: Store,
        credentials: Arc<Credentials>,
        seeds: Vec<SocketAddr>,
    ) -> Result<Self, ManagerError> {
        let intent = Arc::new(stored_intent(&store)?);
        credentials.follow(&intent)?;
        let me = credentials.now().identity.node;
        let addr = candidates(me, &intent, &seeds, None).first().copied().ok_or(ManagerError::NoManager)?;
        let shared = Arc::new(Shared {
            me,
            copy: Arc::new(Mutex::new(Copy::new(store, Arc::clone(&intent)))),
            credentials,
            seeds,
            intent: watch::Sender::new(intent),
            link: watch::Sender::new(ManagerLink {
                addr,
                reachable: false,
                excluded: None,
                last_error: None,
            }),
        });
        let follower = tokio::spawn(Arc::clone(&shared).follow());
        Ok(Self { shared, follower })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl IntentLog for Follower {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(self.shared.propose(command))
    }

    fn watch(&self) -> watch::Receiver<Arc<Intent>> {
        self.shared.intent.subscribe()
    }

    fn status(&self) -> watch::Receiver<ManagerLink> {
        self.shared.link.subscribe()
    }

    fn read(&self) -> BoxFuture<'_, Result<Standing, ProposeError>> {
        Box::pin(self.shared.read())
    }
}

impl Shared {
    async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let outcome: Result<Proposed, IntentError> = self.ask(PROPOSE, &command).await?;
        let proposed = outcome?;
        // It took effect in any case; the follower brings it once it can.
        self.caught_up(proposed.version).await;
        Ok(proposed.reply)
    }

    async fn read(&self) -> Result<Standing, ProposeError> {
        let standing: Standing = self.ask(READ, &()).await?;
        self.caught_up(standing.version).await;
        Ok(standing)
    }

    /// Until this node's copy has that version, or for a moment.
    async fn caught_up(&self, version: u64) {
        let mut intent = self.intent.subscribe();
        let _ = timeout(CATCH_UP, intent.wait_for(|intent| intent.version >= version)).await;
    }

    /// Asks one manager after the other, until one has taken the question.
    async fn ask<Q: Serialize, A: DeserializeOwned>(&self, path: &str, query: &Q) -> Result<A, ProposeError> {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        for addr in self.candidates() {
            // A question that is under way is left its own limits: only they tell whether it may have taken effect.
            if Instant::now() >= deadline {
                break;
            }
            match client::post(addr, &self.credentials.client_config(), path, query).await {
                Ok(answer) => {
                    // It comes from most of the managers.
                    self.link.send_if_modified(|link| link.excluded.take().is_some());
                    return Ok(answer);
                }
                Err(ClientError::Status { status: StatusCode::FORBIDDEN, cause }) => {
                    return Err(ProposeError::NotAllowed { cause, managers: self.managers() });
                }
                Err(error) => match unanswered(addr, error) {
                    // What a manager says of the others is worth more than that another is not there.
                    Tried::Next(error) => {
                        if last.as_ref().is_none_or(|last| worth(&error) > worth(last)) {
                            last = Some(error);
                        }
                    }
                    Tried::Final(error) => return Err(error),
                },
            }
        }
        Err(last.unwrap_or_else(|| ProposeError::Internal { cause: ManagerError::NoManager.to_string() }))
    }

    /// Follows one manager after the other, for ever.
    async fn follow(self: Arc<Self>) {
        let (mut failures, mut said) = (0, Said::default());
        loop {
            for addr in self.candidates() {
                let Lost { excluded, cause } = self.follow_one(addr, &mut failures).await;
                let ManagerLink { reachable, excluded: before, .. } = *self.link.borrow();
                if reachable && !self.is_own(addr) {
                    said.forget();
                }
                // Another manager that does not answer knows no better.
                let excluded = excluded.and_then(|excluded| said.heard(excluded)).or(before);
                self.set_link(ManagerLink { addr, reachable: false, excluded, last_error: Some(cause) });
            }
            sleep(pause(failures)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Follows a manager until that fails; returns why it did. A word from it resets `failures`.
    async fn follow_one(&self, addr: SocketAddr, failures: &mut u32) -> Lost {
        let held = Arc::clone(&self.intent.borrow());
        let path = format!("{WATCH}?held={}", Revision::of(&held));
        let mut body = match client::get(addr, &self.credentials.client_config(), &path).await {
            Ok(body) => body,
            Err(error) => return error.into(),
        };
        let mut followed = Followed::new(held);
        loop {
            let data = match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => return format!("the connection broke: {error}").into(),
                Ok(None) => return "the manager ended the connection".to_owned().into(),
                Err(_) => return format!("nothing was heard for {} s", SILENCE.as_secs()).into(),
            };
            *failures = 0;
            match followed.receive(&data) {
                Ok(Some(intent)) => self.take(addr, intent).await,
                Ok(None) => {}
                Err(error) => return error.to_string().into(),
            }
        }
    }

    /// Makes the manager's intent this node's, if it is newer: a manager may be behind the one that was followed before.
    /// What is seen is on the disk already, unless the disk fails.
    async fn take(&self, addr: SocketAddr, intent: Arc<Intent>) {
        let mut last_error = None;
        if Revision::of(&intent) > Revision::of(&self.intent.borrow()) {
            let (copy, new) = (Arc::clone(&self.copy), Arc::clone(&intent));
            let write = move || copy.lock().unwrap_or_else(PoisonError::into_inner).write(new);
            let kept = tokio::task::spawn_blocking(write).await;
            last_error = match kept {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            // First of all that sees it: who confirms that intent trusts whom it says.
            last_error = self.credentials.follow(&intent).err().map(|error| error.to_string()).or(last_error);
            self.intent.send_replace(intent);
        }
        // This node's own role, if it has one, may not know that the others go on without it.
        let excluded = self.link.borrow().excluded.filter(|_| self.is_own(addr));
        self.set_link(ManagerLink { addr, reachable: true, excluded, last_error });
    }

    /// Logs what is new about the link, once however often it is tried.
    fn set_link(&self, link: ManagerLink) {
        self.link.send_if_modified(|current| {
            if *current == link {
                return false;
            }
            let ManagerLink { addr: manager, reachable, last_error, .. } = &link;
            match last_error {
                Some(cause) => tracing::warn!(%manager, reachable, %cause, "trouble in following a manager"),
                None => tracing::info!(%manager, "the manager is followed"),
            };
            *current = link;
            true
        });
    }

    fn is_own(&self, addr: SocketAddr) -> bool {
        own(self.me, &self.intent.borrow()) == Some(addr)
    }

    /// The managers, in words, if this node is a worker.
    fn managers(&self) -> Option<String> {
        let intent = self.intent.borrow();
        let worker = intent.nodes.get(&self.me).is_some_and(|node| !node.manager);
        worker.then(|| intent.managers_in_words())
    }

    fn candidates(&self) -> Vec<SocketAddr> {
        let link = self.link.borrow().clone();
        candidates(self.me, &self.intent.borrow(), &self.seeds, link.reachable.then_some(link.addr))
    }
}

/// How much a manager's no tells: that the managers do not agree more than that it does not know this node, for it may be behind;
/// and anything it says more than that it is not there.
const fn worth(error: &ProposeError) -> u8 {
    match error {
        ProposeError::Excluded(Exclusion::Removed) => 3,
        ProposeError::Unavailable { .. } => 2,
        ProposeError::Excluded(_) => 1,
        _ => 0,
    }
}

/// The addresses to try, best first: this node's own if it is a manager, the one that is reached now, the managers in the
/// intent, what was given.
fn candidates(
    me: NodeId,
    intent: &Intent,
    seeds: &[SocketAddr],
    reached: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    let managers = intent.managers().map(api_addr);
    let mut addresses = Vec::new();
    for addr in own(me, intent).into_iter().chain(reached).chain(managers).chain(seeds.iter().copied()) {
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    addresses
}

/// This node's own address, if it is a manager.
fn own(me: NodeId, intent: &Intent) -> Option<SocketAddr> {
    intent.nodes.get(&me).filter(|node| node.manager).map(api_addr)
}

fn api_addr(node: &Node) -> SocketAddr {
    SocketAddr::new(node.addr, node.api_port)
}

/// Drawn from a range that doubles with every failure, so that followers do not come back all at once.
fn pause(failures: u32) -> Duration {
    let longest = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_add(1)));
    rand::random_range(SHORTEST_PAUSE..=longest.min(LONGEST_PAUSE))
}
