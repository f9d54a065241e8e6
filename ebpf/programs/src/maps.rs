//! The maps, pinned by name, so that a restarted agent finds them as they were; all but the programs' own memory: PEER_HOPS,
//! CLIENT_HOPS, WANTED, WORK and REPLY. Of the pinned ones, programs write only what counts, FLOWS and AFFINITY. The hash maps are not
//! preallocated: an entry is then replaced as a whole and freed by RCU, so
//! a reader never sees half of one.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap};
use overlay_abi::map::{
    ADDRESSES_SIZE, AFFINITY_SIZE, BACKENDS_SIZE, DROPS_SIZE, FDB_SIZE, FLOWS_SIZE, LOCALS_SIZE, MAGLEV_SIZE,
    NEIGHBOURS_SIZE, NETWORKS_SIZE, PORTS_SIZE, REFUSALS_SIZE, SERVICES_SIZE, SOURCES_SIZE, VIPS_SIZE,
    VTEPS_SIZE,
};
use overlay_abi::services::{
    Affinity, AffinityKey, Backend, Counter, Flow, FlowKey, PLACES, Places, Port, RefusalKey, Service, Table,
    Vip, port_index,
};
use overlay_abi::{
    Address, Destination, DropReason, FdbKey, Idle, Mac, Neighbour, NeighbourKey, Network, Node, Source,
    Vtep, VtepKey,
};

use crate::hop::{CLIENTS_SIZE, Client, PEERS_SIZE, Peer};
use crate::reply::Scratch;
use crate::work::Work;

#[map]
static NODE: Array<Node> = Array::pinned(1, 0);
#[map]
static NETWORKS: HashMap<u32, Network> = HashMap::pinned(NETWORKS_SIZE, BPF_F_NO_PREALLOC);
#[map]
static FDB: HashMap<FdbKey, Destination> = HashMap::pinned(FDB_SIZE, BPF_F_NO_PREALLOC);
#[map]
static NEIGHBOURS: HashMap<NeighbourKey, Neighbour> = HashMap::pinned(NEIGHBOURS_SIZE, BPF_F_NO_PREALLOC);
#[map]
static VTEPS: HashMap<VtepKey, Vtep> = HashMap::pinned(VTEPS_SIZE, BPF_F_NO_PREALLOC);
#[map]
static SOURCES: HashMap<u32, Source> = HashMap::pinned(SOURCES_SIZE, BPF_F_NO_PREALLOC);
#[map]
static PORTS: Array<Port> = Array::pinned(PORTS_SIZE, BPF_F_MMAPABLE);
#[map]
static VIPS: HashMap<NeighbourKey, Vip> = HashMap::pinned(VIPS_SIZE, BPF_F_NO_PREALLOC);
#[map]
static SERVICES: Array<Service> = Array::pinned(SERVICES_SIZE, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Array<Backend> = Array::pinned(BACKENDS_SIZE, BPF_F_MMAPABLE);
#[map]
static MAGLEV: Array<Places> = Array::pinned(MAGLEV_SIZE, BPF_F_MMAPABLE);
#[map]
static LOCALS: HashMap<FdbKey, u32> = HashMap::pinned(LOCALS_SIZE, BPF_F_NO_PREALLOC);
#[map]
static ADDRESSES: HashMap<VtepKey, u32> = HashMap::pinned(ADDRESSES_SIZE, BPF_F_NO_PREALLOC);
#[map]
static FLOWS: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(FLOWS_SIZE, 0);
#[map]
static PEER_HOPS: Array<Peer> = Array::with_max_entries(PEERS_SIZE, 0);
#[map]
static CLIENT_HOPS: Array<Client> = Array::with_max_entries(CLIENTS_SIZE, 0);
#[map]
static WANTED: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REPLY: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::pinned(DROPS_SIZE, 0);
#[map]
static AFFINITY: LruHashMap<AffinityKey, Affinity> = LruHashMap::pinned(AFFINITY_SIZE, 0);
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::pinned(BACKENDS_SIZE, 0);
#[map]
static REFUSALS: PerCpuHashMap<RefusalKey, u64> = PerCpuHashMap::pinned(REFUSALS_SIZE, BPF_F_NO_PREALLOC);

macro_rules! lookup {
    ($map:ident, $key:expr) => {
        // SAFETY: the map is not preallocated, so what is found stays whole until the program ends.
        unsafe { $map.get($key) }
    };
}

/// This node, if it is configured.
#[inline(always)]
pub fn node() -> Option<&'static Node> {
    NODE.get(0).filter(|node| node.underlay_ifindex != 0)
}

