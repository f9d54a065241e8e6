//! Clusters that begin anew from one manager: from a backup, or from what is left after most managers were lost.

use overlay::api::Backup;
use overlay::hex;
use overlay::intent::{Cluster, Command, State, apply};
use overlay::model::Node;
use ring::digest::{SHA256, digest};

use super::init::{Founded, establish};
use super::raft::{begin, held};
use super::{ManagerError, Role, Unanswered, copy};
use crate::clock::unix_seconds;
use crate::identity::{Authority, Identity, Request, Token};
use crate::store::{Key, Store};

/// Why a backup cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// It is of another format.
    #[error("the backup has format {format}; this agent, {version}, knows format {known}")]
    Format {
        /// The backup's.
        format: u32,
        /// This agent's version.
        version: &'static str,
        /// The one that it knows.
        known: u32,
    },
    /// It is not what was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
}

impl BackupError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Format { .. } => "restore it with the version of overlayd that wrote it, then upgrade",
            Self::Damaged(_) => "use another copy of it, or an older backup",
        }
    }
}

/// Everything that the managers hold, as this one knows it.
///
/// # Errors
/// This node is no manager, or its role does not run.
pub async fn backup(role: &Role) -> Result<Backup, Unanswered> {
    let state = role.state().await?;
    let text = serde_json::to_string(&state).map_err(|error| Unanswered::NotTaken(error.to_string()))?;
    let cluster = state.intent.cluster.map(|cluster| cluster.id).unwrap_or_default();
    Ok(Backup {
        format: Backup::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: unix_seconds(),
        cluster,
        sha256: checksum(&text),
        state: text,
    })
}

fn checksum(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()).as_ref())
}

fn unpacked(backup: &Backup) -> Result<State, BackupError> {
    if backup.format != Backup::FORMAT {
        let (format, version, known) = (backup.format, env!("CARGO_PKG_VERSION"), Backup::FORMAT);
        return Err(BackupError::Format { format, version, known });
    }
    if checksum(&backup.state) != backup.sha256 {
        return Err(BackupError::Damaged("its checksum is another".to_owned()));
    }
    serde_json::from_str(&backup.state).map_err(|error| BackupError::Damaged(error.to_string()))
}

/// Makes this node, which is of no cluster, the only manager of the cluster that a backup is of. `node` describes it. Blocks
/// for a few writes.
///
/// # Errors
/// [`ManagerError::Backup`], [`ManagerError::AlreadyMember`], and a node that the cluster does not take.
pub fn restore(store: &Store, backup: &Backup, node: Node) -> Result<Founded, ManagerError> {
    let backup = unpacked(backup)?;
    let no_ca = || BackupError::Damaged("there is no certificate authority in it".to_owned());
    let authority = Authority::from(backup.secrets.ca.clone().ok_or_else(no_ca)?);
    let secret = backup.secrets.worker_secret.0.parse();
    let secret = secret.map_err(|_| BackupError::Damaged("there is no join token in it".to_owned()))?;
    let token = Token { ca: authority.digest()?, secret };
    let request = Request::new(node.id)?;
    let lifetime = backup.intent.cluster.as_ref().map_or(Cluster::CERT_LIFETIME, |it| it.cert_lifetime);
    let signed = authority.sign(request.csr(), node.id, true, lifetime)?;
    let identity = request.complete(signed.chain, authority.cert().to_owned())?;
    let mut state = State::default();
    let node = Node { key: signed.key, ..node };
    let command = Command::Restore { state: Box::new(backup), node, epoch: unix_seconds() };
    apply(&mut state, &command)?;
    establish(store, &identity, state)?;
    Ok(Founded { authority, identity, token })
}

/// Makes this manager, whose role does not run, the only one of its cluster. Blocks for a few writes.
///
/// # Errors
/// This node has no log of the managers'; the store's.
pub fn force_new_cluster(store: &Store) -> Result<(), ManagerError> {
    let identity: Identity = store.get(Key::Identity)?.ok_or(ManagerError::NoManager)?;
    let mut state = held(store.dir())?;
    apply(&mut state, &Command::ForceNewCluster { node: identity.node, epoch: unix_seconds() })?;
    let intent = state.intent.clone();
    begin(store.dir(), identity.node, state)?;
    Ok(store.write(|batch| copy::put(batch, &intent))?)
}
