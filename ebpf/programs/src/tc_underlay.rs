//! What arrives on the underlay device: VXLAN for this node's VTEP is checked, unpacked and delivered. All else
//! passes untouched, and so does VXLAN that the VXLAN device handles better: packets that the kernel merged
//! (their tunnel's marks can't be taken off here), fragments, and IPv4 with options. [`crate::tc_overlay`] sees those.

use aya_ebpf::bindings::{BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6};
use aya_ebpf::helpers::{bpf_skb_adjust_room, bpf_skb_ecn_set_ce};
use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_packet::{ethernet, ip, vxlan};

use crate::frame::{self, Outcome, Verdict};
use crate::{maps, receive};

const BPF_ADJ_ROOM_MAC: u32 = 1;

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    let Some(node) = maps::node() else { return Ok(Verdict::Pass) };
    if frame::skb(ctx).vlan_present != 0 {
        return Ok(Verdict::Pass);
    }
    let Some(outer) = outer(ctx) else { return Ok(Verdict::Pass) };
    let udp = ethernet::LEN + usize::from(outer.length);
    let Ok(header) = frame::load(ctx, udp) else { return Ok(Verdict::Pass) };
    // A packet for another address is on its way through this host.
    if vxlan::udp_destination(&header) != node.data_port || outer.destination != node.vtep {
        return Ok(Verdict::Pass);
    }
    if frame::skb(ctx).gso_size != 0 {
        return Ok(Verdict::Pass);
    }
    let vni = vxlan::vni(&frame::load(ctx, udp + vxlan::UDP_LEN)?).ok_or(DropReason::NoVni)?;
    let at = udp + vxlan::UDP_LEN + vxlan::LEN;
    let inner = receive::check(ctx, at, vni, outer.source)?;
    if outer.ecn == ip::ecn::CE && inner.ecn == ip::ecn::NOT_ECT {
        return Err(DropReason::CongestionUnmarked);
    }
    strip(ctx, at, &inner)?;
    if outer.ecn == ip::ecn::CE && inner.ecn != ip::ecn::CE {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_ecn_set_ce(ctx.skb.skb) };
    }
    Ok(frame::deliver_to(ctx, inner.ifindex))
}

/// The outer header of a whole UDP packet with nothing unusual about it.
#[inline(always)]
fn outer(ctx: &TcContext) -> Option<ip::Header> {
    let ethertype = frame::ethernet_at(ctx, 0).ok()?.ethertype;
    let header = match ethertype {
        ethernet::IPV4 => ip::Header::parse4(&frame::load(ctx, ethernet::LEN).ok()?)?,
        ethernet::IPV6 => ip::Header::parse6(&frame::load(ctx, ethernet::LEN).ok()?)?,
        _ => return None,
    };
    let plain = usize::from(header.length) == if header.source.is_v4() { ip::V4_LEN } else { ip::V6_LEN };
    (header.protocol == ip::protocol::UDP && !header.fragment && plain).then_some(header)
}

/// Takes the outer headers off: the inner Ethernet header moves to the front.
#[inline(always)]
fn strip(ctx: &TcContext, by: usize, inner: &receive::Inner) -> Result<(), DropReason> {
    let family = match inner.header.ethertype {
        ethernet::IPV4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
        _ => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
    };
    // SAFETY: the context is valid.
    if unsafe { bpf_skb_adjust_room(ctx.skb.skb, -(by as i32), BPF_ADJ_ROOM_MAC, family as u64) } != 0 {
        return Err(DropReason::DecapFailed);
    }
    frame::store(ctx, 0, &inner.header.bytes())
}
