//! Sending to a peer's node. The outer headers are written here, so the VXLAN device has no part in it but for
//! packets that the kernel lets no program wrap: those that it holds for a tunnel's already, as it does for what
//! an endpoint received and forwards, and segments other than TCP's and UDP's; and for those that must be cut.

use aya_ebpf::bindings::{
    BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_DONT_FRAGMENT, BPF_F_TUNINFO_IPV6,
    BPF_F_ZERO_CSUM_TX, bpf_tunnel_key,
};
use aya_ebpf::helpers::{bpf_get_hash_recalc, bpf_skb_set_tunnel_key};
use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, DropReason, Node};
use overlay_packet::{ethernet, ip, vxlan};

use crate::hop::Own;
use crate::work::Work;
use crate::{frame, hop, maps};

/// The kernel is told of the inner Ethernet header alone; counting VXLAN's in breaks the segmentation of TCP.
const INNER_L2: u64 = (ethernet::LEN as u64) << 56;
const FLAGS: u64 = BPF_F_ADJ_ROOM_ENCAP_L4_UDP as u64
    | BPF_F_ADJ_ROOM_ENCAP_L2_ETH as u64
    | BPF_F_ADJ_ROOM_FIXED_GSO as u64
    | INNER_L2;

/// Redirects the packet, whose headers are as they shall be, to a peer.
#[inline(never)]
pub fn send(ctx: &TcContext, work: &mut Work, vni: u32, peer: &Address) -> Result<(), DropReason> {
    let node = maps::node().ok_or(DropReason::NoNode)?;
    let source_port = vxlan::source_port(flow_hash(ctx));
    let own = Own { ecn: work.packet().ecn(), source_port, vni, inner: ctx.len() as usize };
    let v4 = node.vtep.is_v4();
    let (room, family) = if v4 {
        (vxlan::OUTER4_LEN, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)
    } else {
        (vxlan::OUTER6_LEN, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)
    };
    if grow(ctx, room, family as u64).is_err() {
        return hand_to_device(ctx, work, vni, peer, u64::from(BPF_F_DONT_FRAGMENT));
    }
    let hop = hop::to_peer(peer, work.transport.now, hop::NO_PATIENCE);
    match (hop, v4) {
        (Some(hop), true) => work.headers.wrap::<true>(hop, &own),
        (Some(hop), false) => work.headers.wrap::<false>(hop, &own),
        (None, true) => wrap_anew::<true>(work, node, peer, &own),
        (None, false) => wrap_anew::<false>(work, node, peer, &own),
    }
    work.headers.write_wrapped(ctx, v4)?;
    hop::leave(ctx, node, hop.is_some());
    Ok(())
}

/// Functions of their own, so that the stack has room for all outer headers.
#[inline(never)]
fn wrap_anew<const V4: bool>(work: &mut Work, node: &Node, peer: &Address, own: &Own) {
    work.headers.wrap_anew::<V4>(&vxlan::Outer {
        source: node.vtep,
        destination: *peer,
        source_port: own.source_port,
        destination_port: node.data_port,
        vni: own.vni,
        ecn: own.ecn,
        inner: own.inner,
    });
}

/// The kernel's hash of the flow; a connected socket's packets bring it along.
#[inline(always)]
fn flow_hash(ctx: &TcContext) -> u32 {
    match frame::skb(ctx).hash {
        // SAFETY: the context is valid.
        0 => unsafe { bpf_get_hash_recalc(ctx.skb.skb) },
        known => known,
    }
}

#[inline(always)]
fn grow(ctx: &TcContext, by: usize, family: u64) -> Result<(), DropReason> {
    frame::adjust_room(ctx, by as i32, FLAGS | family, DropReason::EncapFailed)
}

/// Whether a packet that does not fit may be sent in several outer ones. The kernel cuts what it forwards over IPv4 alone.
#[inline(always)]
pub fn may_cut(packet: &ip::Header) -> bool {
    !packet.dont_fragment() && maps::node().is_some_and(|node| node.vtep.is_v4())
}

/// The same in as many outer packets as it takes.
#[inline(always)]
pub fn send_cut(ctx: &TcContext, work: &Work, vni: u32, peer: &Address) -> Result<(), DropReason> {
    hand_to_device(ctx, work, vni, peer, 0)
}

/// Has the VXLAN device send the packet, with these flags for the tunnel. The device copies the inner ECN field by itself.
#[inline(never)]
fn hand_to_device(
    ctx: &TcContext,
    work: &Work,
    vni: u32,
    peer: &Address,
    flags: u64,
) -> Result<(), DropReason> {
    work.headers.write(ctx)?;
    let node = maps::node().ok_or(DropReason::NoNode)?;
    if node.vxlan_ifindex == 0 {
        return Err(DropReason::EncapFailed);
    }
    // SAFETY: all zero is a valid key.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
    key.tunnel_id = vni;
    key.tunnel_ttl = ip::HOPS;
    let mut flags = flags | u64::from(BPF_F_ZERO_CSUM_TX);
    // The kernel takes IPv4 addresses as numbers in host byte order, but IPv6 ones as they are on the wire.
    if node.vtep.is_v4() {
        key.__bindgen_anon_1.remote_ipv4 = u32::from_be_bytes(peer.last4());
        key.__bindgen_anon_3.local_ipv4 = u32::from_be_bytes(node.vtep.last4());
    } else {
        key.__bindgen_anon_1.remote_ipv6 = peer.words();
        key.__bindgen_anon_3.local_ipv6 = node.vtep.words();
        flags |= u64::from(BPF_F_TUNINFO_IPV6);
    }
    // SAFETY: the context is valid, and the key has the size that is told.
    let result = unsafe {
        bpf_skb_set_tunnel_key(ctx.skb.skb, &raw mut key, size_of::<bpf_tunnel_key>() as u32, flags)
    };
    if result != 0 {
        return Err(DropReason::EncapFailed);
    }
    ctx.set_mark(node.mark);
    frame::send_to(node.vxlan_ifindex);
    Ok(())
}

/// Whether the packet, or each segment that the kernel will cut it into, fits `mtu` bytes.
#[inline(always)]
pub fn fits(ctx: &TcContext, packet: &ip::Header, mtu: u32) -> bool {
    let segment = frame::skb(ctx).gso_size;
    if segment == 0 {
        return ctx.len() - ethernet::LEN as u32 <= mtu;
    }
    let at = ethernet::LEN + packet.length();
    let transport = match packet.protocol() {
        ip::protocol::UDP => vxlan::UDP_LEN as u32,
        // TCP, or extension headers before it: then the largest TCP header stands for both.
        ip::protocol::TCP => match frame::load::<1>(ctx, at + 12) {
            Ok([offset]) => u32::from(offset >> 4) * 4,
            Err(_) => 60,
        },
        _ => 60,
    };
    packet.length() as u32 + transport + segment <= mtu
}
