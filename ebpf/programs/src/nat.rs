//! Translating where a flow comes from: it gets a port of this node's, and the entry for what comes back is what takes the
//! port.
//!
//! Nothing else says which ports are taken, so nothing can disagree with the entries. One that the LRU has dropped, or
//! whose flow was silent for too long, is free.

use overlay_abi::Address;
use overlay_abi::services::{Flow, FlowKey, state};
use overlay_packet::transport::flow_hash;

use crate::rewrite::{Change, End};
use crate::transport::Transport;
use crate::work::Work;
use crate::{flow, maps};

/// How many ports are tried, at first only free ones: with nine of ten taken, 8 % of new flows find none of those.
const TRIES: u32 = 24;
/// From which try on the wait is cut short for a connection that has ended, or that nobody goes on with.
const HASTY: u32 = 16;
/// How long after a connection's latest packet it is that nobody goes on with it, in nanoseconds, if it is only half open.
const HALF_OPEN: u64 = flow::SECOND;

/// The ports that may be taken.
#[derive(Clone, Copy)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

/// How a flow is translated.
pub struct Translation {
    /// The scope of the packets that are translated.
    pub there: u8,
    /// That of those that come back.
    pub back: u8,
    /// The network that they come from and go back to, or 0.
    pub vni: u32,
    /// What is kept with both: a backend's slot and generation, or see [`Flow::backend`].
    pub backend: (u32, u32),
    /// The address that they seem to come from.
    pub address: Address,
    pub ports: Ports,
    /// The first one to be tried for a new flow, or 0. The entry for what comes back is all that is kept with it.
    pub own: u16,
}

/// How far a flow's translation is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Translated {
    /// All ports that were tried are taken, or it is an error about a flow that is not known.
    No,
    /// It begins with this packet.
    Anew,
    /// It goes on.
    Still,
}

/// Finds what the packet's source becomes, and fills that in. `known` is the port that the packet's flow has, or 0.
///
/// In steps of their own, since the stack has no room for all that they need at once.
#[inline(never)]
pub fn translate(work: &mut Work, by: &Translation, known: u16) -> Translated {
    // An error about a flow that is not known is about nothing that came by here.
    if known == 0 && work.is_error() {
        return Translated::No;
    }
    expect_back(work, by);
    let port = take_port(work, if known == 0 { by.own } else { known }, by.ports);
    if port == 0 {
        return Translated::No;
    }
    if port == by.own {
        if known != 0 {
            forget(work, by);
        }
    } else if port != known {
        keep(work, by, port);
    }
    work.change = Change { end: End::Source, address: by.address, port };
    if port == known { Translated::Still } else { Translated::Anew }
}

/// The port that the packet's flow has, unless that has ended or was translated otherwise; else 0.
#[inline(never)]
pub fn known_port(work: &mut Work, by: &Translation) -> u16 {
    work.key = FlowKey::new(by.there, by.vni, work.transport.protocol, work.source(), work.destination());
    let Some(flow) = flow::find(&work.key, work.transport.now) else { return 0 };
    let same = (flow.backend, flow.generation) == by.backend && flow.address == by.address;
    if !same || flow::is_over(flow, &work.transport) {
        return 0;
    }
    let port = flow.port;
    flow::follow(flow, &work.transport);
    port
}

/// Fills in the entry for what comes back, but for its port.
#[inline(never)]
fn expect_back(work: &mut Work, by: &Translation) {
    let to = work.destination();
    work.key = FlowKey::new(by.back, 0, work.transport.protocol, to, (by.address, 0));
    work.flow = flow::begun(&work.transport, by.backend, work.source());
    work.flow.vni = by.vni;
}

/// Keeps the packet's flow. Unlike one whose source stays as it is, from the first packet on: the port must stay the same.
#[inline(never)]
fn keep(work: &mut Work, by: &Translation, port: u16) {
    work.key = FlowKey::new(by.there, by.vni, work.transport.protocol, work.source(), work.destination());
    work.flow = flow::begun(&work.transport, by.backend, (by.address, port));
    maps::keep_flow(&work.key, &work.flow);
}

/// Forgets that the packet's flow had another port.
#[inline(never)]
fn forget(work: &mut Work, by: &Translation) {
    work.key = FlowKey::new(by.there, by.vni, work.transport.protocol, work.source(), work.destination());
    maps::forget_flow(&work.key);
}

/// Takes a port for the packet's flow, first `hint` if it is not 0. `work.key` is the key of what comes back but for the
/// port that it goes to, and `work.flow` what becomes of that; the key is whole afterwards. 0 where there is none.
#[inline(never)]
fn take_port(work: &mut Work, hint: u16, ports: Ports) -> u16 {
    if hint != 0 && take(work, hint, false) {
        return hint;
    }
    let hash = hash(work);
    search(work, hash, ports)
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
fn search(work: &mut Work, hash: u32, ports: Ports) -> u16 {
    let count = u32::from(ports.last.saturating_sub(ports.first)) + 1;
    let step = hash >> 16 | 1;
    for n in 0..TRIES {
        let port = ports.first.wrapping_add((hash.wrapping_add(n.wrapping_mul(step)) % count) as u16);
        if take(work, port, n >= HASTY) {
            return port;
        }
    }
    0
}

/// Takes that port if it is free or the flow's own; in haste, also one whose connection has ended or is a flood's.
#[inline(never)]
fn take(work: &mut Work, port: u16, hasty: bool) -> bool {
    work.key.destination_port = port;
    let Some(taken) = maps::flow(&work.key) else { return maps::claim_flow(&work.key, &work.flow) };
    // SAFETY: the memory is the map's and stays until the program ends; any bytes in it are a valid flow.
    let taken = unsafe { &mut *taken };
    if is_of(taken, &work.flow) {
        renew(taken, &work.flow, &work.transport);
        return true;
    }
    let now = work.transport.now;
    if flow::is_live(&work.key, taken, now) && !(hasty && gives_way(taken, now)) {
        return false;
    }
    maps::forget_flow(&work.key);
    maps::claim_flow(&work.key, &work.flow)
}

/// Whether a connection gives its port away where ports are short.
#[inline(always)]
fn gives_way(taken: &Flow, now: u64) -> bool {
    match taken.state {
        state::FIN | state::RST => true,
        state::SYN => flow::since(taken.seen, now) >= HALF_OPEN,
        _ => false,
    }
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
