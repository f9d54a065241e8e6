//! What a member shows to others and whom it trusts, as of now: certificates are renewed, CAs come and go, and nodes are
//! removed while the agent runs. Whoever accepts or opens a connection asks for the settings then, and keeps none.

use std::sync::Arc;

use overlay::intent::Intent;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use super::revocation::Revoked;
use super::{Certified, ClientCertificate, Identity, IdentityError};

/// A member's current certificate and trust; shared by all that talks to other nodes.
#[derive(Debug)]
pub struct Credentials {
    papers: watch::Sender<Arc<Papers>>,
    revoked: Revoked,
}

/// One state of [`Credentials`].
#[derive(Debug)]
pub struct Papers {
    /// The node's identity.
    pub identity: Identity,
    /// What its certificate says.
    pub certified: Certified,
    members: Arc<ServerConfig>,
    anybody: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Papers {
    fn new(identity: Identity, revoked: &Revoked) -> Result<Self, IdentityError> {
        Ok(Self {
            certified: identity.certified()?,
            members: identity.server(ClientCertificate::Required, revoked)?,
            anybody: identity.server(ClientCertificate::Optional, revoked)?,
            client: identity.client(revoked)?,
            identity,
        })
    }
}

impl Credentials {
    /// Of this identity, to begin with.
    ///
    /// # Errors
    /// Certificate, key and CAs do not go together.
    pub fn new(identity: Identity) -> Result<Arc<Self>, IdentityError> {
        let revoked = Revoked::default();
        let papers = watch::Sender::new(Arc::new(Papers::new(identity, &revoked)?));
        Ok(Arc::new(Self { papers, revoked }))
    }

    /// As they are now.
    pub fn now(&self) -> Arc<Papers> {
        Arc::clone(&self.papers.borrow())
    }

    /// As they are now, and each time that they change.
    pub fn watch(&self) -> watch::Receiver<Arc<Papers>> {
        self.papers.subscribe()
    }

    /// For a connection that is accepted now.
    pub fn server_config(&self, clients: ClientCertificate) -> Arc<ServerConfig> {
        let now = self.now();
        Arc::clone(match clients {
            ClientCertificate::Required => &now.members,
            ClientCertificate::Optional => &now.anybody,
        })
    }

    /// For a connection that is opened now.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.now().client)
    }

    /// Shows this identity from now on; whom it trusts is left to [`Credentials::follow`].
    ///
    /// # Errors
    /// As [`Credentials::new`]; nothing changes then.
    pub fn renew(&self, identity: Identity) -> Result<(), IdentityError> {
        self.change(|now| Some(Identity { ca: now.ca.clone(), ..identity }))
    }

    /// Trusts whom the intent says from now on: its cluster's CAs, and none of the nodes that were removed.
    ///
    /// # Errors
    /// A CA's certificate that is none; what was trusted stays trusted then.
    pub fn follow(&self, intent: &Intent) -> Result<(), IdentityError> {
        self.revoked.set(&intent.removed);
        let Some(cluster) = &intent.cluster else { return Ok(()) };
        let trusted: String = cluster.trusted().collect();
        self.change(|now| (now.ca != trusted).then(|| Identity { ca: trusted, ..now.clone() }))
    }

    /// No change is lost to another at the same time.
    fn change(&self, change: impl FnOnce(&Identity) -> Option<Identity>) -> Result<(), IdentityError> {
        let mut outcome = Ok(());
        self.papers.send_if_modified(|papers| {
            let Some(identity) = change(&papers.identity) else { return false };
            outcome = Papers::new(identity, &self.revoked).map(|new| *papers = Arc::new(new));
            outcome.is_ok()
        });
        outcome
    }
}
