//! The routing mesh: a client outside the cluster comes to a published port on any node, and reaches a backend on any.
//!
//! The node that the client came to sends the packet on as it came, inside VXLAN, in the backend's network, and as if
//! from that network's gateway: the inner MAC addresses name the backend, the inner IP addresses and ports are the client's
//! and the published ones. The backend's node does the rest: see [`crate::serve`].

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{AffinityKey, Flow, FlowKey, Port, Service, port_flag, scope};
use overlay_abi::{Address, DropReason, gateway_mac};
use overlay_packet::transport::tcp;
use overlay_packet::{ethernet, ip};

use crate::frame::{self, Outcome, Verdict};
use crate::transport::{Part, Transport};
use crate::work::Work;
use crate::{affinity, encap, flow, fragment, maps, reply, serve, snat};

/// Stands for the slot of a backend that a connection had, and that is gone. No slot has this number, so XDP passes
/// the packet on to tc, which tells the client.
pub const GONE: u32 = u32::MAX;

/// A client's packet that came in by the underlay device, or from a process here, if what was read is one.
#[inline(always)]
pub fn ingress(ctx: &TcContext, work: &mut Work) -> Outcome {
    let Some(port) = asked_for(work) else { return Ok(Verdict::Pass) };
    forward(ctx, work, port).inspect_err(|reason| maps::count_refusal(port.service, *reason))?;
    Ok(Verdict::Redirect)
}

/// The published port of this host that the packet is for.
#[inline(always)]
fn asked_for(work: &Work) -> Option<&'static Port> {
    published(&work.transport).filter(|_| maps::is_own(work.packet().destination()))
}

/// Sends the packet to its backend.
#[inline(never)]
fn forward(ctx: &TcContext, work: &mut Work, port: &Port) -> Result<(), DropReason> {
    fragment::keep(work, 0);
    let slot = pick(work, port, frame::is_local(ctx));
    let Some(backend) = maps::backend(slot).filter(|backend| backend.generation != 0) else {
        return refuse(ctx, work, port.service, slot);
    };
    let fits = backend.ifindex != 0 || encap::fits(ctx, work.packet(), u32::from(backend.mtu));
    if !fits && !encap::may_cut(work.packet()) {
        return reply::too_big_for_service(ctx, work, backend.mtu);
    }
    maps::count_sent(slot, frame::packets(ctx), frame::bytes(ctx));
    frame::set_hash(ctx, flow::quick_hash(&work.key));
    let ethertype = work.headers.ethernet.ethertype();
    work.headers.ethernet = ethernet::Header::new(backend.mac, gateway_mac(backend.vni), ethertype);
    if work.hidden {
        snat::hide(ctx, work, slot, backend)?;
    }
    if backend.ifindex == 0 {
        if !fits {
            return encap::send_cut(ctx, work, backend.vni, &backend.vtep);
        }
        return encap::send(ctx, work, backend.vni, &backend.vtep);
    }
    serve::arrive(ctx, work, backend, port, &Address::NONE)?;
    work.headers.write(ctx)?;
    frame::deliver_to(ctx, backend.ifindex);
    Ok(())
}

/// Refuses a packet of a service to which [`pick`] gave no backend; a flow whose backend is gone ends with it.
#[inline(never)]
pub fn refuse(ctx: &TcContext, work: &Work, service: u32, slot: u32) -> Result<(), DropReason> {
    if work.is_error() {
        return Err(DropReason::UnknownError);
    }
    if slot != GONE {
        return reply::refuse(ctx, work, service, DropReason::NoBackend);
    }
    maps::forget_flow(&work.key);
    if work.key.scope == scope::MESH {
        snat::forget(&work.key, work.transport.now);
    }
    reply::refuse(ctx, work, service, DropReason::BackendGone)
}

#[inline(always)]
pub fn published(transport: &Transport) -> Option<&'static Port> {
    match transport.protocol {
        ip::protocol::TCP => maps::port(false, transport.destination_port),
        ip::protocol::UDP => maps::port(true, transport.destination_port),
        _ => None,
    }
}

