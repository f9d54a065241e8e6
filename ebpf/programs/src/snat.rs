//! Services whose backends shall see the node that the client came to instead of the client, as where the underlay
//! forbids what comes from foreign addresses. Such a packet comes, for its backend, from the address that the client had
//! asked: by that it is told, at the backend's node, from a client's own. The answer goes back there, and from there to
//! the client.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Backend, Flow, FlowKey, scope};
use overlay_abi::{Address, DropReason};

use crate::nat::{self, Ports};
use crate::rewrite::{self, Change, End};
use crate::work::{self, Work};
use crate::{flow, fragment, maps, serve};

/// Nothing on this host can clash with these: between a node's own address and itself, packets leave no overlay.
const PORTS: Ports = Ports { first: 1024, last: u16::MAX };

/// At the node that the client came to: has the packet come from here. `work.key` is its flow's.
#[inline(never)]
pub fn hide(ctx: &TcContext, work: &mut Work, slot: u32, backend: &Backend) -> Result<(), DropReason> {
    let port = port(work, slot, backend.generation);
    if port == 0 {
        return Err(if work.is_error() { DropReason::UnknownError } else { DropReason::NoPort });
    }
    rewrite::apply(ctx, work.packet(), &work.transport, &work.change)
}

/// The port that stands for the client, with the change for it filled in; 0 where all are taken.
#[inline(never)]
fn port(work: &mut Work, slot: u32, generation: u32) -> u16 {
    let known = match flow::find(&work.key) {
        Some(flow) if is_going_on(flow, work, slot, generation) => flow.port,
        // Nothing went to that client from here.
        _ if work.is_error() => return 0,
        _ => 0,
    };
    let (client, asked) = (work.source(), work.destination());
    work.key = FlowKey::new(scope::SNAT_RETURN, 0, work.transport.protocol, asked, (asked.0, 0));
    work.flow = flow::begun(&work.transport, (slot, generation), client);
    let port = nat::take_port(work, known, PORTS);
    // Kept from the first packet on, unlike a flow whose client stays as it is: the port must stay the same.
    if port != 0 && port != known {
        work.key = FlowKey::new(scope::MESH, 0, work.transport.protocol, client, asked);
        work.flow = flow::begun(&work.transport, (slot, generation), (Address::NONE, port));
        maps::keep_flow(&work.key, &work.flow);
    }
    work.change = Change { end: End::Source, address: asked.0, port };
    port
}

/// Whether a flow that was found is the packet's, and not one that has ended or had another backend.
#[inline(always)]
fn is_going_on(flow: &Flow, work: &Work, slot: u32, generation: u32) -> bool {
    flow.backend == slot && flow.generation == generation && !flow::is_over(flow, &work.transport)
}

/// Whether the packet comes from the node that its client came to, in the client's place.
#[inline(always)]
pub fn is_hidden(work: &Work) -> bool {
    work.source().0 == work.destination().0
}

/// An answer that a peer sent back here, unpacked, to the client.
#[inline(never)]
pub fn give_back(ctx: &TcContext, vni: u32, peer: &Address) -> Result<(), DropReason> {
    let work = maps::work().ok_or(DropReason::NotAnswer)?;
    if !work::read(ctx, work, vni) || !is_answer(work) {
        return Err(DropReason::NotAnswer);
    }
    fragment::keep(work, vni);
    let backend = maps::backend(work.flow.backend).ok_or(DropReason::NotAnswer)?;
    let of_backend = backend.generation == work.flow.generation
        && backend.vni == vni
        && backend.vtep == *peer
        && backend.mac == work.header.source;
    if !of_backend {
        return Err(DropReason::NotAnswer);
    }
    rewrite::apply(ctx, work.packet(), &work.transport, &work.change)?;
    serve::send_out(ctx, work.packet())
}

/// The answer of a backend here, which seems to come from where the client had asked already, for the client.
#[inline(never)]
pub fn restore(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    if !work::read(ctx, work, 0) || !is_answer(work) {
        return Err(DropReason::NotAnswer);
    }
    fragment::keep(work, 0);
    rewrite::apply(ctx, work.packet(), &work.transport, &work.change)
}

/// Whether a client waits for it; then the change for it is filled in, and the flow's backend.
#[inline(never)]
fn is_answer(work: &mut Work) -> bool {
    let protocol = work.transport.protocol;
    work.key = FlowKey::new(scope::SNAT_RETURN, 0, protocol, work.source(), work.destination());
    let Some(flow) = flow::find(&work.key) else { return false };
    (work.flow.backend, work.flow.generation) = (flow.backend, flow.generation);
    work.change = Change { end: End::Destination, address: flow.address, port: flow.port };
    flow::follow(flow, &work.transport);
    true
}
