//! Changing a packet's address and port, with all checksums that cover them.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace};
use aya_ebpf::programs::TcContext;
use overlay_abi::{Address, DropReason};
use overlay_packet::{icmp, ip, transport};

use crate::transport::Part;
use crate::work::Work;
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

/// Changes a packet as `work.change` says: its headers in memory, and at once what is behind them, of the frame that starts with
/// its Ethernet header. A later fragment has an address alone to be changed, and an ICMP error what it quotes.
///
/// Offloaded checksums stay offloaded: the kernel's helpers know of them.
#[inline(always)]
pub fn apply(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    if work.is_error() {
        return related::apply(ctx, work);
    }
    if work.transport.part != Part::Later {
        change_transport(ctx, work)?;
    }
    let Work { headers, transport, change, .. } = work;
    headers.packet.set_address(change.end == End::Destination, &change.address);
    match change.end {
        End::Source => transport.source_port = change.port,
        End::Destination => transport.destination_port = change.port,
    }
    Ok(())
}

/// Changes the port, and the checksum that covers both.
#[inline(always)]
fn change_transport(ctx: &TcContext, work: &mut Work) -> Result<(), DropReason> {
    let Work { headers, transport, change, .. } = work;
    let (from, offset, flags) = match transport.protocol {
        ip::protocol::TCP => (0, transport::tcp::CHECKSUM_AT, 0),
        // An echo has one number, for both ends.
        ip::protocol::ICMP | ip::protocol::ICMPV6 => (icmp::ID_AT, icmp::CHECKSUM_AT, 0),
        // A datagram without a checksum stays without one.
        _ => (0, transport::udp::CHECKSUM_AT, u64::from(BPF_F_MARK_MANGLED_0)),
    };
    let sum_at = transport.at + offset;
    let (old, at, address) = match change.end {
        End::Source => (transport.source_port, transport.at + from, headers.packet.source()),
        End::Destination if from == 0 => {
            (transport.destination_port, transport.at + 2, headers.packet.destination())
        }
        End::Destination => (transport.destination_port, transport.at + from, headers.packet.destination()),
    };
    if old != change.port {
        let (old, new) = (u64::from(old.to_be()), u64::from(change.port.to_be()));
        replace_l4(ctx, sum_at, old, new, flags | 2)?;
        let echo = from != 0;
        if echo || !headers.set_port(change.end == End::Destination, change.port) {
            frame::store(ctx, at, &[change.port.to_be()])?;
        }
    }
    // It covers the addresses, but for an echo's over IPv4.
    match headers.packet.is_v4() {
        true if transport.protocol == ip::protocol::ICMP => Ok(()),
        true => {
            let (old, new) = (u64::from(address.words()[3]), u64::from(change.address.words()[3]));
            replace_l4(ctx, sum_at, old, new, flags | u64::from(BPF_F_PSEUDO_HDR) | 4)
        }
        false => replace_address6(ctx, sum_at, &address, &change.address, flags),
    }
}

#[inline(never)]
fn replace_address6(
    ctx: &TcContext,
    sum_at: usize,
    old: &Address,
    new: &Address,
    flags: u64,
) -> Result<(), DropReason> {
    let (mut old, mut new) = (old.words(), new.words());
    // SAFETY: both are 16 bytes, a multiple of 4 as the helper asks.
    let difference = unsafe { bpf_csum_diff(old.as_mut_ptr(), 16, new.as_mut_ptr(), 16, 0) };
    replace_l4(ctx, sum_at, 0, difference as u64, flags | u64::from(BPF_F_PSEUDO_HDR))
}

/// Whether the packet's checksum at `at`, TCP's or UDP's, is yet to be taken, by the kernel or a device: of all from that
/// header on to the end, with the pseudo-header's sum in its place until then. Nothing tells a program, but the kernel
/// leaves such a checksum alone when it is to follow a change of what it covers.
#[inline(never)]
pub fn is_pending(ctx: &TcContext, at: usize) -> Result<bool, DropReason> {
    let old: [u8; 2] = frame::load(ctx, at)?;
    frame::store(ctx, at, &[0_u16])?;
    replace_l4(ctx, at, 0, 1, 0)?;
    let left = frame::load::<2>(ctx, at)? == [0, 0];
    frame::store(ctx, at, &old)?;
    Ok(left)
}

/// Has the kernel change TCP's or ICMP's checksum at `at` for a number of `size` bytes that it covers, as the CPU reads it,
/// or for a difference of sums if `size` is 0.
#[inline(always)]
pub fn replace_sum(ctx: &TcContext, at: usize, old: u64, new: u64, size: u64) -> Result<(), DropReason> {
    replace_l4(ctx, at, old, new, size)
}

/// The same for the checksum of the IPv4 header at `start`.
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

/// The same for TCP's, UDP's or ICMP's checksum, with the helper's flags.
#[inline(always)]
fn replace_l4(ctx: &TcContext, at: usize, old: u64, new: u64, flags: u64) -> Result<(), DropReason> {
    // SAFETY: the context is valid, the rest plain numbers.
    checked(unsafe { bpf_l4_csum_replace(ctx.skb.skb, at as u32, old, new, flags) })
}

#[inline(always)]
fn checked(result: i64) -> Result<(), DropReason> {
    if result == 0 { Ok(()) } else { Err(DropReason::RewriteFailed) }
}
