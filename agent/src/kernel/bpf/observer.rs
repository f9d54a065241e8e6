//! What programs write while they run, read beside the reconciler: it takes longer than the event loop may stand still.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use nix::time::{ClockId, clock_gettime};
use overlay::flows::{Backend, Backends, FlowEntry};
use overlay::lb::{BackendSlot, ServiceSlot};
use overlay::model::ServiceId;
use overlay::reconcile::tables::{BackendEntry, ServiceEntry};
use overlay::traffic::{Counts, Traffic};
use overlay_abi::DropReason;
use overlay_abi::map::{BACKENDS, COUNTERS, FLOWS, REFUSALS, SERVICES};
use overlay_abi::services::{Counter, Flow, FlowKey};

use super::encode::{Encode, decode_flow, decode_slot};
use super::{batch, tables};

/// Reads flows and counters, and ends flows. It blocks for as long as that takes, which is up to a second.
pub struct Observer {
    flows: MapData,
    services: MapData,
    backends: MapData,
    counters: Map,
    refusals: Map,
}

impl Observer {
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self> {
        let data = |name| -> Result<MapData> {
            let fd = tables::data(tables::map(ebpf, name)?)?.fd().as_fd().try_clone_to_owned()?;
            MapData::from_fd(fd).with_context(|| format!("opening the BPF map {name} once more"))
        };
        Ok(Self {
            flows: data(FLOWS)?,
            services: data(SERVICES)?,
            backends: data(BACKENDS)?,
            counters: Map::PerCpuArray(data(COUNTERS)?),
            refusals: Map::PerCpuHashMap(data(REFUSALS)?),
        })
    }

    /// The backends that flows lead to.
    ///
    /// # Errors
    /// When a map can't be read, or holds what no agent of this version writes.
    pub fn backends(&self) -> Result<Backends> {
        Ok(Backends::new(&self.service_ids()?, &self.backend_entries()?))
    }

    /// What this node counted for services: what clients sent by it, since each backend and service is in its tables.
    ///
    /// # Errors
    /// As for [`Observer::backends`].
    pub fn traffic(&self) -> Result<Traffic> {
        let (services, backends) = (self.service_ids()?, self.backend_entries()?);
        let mut traffic = Traffic::default();
        for (slot, counter) in self.counters(backends.keys().copied())? {
            let entry = &backends[&slot];
            let Some(service) = services.get(&entry.service) else { continue };
            let backend = Backend { service: *service, endpoint: entry.endpoint };
            let Counter { flows, packets, bytes } = counter;
            *traffic.backends.entry(backend).or_default() += Counts { flows, packets, bytes };
        }
        traffic.backends.retain(|_, counts| *counts != Counts::default());
        for ((slot, reason), packets) in self.refusals()? {
            if let Some(service) = services.get(&slot) {
                traffic.drops.insert((*service, reason.name().to_owned()), packets);
            }
        }
        Ok(traffic)
    }

    /// What clients sent to these backends by this node since each got its slot, all CPUs together.
    ///
    /// # Errors
    /// When the map can't be read.
    pub fn counters(
        &self,
        slots: impl IntoIterator<Item = BackendSlot>,
    ) -> Result<BTreeMap<BackendSlot, Counter>> {
        tables::counters(&self.counters, slots)
    }

    /// How many packets of which service were dropped here for which reason since it got its slot, all CPUs together.
    /// [`super::DataPath::drops`] has them as well.
    ///
    /// # Errors
    /// When the map can't be read, or holds what no program of this version writes.
    pub fn refusals(&self) -> Result<BTreeMap<(ServiceSlot, DropReason), u64>> {
        tables::refusals(&self.refusals)
    }

    fn service_ids(&self) -> Result<BTreeMap<ServiceSlot, ServiceId>> {
        tables::elements(&self.services, SERVICES, tables::is_present, decode_slot, |image| {
            Ok(ServiceEntry::decode(image)?.service)
        })
    }

    fn backend_entries(&self) -> Result<BTreeMap<BackendSlot, BackendEntry>> {
        tables::elements(&self.backends, BACKENDS, tables::is_backend, decode_slot, BackendEntry::decode)
    }

    /// Shows every flow that is kept, live or not.
    ///
    /// # Errors
    /// As for [`Observer::backends`].
    pub fn each_flow(&self, mut visit: impl FnMut(FlowEntry)) -> Result<()> {
        self.read(|_, flow| {
            visit(flow);
            Ok(())
        })
    }

    /// Ends the flows that are meant, and says how many: their next packet is the first of a new flow.
    ///
    /// # Errors
    /// As for [`Observer::backends`], and when the kernel refuses; some may have ended then.
    pub fn end_flows(&self, mut meant: impl FnMut(&FlowEntry) -> bool) -> Result<usize> {
        let fd = self.flows.fd().as_fd().try_clone_to_owned()?;
        let mut map: HashMap<_, FlowKey, Flow> = HashMap::try_from(Map::LruHashMap(MapData::from_fd(fd)?))?;
        let mut ended = 0;
        self.read(|key, flow| {
            if !meant(&flow) {
                return Ok(());
            }
            match map.remove(key) {
                Ok(()) => ended += 1,
                // It went meanwhile.
                Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("removing from the BPF map {FLOWS}"));
                }
            }
            Ok(())
        })?;
        Ok(ended)
    }

    fn read(&self, mut visit: impl FnMut(&FlowKey, FlowEntry) -> Result<()>) -> Result<()> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        batch::each(&self.flows, |key: &FlowKey, flow: &Flow| visit(key, decode_flow(key, flow, now)?))
            .with_context(|| format!("reading the BPF map {FLOWS}"))
    }
}
