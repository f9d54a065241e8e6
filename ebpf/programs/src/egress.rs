//! The way out: what an endpoint sends to the world outside leaves from its node's own address, and what answers it goes
//! back. TCP, UDP and echoes do, whose identifier is what a port is for the others.
//!
//! Networks are told apart by what is kept of a flow, so their subnets may overlap.

use aya_ebpf::programs::TcContext;
use overlay_abi::services::{FlowKey, scope};
use overlay_abi::{Address, DropReason, Node, Source, gateway_mac};
use overlay_packet::{ethernet, icmp, ip};

use crate::frame::{self, Outcome, Verdict};
use crate::nat::{self, Ports, Translated, Translation};
use crate::rewrite::{self, Change, End};
use crate::transport::Transport;
use crate::work::{self, Work};
use crate::{flow, fragment, maps, serve};

/// What an endpoint sends to its gateway for somebody else.
#[inline(always)]
pub fn leave(ctx: &TcContext, work: &mut Work, source: &Source) -> Outcome {
    translate(ctx, work, source)?;
    Ok(Verdict::Redirect)
}

#[inline(never)]
fn translate(ctx: &TcContext, work: &mut Work, source: &Source) -> Result<(), DropReason> {
    let node = maps::node().ok_or(DropReason::NoNode)?;
    if maps::network(source.vni).ok_or(DropReason::UnknownNetwork)?.internal != 0 {
        return Err(DropReason::Internal);
    }
    if !read(ctx, work, source.vni) || !leads_out(node, work) {
        return Err(work.unread(DropReason::NoEgress));
    }
    fragment::keep(work, source.vni);
    let translation = Translation {
        there: scope::EGRESS,
        back: scope::EGRESS_RETURN,
        vni: source.vni,
        backend: (frame::skb(ctx).ifindex, 0),
        address: own(node, work.packet()),
        ports: Ports { first: node.first_port, last: node.last_port },
        own: 0,
    };
    let known = nat::known_port(work, &translation);
    if nat::translate(work, &translation, known) == Translated::No {
        return Err(work.untranslated());
    }
    rewrite::apply(ctx, work)?;
    serve::send_out(ctx, work)
}

/// Whether the node has an address for it to come from, and its destination is another's.
#[inline(never)]
fn leads_out(node: &Node, work: &Work) -> bool {
    let (own, to) = (own(node, work.packet()), work.packet().destination());
    !own.is_none() && node.last_port != 0 && to != own && !maps::is_own(to) && !to.is_confined()
}

/// The node's address of the packet's family.
#[inline(always)]
fn own(node: &Node, packet: &ip::Header) -> Address {
    if packet.is_v4() { node.egress4 } else { node.egress6 }
}

/// A packet that came in by the underlay device and was read: if an endpoint here waits for it, it goes there. It passes if none
/// does.
#[inline(always)]
pub fn give_back(ctx: &TcContext, work: &mut Work, node: &Node) -> Outcome {
    let ifindex = waiting(work, node);
    if ifindex == 0 {
        return Ok(Verdict::Pass);
    }
    deliver(ctx, work)?;
    Ok(frame::deliver_to(ctx, ifindex))
}

/// The device of the endpoint that waits for it, or 0; where there is one, what must be changed is filled in.
#[inline(never)]
fn waiting(work: &mut Work, node: &Node) -> u32 {
    let (to, port) = work.destination();
    if port < node.first_port || port > node.last_port || to != own(node, work.packet()) {
        return 0;
    }
    work.key = FlowKey::new(scope::EGRESS_RETURN, 0, work.transport.protocol, work.source(), (to, port));
    let Some(flow) = flow::find(&work.key, work.transport.now) else { return 0 };
    let (ifindex, vni) = (flow.backend, flow.vni);
    // By now the device may be gone, or another endpoint's.
    let Some(endpoint) = maps::source(ifindex).filter(|endpoint| endpoint.vni == vni) else { return 0 };
    work.change = Change { end: End::Destination, address: flow.address.by_words(), port: flow.port };
    work.headers.ethernet.destination = endpoint.mac;
    work.headers.ethernet.source = gateway_mac(vni);
    flow::follow(flow, &work.transport);
    fragment::keep(work, 0);
    ifindex
}

#[inline(never)]
fn deliver(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    rewrite::apply(ctx, work)?;
    work.count_hop()?;
    work.headers.write(ctx)
}

/// Reads what is behind the IP header of a packet of a network, 0 outside of all. False if it is neither TCP nor UDP nor an
/// echo, which on its way out is a request and on its way back a reply.
#[inline(always)]
pub fn read(ctx: &TcContext, work: &mut Work, vni: u32) -> bool {
    work::read_transport(ctx, work, vni) || read_echo(ctx, work, vni != 0)
}

#[inline(never)]
fn read_echo(ctx: &TcContext, work: &mut Work, out: bool) -> bool {
    let packet = work.packet();
    let expected = match (packet.protocol(), out) {
        (ip::protocol::ICMP, true) => icmp::v4::ECHO,
        (ip::protocol::ICMP, false) => icmp::v4::ECHO_REPLY,
        (ip::protocol::ICMPV6, true) => icmp::v6::ECHO,
        (ip::protocol::ICMPV6, false) => icmp::v6::ECHO_REPLY,
        _ => return false,
    };
    if packet.is_v4() != (packet.protocol() == ip::protocol::ICMP) || packet.is_fragment() {
        return false;
    }
    let at = ethernet::LEN + packet.length();
    let Ok(header) = frame::load::<{ icmp::LEN }>(ctx, at) else { return false };
    if header[0] != expected || header[1] != 0 {
        return false;
    }
    let id = u16::from_be_bytes([header[icmp::ID_AT], header[icmp::ID_AT + 1]]);
    let (source_port, destination_port) = if out { (id, 0) } else { (0, id) };
    let protocol = packet.protocol();
    let unread = Transport::unread(work.transport.now);
    work.transport = Transport { protocol, at, source_port, destination_port, ..unread };
    true
}
