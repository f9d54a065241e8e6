//! What leaves by the underlay device: only our own data path, told by its mark, sends to the data port. It
//! sees every packet of the host, so it stops at the first thing that does not match. From our own, next hops are learnt.

use aya_ebpf::programs::TcContext;
use overlay_abi::{DropReason, Node};
use overlay_packet::{ethernet, ip, vxlan};

use crate::frame::{self, Outcome, Verdict};
use crate::{extension, hop, maps, work};

#[inline(always)]
pub fn run(ctx: &TcContext) -> Outcome {
    let Some(node) = maps::node() else { return Ok(Verdict::Pass) };
    let mark = frame::skb(ctx).mark;
    if mark == node.mark || mark == hop::mark_addressed(node) {
        if mark == node.mark {
            hop::learn(ctx, node);
        }
        // Whatever else looks at marks must not mistake ours.
        ctx.set_mark(0);
        return Ok(Verdict::Pass);
    }
    let Some(work) = maps::work() else { return Ok(Verdict::Pass) };
    if work::read_packet(ctx, 0, work).is_err() {
        return Ok(Verdict::Pass);
    }
    let packet = work.packet();
    if packet.is_v4() { check4(ctx, node, packet) } else { check6(ctx, node, packet) }
}

#[inline(always)]
fn check4(ctx: &TcContext, node: &Node, packet: &ip::Header) -> Outcome {
    // Without its first fragment a datagram is never put together again.
    if packet.protocol() == ip::protocol::UDP && !packet.is_later_fragment() {
        check_port(ctx, node, ethernet::LEN + packet.length())
    } else {
        Ok(Verdict::Pass)
    }
}

#[inline(always)]
fn check6(ctx: &TcContext, node: &Node, packet: &ip::Header) -> Outcome {
    match extension::follow(ctx, packet)? {
        Some(transport) if transport.protocol == ip::protocol::UDP => check_port(ctx, node, transport.at),
        _ => Ok(Verdict::Pass),
    }
}

#[inline(always)]
fn check_port(ctx: &TcContext, node: &Node, udp: usize) -> Outcome {
    match frame::load(ctx, udp) {
        Ok(header) if vxlan::udp_destination(&header) == node.data_port => Err(DropReason::ForeignSender),
        _ => Ok(Verdict::Pass),
    }
}
