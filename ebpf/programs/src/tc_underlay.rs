//! What arrives on the underlay device: VXLAN for this node's VTEP is checked, unpacked and delivered. All else
//! passes untouched, and so does VXLAN that the VXLAN device handles better: fragments, IPv4 with options, and packets
//! that the kernel merged or has yet to cut, unless they end in the endpoint's own stack. The tunnel's marks can't be
//! taken off those here: its stack never asks for them, but a device that the endpoint forwards to might.
//! [`crate::tc_overlay`] sees what is left.

use aya_ebpf::bindings::{
    BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
};
use aya_ebpf::helpers::bpf_skb_ecn_set_ce;
use aya_ebpf::programs::TcContext;
use overlay_abi::services::node_flag;
use overlay_abi::{Address, DropReason, Node};
use overlay_packet::{ethernet, ip, vxlan};

use crate::frame::{self, Outcome, Verdict};
use crate::receive::{self, Kind};
use crate::work::{self, Work};
use crate::{egress, maps, mesh, serve, snat, vip};

/// What the outer headers say.
struct Outer {
    /// The sending VTEP.
    source: Address,
    /// The ECN field.
    ecn: u8,
    /// Where UDP's header starts.
    udp: usize,
}

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    let Some(node) = maps::node() else { return Ok(Verdict::Pass) };
    if frame::skb(ctx).vlan_present != 0 {
        return Ok(Verdict::Pass);
    }
    let Some(work) = maps::work() else { return Ok(Verdict::Pass) };
    if !work::read_packet(ctx, work) {
        return Ok(Verdict::Pass);
    }
    match outer(ctx, node, work.packet()) {
        Ok(outer) => unpack(ctx, &outer),
        Err(NotOurs) => plain(ctx, node, work),
    }
}

/// What is not VXLAN: an answer to an endpoint here, or a client's.
#[inline(always)]
fn plain(ctx: &TcContext, node: &Node, work: &mut Work) -> Outcome {
    let (egress, mesh) = (node.last_port != 0, node.flags & node_flag::MESH != 0);
    if !egress && !mesh {
        return Ok(Verdict::Pass);
    }
    if !egress::read(ctx, work, 0) {
        return Ok(Verdict::Pass);
    }
    if egress && let redirected @ Verdict::Redirect = egress::give_back(ctx, work, node)? {
        return Ok(redirected);
    }
    if mesh { mesh::ingress(ctx, work) } else { Ok(Verdict::Pass) }
}

/// A function of its own, so that the mesh has the stack to itself.
#[inline(never)]
fn unpack(ctx: &TcContext, outer: &Outer) -> Outcome {
    let vxlan = outer.udp + vxlan::UDP_LEN;
    let vni = vxlan::vni(&frame::load(ctx, vxlan)?).ok_or(DropReason::NoVni)?;
    let at = vxlan + vxlan::LEN;
    let inner = receive::check(ctx, at, vni, &outer.source);
    // What does not pass is counted there too, once a packet that was merged.
    if frame::is_merged(ctx) && !matches!(&inner, Ok(inner) if inner.ends_here) {
        frame::mark_seen(ctx);
        return Ok(Verdict::Pass);
    }
    let inner = inner?;
    if outer.ecn == ip::ecn::CE && inner.ecn == ip::ecn::NOT_ECT {
        return Err(DropReason::CongestionUnmarked);
    }
    strip(ctx, at, &inner)?;
    match inner.kind {
        Kind::Inside => vip::restore(ctx, vni)?,
        Kind::Question => serve::land(ctx, vni, inner.ifindex, &outer.source)?,
        Kind::Answer => snat::give_back(ctx, vni, &outer.source)?,
    }
    if outer.ecn == ip::ecn::CE && inner.ecn != ip::ecn::CE {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_ecn_set_ce(ctx.skb.skb) };
    }
    if inner.kind == Kind::Answer {
        return Ok(Verdict::Redirect);
    }
    Ok(frame::deliver_to(ctx, inner.ifindex))
}

/// The packet is not for us, or not for us to unpack.
struct NotOurs;

/// The outer headers of a plain UDP packet for our data port at our VTEP. One for another address is on its way
/// through this host.
#[inline(never)]
fn outer(ctx: &TcContext, node: &Node, header: &ip::Header) -> Result<Outer, NotOurs> {
    if header.protocol() != ip::protocol::UDP || header.is_later_fragment() {
        return Err(NotOurs);
    }
    let udp = ethernet::LEN + header.length();
    let port = vxlan::udp_destination(&frame::load(ctx, udp).map_err(|_| NotOurs)?);
    if port != node.data_port || header.destination() != node.vtep {
        return Err(NotOurs);
    }
    let fixed = if header.is_v4() { ip::V4_LEN } else { ip::V6_LEN };
    if header.length() != fixed || header.is_fragment() {
        frame::mark_seen(ctx);
        return Err(NotOurs);
    }
    Ok(Outer { source: header.source(), ecn: header.ecn(), udp })
}

/// Takes the outer headers off: the inner Ethernet header moves to the front.
#[inline(always)]
fn strip(ctx: &TcContext, by: usize, inner: &receive::Inner) -> Result<(), DropReason> {
    let family = match inner.header.ethertype {
        ethernet::IPV4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
        _ => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
    };
    let flags = u64::from(family) | u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
    frame::adjust_room(ctx, -(by as i32), flags, DropReason::DecapFailed)?;
    frame::store(ctx, 0, &inner.header.words())
}
