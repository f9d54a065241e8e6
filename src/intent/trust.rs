//! How the cluster begins, and how its tokens, keys and CAs change. Each step of a rotation is a command of its own
//! that does nothing when it comes twice, so whoever leads next goes on where the last leader stopped.

use super::members;
use super::{CaKeys, Cluster, Hidden, Intent, IntentError, Secrets, State, TrustError};
use crate::model::{Node, NodeId};

pub(super) fn init(
    intent: &mut Intent,
    secrets: &mut Secrets,
    cluster: &Cluster,
    node: &Node,
    drawn: &Secrets,
) -> Result<bool, IntentError> {
    if *intent != Intent::default() {
        return Err(IntentError::AlreadyInitialized);
    }
    if cluster.cert_lifetime < Cluster::SHORTEST_CERT_LIFETIME {
        let (seconds, shortest) = (cluster.cert_lifetime.0, Cluster::SHORTEST_CERT_LIFETIME.0);
        return Err(TrustError::LifetimeTooShort { seconds, shortest }.into());
    }
    intent.cluster = Some(cluster.clone());
    intent.nodes.insert(node.id, node.clone());
    *secrets = drawn.clone();
    Ok(true)
}

/// Begins anew from a backup, with `node` as the only manager.
pub(super) fn restore(
    intent: &mut Intent,
    secrets: &mut Secrets,
    backup: &State,
    node: &Node,
    epoch: u64,
) -> Result<bool, IntentError> {
    if *intent != Intent::default() {
        return Err(IntentError::AlreadyInitialized);
    }
    let mut next = backup.intent.clone();
    let generation = held(&mut next).map_err(|_| TrustError::EmptyBackup)?.ca_generation;
    let place = (node.addr, node.gossip_port);
    let former = |other: &&Node| other.id != node.id && (other.addr, other.gossip_port) == place;
    if let Some(former) = next.nodes.values().find(former).map(|former| former.id) {
        members::forget(&mut next, former);
    }
    next.removed.remove(&node.id);
    let node = Node { manager: false, ca_generation: generation, ..node.clone() };
    members::refuse(&next, &node, None)?;
    let id = node.id;
    next.nodes.insert(id, node);
    begin_anew(&mut next, id, epoch)?;
    // Who was removed after the backup knows its keys.
    held(&mut next)?.gossip.wanted = true;
    *intent = next;
    *secrets = backup.secrets.clone();
    Ok(true)
}

/// Makes `node` the only manager.
pub(super) fn begin_anew(intent: &mut Intent, node: NodeId, epoch: u64) -> Result<bool, IntentError> {
    if !intent.nodes.contains_key(&node) {
        return Err(IntentError::NoSuchNode { node });
    }
    let alone = intent.managers().map(|manager| manager.id).eq([node]);
    let cluster = held(intent)?;
    if cluster.epoch == epoch && alone {
        return Ok(false);
    }
    if epoch <= cluster.epoch {
        return Err(TrustError::StaleEpoch { epoch, current: cluster.epoch }.into());
    }
    cluster.epoch = epoch;
    for other in intent.nodes.values_mut() {
        other.manager = other.id == node;
    }
    Ok(true)
}

pub(super) fn rotate_token(secrets: &mut Secrets, manager: bool, secret: &Hidden) -> bool {
    let held = if manager { &mut secrets.manager_secret } else { &mut secrets.worker_secret };
    std::mem::replace(held, secret.clone()) != *secret
}

pub(super) fn add_gossip_key(
    intent: &mut Intent,
    id: u8,
    key: &Hidden,
    at: u64,
) -> Result<bool, IntentError> {
    let gossip = &mut held(intent)?.gossip;
    if gossip.keys.get(&id) == Some(&key.0) {
        return Ok(false);
    }
    if gossip.keys.len() > 1 || gossip.keys.contains_key(&id) {
        return Err(TrustError::KeyRotationUnderWay.into());
    }
    gossip.keys.insert(id, key.0.clone());
    gossip.rotated_at = at;
    // Who was removed before this never learns the new key; who is removed from now on may know it.
    gossip.wanted = false;
    Ok(true)
}

pub(super) fn use_gossip_key(intent: &mut Intent, id: u8) -> Result<bool, IntentError> {
    let gossip = &mut held(intent)?.gossip;
    if !gossip.keys.contains_key(&id) {
        return Err(TrustError::NoSuchGossipKey { id }.into());
    }
    Ok(std::mem::replace(&mut gossip.current, id) != id)
}

pub(super) fn drop_gossip_key(intent: &mut Intent, id: u8) -> Result<bool, IntentError> {
    let gossip = &mut held(intent)?.gossip;
    if gossip.current == id {
        return Err(TrustError::GossipKeyInUse { id }.into());
    }
    Ok(gossip.keys.remove(&id).is_some())
}

pub(super) fn want_gossip_key(intent: &mut Intent) -> Result<bool, IntentError> {
    Ok(!std::mem::replace(&mut held(intent)?.gossip.wanted, true))
}

pub(super) fn add_ca(intent: &mut Intent, secrets: &mut Secrets, ca: &CaKeys) -> Result<bool, IntentError> {
    let cluster = held(intent)?;
    if cluster.ca_cert == ca.cert || cluster.next_ca_cert.as_ref() == Some(&ca.cert) {
        return Ok(false);
    }
    if cluster.next_ca_cert.is_some() || cluster.old_ca_cert.is_some() {
        return Err(TrustError::CaRotationUnderWay.into());
    }
    cluster.next_ca_cert = Some(ca.cert.clone());
    secrets.next_ca = Some(ca.clone());
    Ok(true)
}

pub(super) fn use_ca(intent: &mut Intent, secrets: &mut Secrets, cert: &str) -> Result<bool, IntentError> {
    let cluster = held(intent)?;
    if cluster.ca_cert == cert {
        return Ok(false);
    }
    if cluster.next_ca_cert.as_deref() != Some(cert) {
        return Err(TrustError::NotThatCa.into());
    }
    cluster.next_ca_cert = None;
    cluster.old_ca_cert = Some(std::mem::replace(&mut cluster.ca_cert, cert.to_owned()));
    cluster.ca_generation += 1;
    // The old key is needed no more, and whoever finds it later can do nothing with it.
    secrets.ca = secrets.next_ca.take();
    Ok(true)
}

pub(super) fn drop_ca(intent: &mut Intent, cert: &str) -> Result<bool, IntentError> {
    let Some(cluster) = &mut intent.cluster else { return Err(IntentError::NotInitialized) };
    if cluster.old_ca_cert.as_deref() != Some(cert) {
        let another = cluster.generation_of(cert).is_some();
        return if another { Err(TrustError::NotThatCa.into()) } else { Ok(false) };
    }
    let behind = intent.nodes.values().filter(|node| node.ca_generation < cluster.ca_generation);
    let hostnames: Vec<String> = behind.map(|node| node.hostname.clone()).collect();
    if !hostnames.is_empty() {
        return Err(TrustError::CaStillNeeded { hostnames }.into());
    }
    cluster.old_ca_cert = None;
    Ok(true)
}

fn held(intent: &mut Intent) -> Result<&mut Cluster, IntentError> {
    intent.cluster.as_mut().ok_or(IntentError::NotInitialized)
}
