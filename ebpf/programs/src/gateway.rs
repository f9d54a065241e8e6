//! What the gateway answers by itself: echo requests for its own and for virtual addresses, and packets that do not fit.

use aya_ebpf::helpers::{bpf_csum_diff, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use overlay_abi::{DropReason, Source, gateway_mac};
use overlay_packet::{checksum, ethernet, icmp, ip};

use crate::frame::{self, Outcome};
use crate::maps;

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
    let swapped = ethernet::Header { destination: header.source, source: header.destination, ..*header };
    frame::store(ctx, 0, &swapped.bytes())?;
    if v4 { swap::<4>(ctx, ethernet::LEN + 12) } else { swap::<16>(ctx, ethernet::LEN + 8) }
}

/// Swaps the `N` bytes at `offset` with the next `N`.
#[inline(always)]
fn swap<const N: usize>(ctx: &TcContext, offset: usize) -> Result<(), DropReason> {
    let (first, second) = (frame::load::<N>(ctx, offset)?, frame::load::<N>(ctx, offset + N)?);
    frame::store(ctx, offset, &second)?;
    frame::store(ctx, offset + N, &first)
}

/// Turns a packet that does not fit into the gateway's answer that says which size does, and sends it back.
#[inline(never)]
pub fn answer_too_big(ctx: &TcContext, source: &Source, packet: &ip::Header, mtu: u16) -> Outcome {
    let network = maps::network(source.vni).ok_or(DropReason::UnknownNetwork)?;
    let v4 = packet.is_v4();
    let from = if v4 { network.gateway4 } else { network.gateway6 };
    // RFC 1122, section 3.2.2: never about a fragment but the first.
    if !packet.dont_fragment() || packet.is_later_fragment() || from.is_none() {
        return Err(DropReason::TooBig);
    }
    let answer =
        icmp::Answer { from_mac: gateway_mac(source.vni), from, to_mac: source.mac, to: packet.source() };
    frame::resize(ctx, ethernet::LEN + icmp::QUOTE)?;
    let quote = quote_sum(ctx)?;
    if v4 {
        push_too_big4(ctx, &answer, mtu, quote)?
    } else {
        push_too_big6(ctx, &answer, mtu, quote)?
    }
    Ok(frame::send_to(frame::skb(ctx).ifindex))
}

#[inline(never)]
fn push_too_big4(ctx: &TcContext, answer: &icmp::Answer, mtu: u16, quote: u32) -> Result<(), DropReason> {
    push(ctx, icmp::TOO_BIG4_LEN)?;
    frame::store(ctx, 0, &answer.too_big4(mtu, quote))
}

#[inline(never)]
fn push_too_big6(ctx: &TcContext, answer: &icmp::Answer, mtu: u16, quote: u32) -> Result<(), DropReason> {
    push(ctx, icmp::TOO_BIG6_LEN)?;
    frame::store(ctx, 0, &answer.too_big6(mtu, quote))
}

/// Makes room between the Ethernet header and the quote for `headers`, of which Ethernet's is there already.
#[inline(always)]
fn push(ctx: &TcContext, headers: usize) -> Result<(), DropReason> {
    frame::adjust_room(ctx, (headers - ethernet::LEN) as i32, 0, DropReason::RewriteFailed)
}

/// The running sum of the quote, of big-endian words.
#[inline(always)]
fn quote_sum(ctx: &TcContext) -> Result<u32, DropReason> {
    const END: usize = ethernet::LEN + icmp::QUOTE;
    // SAFETY: the context is valid.
    if unsafe { bpf_skb_pull_data(ctx.skb.skb, END as u32) } != 0 || ctx.data() + END > ctx.data_end() {
        return Err(DropReason::RewriteFailed);
    }
    let quote = ctx.data() + ethernet::LEN;
    // SAFETY: the quote lies between the data's start and end, as the comparison showed the verifier.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, quote as *mut u32, icmp::QUOTE as u32, 0) };
    // The helper sums words as the CPU reads them; a sum's bytes can be swapped afterwards (RFC 1071, section 2).
    Ok(u32::from(u16::from_be(checksum::fold(sum as u32))))
}
