//! Makes a cluster with this node as its first member and only manager.

use overlay::hex;
use overlay::intent::{Cluster, Command, Intent, apply};
use overlay::model::Node;

use super::ManagerError;
use crate::identity::{Authority, Identity, Request, Secret, Token};
use crate::store::{Key, Store};

/// A new cluster, on the disk already: [`super::Local::open`] finds its intent in the store.
#[derive(Debug)]
pub struct Founded {
    /// Its CA, which this node signs with.
    pub authority: Authority,
    /// This node's identity in it.
    pub identity: Identity,
    /// What other nodes join with. It cannot be told again: the cluster keeps a digest only.
    pub token: Token,
}

/// Draws a cluster's keys and stores CA, identity and first intent, all or none of them. `node` describes this
/// node; it becomes a manager whatever it says. Blocks for a few writes.
///
/// # Errors
/// [`ManagerError::AlreadyMember`] above all.
pub fn init_cluster(store: &Store, mut node: Node) -> Result<Founded, ManagerError> {
    node.manager = true;
    let id = node.id;
    let cluster_id = hex::encode(&rand::random::<[u8; 16]>());
    let authority = Authority::new(&cluster_id)?;
    let request = Request::new(id)?;
    let chain = authority.sign(request.csr(), id)?;
    let identity = request.complete(chain, authority.cert().to_owned())?;
    let token = Token { ca: authority.digest()?, secret: Secret::random() };
    let cluster = Cluster {
        id: cluster_id,
        ca_cert: authority.cert().to_owned(),
        join_secret_digest: token.secret.digest(),
        gossip_key: hex::encode(&rand::random::<[u8; 32]>()),
    };
    let mut intent = Intent::default();
    apply(&mut intent, &Command::InitCluster { cluster, node })?;
    let member = store.write(|batch| {
        let member: Option<Identity> = batch.get(Key::Identity)?;
        if member.is_none() {
            batch.put(Key::ClusterCa, &authority)?;
            batch.put(Key::Identity, &identity)?;
            batch.put(Key::Intent, &intent)?;
        }
        Ok(member)
    })?;
    match member {
        Some(member) => Err(ManagerError::AlreadyMember(member.node)),
        None => Ok(Founded { authority, identity, token }),
    }
}