/// How long this node keeps flows, if it is configured.
#[inline(always)]
pub fn idle() -> Option<Idle> {
    let Idle { syn, established, fin, rst, single, stream } = &node()?.idle;
    // SAFETY: a reference is valid to read. Volatile, since the compiler else computes which one is wanted and reads that one
    // alone, at a place that the verifier can't bound.
    let read = |field: &u32| unsafe { core::ptr::from_ref(field).read_volatile() };
    Some(Idle {
        syn: read(syn),
        established: read(established),
        fin: read(fin),
        rst: read(rst),
        single: read(single),
        stream: read(stream),
    })
}

#[inline(always)]
pub fn network(vni: u32) -> Option<&'static Network> {
    lookup!(NETWORKS, &vni)
}

#[inline(always)]
pub fn destination(vni: u32, mac: Mac) -> Option<&'static Destination> {
    lookup!(FDB, &FdbKey::new(vni, mac))
}

/// Who has an address.
#[inline(always)]
pub fn neighbour(vni: u32, address: Address) -> Option<&'static Mac> {
    lookup!(NEIGHBOURS, &NeighbourKey::new(vni, address)).map(|neighbour| &neighbour.mac)
}

#[inline(always)]
pub fn vtep(address: Address) -> Option<&'static Vtep> {
    lookup!(VTEPS, &VtepKey { address })
}

/// The endpoint behind a device.
#[inline(always)]
pub fn source(ifindex: u32) -> Option<&'static Source> {
    lookup!(SOURCES, &ifindex)
}

/// A published port.
#[inline(always)]
pub fn port(udp: bool, port: u16) -> Option<&'static Port> {
    PORTS.get(port_index(udp, port)).filter(|port| port.service != 0)
}

/// A service that has this address in the network.
#[inline(always)]
pub fn vip(vni: u32, address: Address) -> Option<&'static Vip> {
    lookup!(VIPS, &NeighbourKey::new(vni, address))
}

#[inline(always)]
pub fn service(slot: u32) -> Option<&'static Service> {
    SERVICES.get(slot)
}

#[inline(always)]
pub fn backend(slot: u32) -> Option<&'static Backend> {
    BACKENDS.get(slot)
}

/// The backend's slot that a table has for a flow's hash.
#[inline(always)]
pub fn choose(table: &Table, hash: u32) -> u32 {
    if table.size == 0 {
        return 0;
    }
    let place = table.offset + hash % table.size;
    match MAGLEV.get(place / PLACES) {
        Some(places) => u32::from(places[(place % PLACES) as usize]),
        None => 0,
    }
}

/// The slot of a backend here.
#[inline(always)]
pub fn local_backend(vni: u32, mac: Mac) -> Option<u32> {
    lookup!(LOCALS, &FdbKey::new(vni, mac)).copied()
}

/// Whether the host itself has an address.
#[inline(always)]
pub fn is_own(address: Address) -> bool {
    // Mostly one of these is asked for. A family without a way out has none.
    let is_known = |node: &Node| {
        address == node.vtep || (address == node.egress4 || address == node.egress6) && !address.is_none()
    };
    node().is_some_and(is_known) || lookup!(ADDRESSES, &VtepKey { address }).is_some()
}

/// The flow's own memory, until the program ends: the kernel may give it to another flow while it is looked at, as an
/// LRU map reuses its elements at once. So a reader takes what it needs, and checks it.
#[inline(always)]
pub fn flow(key: &FlowKey) -> Option<*mut Flow> {
    FLOWS.get_ptr_mut(key)
}

