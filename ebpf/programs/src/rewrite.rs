//! Changing a packet's address and port, with all checksums that cover them.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace};
use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, DropReason};
use overlay_packet::{ethernet, icmp, ip, transport};

use crate::transport::{Part, Transport};
use crate::{frame, related};

/// Which end of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// The IPv4 header's checksum, from its start.
const V4_CHECKSUM: usize = 10;

/// What takes the place of one end's address and port.
pub struct Change {
    pub end: End,
    pub address: Address,
    /// Host byte order.
    pub port: u16,
}

/// Where the transport's checksum is, in bytes from the start of the frame, and the helper's flags for it; nowhere, where
/// `at` is 0.
struct Checksum {
    at: usize,
    flags: u64,
    /// Whether it covers the addresses, too.
    addresses: bool,
}

/// Changes a packet. The frame starts with its Ethernet header. A later fragment has an address alone to be changed,
/// and an ICMP error what it quotes.
///
/// Offloaded checksums stay offloaded: the kernel's helpers know of them.
#[inline(never)]
pub fn apply(
    ctx: &TcContext,
    packet: &ip::Header,
    transport: &Transport,
    change: &Change,
) -> Result<(), DropReason> {
    if transport.part == Part::Quoted {
        return related::apply(ctx, packet, transport, change);
    }
    let later = transport.part == Part::Later;
    let (from, offset, flags) = match transport.protocol {
        ip::protocol::TCP => (0, transport::tcp::CHECKSUM_AT, 0),
        // An echo has one number, for both ends.
        ip::protocol::ICMP | ip::protocol::ICMPV6 => (icmp::ID_AT, icmp::CHECKSUM_AT, 0),
        // A datagram without a checksum stays without one.
        _ => (0, transport::udp::CHECKSUM_AT, u64::from(BPF_F_MARK_MANGLED_0)),
    };
    let addresses = transport.protocol != ip::protocol::ICMP;
    let at = if later { 0 } else { transport.at + offset };
    let checksum = Checksum { at, flags, addresses };
    let (old, at) = match change.end {
        End::Source => (transport.source_port, transport.at + from),
        End::Destination if from == 0 => (transport.destination_port, transport.at + 2),
        End::Destination => (transport.destination_port, transport.at + from),
    };
    if old != change.port && !later {
        let (old, new) = (u64::from(old.to_be()), u64::from(change.port.to_be()));
        replace_l4(ctx, &checksum, old, new, 2)?;
        frame::store(ctx, at, &[change.port.to_be()])?;
    }
    let old = match change.end {
        End::Source => packet.source(),
        End::Destination => packet.destination(),
    };
    let second = usize::from(change.end == End::Destination);
    if packet.is_v4() {
        address4(ctx, &checksum, ethernet::LEN + 12 + second * 4, &old, &change.address)
    } else {
        address6(ctx, &checksum, ethernet::LEN + 8 + second * 16, &old, &change.address)
    }
}

#[inline(never)]
fn address4(
    ctx: &TcContext,
    checksum: &Checksum,
    at: usize,
    old: &Address,
    new: &Address,
) -> Result<(), DropReason> {
    let (old, new) = (old.words()[3], new.words()[3]);
    replace_l3(ctx, u64::from(old), u64::from(new), 4)?;
    if checksum.addresses {
        replace_l4(ctx, checksum, u64::from(old), u64::from(new), u64::from(BPF_F_PSEUDO_HDR) | 4)?;
    }
    frame::store(ctx, at, &[new])
}

#[inline(never)]
fn address6(
    ctx: &TcContext,
    checksum: &Checksum,
    at: usize,
    old: &Address,
    new: &Address,
) -> Result<(), DropReason> {
    let (mut old, mut new) = (old.words(), new.words());
    // SAFETY: both are 16 bytes, a multiple of 4 as the helper asks.
    let difference = unsafe { bpf_csum_diff(old.as_mut_ptr(), 16, new.as_mut_ptr(), 16, 0) };
    replace_l4(ctx, checksum, 0, difference as u64, u64::from(BPF_F_PSEUDO_HDR))?;
    frame::store(ctx, at, &new)
}

/// Takes one off an IPv4 packet's time to live, or an IPv6 packet's hop limit, as a router does.
#[inline(never)]
pub fn count_hop(ctx: &TcContext, packet: &ip::Header) -> Result<(), DropReason> {
    let hops = packet.hop_limit();
    if hops <= 1 {
        return Err(DropReason::NoHopsLeft);
    }
    if !packet.is_v4() {
        return frame::store(ctx, ethernet::LEN + 7, &[hops - 1]);
    }
    let word = |hops: u8| u64::from(u16::from_ne_bytes([hops, packet.protocol()]));
    replace_l3(ctx, word(hops), word(hops - 1), 2)?;
    frame::store(ctx, ethernet::LEN + 8, &[hops - 1])
}

/// Whether the packet's checksum at `at`, TCP's or UDP's, is yet to be taken, by the kernel or a device: of all from that
/// header on to the end, with the pseudo-header's sum in its place until then. Nothing tells a program, but the kernel
/// leaves such a checksum alone when it is to follow a change of what it covers.
#[inline(never)]
pub fn is_pending(ctx: &TcContext, at: usize) -> Result<bool, DropReason> {
    let old: [u8; 2] = frame::load(ctx, at)?;
    frame::store(ctx, at, &[0_u16])?;
    replace_l4(ctx, &Checksum { at, flags: 0, addresses: true }, 0, 1, 0)?;
    let left = frame::load::<2>(ctx, at)? == [0, 0];
    frame::store(ctx, at, &old)?;
    Ok(left)
}

/// Has the kernel change TCP's or ICMP's checksum at `at` for a number of `size` bytes that it covers, as the CPU reads it,
/// or for a difference of sums if `size` is 0.
#[inline(always)]
pub fn replace_sum(ctx: &TcContext, at: usize, old: u64, new: u64, size: u64) -> Result<(), DropReason> {
    replace_l4(ctx, &Checksum { at, flags: 0, addresses: false }, old, new, size)
}

/// Has the kernel change the packet's own IPv4 header's checksum for a number of `size` bytes.
#[inline(always)]
fn replace_l3(ctx: &TcContext, old: u64, new: u64, size: u64) -> Result<(), DropReason> {
    replace_header4(ctx, ethernet::LEN, old, new, size)
}

/// The same for the IPv4 header at `start`.
#[inline(always)]
pub fn replace_header4(
    ctx: &TcContext,
    start: usize,
    old: u64,
    new: u64,
    size: u64,
) -> Result<(), DropReason> {
    // SAFETY: the context is valid, the rest plain numbers.
    checked(unsafe { bpf_l3_csum_replace(ctx.skb.skb, (start + V4_CHECKSUM) as u32, old, new, size) })
}

/// The same for TCP's or UDP's checksum, where it is.
#[inline(always)]
fn replace_l4(
    ctx: &TcContext,
    checksum: &Checksum,
    old: u64,
    new: u64,
    flags: u64,
) -> Result<(), DropReason> {
    if checksum.at == 0 {
        return Ok(());
    }
    // SAFETY: the context is valid, the rest plain numbers.
    checked(unsafe { bpf_l4_csum_replace(ctx.skb.skb, checksum.at as u32, old, new, checksum.flags | flags) })
}

#[inline(always)]
fn checked(result: i64) -> Result<(), DropReason> {
    if result == 0 { Ok(()) } else { Err(DropReason::RewriteFailed) }
}
