//! What the programs count for services. A slot's counts end with who has the slot.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Map, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::util::nr_cpus;
use overlay::lb::{BackendSlot, ServiceSlot, Slot as _};
use overlay_abi::DropReason;
use overlay_abi::map::{COUNTERS, REFUSALS};
use overlay_abi::services::{Counter, RefusalKey};

use super::super::encode::decode_slot;

pub(in crate::kernel::bpf) fn counters(
    map: &Map,
    slots: impl IntoIterator<Item = BackendSlot>,
) -> Result<BTreeMap<BackendSlot, Counter>> {
    let array: PerCpuArray<_, Counter> = PerCpuArray::try_from(map)?;
    let of = |slot: BackendSlot| Ok((slot, sum(&array.get(&slot.get(), 0)?)));
    slots.into_iter().map(of).collect::<Result<_>>().context("reading the BPF map COUNTERS")
}

fn sum(values: &PerCpuValues<Counter>) -> Counter {
    values.iter().fold(Counter::default(), |sum, cpu| Counter {
        flows: sum.flows + cpu.flows,
        packets: sum.packets + cpu.packets,
        bytes: sum.bytes + cpu.bytes,
    })
}

pub(in crate::kernel::bpf) fn refusals(map: &Map) -> Result<BTreeMap<(ServiceSlot, DropReason), u64>> {
    let map: PerCpuHashMap<_, RefusalKey, u64> = PerCpuHashMap::try_from(map)?;
    map.iter()
        .map(|entry| {
            let (key, counts) = entry?;
            let reason = DropReason::ALL.iter().find(|reason| **reason as u32 == key.reason);
            let reason = reason.context("it holds a reason that there is not")?;
            Ok(((decode_slot(key.service)?, *reason), counts.iter().sum()))
        })
        .collect::<Result<_>>()
        .context("reading the BPF map REFUSALS")
}

/// Counts anew for who gets a backend's slot.
pub(super) fn forget_backend(ebpf: &mut Ebpf, slot: u32) -> Result<()> {
    let map = ebpf.map_mut(COUNTERS).context("the BPF object has no map COUNTERS")?;
    let mut array: PerCpuArray<_, Counter> = PerCpuArray::try_from(map)?;
    let cpus = nr_cpus().map_err(|(what, error)| anyhow::Error::new(error).context(what))?;
    let none = PerCpuValues::try_from(vec![Counter::default(); cpus])?;
    array.set(slot, none, 0).context("writing to the BPF map COUNTERS")
}

/// Counts anew for who gets a service's slot.
pub(super) fn forget_service(ebpf: &mut Ebpf, slot: u32) -> Result<()> {
    let map = ebpf.map_mut(REFUSALS).context("the BPF object has no map REFUSALS")?;
    let mut map: PerCpuHashMap<_, RefusalKey, u64> = PerCpuHashMap::try_from(map)?;
    for reason in DropReason::ALL {
        match map.remove(&RefusalKey { service: slot, reason: *reason as u32 }) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {}
            result => result.context("removing from the BPF map REFUSALS")?,
        }
    }
    Ok(())
}
