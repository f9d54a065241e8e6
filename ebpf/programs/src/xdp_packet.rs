//! A packet in XDP, read and written where it lies. What is not there, or not plain, is none, and so is left to tc.

use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use overlay_abi::Address;
use overlay_abi::services::FlowKey;
use overlay_packet::{checksum, ip, transport};

use crate::transport::Transport;

/// What an IP header says that has nothing but its fixed fields, of a packet that is no fragment.
pub struct Plain {
    pub v4: bool,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    pub ecn: u8,
    /// The time to live, or hop limit.
    pub hops: u8,
    /// The packet's length from that header on, as it says itself.
    pub total: usize,
}

/// A number of the packet, if it is there. BPF reads at any address on the hosts that this runs on, whatever Rust says
/// of alignment.
#[inline(always)]
pub fn at<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return None;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    Some(unsafe { *(start as *const T) })
}

/// Writes a number, if its place is there.
#[inline(always)]
pub fn put<T: Copy>(ctx: &XdpContext, offset: usize, number: T) -> bool {
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return false;
    }
    // SAFETY: it lies between the data's start and end, as the comparison showed the verifier.
    unsafe { *(start as *mut T) = number };
    true
}

/// Whether so many bytes are there. What is behind them only fills the frame.
#[inline(always)]
pub fn has(ctx: &XdpContext, length: usize) -> bool {
    // SAFETY: the context is valid.
    ctx.data_end() - ctx.data() >= length || unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize >= length
}

/// The IPv4 header at an offset.
#[inline(always)]
pub fn ip4(ctx: &XdpContext, offset: usize) -> Option<Plain> {
    // Version, length, and the ECN field; then whether it is a fragment.
    let [first, class]: [u8; 2] = at(ctx, offset)?;
    let fragment: u16 = at(ctx, offset + 6)?;
    if first != 0x45 || u16::from_be(fragment) & 0x3fff != 0 {
        return None;
    }
    let [hops, protocol]: [u8; 2] = at(ctx, offset + 8)?;
    let source = Address::v4_quad(at(ctx, offset + 12)?);
    let destination = Address::v4_quad(at(ctx, offset + 16)?);
    let total = usize::from(u16::from_be(at(ctx, offset + 2)?));
    Some(Plain { v4: true, source, destination, protocol, ecn: class & 3, hops, total })
}

/// The IPv6 header at an offset.
#[inline(always)]
pub fn ip6(ctx: &XdpContext, offset: usize) -> Option<Plain> {
    let [first, second]: [u8; 2] = at(ctx, offset)?;
    if first >> 4 != 6 {
        return None;
    }
    let [protocol, hops]: [u8; 2] = at(ctx, offset + 6)?;
    let source = Address::from_quads(at(ctx, offset + 8)?);
    let destination = Address::from_quads(at(ctx, offset + 24)?);
    let total = ip::V6_LEN + usize::from(u16::from_be(at(ctx, offset + 4)?));
    Some(Plain { v4: false, source, destination, protocol, ecn: second >> 4 & 3, hops, total })
}

/// TCP's or UDP's ports, source first, in host byte order.
#[inline(always)]
pub fn ports(ctx: &XdpContext, offset: usize) -> Option<[u16; 2]> {
    let [from, to]: [u16; 2] = at(ctx, offset)?;
    Some([u16::from_be(from), u16::from_be(to)])
}

/// TCP's flags; 0 for UDP.
#[inline(always)]
pub fn flags(ctx: &XdpContext, offset: usize, protocol: u8) -> Option<u8> {
    if protocol == ip::protocol::UDP { Some(0) } else { at(ctx, offset + transport::tcp::FLAGS_AT) }
}

/// A packet of that key, as far as flows need it.
#[inline(always)]
pub fn transport(key: &FlowKey, flags: u8, now: u64) -> Transport {
    Transport {
        protocol: key.protocol,
        source_port: key.source_port,
        destination_port: key.destination_port,
        flags,
        ..Transport::unread(now)
    }
}

/// An end of a packet, of a key's.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// The second one is the destination.
    pub second: bool,
    pub address: &'a Address,
    /// Host byte order.
    pub port: u16,
}

/// Puts an address and a port in the place of one end's of a packet whose IP header is at an offset, with all checksums
/// that cover them. False, and nothing is changed, if not all of that is there.
#[inline(always)]
pub fn change(
    ctx: &XdpContext,
    offset: usize,
    (v4, udp): (bool, bool),
    old: End<'_>,
    address: &Address,
    port: u16,
) -> bool {
    let second = usize::from(old.second);
    let header = offset + if v4 { ip::V4_LEN } else { ip::V6_LEN };
    let sum_at = header + if udp { transport::udp::CHECKSUM_AT } else { transport::tcp::CHECKSUM_AT };
    let Some(sum) = at(ctx, sum_at) else { return false };
    let difference = checksum::difference(old.address.words(), address.words());
    let addressed = if v4 {
        update(ctx, offset + 10, |sum| checksum::changed(sum, difference))
            && put(ctx, offset + 12 + 4 * second, address.words()[3])
    } else {
        put(ctx, offset + 8 + 16 * second, address.words())
    };
    let (old, new) = (old.port.to_be(), port.to_be());
    let sum = match checksum::changed(sum, difference + u64::from(!old) + u64::from(new)) {
        // A datagram without a checksum stays without one, and no other seems to have none (RFC 768).
        _ if udp && sum == 0 => 0,
        0 if udp => 0xffff,
        sum => sum,
    };
    addressed && put(ctx, header + 2 * second, new) && put(ctx, sum_at, sum)
}

/// Takes one off the hops that are left, of which there are more.
#[inline(always)]
pub fn count_hop(ctx: &XdpContext, offset: usize, packet: &Plain) -> bool {
    if !packet.v4 {
        return put(ctx, offset + 7, packet.hops - 1);
    }
    let word = |hops: u8| u16::from_ne_bytes([hops, packet.protocol]);
    update(ctx, offset + 10, |sum| checksum::update(sum, word(packet.hops), word(packet.hops - 1)))
        && put(ctx, offset + 8, packet.hops - 1)
}

#[inline(always)]
fn update(ctx: &XdpContext, offset: usize, by: impl FnOnce(u16) -> u16) -> bool {
    match at(ctx, offset) {
        Some(number) => put(ctx, offset, by(number)),
        None => false,
    }
}
