//! The routing mesh: a client outside the cluster comes to a published port on any node, and reaches a backend on any.
//!
//! The node that the client came to sends the packet on as it came, inside VXLAN, in the backend's network, and as if
//! from that network's gateway: the inner MAC addresses name the backend, the inner IP addresses and ports are the client's
//! and the published ones. The backend's node puts the backend's own address and port in the place of the latter, keeps
//! what they were, and answers the client directly.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::bpf_redirect_neigh;
use aya_ebpf::programs::TcContext;
use overlay_abi::services::{Backend, FlowKey, Port, Service, port_flag, scope};
use overlay_abi::{Address, DropReason, Source, gateway_mac};
use overlay_packet::transport::{flow_hash, tcp};
use overlay_packet::{ethernet, ip};

use crate::frame::{self, Outcome, Verdict};
use crate::rewrite::{self, Change, End};
use crate::transport::{self, Transport};
use crate::{encap, flow, maps};

/// A client's packet that came in by the underlay device, if it is one.
#[inline(never)]
pub fn ingress(ctx: &TcContext) -> Outcome {
    let Ok(mut header) = frame::ethernet_at(ctx, 0) else { return Ok(Verdict::Pass) };
    let mut space = MaybeUninit::uninit();
    let Ok(packet) = frame::load_ip(ctx, ethernet::LEN, header.ethertype, &mut space) else {
        return Ok(Verdict::Pass);
    };
    let mut transport = Transport::default();
    if !transport::read(ctx, 0, packet, &mut transport) {
        return Ok(Verdict::Pass);
    }
    let Some(port) = published(&transport) else { return Ok(Verdict::Pass) };
    if !maps::is_own(packet.destination()) {
        return Ok(Verdict::Pass);
    }
    let backend = backend(packet, &transport, port)?;
    header.source = gateway_mac(backend.vni);
    header.destination = backend.mac;
    if backend.ifindex == 0 {
        // TODO too big
        if !encap::fits(ctx, packet, u32::from(backend.mtu)) {
            return Err(DropReason::TooBig);
        }
        return encap::send(ctx, backend.vni, &backend.vtep, &header, packet);
    }
    frame::store(ctx, 0, &header.words())?;
    arrive(ctx, packet, &transport, backend, port)?;
    Ok(frame::deliver_to(ctx, backend.ifindex))
}

#[inline(always)]
fn published(transport: &Transport) -> Option<&'static Port> {
    maps::port(transport.protocol == ip::protocol::UDP, transport.destination_port)
}

/// The backend that the flow has, or gets.
#[inline(never)]
fn backend(
    packet: &ip::Header,
    transport: &Transport,
    port: &Port,
) -> Result<&'static Backend, DropReason> {
    let client = (packet.source(), transport.source_port);
    let asked = (packet.destination(), transport.destination_port);
    let key = FlowKey::new(scope::MESH, 0, transport.protocol, client, asked);
    if let Some(flow) = flow::find(&key) {
        let (slot, generation) = (flow.backend, flow.generation);
        match maps::backend(slot) {
            Some(backend) if backend.generation == generation => {
                flow::follow(flow, transport);
                return Ok(backend);
            }
            _ => {}
        }
    }
    let ports = u32::from(client.1) << 16 | u32::from(asked.1);
    let hash = flow_hash(&client.0, &asked.0, ports, transport.protocol);
    let service = maps::service(port.service).ok_or(DropReason::NoBackend)?;
    let table = Service::table(!packet.is_v4(), port.flags & port_flag::LOCAL_ONLY != 0);
    let slot = maps::choose(&service.tables[table & 3], hash);
    let backend = maps::backend(slot).ok_or(DropReason::NoBackend)?;
    // A table may be written anew while it is read; then what is read is of another service.
    if backend.generation == 0 || backend.service != port.service {
        return Err(DropReason::NoBackend);
    }
    // What opens a connection keeps nothing, so that a flood of it can't push out the flows that go on.
    if transport.protocol != ip::protocol::TCP || transport.flags & tcp::SYN == 0 {
        let flow = flow::begun(transport, (slot, backend.generation), (Address::NONE, 0));
        maps::keep_flow(&key, &flow);
    }
    Ok(backend)
}

