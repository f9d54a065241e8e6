//! Services' virtual addresses: what an endpoint sends to one goes to a backend, and the backend's answers seem to come
//! from it. Both are done at the endpoint's own node, so the backend sees the endpoint's address, and no other
//! node has a part in it.
//!
//! Ports stay as they are. Where a backend calls its own service and is chosen itself, the virtual address is the other
//! end for both its sockets, so that its stack takes no packet for its own.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{AffinityKey, Backend, FlowKey, Vip, node_flag, scope};
use overlay_abi::{Address, DropReason, Source};
use overlay_packet::ip;

use crate::frame::{self, Outcome, Verdict};
use crate::rewrite::{self, Change, End};
use crate::work::{self, Work};
use crate::{affinity, encap, flow, fragment, gateway, maps, mesh, mss, related, serve};

/// Whether a network here has a virtual address at all.
#[inline(always)]
fn are_there() -> bool {
    maps::node().is_some_and(|node| node.flags & node_flag::VIPS != 0)
}

/// What an endpoint sends to its gateway: if it is for a virtual address, it goes to a backend. It passes if it
/// is not.
#[inline(always)]
pub fn ask(ctx: &TcContext, work: &mut Work, source: &Source) -> Outcome {
    let Some(vip) = asked_for(source.vni, work.packet()) else { return Ok(Verdict::Pass) };
    forward(ctx, work, source, vip).inspect_err(|reason| maps::count_refusal(vip.service, *reason))
}

#[inline(always)]
fn forward(ctx: &TcContext, work: &mut Work, source: &Source, vip: &Vip) -> Outcome {
    if !work::read_transport(ctx, work, source.vni) {
        let otherwise = work.unread(DropReason::NotServed);
        return gateway::answer_echo(ctx, &work.headers.ethernet, work.packet(), otherwise);
    }
    fragment::keep(work, source.vni);
    let slot = pick(work, source.vni, vip);
    let Some(backend) = of_service(slot, vip) else {
        mesh::refuse(ctx, work, vip.service, slot)?;
        return Ok(Verdict::Redirect);
    };
    maps::count_sent(slot, frame::packets(ctx), frame::bytes(ctx));
    if backend.ifindex == frame::skb(ctx).ifindex {
        if work.is_error() {
            related::turn(ctx, work.packet())?;
        } else {
            expect_own(work, source.vni);
        }
        gateway::swap_addresses(ctx, &work.headers.ethernet, work.packet().is_v4())?;
        return Ok(frame::deliver_to(ctx, backend.ifindex));
    }
    // Told of the packet as it was sent, or the endpoint would not know it.
    if backend.ifindex == 0 && !encap::fits(ctx, work.packet(), u32::from(backend.mtu)) {
        return gateway::answer_too_big(ctx, source, work.packet(), backend.mtu);
    }
    redirect(ctx, work, backend)?;
    Ok(Verdict::Redirect)
}

/// The virtual address that the packet is for.
#[inline(never)]
fn asked_for(vni: u32, packet: &ip::Header) -> Option<&'static Vip> {
    if are_there() { maps::vip(vni, packet.destination()) } else { None }
}

/// The slot of the backend of the packet's flow, if it has one, or else of a new flow; 0 for none, or [`mesh::GONE`].
#[inline(never)]
fn pick(work: &mut Work, vni: u32, vip: &Vip) -> u32 {
    work.key = FlowKey::new(scope::VIP, vni, work.transport.protocol, work.source(), work.destination());
    let slot = known(work, vip);
    // An error of no flow that is known here is about nothing that was sent from here.
    if slot != 0 || work.is_error() {
        return slot;
    }
    let Some(service) = maps::service(vip.service) else { return 0 };
    let client = AffinityKey { client: work.key.source, service: vip.service, vni, local: 0 };
    let slot = match affinity::backend(&client) {
        0 => maps::choose(&vip.table, flow::hash(&work.key, service)),
        slot => slot,
    };
    let Some(backend) = of_service(slot, vip) else { return 0 };
    work.flow = flow::begun(&work.transport, (slot, backend.generation), work.destination());
    maps::keep_flow(&work.key, &work.flow);
    affinity::keep(&client, slot, backend.generation);
    maps::count_flow(slot);
    slot
}