/// The slot of the packet's backend; 0 for none, or [`GONE`]. A flow stays hidden, or not, as it began; one from here is.
#[inline(always)]
fn pick(work: &mut Work, port: &Port, local: bool) -> u32 {
    work.key = FlowKey::new(scope::MESH, 0, work.transport.protocol, work.source(), work.destination());
    let hidden = is_hidden(port) || local;
    let (slot, stands_for) = known(&work.key, &work.transport, hidden);
    if slot != 0 {
        (work.hidden, work.stands_for) = (stands_for != 0, stands_for);
        return slot;
    }
    (work.hidden, work.stands_for) = (hidden, 0);
    choose(&work.key, &work.transport, work.hidden)
}

/// Whether the port's backends see this node in their clients' place.
#[inline(always)]
pub fn is_hidden(port: &Port) -> bool {
    port.flags & port_flag::SNAT != 0
}

/// The slot of the backend that the flow has, if it is still there; 0 for none, or [`GONE`]. With it the port that stands
/// for the client, or 0. Where new flows are hidden, the client's own port is likely to.
#[inline(always)]
pub fn known(key: &FlowKey, transport: &Transport, hidden: bool) -> (u32, u16) {
    if hidden && let slot @ 1.. = snat::known(key, transport, hidden) {
        return (slot, key.source_port);
    }
    if let Some(flow) = flow::find(key, transport.now) {
        let port = flow.port;
        if !flow::is_over(flow, transport)
            && let slot @ 1.. = goes_to(flow, transport)
        {
            return (slot, port);
        }
        // Another begins in its place. What opens a connection keeps nothing, so the rest of it would still find this one.
        maps::forget_flow(key);
    }
    if hidden {
        return (0, 0);
    }
    (snat::known(key, transport, hidden), key.source_port)
}

/// Whether the packet opens a TCP connection, or answers one that does.
#[inline(always)]
fn opens(transport: &Transport) -> bool {
    transport.protocol == ip::protocol::TCP && transport.flags & tcp::SYN != 0
}

/// The slot of the flow's backend for another packet, if it is still there; 0 for none, or [`GONE`].
#[inline(always)]
pub fn goes_to(flow: &mut Flow, transport: &Transport) -> u32 {
    let (slot, generation) = (flow.backend, flow.generation);
    match maps::backend(slot) {
        Some(backend) if backend.generation == generation => {
            flow::follow(flow, transport);
            slot
        }
        _ => without_backend(transport),
    }
}

/// What a flow has whose backend is gone: no other can go on with a TCP connection, but what begins is chosen anew.
#[inline(always)]
pub fn without_backend(transport: &Transport) -> u32 {
    let goes_on = transport.protocol == ip::protocol::TCP && transport.flags & tcp::SYN == 0;
    if goes_on { GONE } else { 0 }
}

/// The slot of the backend that a new flow gets; 0 for none. It is kept, unless it is hidden: then that is done with the
/// port that stands for its client.
#[inline(never)]
pub fn choose(key: &FlowKey, transport: &Transport, hidden: bool) -> u32 {
    let Some(port) = published(transport) else { return 0 };
    let Some(service) = maps::service(port.service) else { return 0 };
    let hash = flow::hash(key, service);
    let local = port.flags & port_flag::LOCAL_ONLY != 0;
    let table = Service::table(!key.source.is_v4(), local);
    let client = AffinityKey { client: key.source, service: port.service, vni: 0, local: local.into() };
    let slot = match affinity::backend(&client) {
        0 => maps::choose(&service.tables[table & 3], hash),
        slot => slot,
    };
    let Some(backend) = maps::backend(slot) else { return 0 };
    // A table may be written anew while it is read; then what is read is of another service.
    if backend.service != port.service {
        return 0;
    }
    if transport.part == Part::Quoted {
        return slot;
    }
    // What opens a connection keeps nothing, so that a flood of it can't push out the flows that go on.
    let opens = opens(transport);
    if hidden || !opens {
        affinity::keep(&client, slot, backend.generation);
    }
    if !hidden && !opens {
        keep(key, transport, slot, backend.generation);
    }
    slot
}

/// Keeps a new flow; on its own, since XDP's stack has no room for it besides what chooses.
#[inline(never)]
fn keep(key: &FlowKey, transport: &Transport, slot: u32, generation: u32) {
    maps::keep_flow(key, &flow::begun(transport, (slot, generation), (Address::NONE, 0)));
    maps::count_flow(slot);
}
