//! Finding a port for a flow that is translated: the entry for what comes back is what takes the port.
//!
//! Nothing else says which ports are taken, so nothing can disagree with the entries. One that the LRU has dropped, or
//! whose flow was silent for too long, is free.

use overlay_abi::services::{Flow, state};
use overlay_packet::transport::flow_hash;

use crate::transport::Transport;
use crate::work::Work;
use crate::{flow, maps};

/// How many ports are tried: with nine of ten taken, 3 % of new flows find none.
const TRIES: u32 = 32;

/// The ports that may be taken.
#[derive(Clone, Copy)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

/// Takes a port for the packet's flow, which had `hint` before, or 0. `work.key` is the key of what comes back but for the
/// port that it goes to, and `work.flow` what becomes of that; the key is whole afterwards. 0 where there is none.
#[inline(never)]
pub fn take_port(work: &mut Work, hint: u16, ports: Ports) -> u16 {
    if hint != 0 && take(work, hint, false) {
        return hint;
    }
    let hash = hash(work);
    match search(work, hash, ports, false) {
        // Rather than refuse, cut the wait short that follows a connection's end.
        0 => search(work, hash, ports, true),
        port => port,
    }
}

/// Where the search begins: somewhere else for each flow.
#[inline(never)]
fn hash(work: &Work) -> u32 {
    let (of, to) = (&work.flow, &work.key);
    let ports = u32::from(of.port) << 16 | u32::from(to.source_port);
    flow_hash(&of.address, &to.source, ports, to.protocol) ^ of.vni
}

/// Each try is as far from the one before, by a step of the flow's own.
#[inline(never)]
fn search(work: &mut Work, hash: u32, ports: Ports, ended: bool) -> u16 {
    let count = u32::from(ports.last.saturating_sub(ports.first)) + 1;
    let step = hash >> 16 | 1;
    for n in 0..TRIES {
        let port = ports.first.wrapping_add((hash.wrapping_add(n.wrapping_mul(step)) % count) as u16);
        if take(work, port, ended) {
            return port;
        }
    }
    0
}

/// Takes that port if it is free or the flow's own; with `ended`, also one whose connection has ended.
#[inline(never)]
fn take(work: &mut Work, port: u16, ended: bool) -> bool {
    work.key.destination_port = port;
    let Some(taken) = maps::flow(&work.key) else { return maps::claim_flow(&work.key, &work.flow) };
    // SAFETY: the memory is the map's and stays until the program ends; any bytes in it are a valid flow.
    let taken = unsafe { &mut *taken };
    if is_of(taken, &work.flow) {
        renew(taken, &work.flow, &work.transport);
        return true;
    }
    if flow::is_live(&work.key, taken) && !(ended && matches!(taken.state, state::FIN | state::RST)) {
        return false;
    }
    maps::forget_flow(&work.key);
    maps::claim_flow(&work.key, &work.flow)
}

/// Whether both are for the same end.
#[inline(always)]
fn is_of(taken: &Flow, wanted: &Flow) -> bool {
    taken.port == wanted.port && taken.vni == wanted.vni && taken.address == wanted.address
}

/// Notes another packet of the flow, which by now may go by another way.
#[inline(always)]
fn renew(taken: &mut Flow, wanted: &Flow, transport: &Transport) {
    (taken.backend, taken.generation) = (wanted.backend, wanted.generation);
    flow::follow(taken, transport);
}
