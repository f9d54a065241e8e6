//! Keeps this node's certificate good: renews it before it ends, when its role has changed, and when another CA signs now;
//! and tells the managers which CA signed the one in use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use overlay::intent::{Cluster, Command, Intent};
use overlay::model::Node;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::IntentLog;
use super::client::post;
use super::wire::{RENEW, RenewRequest};
use crate::identity::{Certified, Credentials, Request};
use crate::store::{Key, Store};

/// The pauses between attempts; the longer one also bounds how long a jump of the clock goes unnoticed.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What keeps a node's certificate good.
pub struct Renewal {
    /// What is kept good.
    pub credentials: Arc<Credentials>,
    /// Who the managers are, and how they are told.
    pub log: Arc<dyn IntentLog>,
    /// Where the identity is stored.
    pub store: Store,
    /// What goes wrong, for `status`.
    pub trouble: watch::Sender<Option<String>>,
}

impl Renewal {
    /// Does so until it is dropped.
    pub async fn run(self) {
        let mut intents = self.log.watch();
        // Drawn once: the nodes of a cluster that was made at once do not all come at once.
        let jitter = rand::random_range(0.0..1.0);
        let mut failures = 0;
        loop {
            let intent = Arc::clone(&intents.borrow_and_update());
            match self.step(&intent, jitter).await {
                Ok(next) => {
                    failures = 0;
                    self.tell(None);
                    // Whether it was time or the intent that changed, all is looked at anew.
                    drop(timeout(next.min(LONGEST_PAUSE), intents.changed()).await);
                }
                Err(cause) => {
                    self.tell(Some(cause));
                    sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Does what is due now, and returns how long nothing else will be.
    async fn step(&self, intent: &Intent, jitter: f64) -> Result<Duration, String> {
        let me = self.credentials.now().identity.node;
        let (Some(cluster), Some(node)) = (&intent.cluster, intent.nodes.get(&me)) else {
            return Ok(LONGEST_PAUSE);
        };
        let now = SystemTime::now();
        match due(&self.credentials.now().certified, cluster, node, now, jitter) {
            Due::Renewal(reason) => {
                self.renew(intent, cluster).await?;
                tracing::info!(reason, "the certificate was renewed");
                // If the reason stays, the manager that signed holds another intent than this node, which passes.
                Ok(SHORTEST_PAUSE)
            }
            Due::Note(issuer) => {
                let note = Command::NoteCertificate { node: me, issuer };
                self.log.propose(note).await.map_err(|error| error.to_string())?;
                Ok(LONGEST_PAUSE)
            }
            Due::Nothing(left) => Ok(left),
        }
    }

    /// Has a manager sign a fresh key; the certificate is on the disk before it is used.
    async fn renew(&self, intent: &Intent, cluster: &Cluster) -> Result<(), String> {
        let request =
            Request::new(self.credentials.now().identity.node).map_err(|error| error.to_string())?;
        let query = RenewRequest { csr: request.csr().to_owned() };
        let mut last = "no manager is known".to_owned();
        let mut answer: Option<String> = None;
        for manager in intent.managers() {
            let addr = SocketAddr::new(manager.addr, manager.api_port);
            match post(addr, &self.credentials.client_config(), RENEW, &query).await {
                Ok(chain) => {
                    answer = Some(chain);
                    break;
                }
                Err(error) => last = format!("{} ({addr}): {error}", manager.hostname),
            }
        }
        let chain = answer.ok_or_else(|| format!("the certificate cannot be renewed: {last}"))?;
        let trusted = cluster.trusted().collect();
        let identity = request.complete(chain, trusted).map_err(|error| error.to_string())?;
        let (store, stored) = (self.store.clone(), identity.clone());
        let kept = tokio::task::spawn_blocking(move || store.put(Key::Identity, &stored)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.credentials.renew(identity).map_err(|error| error.to_string())
    }

    /// Logs what is new, once however often it is tried.
    fn tell(&self, trouble: Option<String>) {
        self.trouble.send_if_modified(|current| {
            if *current == trouble {
                return false;
            }
            if let Some(cause) = &trouble {
                tracing::warn!(%cause, "trouble with this node's certificate");
            }
            *current = trouble;
            true
        });
    }
}

/// What is to be done about a certificate.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It is to be renewed, for that reason.
    Renewal(&'static str),
    /// The managers are to be told that this CA signed it.
    Note(String),
    /// Nothing, for so long.
    Nothing(Duration),
}

/// What is to be done about a certificate of `node`. `jitter`, from 0 to 1, moves the renewal of an old one ahead.
fn due(shown: &Certified, cluster: &Cluster, node: &Node, now: SystemTime, jitter: f64) -> Due {
    if shown.manager != node.manager {
        return Due::Renewal("the node's role has changed");
    }
    let issuer = shown.issuer_among(cluster.trusted());
    match issuer.and_then(|issuer| cluster.generation_of(issuer)) {
        Some(generation) if generation == cluster.ca_generation => {}
        // The manager that signed knew of a CA that takes over, and this node does not yet.
        Some(generation) if generation > cluster.ca_generation => return Due::Nothing(LONGEST_PAUSE),
        _ => return Due::Renewal("another CA signs now"),
    }
    if node.ca_generation != cluster.ca_generation {
        return Due::Note(cluster.ca_cert.clone());
    }
    let lifetime = Duration::from_secs(cluster.cert_lifetime.0.into());
    let ahead = lifetime / 3 + (lifetime / 12).mul_f64(jitter);
    let left = shown.until.duration_since(now).unwrap_or_default();
    match left.checked_sub(ahead).filter(|rest| !rest.is_zero()) {
        Some(rest) => Due::Nothing(rest),
        None => Due::Renewal("it is old"),
    }
}

fn pause(failures: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
