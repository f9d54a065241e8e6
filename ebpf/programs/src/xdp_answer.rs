//! The way back of [`crate::snat`] before the kernel's own receive path: the answer that a backend's node sends here is
//! unpacked, put into the client's hands again, and sent out to it. All that tc would check is checked; what does not hold
//! passes, so that tc says why, and with it what is rare.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use overlay_abi::services::{Flow, FlowKey, scope};
use overlay_abi::{Address, DropReason, Mac, Node, gateway_mac};
use overlay_packet::{ethernet, ip, vxlan};

use crate::hop::{self, Client};
use crate::transport::Transport;
use crate::xdp_packet::{self, End, Plain};
use crate::{flow, maps};

/// Where the outer IP header is.
const IP_AT: usize = ethernet::LEN;

/// An answer, by its headers.
struct Answer {
    vni: u32,
    /// The VTEP that sent it.
    peer: Address,
    /// The endpoint that it comes from.
    backend: Mac,
    packet: Plain,
    key: FlowKey,
    transport: Transport,
}

/// Whether it may be VXLAN for this node, over IPv4 or not.
#[inline(always)]
pub fn is_vxlan(ctx: &XdpContext, v4: bool) -> bool {
    let (protocol, length) = if v4 { (9, ip::V4_LEN) } else { (6, ip::V6_LEN) };
    xdp_packet::at(ctx, IP_AT + protocol) == Some(ip::protocol::UDP)
        && xdp_packet::ports(ctx, IP_AT + length)
            .is_some_and(|[_, to]| maps::node().is_some_and(|node| node.data_port == to))
}

/// Sends an answer to its client. Functions of their own, so that they have the stack to themselves.
#[inline(never)]
pub fn give_back4(ctx: &XdpContext) -> xdp_action::Type {
    give_back::<true>(ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(never)]
pub fn give_back6(ctx: &XdpContext) -> xdp_action::Type {
    give_back::<false>(ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn give_back<const V4: bool>(ctx: &XdpContext) -> Option<xdp_action::Type> {
    let room = if V4 { vxlan::OUTER4_LEN } else { vxlan::OUTER6_LEN };
    let node = maps::node()?;
    let answer = read::<V4>(ctx, node, room)?;
    let now = answer.transport.now;
    let flow = flow::find(&answer.key, now)?;
    let (client, port) = (flow.address.by_words(), flow.port);
    let udp = answer.key.protocol == ip::protocol::UDP;
    // What seems to be VXLAN is tc's to stop.
    if !is_of_backend(&answer, flow) || udp && port == node.data_port {
        return None;
    }
    // There is none to the host's own processes, which get their answers from tc.
    let hop = hop::to_client(&(answer.key.source, client), now, hop::PATIENCE)?;
    let at = room + ethernet::LEN;
    let own = End { second: true, address: &answer.key.destination, port: answer.key.destination_port };
    if !xdp_packet::change(ctx, at, (answer.packet.v4, udp), own, &client, port) {
        return None;
    }
    flow::follow(flow, &answer.transport);
    if !xdp_packet::count_hop(ctx, at, &answer.packet) || !unwrap(ctx, room, hop) {
        maps::count(DropReason::DecapFailed);
        return Some(xdp_action::XDP_DROP);
    }
    // SAFETY: takes plain numbers.
    Some(unsafe { bpf_redirect(node.underlay_ifindex, 0) as xdp_action::Type })
}

/// Reads a whole, plain packet to a gateway, unmarked by congestion and not spent.
#[inline(always)]
fn read<const V4: bool>(ctx: &XdpContext, node: &Node, room: usize) -> Option<Answer> {
    let outer = if V4 { xdp_packet::ip4(ctx, IP_AT) } else { xdp_packet::ip6(ctx, IP_AT) }?;
    let end = IP_AT + outer.total;
    if outer.destination != node.vtep || outer.ecn == ip::ecn::CE || !xdp_packet::has(ctx, end) {
        return None;
    }
    let vni = vxlan::vni(&xdp_packet::at(ctx, room - vxlan::LEN)?)?;
    let header = ethernet::Header::from_words(xdp_packet::at(ctx, room)?);
    if header.destination != gateway_mac(vni) {
        return None;
    }
    let at = room + ethernet::LEN;
    let (packet, transport_at) = match header.ethertype() {
        ethernet::IPV4 => (xdp_packet::ip4(ctx, at)?, at + ip::V4_LEN),
        ethernet::IPV6 => (xdp_packet::ip6(ctx, at)?, at + ip::V6_LEN),
        _ => return None,
    };
    if at + packet.total > end || packet.hops <= 1 {
        return None;
    }
    if !matches!(packet.protocol, ip::protocol::TCP | ip::protocol::UDP) {
        return None;
    }
    let [from, to] = xdp_packet::ports(ctx, transport_at)?;
    let flags = xdp_packet::flags(ctx, transport_at, packet.protocol)?;
    let ends = ((packet.source, from), (packet.destination, to));
    let key = FlowKey::new(scope::SNAT_RETURN, 0, packet.protocol, ends.0, ends.1);
    let transport = xdp_packet::transport(&key, flags, flow::now());
    Some(Answer { vni, peer: outer.source, backend: header.source, packet, key, transport })
}

/// Whether the flow's backend sent it, from a peer.
#[inline(always)]
fn is_of_backend(answer: &Answer, flow: &Flow) -> bool {
    let Some(backend) = maps::backend(flow.backend) else { return false };
    backend.generation == flow.generation
        && backend.vni == answer.vni
        && backend.vtep == answer.peer
        && backend.mac == answer.backend
}

/// Takes the outer headers off, and addresses the frame; its type stays.
#[inline(always)]
fn unwrap(ctx: &XdpContext, room: usize, hop: &Client) -> bool {
    // SAFETY: the context is valid.
    let stripped = unsafe { bpf_xdp_adjust_head(ctx.ctx, room as i32) } == 0;
    stripped && xdp_packet::put(ctx, 0, hop.headers)
}
