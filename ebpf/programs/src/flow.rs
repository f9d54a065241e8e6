//! Flows: looked up, kept, and followed through TCP's states (RFC 9293, section 3.3.2, as far as one who sees only
//! one direction can).

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use overlay_abi::services::{Flow, FlowKey, Service, state};
use overlay_abi::{Address, Idle};
use overlay_packet::ip;
use overlay_packet::transport::{self, client_hash, flow_hash, tcp};

use crate::maps;
use crate::transport::{Part, Transport};

pub const SECOND: u64 = 1_000_000_000;

/// For how long a flow is kept without a packet, in nanoseconds.
#[inline(always)]
fn idle(protocol: u8, state: u8) -> u64 {
    let Some(Idle { syn, established, fin, rst, single, stream }) = maps::idle() else { return 0 };
    let seconds = match (protocol, state) {
        (ip::protocol::TCP, state::SYN) => syn,
        (ip::protocol::TCP, state::ESTABLISHED) => established,
        (ip::protocol::TCP, state::FIN) => fin,
        (ip::protocol::TCP, _) => rst,
        (_, state::ESTABLISHED) => stream,
        _ => single,
    };
    SECOND * u64::from(seconds)
}

/// The flow of that key that is live at that time. The kernel may give its memory to another flow at any time, so what is
/// decided by it is read once.
#[inline(always)]
pub fn find(key: &FlowKey, now: u64) -> Option<&'static mut Flow> {
    let flow = maps::flow(key)?;
    // SAFETY: the memory is the map's and stays until the program ends; any bytes in it are a valid flow.
    let flow = unsafe { &mut *flow };
    is_live(key, flow, now).then_some(flow)
}

/// Whether a flow of that key has been silent for no longer than it may.
#[inline(always)]
pub fn is_live(key: &FlowKey, flow: &Flow, now: u64) -> bool {
    since(flow.seen, now) < idle(key.protocol, flow.state)
}

/// Whether the packet belongs to a connection that begins where the flow's has ended.
#[inline(always)]
pub fn is_over(flow: &Flow, transport: &Transport) -> bool {
    transport.flags & tcp::SYN != 0 && matches!(flow.state, state::FIN | state::RST)
}

/// Notes another packet of a flow. An error about one tells nothing of how the flow is.
#[inline(always)]
pub fn follow(flow: &mut Flow, transport: &Transport) {
    if transport.part == Part::Quoted {
        return;
    }
    flow.state = next(flow.state, transport);
    flow.seen = transport.now;
}

/// A flow that begins, or is seen for the first time here, with this packet.
#[inline(always)]
pub fn begun(
    transport: &Transport,
    (backend, generation): (u32, u32),
    (address, port): (Address, u16),
) -> Flow {
    let state = match transport.protocol {
        ip::protocol::TCP if transport.flags & tcp::SYN == 0 => next(state::ESTABLISHED, transport),
        ip::protocol::TCP => next(state::NONE, transport),
        _ => state::NONE,
    };
    Flow {
        seen: transport.now,
        backend,
        generation,
        address,
        via: Address::NONE,
        vni: 0,
        port,
        state,
        padding: 0,
    }
}

/// The number by which a service's new flow gets its backend: of all of the flow, or of its client alone where clients
/// stay with their backend.
#[inline(always)]
pub fn hash(key: &FlowKey, service: &Service) -> u32 {
    if service.affinity != 0 {
        return client_hash(&key.source);
    }
    let ports = u32::from(key.source_port) << 16 | u32::from(key.destination_port);
    flow_hash(&key.source, &key.destination, ports, key.protocol)
}

/// A number by which packets are spread over ways and queues: one for all of a flow's.
#[inline(always)]
pub fn quick_hash(key: &FlowKey) -> u32 {
    let ports = u32::from(key.source_port) << 16 | u32::from(key.destination_port);
    transport::quick_hash(&key.source, &key.destination, ports)
}

#[inline(always)]
fn next(state: u8, transport: &Transport) -> u8 {
    if transport.protocol != ip::protocol::TCP {
        // A second packet: more than a question that nobody answers.
        return if state == state::NONE { state::ESTABLISHED } else { state };
    }
    let flags = transport.flags;
    if flags & tcp::RST != 0 {
        state::RST
    } else if flags & tcp::FIN != 0 {
        state::FIN
    } else if flags & tcp::SYN != 0 {
        // A new connection between the same ports, or its answer.
        state::SYN
    } else if state == state::SYN {
        state::ESTABLISHED
    } else {
        state
    }
}

/// How long before `now` that was, in nanoseconds. Another CPU may have noted it since this one asked for the time.
#[inline(always)]
pub fn since(then: u64, now: u64) -> u64 {
    (now.wrapping_sub(then) as i64).max(0) as u64
}

/// The time since the host's boot, in nanoseconds, exact to a few milliseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper only reads the clock.
    unsafe { bpf_ktime_get_coarse_ns() }
}
