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
use crate::headers::Headers;
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
    if work::read_packet(ctx, 0, work).is_err() {
        return Ok(Verdict::Pass);
    }
    match outer(ctx, node, &work.headers) {
        Ok(outer) => {
            let mut verdict = Verdict::Redirect;
            unpack(ctx, work, &outer, &mut verdict)?;
            Ok(verdict)
        }
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
    work.begin();
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
fn unpack(ctx: &TcContext, work: &mut Work, outer: &Outer, verdict: &mut Verdict) -> Result<(), DropReason> {
    let vxlan = outer.udp + vxlan::UDP_LEN;
    let vni = vxlan::vni(&behind(ctx, &work.headers, 1)?).ok_or(DropReason::NoVni)?;
    let at = vxlan + vxlan::LEN;
    let inner = receive::check(ctx, work, at, vni, &outer.source);
    // What does not pass is counted there too, once a packet that was merged.
    if frame::is_merged(ctx) && !matches!(&inner, Ok(inner) if inner.ends_here) {
        frame::mark_seen(ctx);
        *verdict = Verdict::Pass;
        return Ok(());
    }
    let inner = inner?;
    if outer.ecn == ip::ecn::CE && inner.ecn == ip::ecn::NOT_ECT {
        return Err(DropReason::CongestionUnmarked);
    }
    strip(ctx, at, work.packet())?;
    work.begin();
    match inner.kind {
        Kind::Inside => drop(vip::restore(ctx, work, vni)?),
        Kind::Question => serve::land(ctx, work, vni, inner.slot, &outer.source)?,
        Kind::Answer => snat::give_back(ctx, work, vni, &outer.source)?,
    }
    if inner.kind != Kind::Answer {
        work.headers.write(ctx)?;
        frame::deliver_to(ctx, inner.ifindex);
    }
    if outer.ecn == ip::ecn::CE && inner.ecn != ip::ecn::CE {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_ecn_set_ce(ctx.skb.skb) };
    }
    Ok(())
}

/// The packet is not for us, or not for us to unpack.
struct NotOurs;

/// The outer headers of a plain UDP packet for our data port at our VTEP. One for another address is on its way
/// through this host.
#[inline(always)]
fn outer(ctx: &TcContext, node: &Node, headers: &Headers) -> Result<Outer, NotOurs> {
    let header = &headers.packet;
    if header.protocol() != ip::protocol::UDP || header.is_later_fragment() {
        return Err(NotOurs);
    }
    let udp = ethernet::LEN + header.length();
    let port = vxlan::udp_destination(&behind(ctx, headers, 0).map_err(|_| NotOurs)?);
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

/// UDP's header, or VXLAN's, which is of the same length and the next one.
#[inline(always)]
fn behind(ctx: &TcContext, headers: &Headers, next: usize) -> Result<[u8; vxlan::LEN], DropReason> {
    match headers.behind4() {
        Some([udp @ .., _, _, _, _, _, _, _, _, _, _, _, _]) if next == 0 => Ok(*udp),
        Some([_, _, _, _, _, _, _, _, vxlan @ .., _, _, _, _]) => Ok(*vxlan),
        None => frame::load(ctx, ethernet::LEN + headers.packet.length() + next * vxlan::UDP_LEN),
    }
}

/// Takes the outer headers off, but for Ethernet's.
#[inline(always)]
fn strip(ctx: &TcContext, by: usize, inner: &ip::Header) -> Result<(), DropReason> {
    let family = if inner.is_v4() { BPF_F_ADJ_ROOM_DECAP_L3_IPV4 } else { BPF_F_ADJ_ROOM_DECAP_L3_IPV6 };
    let flags = u64::from(family) | u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
    frame::adjust_room(ctx, -(by as i32), flags, DropReason::DecapFailed)
}
