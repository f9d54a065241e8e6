//! What the gateway answers by itself: echo requests for its own and for virtual addresses, and packets that do not fit.

use aya_ebpf::programs::TcContext;
use overlay_abi::{DropReason, Source, gateway_mac};
use overlay_packet::answer::Answer;
use overlay_packet::{checksum, ethernet, icmp, ip};

use crate::frame::{self, Outcome, Verdict};
use crate::{maps, reply};

/// Whether the packet is for the network's gateway itself.
#[inline(never)]
pub fn is_own(vni: u32, packet: &ip::Header) -> bool {
    let Some(network) = maps::network(vni) else { return false };
    let own = if packet.is_v4() { network.gateway4 } else { network.gateway6 };
    packet.destination() == own
}

/// Answers an echo request; anything else is dropped for the reason `otherwise`.
#[inline(never)]
pub fn answer_echo(
    ctx: &TcContext,
    header: &ethernet::Header,
    packet: &ip::Header,
    otherwise: DropReason,
) -> Outcome {
    let v4 = packet.is_v4();
    let (protocol, echo, reply) = if v4 {
        (ip::protocol::ICMP, icmp::v4::ECHO, icmp::v4::ECHO_REPLY)
    } else {
        (ip::protocol::ICMPV6, icmp::v6::ECHO, icmp::v6::ECHO_REPLY)
    };
    if packet.protocol() != protocol || packet.is_fragment() {
        return Err(otherwise);
    }
    let at = ethernet::LEN + packet.length();
    let [kind, code, high, low] = frame::load(ctx, at)?;
    if kind != echo || code != 0 {
        return Err(otherwise);
    }
    let sum = checksum::update(
        u16::from_be_bytes([high, low]),
        u16::from_be_bytes([kind, 0]),
        u16::from_be_bytes([reply, 0]),
    );
    let [high, low] = sum.to_be_bytes();
    frame::store(ctx, at, &[reply, 0, high, low])?;
    swap_addresses(ctx, header, v4)?;
    Ok(frame::send_to(frame::skb(ctx).ifindex))
}

/// Swaps MACs and addresses. No checksum changes: their sums do not depend on the order.
#[inline(never)]
pub fn swap_addresses(ctx: &TcContext, header: &ethernet::Header, v4: bool) -> Result<(), DropReason> {
    let swapped = ethernet::Header::new(header.source, header.destination, header.ethertype());
    frame::store(ctx, 0, &swapped.bytes())?;
    swap_ends(ctx, ethernet::LEN, v4)
}

/// Swaps the addresses of the IP header at `start`.
#[inline(always)]
pub fn swap_ends(ctx: &TcContext, start: usize, v4: bool) -> Result<(), DropReason> {
    if v4 { swap::<4>(ctx, start + 12) } else { swap::<16>(ctx, start + 8) }
}

/// Swaps the `N` bytes at `offset` with the next `N`.
#[inline(always)]
fn swap<const N: usize>(ctx: &TcContext, offset: usize) -> Result<(), DropReason> {
    let (first, second) = (frame::load::<N>(ctx, offset)?, frame::load::<N>(ctx, offset + N)?);
    frame::store(ctx, offset, &second)?;
    frame::store(ctx, offset + N, &first)
}

/// Tells an endpoint in the gateway's name that a packet does not fit, and which size does.
#[inline(never)]
pub fn answer_too_big(ctx: &TcContext, source: &Source, packet: &ip::Header, mtu: u16) -> Outcome {
    let network = maps::network(source.vni).ok_or(DropReason::UnknownNetwork)?;
    let from = if packet.is_v4() { network.gateway4 } else { network.gateway6 };
    if from.is_none() {
        return Err(DropReason::TooBig);
    }
    let answer = Answer { from_mac: gateway_mac(source.vni), from, to_mac: source.mac, to: packet.source() };
    reply::too_big(ctx, &answer, packet, mtu)?;
    Ok(Verdict::Redirect)
}
