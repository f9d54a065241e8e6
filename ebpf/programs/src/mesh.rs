//! The routing mesh: a client outside the cluster comes to a published port on any node, and reaches a backend on any.
//!
//! The node that the client came to sends the packet on as it came, inside VXLAN, in the backend's network, and as if
//! from that network's gateway: the inner MAC addresses name the backend, the inner IP addresses and ports are the client's
//! and the published ones. The backend's node puts the backend's own address and port in the place of the latter, keeps
//! what they were, and answers the client directly.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_redirect_neigh;
use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Backend, Flow, FlowKey, Port, Service, port_flag, scope};
use overlay_abi::{Address, DropReason, Source, gateway_mac};
use overlay_packet::transport::tcp;
use overlay_packet::{ethernet, ip};

use crate::frame::{self, Outcome, Verdict};
use crate::rewrite::{self, Change, End};
use crate::transport::{self, Transport};
use crate::{encap, flow, maps};

/// What is known of the packet at hand. There is one a CPU, in a map, since the stack has no room for it.
pub struct Work {
    /// What [`read`] found.
    pub header: ethernet::Header,
    packet: MaybeUninit<ip::Header>,
    /// The same.
    pub transport: Transport,
    /// Of the flow that is looked for.
    pub key: FlowKey,
    /// One to be kept.
    pub flow: Flow,
    /// What the packet needs.
    pub change: Change,
}

/// Reads the packet's headers. False if it is not TCP or UDP.
#[inline(never)]
pub fn read(ctx: &TcContext, work: &mut Work) -> bool {
    let Ok(header) = frame::ethernet_at(ctx, 0) else { return false };
    work.header = header;
    match frame::load_ip(ctx, ethernet::LEN, header.ethertype, &mut work.packet) {
        Ok(packet) => transport::read(ctx, 0, packet, &mut work.transport),
        Err(_) => false,
    }
}

impl Work {
    #[inline(always)]
    pub fn packet(&self) -> &ip::Header {
        // SAFETY: read() has written all of it, or an earlier one has; any bytes are a valid value.
        unsafe { self.packet.assume_init_ref() }
    }

    /// Where the packet comes from.
    #[inline(always)]
    pub fn source(&self) -> (Address, u16) {
        (self.packet().source(), self.transport.source_port)
    }

    /// Where it goes to.
    #[inline(always)]
    pub fn destination(&self) -> (Address, u16) {
        (self.packet().destination(), self.transport.destination_port)
    }
}

/// A client's packet that came in by the underlay device, if it is one.
#[inline(always)]
pub fn ingress(ctx: &TcContext) -> Outcome {
    let Some(work) = maps::work() else { return Ok(Verdict::Pass) };
    if !is_for_service(ctx, work) {
        return Ok(Verdict::Pass);
    }
    forward(ctx, work)?;
    Ok(Verdict::Redirect)
}

/// Whether the packet is for a published port of this host.
#[inline(never)]
fn is_for_service(ctx: &TcContext, work: &mut Work) -> bool {
    read(ctx, work) && published(&work.transport).is_some() && maps::is_own(work.packet().destination())
}

/// Sends the packet to its backend.
#[inline(never)]
fn forward(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    let backend = maps::backend(pick(work)).filter(|backend| backend.generation != 0);
    let backend = backend.ok_or(DropReason::NoBackend)?;
    work.header.source = gateway_mac(backend.vni);
    work.header.destination = backend.mac;
    if backend.ifindex == 0 {
        if !encap::fits(ctx, work.packet(), u32::from(backend.mtu)) {
            return Err(DropReason::TooBig);
        }
        return encap::send(ctx, backend.vni, &backend.vtep, &work.header, work.packet());
    }
    frame::store(ctx, 0, &work.header.words())?;
    let port = published(&work.transport).ok_or(DropReason::NoBackend)?;
    arrive(ctx, work, backend, port)?;
    frame::deliver_to(ctx, backend.ifindex);
    Ok(())
}

#[inline(always)]
fn published(transport: &Transport) -> Option<&'static Port> {
    maps::port(transport.protocol == ip::protocol::UDP, transport.destination_port)
}

/// The slot of the packet's backend; 0 for none.
#[inline(never)]
fn pick(work: &mut Work) -> u32 {
    work.key = FlowKey::new(scope::MESH, 0, work.transport.protocol, work.source(), work.destination());
    match known(&work.key, &work.transport) {
        0 => choose(&work.key, &work.transport),
        slot => slot,
    }
}

/// The slot of the backend that the flow has, if it is still there; 0 for none.
#[inline(always)]
pub fn known(key: &FlowKey, transport: &Transport) -> u32 {
    let Some(flow) = flow::find(key) else { return 0 };
    if flow::is_over(flow, transport) {
        return 0;
    }
    let (slot, generation) = (flow.backend, flow.generation);
    match maps::backend(slot) {
        Some(backend) if backend.generation == generation => {
            flow::follow(flow, transport);
            slot
        }
        _ => 0,
    }
}