/// That of a flow that goes on.
#[inline(always)]
fn known(work: &mut Work, vip: &Vip) -> u32 {
    let Some(flow) = flow::find(&work.key, work.transport.now) else { return 0 };
    if flow::is_over(flow, &work.transport) {
        return 0;
    }
    (work.flow.backend, work.flow.generation) = (flow.backend, flow.generation);
    match of_service(work.flow.backend, vip) {
        Some(backend) if backend.generation == work.flow.generation => {
            flow::follow(flow, &work.transport);
            work.flow.backend
        }
        _ => mesh::without_backend(&work.transport),
    }
}

/// The backend in a slot. A table may be written anew while it is read; then what is read is of another service.
#[inline(always)]
fn of_service(slot: u32, vip: &Vip) -> Option<&'static Backend> {
    maps::backend(slot).filter(|backend| backend.generation != 0 && backend.service == vip.service)
}

/// Sends the packet to another endpoint, its backend.
#[inline(never)]
fn redirect(ctx: &TcContext, work: &mut Work, backend: &Backend) -> Result<(), DropReason> {
    let port = work.transport.destination_port;
    serve::remember(work, backend, scope::VIP_RETURN, port, &Address::NONE)?;
    rewrite::apply(ctx, work)?;
    work.headers.ethernet.destination = backend.mac;
    if backend.ifindex == 0 {
        mss::clamp(ctx, work.packet(), backend.mtu)?;
        return encap::send(ctx, work, backend.vni, &backend.vtep);
    }
    work.headers.write(ctx)?;
    frame::deliver_to(ctx, backend.ifindex);
    Ok(())
}

/// Keeps the answers' flow, where an endpoint is its own backend. They go to the virtual address too and must turn back
/// just as well, so theirs is a flow like that which they answer.
#[inline(never)]
fn expect_own(work: &mut Work, vni: u32) {
    let ((own, from), (vip, to)) = (work.source(), work.destination());
    work.key = FlowKey::new(scope::VIP, vni, work.transport.protocol, (own, to), (vip, from));
    match flow::find(&work.key, work.transport.now) {
        Some(flow) if flow.backend == work.flow.backend && flow.generation == work.flow.generation => {
            flow::follow(flow, &work.transport);
        }
        _ => {
            let backend = (work.flow.backend, work.flow.generation);
            work.flow = flow::begun(&work.transport, backend, (vip, from));
            maps::keep_flow(&work.key, &work.flow);
        }
    }
}

/// Has a packet for an endpoint here, whose IP header was read, come from the virtual address again if it
/// answers what the endpoint sent there. Whether it does; its headers are to be written then.
#[inline(always)]
pub fn restore(ctx: &TcContext, work: &mut Work, vni: u32) -> Result<bool, DropReason> {
    if !are_there() || !answers(ctx, work, vni) {
        return Ok(false);
    }
    rewrite::apply(ctx, work)?;
    Ok(true)
}

#[inline(always)]
fn answers(ctx: &TcContext, work: &mut Work, vni: u32) -> bool {
    work::read_transport(ctx, work, vni) && is_answer(work, vni)
}

/// Whether the endpoint waits for it; then what must be changed is filled in.
#[inline(never)]
fn is_answer(work: &mut Work, vni: u32) -> bool {
    work.key =
        FlowKey::new(scope::VIP_RETURN, vni, work.transport.protocol, work.source(), work.destination());
    let Some(flow) = flow::find(&work.key, work.transport.now) else { return false };
    // By now the endpoint asks the backend itself, from the port of a connection that has ended.
    if flow::is_over(flow, &work.transport) {
        maps::forget_flow(&work.key);
        return false;
    }
    flow::follow(flow, &work.transport);
    fragment::keep(work, vni);
    work.change = Change { end: End::Source, address: flow.address.by_words(), port: flow.port };
    true
}
