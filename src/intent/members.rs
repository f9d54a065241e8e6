//! How commands change the nodes: who is a member, in which role, and what users want of it.

use super::apply::underlay_overlap;
use super::services;
use super::{AdmitNode, Intent, IntentError, NodeChange, TrustError};
use crate::model::{Node, NodeId, UnderlayFamily};

/// The most managers of a cluster: more would make every change slower, and stand hardly more.
pub const MOST_MANAGERS: usize = 5;

pub(super) fn put(intent: &mut Intent, node: &Node) -> Result<bool, IntentError> {
    let node = match intent.nodes.get(&node.id) {
        Some(known) => node.clone().kept_by(known),
        None => node.clone(),
    };
    if intent.nodes.get(&node.id) == Some(&node) {
        return Ok(false);
    }
    refuse(intent, &node, None)?;
    intent.nodes.insert(node.id, node);
    Ok(true)
}

pub(super) fn admit(intent: &mut Intent, request: &AdmitNode) -> Result<bool, IntentError> {
    let AdmitNode { node, issuer, replaces } = request;
    if let Some(known) = intent.nodes.get(&node.id) {
        // Only a request that came twice, its first answer lost, shows the same key.
        return if known.key == node.key {
            Ok(false)
        } else {
            Err(IntentError::NodeExists { node: node.id })
        };
    }
    let cluster = intent.cluster.as_ref().ok_or(IntentError::NotInitialized)?;
    if cluster.ca_cert != *issuer {
        return Err(TrustError::NotThatCa.into());
    }
    let node = Node { ca_generation: cluster.ca_generation, ..node.clone() };
    let replaced = replaces.and_then(|id| intent.nodes.get(&id));
    if let Some(manager) = replaced.filter(|node| node.manager) {
        return Err(IntentError::ManagerNotDemoted { hostname: manager.hostname.clone() });
    }
    refuse(intent, &node, *replaces)?;
    if let Some(id) = replaces {
        forget(intent, *id);
    }
    intent.nodes.insert(node.id, node);
    Ok(true)
}

/// Refuses what `node` clashes with, as if `except` were no member.
pub(super) fn refuse(intent: &Intent, node: &Node, except: Option<NodeId>) -> Result<(), IntentError> {
    let known = intent.nodes.get(&node.id);
    if known.is_none() && intent.removed.contains(&node.id) {
        return Err(IntentError::NodeRemoved { node: node.id });
    }
    if known.is_none() && node.manager {
        refuse_another_manager(intent)?;
    }
    for other in intent.nodes.values().filter(|other| other.id != node.id && Some(other.id) != except) {
        if UnderlayFamily::of(other.addr) != UnderlayFamily::of(node.addr) {
            return Err(IntentError::MixedFamilies {
                hostname: node.hostname.clone(),
                addr: node.addr,
                other: other.hostname.clone(),
                other_addr: other.addr,
            });
        }
        if (other.addr, other.gossip_port) == (node.addr, node.gossip_port) {
            return Err(IntentError::NodeAddressTaken {
                addr: node.addr,
                port: node.gossip_port,
                other: other.hostname.clone(),
            });
        }
    }
    for network in intent.networks.values() {
        if let Some((subnet, underlay)) = underlay_overlap(&network.subnets, node) {
            return Err(IntentError::NodeOverlap {
                hostname: node.hostname.clone(),
                underlay,
                network: network.name.clone(),
                subnet,
            });
        }
    }
    Ok(services::refuse_node_ports(intent, node)?)
}

pub(super) fn remove(intent: &mut Intent, id: NodeId, force: bool) -> Result<bool, IntentError> {
    let node = intent.nodes.get(&id).ok_or(IntentError::NoSuchNode { node: id })?;
    if node.manager {
        refuse_last_manager(intent, node)?;
        if !force {
            return Err(IntentError::ManagerNotDemoted { hostname: node.hostname.clone() });
        }
    }
    forget(intent, id);
    Ok(true)
}

/// Takes a node out for ever, if it is there: its id never comes back, and gossip gets a key that it does not know.
pub(super) fn forget(intent: &mut Intent, id: NodeId) {
    if intent.nodes.remove(&id).is_none() {
        return;
    }
    for grants in intent.grants.values_mut() {
        grants.blocks.retain(|block| block.node != id);
    }
    intent.removed.insert(id);
    if let Some(cluster) = &mut intent.cluster {
        cluster.gossip.wanted = true;
    }
}

pub(super) fn set_role(intent: &mut Intent, id: NodeId, manager: bool) -> Result<bool, IntentError> {
    let node = intent.nodes.get(&id).ok_or(IntentError::NoSuchNode { node: id })?;
    match (node.manager, manager) {
        (true, false) => refuse_last_manager(intent, node)?,
        (false, true) => refuse_another_manager(intent)?,
        (false, false) | (true, true) => return Ok(false),
    }
    intent.nodes.entry(id).and_modify(|node| node.manager = manager);
    Ok(true)
}

pub(super) fn update(
    intent: &mut Intent,
    id: NodeId,
    change: &NodeChange,
    at: u64,
) -> Result<bool, IntentError> {
    let node = intent.nodes.get_mut(&id).ok_or(IntentError::NoSuchNode { node: id })?;
    let before = node.clone();
    change.apply_to(node, at);
    Ok(*node != before)
}

pub(super) fn note_certificate(intent: &mut Intent, id: NodeId, issuer: &str) -> Result<bool, IntentError> {
    let cluster = intent.cluster.as_ref().ok_or(IntentError::NotInitialized)?;
    let generation = cluster.generation_of(issuer).ok_or(TrustError::NotThatCa)?;
    let node = intent.nodes.get_mut(&id).ok_or(IntentError::NoSuchNode { node: id })?;
    Ok(std::mem::replace(&mut node.ca_generation, generation) != generation)
}

fn refuse_last_manager(intent: &Intent, node: &Node) -> Result<(), IntentError> {
    let another = intent.managers().any(|other| other.id != node.id);
    if another { Ok(()) } else { Err(IntentError::LastManager { hostname: node.hostname.clone() }) }
}

fn refuse_another_manager(intent: &Intent) -> Result<(), IntentError> {
    if intent.managers().count() < MOST_MANAGERS {
        Ok(())
    } else {
        Err(IntentError::TooManyManagers { most: MOST_MANAGERS })
    }
}
