//! The routing mesh before the kernel's own receive path: a client's packet whose backend is on a peer is wrapped and
//! sent on at once, and so is a peer's answer to a client ([`crate::xdp_answer`]). All else passes, and with it what is rare:
//! [`crate::mesh`] does it at the next hook, where local backends are reached too.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use overlay_abi::services::{Backend, FlowKey, scope};
use overlay_abi::{DropReason, gateway_mac};
use overlay_packet::{ethernet, ip, vxlan};

use crate::hop::{self, Own, Peer};
use crate::transport::Transport;
use crate::xdp_packet::{self, Plain, at};
use crate::{flow, maps, mesh, xdp_answer, xdp_snat};

/// Where the outer IP header is.
const IP_AT: usize = ethernet::LEN;

/// What is read of a packet.
pub struct Seen {
    pub key: FlowKey,
    pub flags: u8,
    /// The inner packet's ECN field.
    ecn: u8,
    pub ethertype: u16,
    /// The packet's length with its Ethernet header, as it says itself.
    total: usize,
    /// Whether new flows of the port are hidden.
    hidden: bool,
    /// When the packet came, in nanoseconds since the host's boot.
    pub now: u64,
}

/// Who takes the packet.
struct Chosen {
    slot: u32,
    backend: &'static Backend,
    /// The port that stands for the client, or 0.
    stands_for: u16,
}

#[inline(always)]
pub fn run(ctx: &XdpContext) -> xdp_action::Type {
    // Twice all that follows, for the compiler knows most of an IPv4 address.
    match at(ctx, 12).map(u16::from_be) {
        Some(ethernet::IPV4) if xdp_answer::is_vxlan(ctx, true) => xdp_answer::give_back4(ctx),
        Some(ethernet::IPV6) if xdp_answer::is_vxlan(ctx, false) => xdp_answer::give_back6(ctx),
        Some(ethernet::IPV4) => send_on4(ctx),
        Some(ethernet::IPV6) => send_on6(ctx),
        _ => xdp_action::XDP_PASS,
    }
}

/// Functions of their own, so that none has the other's on the stack.
#[inline(never)]
fn send_on4(ctx: &XdpContext) -> xdp_action::Type {
    see4(ctx).and_then(|seen| send_on(ctx, &seen)).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(never)]
fn send_on6(ctx: &XdpContext) -> xdp_action::Type {
    see6(ctx).and_then(|seen| send_on(ctx, &seen)).unwrap_or(xdp_action::XDP_PASS)
}

/// Sends it to its backend's node, if it has one.
#[inline(always)]
fn send_on(ctx: &XdpContext, seen: &Seen) -> Option<xdp_action::Type> {
    let Chosen { slot, backend, stands_for } = choose(seen)?;
    let length = seen.total - ethernet::LEN;
    if backend.ifindex != 0 || length > usize::from(backend.mtu) || !xdp_packet::has(ctx, seen.total) {
        return None;
    }
    let node = maps::node()?;
    let hop = hop::to_peer(&backend.vtep, seen.now, hop::PATIENCE)?;
    if stands_for != 0 && !xdp_snat::hide(ctx, seen, stands_for) {
        return None;
    }
    let wrapped = match node.vtep.is_v4() {
        true => wrap::<true>(ctx, backend, seen, hop),
        false => wrap::<false>(ctx, backend, seen, hop),
    };
    if !wrapped {
        maps::count(DropReason::EncapFailed);
        return Some(xdp_action::XDP_DROP);
    }
    maps::count_sent(slot, 1, length as u64);
    // Not XDP_TX, even back by the same device: a veth's peer takes what comes so only with a program of its own.
    // SAFETY: takes plain numbers.
    Some(unsafe { bpf_redirect(node.underlay_ifindex, 0) as xdp_action::Type })
}

/// Reads a plain TCP or UDP packet for a published port.
#[inline(always)]
fn see4(ctx: &XdpContext) -> Option<Seen> {
    see(ctx, xdp_packet::ip4(ctx, IP_AT)?, IP_AT + ip::V4_LEN, ethernet::IPV4)
}

#[inline(always)]
fn see6(ctx: &XdpContext) -> Option<Seen> {
    see(ctx, xdp_packet::ip6(ctx, IP_AT)?, IP_AT + ip::V6_LEN, ethernet::IPV6)
}

#[inline(always)]
fn see(ctx: &XdpContext, packet: Plain, transport_at: usize, ethertype: u16) -> Option<Seen> {
    let udp = match packet.protocol {
        ip::protocol::TCP => false,
        ip::protocol::UDP => true,
        _ => return None,
    };
    let [from, to] = xdp_packet::ports(ctx, transport_at)?;
    let hidden = mesh::is_hidden(maps::port(udp, to)?);
    let flags = xdp_packet::flags(ctx, transport_at, packet.protocol)?;
    let ends = ((packet.source, from), (packet.destination, to));
    let key = FlowKey::new(scope::MESH, 0, packet.protocol, ends.0, ends.1);
    let now = flow::now();
    Some(Seen { key, flags, ecn: packet.ecn, ethertype, total: IP_AT + packet.total, hidden, now })
}

/// The backend that the flow has, or gets.
#[inline(always)]
fn choose(seen: &Seen) -> Option<Chosen> {
    let transport = seen.transport();
    let (slot, stands_for) = match mesh::known(&seen.key, &transport, seen.hidden) {
        // A port that stands for a client is taken in tc.
        (0, _) if !seen.hidden && maps::is_own(seen.key.destination) => {
            (mesh::choose(&seen.key, &transport, false), 0)
        }
        known => known,
    };
    let backend = maps::backend(slot).filter(|backend| backend.generation != 0)?;
    Some(Chosen { slot, backend, stands_for })
}

impl Seen {
    /// As far as flows need it.
    #[inline(always)]
    pub fn transport(&self) -> Transport {
        xdp_packet::transport(&self.key, self.flags, self.now)
    }
}

/// Puts all headers in front of the packet, and its Ethernet header anew: the hop has them but for what differs from one
/// packet to another.
#[inline(always)]
fn wrap<const V4: bool>(ctx: &XdpContext, backend: &Backend, seen: &Seen, hop: &Peer) -> bool {
    let room = if V4 { vxlan::OUTER4_LEN } else { vxlan::OUTER6_LEN };
    // SAFETY: the context is valid.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(room as i32)) } != 0 {
        return false;
    }
    let start = ctx.data();
    if start + room + ethernet::LEN > ctx.data_end() {
        return false;
    }
    // SAFETY: what is written lies between the data's start and end, as the comparison showed the verifier.
    unsafe { hop.write::<V4>(start as *mut u8) };
    let own = Own {
        ecn: seen.ecn,
        source_port: vxlan::source_port(flow::quick_hash(&seen.key)),
        vni: backend.vni,
        inner: seen.total,
    };
    let inner = ethernet::Header::new(backend.mac, gateway_mac(backend.vni), seen.ethertype);
    hop.differ::<V4>(&own, &inner, |at, word| {
        // SAFETY: every place is one of the headers', which were just written.
        unsafe { *((start + at) as *mut u16) = word };
    });
    true
}
