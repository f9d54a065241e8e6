//! Reading and writing the maps.

mod counters;
mod services;

pub(super) use counters::{counters, refusals};
pub(super) use services::{
    apply as apply_service, elements, is_backend, is_present, observe as observe_services,
};

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::{Ebpf, Pod};
use overlay::reconcile::tables::{NodeEntry, TableAction, Tables};
use overlay_abi::map::{FDB, NEIGHBOURS, NETWORKS, NODE, SOURCES, VTEPS};
use overlay_abi::{self as abi, Neighbour, VtepKey};

use super::encode::Encode;

/// A map of the object.
pub(super) fn map<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Map> {
    ebpf.map(name).with_context(|| format!("the BPF object has no map {name}"))
}

/// The kernel's id of a map.
pub(super) fn id(map: &Map) -> Result<u32> {
    Ok(data(map)?.info()?.id())
}

pub(super) fn data(map: &Map) -> Result<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data) => Ok(data),
        other => anyhow::bail!("the data path has no maps of this kind: {other:?}"),
    }
}

pub(super) fn observe(ebpf: &Ebpf) -> Result<Tables> {
    let node: Array<_, abi::Node> = Array::try_from(map(ebpf, NODE)?)?;
    let node = node.get(&0, 0)?;
    Ok(Tables {
        node: if node.underlay_ifindex == 0 { None } else { Some(NodeEntry::decode(&node)?) },
        networks: entries(ebpf, NETWORKS, Encode::decode, Encode::decode)?,
        fdb: entries(ebpf, FDB, Encode::decode, Encode::decode)?,
        neighbours: entries(ebpf, NEIGHBOURS, Encode::decode, |value: &Neighbour| {
            Encode::decode(&value.mac)
        })?,
        vteps: entries(ebpf, VTEPS, |key: &VtepKey| IpAddr::decode(&key.address), Encode::decode)?,
        sources: entries(ebpf, SOURCES, |key: &u32| Ok(*key), Encode::decode)?,
    })
}

pub(super) fn apply(ebpf: &mut Ebpf, action: &TableAction) -> Result<()> {
    match action {
        TableAction::PutNode(entry) => {
            change_node(ebpf, |node| *node = abi::Node { flags: node.flags, ..entry.encode() })
        }
        TableAction::PutNetwork(vni, network) => put(ebpf, NETWORKS, vni.encode(), network.encode()),
        TableAction::DeleteNetwork(vni) => delete::<_, abi::Network>(ebpf, NETWORKS, vni.encode()),
        TableAction::PutFdb(vni, mac, destination) => {
            put(ebpf, FDB, (*vni, *mac).encode(), destination.encode())
        }
        TableAction::DeleteFdb(vni, mac) => delete::<_, abi::Destination>(ebpf, FDB, (*vni, *mac).encode()),
        TableAction::PutNeighbour(vni, address, mac) => {
            let neighbour = Neighbour { mac: mac.encode(), padding: [0; 2] };
            put(ebpf, NEIGHBOURS, (*vni, *address).encode(), neighbour)
        }
        TableAction::DeleteNeighbour(vni, address) => {
            delete::<_, Neighbour>(ebpf, NEIGHBOURS, (*vni, *address).encode())
        }
        TableAction::PutVtep(address, vtep) => {
            put(ebpf, VTEPS, VtepKey { address: address.encode() }, vtep.encode())
        }
        TableAction::DeleteVtep(address) => {
            delete::<_, abi::Vtep>(ebpf, VTEPS, VtepKey { address: address.encode() })
        }
        TableAction::PutSource(ifindex, source) => put(ebpf, SOURCES, *ifindex, source.encode()),
        TableAction::DeleteSource(ifindex) => delete::<_, abi::Source>(ebpf, SOURCES, *ifindex),
    }
}

/// The node's flags are not part of its entry: they come with the services.
fn change_node(ebpf: &mut Ebpf, change: impl FnOnce(&mut abi::Node)) -> Result<()> {
    let map = ebpf.map_mut(NODE).context("the BPF object has no map NODE")?;
    let mut array: Array<_, abi::Node> = Array::try_from(map)?;
    let mut node = array.get(&0, 0)?;
    change(&mut node);
    array.set(0, node, 0).context("writing to the BPF map NODE")
}

fn put<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &str, key: K, value: V) -> Result<()> {
    hash_map(ebpf, name)?.insert(key, value, 0).with_context(|| format!("writing to the BPF map {name}"))
}

fn delete<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &str, key: K) -> Result<()> {
    match hash_map::<K, V>(ebpf, name)?.remove(&key) {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("removing from the BPF map {name}")),
    }
}

fn hash_map<'a, K: Pod, V: Pod>(ebpf: &'a mut Ebpf, name: &str) -> Result<HashMap<&'a mut MapData, K, V>> {
    let map = ebpf.map_mut(name).with_context(|| format!("the BPF object has no map {name}"))?;
    Ok(HashMap::try_from(map)?)
}

fn entries<KI: Pod, VI: Pod, K: Ord, V>(
    ebpf: &Ebpf,
    name: &str,
    key: impl Fn(&KI) -> Result<K>,
    value: impl Fn(&VI) -> Result<V>,
) -> Result<BTreeMap<K, V>> {
    let map: HashMap<_, KI, VI> = HashMap::try_from(map(ebpf, name)?)?;
    map.iter()
        .map(|entry| {
            let (key_image, value_image) = entry?;
            Ok((key(&key_image)?, value(&value_image)?))
        })
        .collect::<Result<_>>()
        .with_context(|| format!("reading the BPF map {name}"))
}
