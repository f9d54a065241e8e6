//! The difference between what should be and what is, as steps in an order in which each can be taken.
//!
//! A plan is empty once all is as desired. Taken in part, because a step failed, it leaves a state that the next
//! plan goes on from.

mod services;

pub use services::plan_services;

use std::collections::BTreeMap;

use super::desired::DesiredLinks;
use super::links::{LinkAction, Links};
use super::tables::{Destination, TableAction, Tables};

/// The steps that lead from the observed devices to the desired ones.
///
/// What goes, goes first: a VXLAN device holds its port, and an endpoint's new veth pair may need the name that
/// an old one has in the namespace. A veth pair that is down is made whole: it goes up last, so one that is down is
/// half made.
///
/// `complete` is as for [`plan_tables`]: until then the MTUs stay, since a node that is not known yet may be the
/// one with the smallest.
pub fn plan_links(desired: &DesiredLinks, observed: &Links, complete: bool) -> Vec<LinkAction> {
    let mut plan: Vec<LinkAction> = observed
        .veths
        .keys()
        .filter(|name| !desired.veths.contains_key(*name))
        .map(|name| LinkAction::Delete(name.clone()))
        .collect();
    plan_vxlan(desired, observed, &mut plan);
    for (name, spec) in &desired.veths {
        match observed.veths.get(name) {
            Some(veth) if veth.up => {
                if veth.mtu != spec.mtu && complete {
                    plan.push(LinkAction::SetMtu(spec.clone()));
                }
            }
            _ => plan.push(LinkAction::CreateVeth(spec.clone())),
        }
    }
    plan
}

fn plan_vxlan(desired: &DesiredLinks, observed: &Links, plan: &mut Vec<LinkAction>) {
    match (&desired.vxlan, &observed.vxlan) {
        (None, None) => {}
        (None, Some(is)) => plan.push(LinkAction::Delete(is.name.clone())),
        (Some(wanted), None) => plan.push(LinkAction::CreateVxlan(wanted.clone())),
        (Some(wanted), Some(is)) if wanted.name != is.name || wanted.port != is.port => {
            // The kernel cannot change a VXLAN device's port.
            plan.push(LinkAction::Delete(is.name.clone()));
            plan.push(LinkAction::CreateVxlan(wanted.clone()));
        }
        (Some(wanted), Some(is)) => {
            if wanted.up && !is.up {
                plan.push(LinkAction::SetUp(wanted.name.clone()));
            }
        }
    }
}

/// The steps that lead from the observed tables to the desired ones.
///
/// First what is new or changed, each thing after those that it leads to: an endpoint is never known before its
/// peer, and sends only once all others are known. Then what goes, the other way round. An entry that changes is
/// replaced, never removed and written again, so that no packet misses it. Without an underlay, the node's entry
/// stays as it is.
///
/// `complete` is whether the facts of all nodes are known. They are not for a moment after a restart, so nothing
/// that leads to other nodes is removed until then: traffic goes on.
pub fn plan_tables(desired: &Tables, observed: &Tables, complete: bool) -> Vec<TableAction> {
    let mut plan = puts(desired, observed);
    if complete {
        plan.extend(deletes(desired, observed));
    } else {
        plan.extend(
            deletes(desired, observed).into_iter().filter(|action| is_local(action, desired, observed)),
        );
    }
    plan
}

fn puts(desired: &Tables, observed: &Tables) -> Vec<TableAction> {
    let node = desired.node.filter(|node| observed.node != Some(*node)).map(TableAction::PutNode);
    let vteps =
        changed(&desired.vteps, &observed.vteps).map(|(vtep, entry)| TableAction::PutVtep(*vtep, *entry));
    let networks = changed(&desired.networks, &observed.networks)
        .map(|(vni, entry)| TableAction::PutNetwork(*vni, *entry));
    let fdb = changed(&desired.fdb, &observed.fdb)
        .map(|((vni, mac), destination)| TableAction::PutFdb(*vni, *mac, *destination));
    let neighbours = changed(&desired.neighbours, &observed.neighbours)
        .map(|((vni, address), mac)| TableAction::PutNeighbour(*vni, *address, *mac));
    let sources = changed(&desired.sources, &observed.sources)
        .map(|(ifindex, source)| TableAction::PutSource(*ifindex, *source));
    node.into_iter().chain(vteps).chain(networks).chain(fdb).chain(neighbours).chain(sources).collect()
}

fn deletes(desired: &Tables, observed: &Tables) -> Vec<TableAction> {
    let sources =
        gone(&desired.sources, &observed.sources).map(|ifindex| TableAction::DeleteSource(*ifindex));
    let neighbours = gone(&desired.neighbours, &observed.neighbours)
        .map(|(vni, address)| TableAction::DeleteNeighbour(*vni, *address));
    let fdb = gone(&desired.fdb, &observed.fdb).map(|(vni, mac)| TableAction::DeleteFdb(*vni, *mac));
    let networks = gone(&desired.networks, &observed.networks).map(|vni| TableAction::DeleteNetwork(*vni));
    let vteps = gone(&desired.vteps, &observed.vteps).map(|vtep| TableAction::DeleteVtep(*vtep));
    sources.chain(neighbours).chain(fdb).chain(networks).chain(vteps).collect()
}

/// Whether a removal touches nothing that leads to other nodes, once the plan's writes are done.
fn is_local(action: &TableAction, desired: &Tables, observed: &Tables) -> bool {
    let remote = |key| match desired.fdb.get(&key).or_else(|| observed.fdb.get(&key)) {
        Some(Destination::Remote { .. }) => Some(true),
        Some(Destination::Local { .. }) => Some(false),
        None => None,
    };
    match action {
        TableAction::DeleteSource(_) => true,
        TableAction::DeleteFdb(vni, mac) => remote((*vni, *mac)) == Some(false),
        TableAction::DeleteNeighbour(vni, address) => {
            observed.neighbours.get(&(*vni, *address)).is_some_and(|mac| remote((*vni, *mac)) == Some(false))
        }
        TableAction::DeleteNetwork(vni) => {
            let keys = observed.fdb.keys().chain(desired.fdb.keys());
            !keys.filter(|(other, _)| other == vni).any(|key| remote(*key) == Some(true))
        }
        _ => false,
    }
}

/// What is in `desired` alone, or otherwise in `observed`. Both are gone through once, side by side: a lookup for each of
/// 100,000 entries would take ten times as long.
fn changed<'a, K: Ord, V: PartialEq>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut observed = observed.iter().peekable();
    desired.iter().filter(move |entry| {
        while observed.next_if(|(key, _)| *key < entry.0).is_some() {}
        observed.peek() != Some(entry)
    })
}

/// The keys in `observed` alone, likewise.
fn gone<'a, K: Ord, V>(
    desired: &'a BTreeMap<K, V>,
    observed: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let mut desired = desired.keys().peekable();
    observed.keys().filter(move |key| {
        while desired.next_if(|wanted| wanted < key).is_some() {}
        desired.peek() != Some(key)
    })
}
