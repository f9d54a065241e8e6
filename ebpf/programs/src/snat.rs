//! Services whose backends shall see the node that the client came to instead of the client, as where the underlay
//! forbids what comes from foreign addresses. Such a packet comes, for its backend, from the address that the client had
//! asked: by that it is told, at the backend's node, from a client's own. The answer goes back there, and from there to
//! the client. A client that is a process of the node itself can be answered in no other way.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Backend, Flow, FlowKey, scope};
use overlay_abi::{Address, DropReason};

use crate::nat::{self, Ports, Translated, Translation};
use crate::rewrite::{self, Change, End};
use crate::transport::Transport;
use crate::work::{self, Work};
use crate::{flow, fragment, maps, mesh, serve};

/// Nothing on this host can clash with these: between a node's own address and itself, packets leave no overlay.
const PORTS: Ports = Ports { first: 1024, last: u16::MAX };

/// At the node that the client came to: has the packet come from here.
#[inline(always)]
pub fn hide(ctx: &TcContext, work: &mut Work, slot: u32, backend: &Backend) -> Result<(), DropReason> {
    let (address, own) = (work.packet().destination(), work.source().1);
    if work.stands_for != 0 && work.stands_for == own {
        // The flow's entry has just been seen.
        work.change = Change { end: End::Source, address, port: own };
        return rewrite::apply(ctx, work);
    }
    let translation = Translation {
        there: scope::MESH,
        back: scope::SNAT_RETURN,
        vni: 0,
        backend: (slot, backend.generation),
        address,
        ports: PORTS,
        own: if own < PORTS.first { 0 } else { own },
    };
    match nat::translate(work, &translation, work.stands_for) {
        Translated::No => return Err(work.untranslated()),
        Translated::Anew => maps::count_flow(slot),
        Translated::Still => {}
    }
    rewrite::apply(ctx, work)
}

/// What a backend answers to the client of a flow that its own port stands for.
#[inline(always)]
fn back(key: &FlowKey) -> FlowKey {
    let asked = (key.destination, key.destination_port);
    FlowKey::new(scope::SNAT_RETURN, 0, key.protocol, asked, (key.destination, key.source_port))
}

/// Whether that is the client's, and not one's that has come before it by the same port.
#[inline(always)]
fn is_of(flow: &Flow, key: &FlowKey) -> bool {
    flow.port == key.source_port && flow.address == key.source
}

/// The slot of the backend of a flow whose client's own port stands for it, as [`mesh::known`] has it. One in whose place
/// another begins is forgotten, unless that is to be hidden too: then [`hide`] has the other take its entry.
#[inline(never)]
pub fn known(key: &FlowKey, transport: &Transport, hidden: bool) -> u32 {
    let back = back(key);
    let Some(flow) = flow::find(&back, transport.now).filter(|flow| is_of(flow, key)) else { return 0 };
    if !flow::is_over(flow, transport)
        && let slot @ 1.. = mesh::goes_to(flow, transport)
    {
        return slot;
    }
    if !hidden {
        maps::forget_flow(&back);
    }
    0
}

/// Forgets such a flow.
#[inline(never)]
pub fn forget(key: &FlowKey, now: u64) {
    let back = back(key);
    if flow::find(&back, now).is_some_and(|flow| is_of(flow, key)) {
        maps::forget_flow(&back);
    }
}

/// Whether the packet comes from the node that its client came to, in the client's place.
#[inline(always)]
pub fn is_hidden(work: &Work) -> bool {
    work.source().0 == work.destination().0
}

/// An answer that a peer sent back here, unpacked and its IP header read, to the client.
#[inline(never)]
pub fn give_back(ctx: &TcContext, work: &mut Work, vni: u32, peer: &Address) -> Result<(), DropReason> {
    if !work::read_transport(ctx, work, vni) || !is_of_backend(work, vni, peer) {
        // No other node has a backend.
        return Err(maps::vtep(*peer).map_or(DropReason::UnknownVtep, |_| DropReason::NotAnswer));
    }
    fragment::keep(work, vni);
    give(ctx, work)
}

/// Whether a client waits for it, and its flow's backend has sent it; then the change for it is filled in.
#[inline(always)]
fn is_of_backend(work: &mut Work, vni: u32, peer: &Address) -> bool {
    let Some(flow) = waits(work) else { return false };
    let Some(backend) = maps::backend(flow.backend) else { return false };
    let of_backend = backend.generation == flow.generation
        && backend.vni == vni
        && backend.vtep == *peer
        && backend.mac == work.headers.ethernet.source;
    if of_backend {
        answered(work, flow);
    }
    of_backend
}

/// To the client, whose address and port are filled in.
#[inline(always)]
fn give(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    rewrite::apply(ctx, work)?;
    serve::send_out(ctx, work)
}

/// The answer of a backend here, which seems to come from where the client had asked already, for the client.
#[inline(never)]
pub fn restore(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    if !is_answer(work) {
        return Err(DropReason::NotAnswer);
    }
    give(ctx, work)
}

/// Whether a client waits for it; then the change for it is filled in.
#[inline(never)]
fn is_answer(work: &mut Work) -> bool {
    let Some(flow) = waits(work) else { return false };
    answered(work, flow);
    true
}

/// The flow of a client that waits for it.
#[inline(always)]
fn waits(work: &mut Work) -> Option<&'static mut Flow> {
    let protocol = work.transport.protocol;
    work.key = FlowKey::new(scope::SNAT_RETURN, 0, protocol, work.source(), work.destination());
    flow::find(&work.key, work.transport.now)
}

/// Notes another packet of the flow, and fills in the change for it.
#[inline(always)]
fn answered(work: &mut Work, flow: &mut Flow) {
    work.change = Change { end: End::Destination, address: flow.address.by_words(), port: flow.port };
    flow::follow(flow, &work.transport);
}