/// Gives a client's packet to a backend here: the backend's address and port take the place of those that the client
/// asked for, which are kept for the answer. The frame starts with its Ethernet header.
#[inline(never)]
fn arrive(
    ctx: &TcContext,
    packet: &ip::Header,
    transport: &Transport,
    backend: &Backend,
    port: &Port,
) -> Result<(), DropReason> {
    let own = if packet.is_v4() { &backend.ip4 } else { &backend.ip6 };
    if own.is_none() {
        return Err(DropReason::NoBackend);
    }
    remember(packet, transport, backend, (*own, port.target));
    let change = Change { end: End::Destination, address: *own, port: port.target };
    rewrite::apply(ctx, packet, transport, &change)
}

/// What a peer sent on from a client, unpacked, to the backend behind a device here.
#[inline(never)]
pub fn land(ctx: &TcContext, ifindex: u32) -> Result<(), DropReason> {
    let header = frame::ethernet_at(ctx, 0)?;
    let mut space = MaybeUninit::uninit();
    let packet = frame::load_ip(ctx, ethernet::LEN, header.ethertype, &mut space)?;
    let mut transport = Transport::default();
    if !transport::read(ctx, 0, packet, &mut transport) {
        return Err(DropReason::NotPublished);
    }
    let slot = maps::local_backend(ifindex).ok_or(DropReason::NotPublished)?;
    let backend = maps::backend(slot).ok_or(DropReason::NotPublished)?;
    let port = published(&transport).ok_or(DropReason::NotPublished)?;
    if port.service != backend.service {
        return Err(DropReason::NotPublished);
    }
    arrive(ctx, packet, &transport, backend, port)
}

#[inline(never)]
fn remember(packet: &ip::Header, transport: &Transport, backend: &Backend, own: (Address, u16)) {
    let client = (packet.source(), transport.source_port);
    let asked = (packet.destination(), transport.destination_port);
    let key = FlowKey::new(scope::RETURN, backend.vni, transport.protocol, own, client);
    match flow::find(&key) {
        Some(flow) if flow.address == asked.0 && flow.port == asked.1 => flow::follow(flow, transport),
        _ => maps::keep_flow(&key, &flow::begun(transport, (0, 0), asked)),
    }
}

/// What an endpoint sends to its gateway: if it answers a client outside, it goes there, as if from where the client
/// had asked. It passes if it does not.
#[inline(never)]
pub fn answer(ctx: &TcContext, source: &Source, packet: &ip::Header) -> Outcome {
    let Some(node) = maps::node() else { return Ok(Verdict::Pass) };
    let mut transport = Transport::default();
    if !transport::read(ctx, 0, packet, &mut transport) {
        return Ok(Verdict::Pass);
    }
    let Some(asked) = asked(source, packet, &transport) else { return Ok(Verdict::Pass) };
    rewrite::count_hop(ctx, packet)?;
    let change = Change { end: End::Source, address: asked.0, port: asked.1 };
    rewrite::apply(ctx, packet, &transport, &change)?;
    // SAFETY: plain numbers and no parameters: the kernel finds the next hop by the destination.
    unsafe { bpf_redirect_neigh(node.underlay_ifindex, core::ptr::null_mut(), 0, 0) };
    Ok(Verdict::Redirect)
}

#[inline(never)]
fn asked(source: &Source, packet: &ip::Header, transport: &Transport) -> Option<(Address, u16)> {
    let own = (packet.source(), transport.source_port);
    let client = (packet.destination(), transport.destination_port);
    let key = FlowKey::new(scope::RETURN, source.vni, transport.protocol, own, client);
    let flow = flow::find(&key)?;
    flow::follow(flow, transport);
    Some((flow.address, flow.port))
}