/// Keeps a flow. Where the map has no room even so, the flow is not kept.
#[inline(always)]
pub fn keep_flow(key: &FlowKey, flow: &Flow) {
    let _ = FLOWS.insert(key, flow, 0);
}

/// Keeps a flow unless the key has one. False if it has, or where the map has no room even so.
#[inline(always)]
pub fn claim_flow(key: &FlowKey, flow: &Flow) -> bool {
    FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_ok()
}

/// Where a client's latest flow went.
#[inline(always)]
pub fn affinity(client: &AffinityKey) -> Option<Affinity> {
    // SAFETY: as for flow(), the memory stays until the program ends. What is torn, as the kernel gives it to another client
    // meanwhile, leads to a backend of the same service at worst.
    unsafe { AFFINITY.get(client) }.copied()
}

/// Keeps where a client's latest flow went. Where the map has no room even so, it is not kept.
#[inline(always)]
pub fn keep_affinity(client: &AffinityKey, to: &Affinity) {
    let _ = AFFINITY.insert(client, to, 0);
}

/// Drops a flow, if it is there.
#[inline(always)]
pub fn forget_flow(key: &FlowKey) {
    let _ = FLOWS.remove(key);
}

/// Where the way to a VTEP of that hash is kept.
#[inline(always)]
pub fn peer_hop(hash: u32) -> Option<&'static mut Peer> {
    let place = hash >> (32 - PEERS_SIZE.trailing_zeros());
    // SAFETY: any bytes are a valid value; one that is torn by other CPUs' writes sends packets astray until it
    // is renewed, at worst.
    PEER_HOPS.get_ptr_mut(place).map(|hop| unsafe { &mut *hop })
}

/// Where that to a client is kept.
#[inline(always)]
pub fn client_hop(hash: u32) -> Option<&'static mut Client> {
    let place = hash >> (32 - CLIENTS_SIZE.trailing_zeros());
    // SAFETY: the same.
    CLIENT_HOPS.get_ptr_mut(place).map(|hop| unsafe { &mut *hop })
}

/// When a hop was last wanted that was not there, in nanoseconds since the host's boot; 0 for never.
#[inline(always)]
pub fn wanted() -> Option<&'static mut u64> {
    // SAFETY: any bytes are a valid value, and it does not matter whose are written last.
    WANTED.get_ptr_mut(0).map(|wanted| unsafe { &mut *wanted })
}

/// This CPU's scratch memory, with what its last user left in it.
#[inline(always)]
pub fn work() -> Option<&'static mut Work> {
    // SAFETY: no other program runs on this CPU until this one ends, and each looks it up once.
    WORK.get_ptr_mut(0).map(|work| unsafe { &mut *work })
}

/// This CPU's scratch memory for replies.
#[inline(always)]
pub fn reply() -> Option<&'static mut Scratch> {
    // SAFETY: as for `work`: no other program runs here until this one ends, and each replies once.
    REPLY.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Counts a drop on this CPU.
#[inline(always)]
pub fn count(reason: DropReason) {
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: the pointer is into the map, and the slot is this CPU's alone while the program runs.
        unsafe { *counter += 1 };
    }
}

/// Counts a flow that a backend gets.
#[inline(always)]
pub fn count_flow(backend: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(backend) {
        // SAFETY: as in `count`.
        unsafe { (*counter).flows += 1 };
    }
}

/// Counts what a client sends to a backend.
#[inline(always)]
pub fn count_sent(backend: u32, packets: u64, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(backend) {
        // SAFETY: as in `count`.
        unsafe {
            (*counter).packets += packets;
            (*counter).bytes += bytes;
        }
    }
}

/// Counts, for a service, a drop that is counted as such as well. Where the map has no room, it is not.
#[inline(never)]
pub fn count_refusal(service: u32, reason: DropReason) {
    let key = RefusalKey { service, reason: reason as u32 };
    match REFUSALS.get_ptr_mut(key) {
        // SAFETY: as in `count`.
        Some(counter) => unsafe { *counter += 1 },
        None => {
            let _ = REFUSALS.insert(key, 1, 0);
        }
    }
}
