//! What is about services.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use aya::{Ebpf, Pod};
use overlay::lb::{BackendSlot, Region, Slot};
use overlay::model::Protocol;
use overlay::reconcile::tables::{Lookups, ServiceAction, ServiceTables};
use overlay_abi::map::{ADDRESSES, BACKENDS, LOCALS, MAGLEV, NODE, PORTS, SERVICES, VIPS};
use overlay_abi::services::{self as abi, Backend, Port, Service, Vip, port_index, service_flag};
use overlay_abi::{Node, VtepKey};

use super::super::encode::{Encode, decode_slot};
use super::super::mapped;
use super::{counters, data, delete, entries, map, put};

pub(in crate::kernel::bpf) fn observe(ebpf: &Ebpf) -> Result<ServiceTables> {
    let node: Array<_, Node> = Array::try_from(map(ebpf, NODE)?)?;
    let addresses = entries(ebpf, ADDRESSES, |key: &VtepKey| Encode::decode(&key.address), |_: &u32| Ok(()))?;
    Ok(ServiceTables {
        ports: elements(
            data(map(ebpf, PORTS)?)?,
            PORTS,
            |port: &Port| port.service != 0,
            port_of,
            Encode::decode,
        )?,
        vips: entries(ebpf, VIPS, Encode::decode, Encode::decode)?,
        services: elements(data(map(ebpf, SERVICES)?)?, SERVICES, is_present, decode_slot, Encode::decode)?,
        backends: elements(data(map(ebpf, BACKENDS)?)?, BACKENDS, is_backend, decode_slot, Encode::decode)?,
        locals: entries(ebpf, LOCALS, Encode::decode, |slot: &u32| decode_slot(*slot))?,
        addresses: addresses.into_keys().collect(),
        lookups: Lookups::decode(&node.get(&0, 0)?.flags)?,
    })
}

pub(in crate::kernel::bpf) fn apply(ebpf: &mut Ebpf, action: &ServiceAction) -> Result<()> {
    match action {
        ServiceAction::PutBackend(slot, backend) => put_backend(ebpf, slot.get(), &backend.encode()),
        ServiceAction::DeleteBackend(slot) => set(ebpf, BACKENDS, slot.get(), Backend::default()),
        ServiceAction::WriteTable(region, places) => write_table(ebpf, *region, places),
        ServiceAction::PutService(slot, service) => put_service(ebpf, slot.get(), &service.encode()),
        ServiceAction::DeleteService(slot) => set(ebpf, SERVICES, slot.get(), Service::default()),
        ServiceAction::PutVip(vni, address, vip) => put(ebpf, VIPS, (*vni, *address).encode(), vip.encode()),
        ServiceAction::DeleteVip(vni, address) => delete::<_, Vip>(ebpf, VIPS, (*vni, *address).encode()),
        ServiceAction::PutPort(protocol, port, entry) => {
            set(ebpf, PORTS, index_of(*protocol, *port), entry.encode())
        }
        ServiceAction::DeletePort(protocol, port) => {
            set(ebpf, PORTS, index_of(*protocol, *port), Port::default())
        }
        ServiceAction::PutLocal(vni, mac, slot) => put(ebpf, LOCALS, (*vni, *mac).encode(), slot.get()),
        ServiceAction::DeleteLocal(vni, mac) => delete::<_, u32>(ebpf, LOCALS, (*vni, *mac).encode()),
        ServiceAction::PutAddress(address) => {
            put(ebpf, ADDRESSES, VtepKey { address: address.encode() }, 1u32)
        }
        ServiceAction::DeleteAddress(address) => {
            delete::<_, u32>(ebpf, ADDRESSES, VtepKey { address: address.encode() })
        }
        ServiceAction::SetLookups(lookups) => super::change_node(ebpf, |node| node.flags = lookups.encode()),
    }
}

/// What was counted in the slot is not this backend's, unless it is the one that is there.
fn put_backend(ebpf: &mut Ebpf, slot: u32, backend: &Backend) -> Result<()> {
    if get::<Backend>(ebpf, BACKENDS, slot)?.generation != backend.generation {
        counters::forget_backend(ebpf, slot)?;
    }
    set(ebpf, BACKENDS, slot, *backend)
}

/// Likewise.
fn put_service(ebpf: &mut Ebpf, slot: u32, service: &Service) -> Result<()> {
    if get::<Service>(ebpf, SERVICES, slot)?.id != service.id {
        counters::forget_service(ebpf, slot)?;
    }
    set(ebpf, SERVICES, slot, *service)
}

pub(in crate::kernel::bpf) const fn is_backend(backend: &Backend) -> bool {
    backend.generation != 0
}

pub(in crate::kernel::bpf) const fn is_present(service: &Service) -> bool {
    service.flags & service_flag::PRESENT != 0
}

const fn index_of(protocol: Protocol, port: u16) -> u32 {
    port_index(matches!(protocol, Protocol::Udp), port)
}

/// Whose entry has that index.
fn port_of(index: u32) -> Result<(Protocol, u16)> {
    let port = (index & u32::from(u16::MAX)) as u16;
    let of = |protocol| index_of(protocol, port) == index;
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|protocol| of(*protocol));
    Ok((protocol.context("a map holds a port of no protocol")?, port))
}

fn write_table(ebpf: &Ebpf, region: Region, places: &[BackendSlot]) -> Result<()> {
    let mut bytes = Vec::with_capacity(places.len() * PLACE);
    for slot in places {
        bytes.extend(u16::try_from(slot.get())?.to_ne_bytes());
    }
    mapped::write(data(map(ebpf, MAGLEV)?)?, region.offset() as usize * PLACE, &bytes)
        .context("writing to the BPF map MAGLEV")
}

/// What a place takes, in bytes.
const PLACE: usize = size_of::<abi::Places>() / abi::PLACES as usize;

fn get<V: Pod>(ebpf: &Ebpf, name: &str, index: u32) -> Result<V> {
    let array: Array<_, V> = Array::try_from(map(ebpf, name)?)?;
    array.get(&index, 0).with_context(|| format!("reading the BPF map {name}"))
}

fn set<V: Pod>(ebpf: &mut Ebpf, name: &str, index: u32, value: V) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("the BPF object has no map {name}"))?;
    Array::try_from(map)?.set(index, value, 0).with_context(|| format!("writing to the BPF map {name}"))
}

/// The elements of an array that count, by what their index stands for.
pub(in crate::kernel::bpf) fn elements<I: Pod, K: Ord, V>(
    array: &MapData,
    name: &str,
    counts: impl Fn(&I) -> bool,
    key: impl Fn(u32) -> Result<K>,
    value: impl Fn(&I) -> Result<V>,
) -> Result<std::collections::BTreeMap<K, V>> {
    let read = || -> Result<_> {
        let images: Vec<I> = mapped::read(array)?;
        let counting = (0..).zip(&images).filter(|(_, image)| counts(image));
        counting.map(|(index, image)| Ok((key(index)?, value(image)?))).collect()
    };
    read().with_context(|| format!("reading the BPF map {name}"))
}
