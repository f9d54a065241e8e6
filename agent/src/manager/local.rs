//! The log of the only manager: this node's disk.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use overlay::intent::{Command, Intent, Reply, Secrets, State, apply};
use tokio::sync::{Mutex, watch};

use super::{IntentLog, ManagerError, ManagerLink, ProposeError};
use crate::store::{Key, Store, StoreError};

/// Applies one command after the other; each is on the disk before anybody sees what it changed.
pub struct Local {
    log: Arc<Log>,
    /// Whose turn it is to change the intent.
    turn: Arc<Mutex<()>>,
    link: watch::Sender<ManagerLink>,
}

struct Log {
    store: Store,
    intent: watch::Sender<Arc<Intent>>,
    secrets: watch::Sender<Arc<Secrets>>,
}

impl Local {
    /// With the intent in the store. `addr` is this node's own manager API, for [`ManagerLink::addr`].
    ///
    /// # Errors
    /// The store's.
    pub fn open(store: Store, addr: SocketAddr) -> Result<Self, ManagerError> {
        let State { intent, secrets } = store.get(Key::Intent)?.unwrap_or_default();
        let link = ManagerLink { addr, reachable: true, last_error: None };
        Ok(Self {
            log: Arc::new(Log {
                store,
                intent: watch::Sender::new(Arc::new(intent)),
                secrets: watch::Sender::new(Arc::new(secrets)),
            }),
            turn: Arc::default(),
            link: watch::Sender::new(link),
        })
    }

    /// What the managers alone know, now and later.
    pub fn secrets(&self) -> watch::Receiver<Arc<Secrets>> {
        self.log.secrets.subscribe()
    }

    async fn commit(&self, command: Command) -> Result<Reply, ProposeError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let log = Arc::clone(&self.log);
        // A blocking task runs to its end even when who waits for it goes away, so the disk and the
        // published intent never part; the turn ends with it.
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = log.commit(&command);
            drop(turn);
            outcome
        });
        let outcome = outcome.await.map_err(|error| ProposeError::Internal { cause: error.to_string() })?;
        if let Err(ProposeError::Internal { cause }) = &outcome {
            tracing::error!(%cause, "cannot store the intent");
        }
        outcome
    }
}

impl Log {
    fn commit(&self, command: &Command) -> Result<Reply, ProposeError> {
        let intent = Intent::clone(&self.intent.borrow());
        let secrets = Secrets::clone(&self.secrets.borrow());
        let current = State { intent, secrets };
        let mut next = current.clone();
        let reply = apply(&mut next, command)?;
        if next != current {
            self.store.put(Key::Intent, &next).map_err(|error| not_stored(&error))?;
            self.secrets.send_replace(Arc::new(next.secrets));
            self.intent.send_replace(Arc::new(next.intent));
        }
        Ok(reply)
    }
}

fn not_stored(error: &StoreError) -> ProposeError {
    ProposeError::Internal { cause: format!("the manager cannot store the change: {error}") }
}

impl IntentLog for Local {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(self.commit(command))
    }

    fn watch(&self) -> watch::Receiver<Arc<Intent>> {
        self.log.intent.subscribe()
    }

    fn status(&self) -> watch::Receiver<ManagerLink> {
        self.link.subscribe()
    }
}
