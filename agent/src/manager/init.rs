//! Makes a cluster with this node as its first member and only manager.

use overlay::hex;
use overlay::intent::{Cluster, Command, GossipKeys, Secrets, State, apply};
use overlay::model::{Node, Seconds};

use super::raft::{begin, end};
use super::{ManagerError, copy};
use crate::clock::unix_seconds;
use crate::identity::{Authority, Identity, Request, Secret, Token};
use crate::store::{Key, Store, StoreError};

/// A new cluster, on the disk already: [`super::Role::start`] finds its log, and [`super::Follower::start`] its intent.
#[derive(Debug)]
pub struct Founded {
    /// Its CA, which this node signs with.
    pub authority: Authority,
    /// This node's identity in it.
    pub identity: Identity,
    /// What other nodes join with as workers.
    pub token: Token,
}

/// Draws a cluster's keys and stores log, identity and first intent; without an identity, the others count for nothing.
/// `node` describes this node; it becomes a manager whatever it says. Nodes' certificates will be valid for
/// `cert_lifetime`. Blocks for a few writes.
///
/// # Errors
/// [`ManagerError::AlreadyMember`] above all.
pub fn init_cluster(store: &Store, mut node: Node, cert_lifetime: Seconds) -> Result<Founded, ManagerError> {
    node.manager = true;
    node.ca_generation = 1;
    let id = node.id;
    let cluster_id = hex::encode(&rand::random::<[u8; 16]>());
    let authority = Authority::new(&cluster_id)?;
    let request = Request::new(id)?;
    let signed = authority.sign(request.csr(), id, true, cert_lifetime)?;
    let identity = request.complete(signed.chain, authority.cert().to_owned())?;
    let (worker, manager) = (Secret::random(), Secret::random());
    let token = Token { ca: authority.digest()?, secret: worker.clone() };
    let key = hex::encode(&rand::random::<[u8; 32]>());
    let now = unix_seconds();
    let cluster = Cluster {
        id: cluster_id,
        epoch: now,
        ca_cert: authority.cert().to_owned(),
        next_ca_cert: None,
        old_ca_cert: None,
        ca_generation: node.ca_generation,
        gossip: GossipKeys { current: 0, keys: [(0, key)].into(), rotated_at: now, wanted: false },
        cert_lifetime,
    };
    let secrets = Secrets {
        ca: Some(authority.keys().clone()),
        next_ca: None,
        worker_secret: worker.to_string().into(),
        manager_secret: manager.to_string().into(),
    };
    let mut state = State::default();
    apply(&mut state, &Command::InitCluster { cluster: cluster.into(), node, secrets: secrets.into() })?;
    establish(store, &identity, state)?;
    Ok(Founded { authority, identity, token })
}

/// Stores a cluster's beginning: this node is its only manager. Blocks for a few writes.
pub(super) fn establish(store: &Store, identity: &Identity, state: State) -> Result<(), ManagerError> {
    if let Some(member) = store.get::<Identity>(Key::Identity)? {
        return Err(ManagerError::AlreadyMember(member.node));
    }
    let intent = state.intent.clone();
    begin(store.dir(), identity.node, state)?;
    // Last: without an identity, what is there already is nobody's, and the next one begins anew.
    store.write(|batch| {
        batch.put(Key::Identity, identity)?;
        copy::put(batch, &intent)
    })?;
    Ok(())
}

/// Forgets the membership that is stored. Blocks.
///
/// # Errors
/// The store's.
pub fn forget(store: &Store) -> Result<(), StoreError> {
    end(store.dir())?;
    store.write(|batch| {
        [Key::Identity, Key::ManagersLog].into_iter().try_for_each(|key| batch.remove(key))?;
        copy::remove(batch)
    })
}
