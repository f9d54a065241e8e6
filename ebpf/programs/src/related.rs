//! ICMP errors about services' flows (RFC 792, RFC 4443). An error quotes the packet that it is about, so it is a message
//! of the same flow the other way: from where the quoted packet went to where it came from. It takes the way of a packet
//! from there to there, and what is changed in such a packet is changed in the quote, at the other end.
//!
//! An error may come from anybody on the way. So its own source is changed only where that is the flow's end itself.

use aya_ebpf::helpers::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_packet::{ethernet, icmp, ip, transport};

use crate::rewrite::{self, Change, End};
use crate::transport::{Part, Transport};
use crate::work::Work;
use crate::{frame, gateway};

/// Where the checksum is in an ICMP header of both families.
const CHECKSUM: usize = 2;

/// Reads what an error quotes: the IP header, and the ports turned round. False for all else, for a quote that tells too
/// little, and for one that its receiver did not send.
#[inline(never)]
pub fn read(ctx: &TcContext, work: &mut Work) -> bool {
    let Work { headers, quoted, transport: space, .. } = work;
    let packet = &headers.packet;
    if packet.is_fragment() || !is_error(ctx, packet) {
        return false;
    }
    let at = quote(packet);
    if !frame::read_ip(ctx, at, packet.is_v4(), quoted) {
        return false;
    }
    if quoted.is_later_fragment() || quoted.source() != packet.destination() {
        return false;
    }
    space.protocol = quoted.protocol();
    if !matches!(space.protocol, ip::protocol::TCP | ip::protocol::UDP) {
        return false;
    }
    space.at = at + quoted.length();
    let Ok(ports) = frame::load(ctx, space.at) else { return false };
    (space.destination_port, space.source_port) = transport::ports(&ports);
    space.part = Part::Quoted;
    true
}

#[inline(always)]
fn is_error(ctx: &TcContext, packet: &ip::Header) -> bool {
    let protocol = if packet.is_v4() { ip::protocol::ICMP } else { ip::protocol::ICMPV6 };
    if packet.protocol() != protocol {
        return false;
    }
    match frame::load::<1>(ctx, ethernet::LEN + packet.length()) {
        Ok([kind]) if packet.is_v4() => icmp::v4::is_error(kind),
        Ok([kind]) => icmp::v6::is_error(kind),
        Err(_) => false,
    }
}

/// Where the quote starts, in bytes from the start of the frame.
#[inline(always)]
fn quote(packet: &ip::Header) -> usize {
    ethernet::LEN + packet.length() + icmp::LEN
}

/// Turns the quote round, for an endpoint that is its own backend: what it was sent is what it had sent, turned round.
#[inline(never)]
pub fn turn(ctx: &TcContext, packet: &ip::Header) -> Result<(), DropReason> {
    gateway::swap_ends(ctx, quote(packet), packet.is_v4())
}

/// Changes an error that [`read`] has read, and reads it as it is then.
#[inline(never)]
pub fn apply(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    change(ctx, work.packet(), &work.transport, &work.change)?;
    let v4 = work.packet().is_v4();
    let known = frame::read_ip(ctx, ethernet::LEN, v4, &mut work.headers.packet) && read(ctx, work);
    if known { Ok(()) } else { Err(DropReason::RewriteFailed) }
}

#[inline(always)]
fn change(
    ctx: &TcContext,
    packet: &ip::Header,
    transport: &Transport,
    change: &Change,
) -> Result<(), DropReason> {
    let checksum = ethernet::LEN + packet.length() + CHECKSUM;
    // What is one end for the flow's packets is the other one in the quote.
    let (old, port_at) = match change.end {
        End::Source => (transport.source_port, transport.at + 2),
        End::Destination => (transport.destination_port, transport.at),
    };
    if old != change.port {
        rewrite::replace_sum(ctx, checksum, u64::from(old.to_be()), u64::from(change.port.to_be()), 2)?;
        frame::store(ctx, port_at, &[change.port.to_be()])?;
    }
    if packet.is_v4() {
        apply4(ctx, quote(packet), change)
    } else {
        apply6(ctx, quote(packet), checksum, change)
    }
}

/// The sum of an IPv4 header stays what it is, as its own checksum follows the change. So ICMP's has nothing to follow.
#[inline(never)]
fn apply4(ctx: &TcContext, quote: usize, change: &Change) -> Result<(), DropReason> {
    let (outer_at, quoted_at) = match change.end {
        End::Source => (ethernet::LEN + 12, quote + 16),
        End::Destination => (ethernet::LEN + 16, quote + 12),
    };
    let old: [u8; 4] = frame::load(ctx, quoted_at)?;
    let (from, to) = (u64::from(u32::from_ne_bytes(old)), u64::from(change.address.words()[3]));
    rewrite::replace_header4(ctx, quote, from, to, 4)?;
    frame::store(ctx, quoted_at, &change.address.last4())?;
    if frame::load::<4>(ctx, outer_at)? != old {
        return Ok(());
    }
    rewrite::replace_header4(ctx, ethernet::LEN, from, to, 4)?;
    frame::store(ctx, outer_at, &change.address.last4())
}

/// ICMPv6's checksum covers the addresses of both headers. It is never offloaded.
#[inline(never)]
fn apply6(ctx: &TcContext, quote: usize, checksum: usize, change: &Change) -> Result<(), DropReason> {
    let (outer_at, quoted_at) = match change.end {
        End::Source => (ethernet::LEN + 8, quote + 24),
        End::Destination => (ethernet::LEN + 24, quote + 8),
    };
    let mut old = words(ctx, quoted_at)?;
    // SAFETY: both are 16 bytes, a multiple of 4 as the helper asks, which it only reads.
    let difference = unsafe {
        let new = change.address.0.as_ptr().cast_mut().cast();
        bpf_csum_diff(old.as_mut_ptr(), 16, new, 16, 0)
    };
    rewrite::replace_sum(ctx, checksum, 0, difference as u64, 0)?;
    frame::store(ctx, quoted_at, &change.address.0)?;
    if !is6(ctx, outer_at, &old)? {
        return Ok(());
    }
    rewrite::replace_sum(ctx, checksum, 0, difference as u64, 0)?;
    frame::store(ctx, outer_at, &change.address.0)
}

/// Whether the address at an offset is that one. A function of its own, so that the stack has room.
#[inline(never)]
fn is6(ctx: &TcContext, offset: usize, address: &[u32; 4]) -> Result<bool, DropReason> {
    let ([a, b, c, d], [e, f, g, h]) = (*address, words(ctx, offset)?);
    Ok(a == e && b == f && c == g && d == h)
}

#[inline(always)]
fn words(ctx: &TcContext, offset: usize) -> Result<[u32; 4], DropReason> {
    ctx.load(offset).map_err(|_| DropReason::Truncated)
}