/// The slot of the backend that a new flow gets; 0 for none.
#[inline(never)]
pub fn choose(key: &FlowKey, transport: &Transport) -> u32 {
    let Some(port) = published(transport) else { return 0 };
    let Some(service) = maps::service(port.service) else { return 0 };
    let hash = flow::hash(key, service);
    let table = Service::table(!key.source.is_v4(), port.flags & port_flag::LOCAL_ONLY != 0);
    let slot = maps::choose(&service.tables[table & 3], hash);
    let Some(backend) = maps::backend(slot) else { return 0 };
    // A table may be written anew while it is read; then what is read is of another service.
    if backend.service != port.service {
        return 0;
    }
    // What opens a connection keeps nothing, so that a flood of it can't push out the flows that go on.
    if key.protocol != ip::protocol::TCP || transport.flags & tcp::SYN == 0 {
        let flow = flow::begun(transport, (slot, backend.generation), (Address::NONE, 0));
        maps::keep_flow(key, &flow);
    }
    slot
}

/// Gives a client's packet to a backend here: the backend's address and port take the place of those that the client
/// asked for, which are kept for the answer. The frame starts with its Ethernet header.
#[inline(always)]
fn arrive(ctx: &TcContext, work: &mut Work, backend: &Backend, port: &Port) -> Result<(), DropReason> {
    remember(work, backend, scope::RETURN, port.target)?;
    rewrite::apply(ctx, work.packet(), &work.transport, &work.change)
}

/// Fills in what must be changed for the backend to take the packet on that port, and keeps what the client asked for.
#[inline(never)]
pub fn remember(work: &mut Work, backend: &Backend, scope: u8, port: u16) -> Result<(), DropReason> {
    let own = if work.packet().is_v4() { backend.ip4 } else { backend.ip6 };
    if own.is_none() {
        return Err(DropReason::NoBackend);
    }
    work.change = Change { end: End::Destination, address: own, port };
    work.key = FlowKey::new(scope, backend.vni, work.transport.protocol, (own, port), work.source());
    let asked = work.destination();
    match flow::find(&work.key) {
        Some(flow) if flow.address == asked.0 && flow.port == asked.1 => flow::follow(flow, &work.transport),
        _ => {
            work.flow = flow::begun(&work.transport, (0, 0), asked);
            maps::keep_flow(&work.key, &work.flow);
        }
    }
    Ok(())
}

/// What a peer sent on from a client, unpacked, to the backend behind a device here.
#[inline(never)]
pub fn land(ctx: &TcContext, ifindex: u32) -> Result<(), DropReason> {
    let work = maps::work().ok_or(DropReason::NotPublished)?;
    if !read(ctx, work) {
        return Err(DropReason::NotPublished);
    }
    let slot = maps::local_backend(ifindex).ok_or(DropReason::NotPublished)?;
    let backend = maps::backend(slot).ok_or(DropReason::NotPublished)?;
    let port = published(&work.transport).ok_or(DropReason::NotPublished)?;
    if port.service != backend.service {
        return Err(DropReason::NotPublished);
    }
    arrive(ctx, work, backend, port)
}

/// What an endpoint sends to its gateway: if it answers a client outside, it goes there, as if from where the client
/// had asked. It passes if it does not.
#[inline(always)]
pub fn answer(ctx: &TcContext, source: &Source) -> Outcome {
    let Some(work) = maps::work() else { return Ok(Verdict::Pass) };
    if !is_answer(ctx, source, work) {
        return Ok(Verdict::Pass);
    }
    send(ctx, work)?;
    Ok(Verdict::Redirect)
}

/// Whether a client waits for it; then what must be changed is filled in.
#[inline(never)]
fn is_answer(ctx: &TcContext, source: &Source, work: &mut Work) -> bool {
    if !read(ctx, work) {
        return false;
    }
    work.key =
        FlowKey::new(scope::RETURN, source.vni, work.transport.protocol, work.source(), work.destination());
    let Some(flow) = flow::find(&work.key) else { return false };
    flow::follow(flow, &work.transport);
    work.change = Change { end: End::Source, address: flow.address, port: flow.port };
    true
}

#[inline(never)]
fn send(ctx: &TcContext, work: &Work) -> Result<(), DropReason> {
    let node = maps::node().ok_or(DropReason::NoNode)?;
    rewrite::count_hop(ctx, work.packet())?;
    rewrite::apply(ctx, work.packet(), &work.transport, &work.change)?;
    // SAFETY: plain numbers and no parameters: the kernel finds the next hop by the destination.
    unsafe { bpf_redirect_neigh(node.underlay_ifindex, core::ptr::null_mut(), 0, 0) };
    Ok(())
}
