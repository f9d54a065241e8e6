//! TCP's maximum segment size: what opens a connection is made to say what fits the way of the packets that it invites, so
//! that nobody has to learn it from an ICMP error.

use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_packet::transport::tcp;
use overlay_packet::{ethernet, ip};

use crate::{frame, rewrite};

/// How many options are looked at. Stacks put this one first.
const MOST: usize = 8;

/// Lowers it in a TCP packet that opens a connection, so that segments fit `mtu`; any other packet stays as it is. The frame
/// starts with its Ethernet header.
#[inline(always)]
pub fn clamp(ctx: &TcContext, packet: &ip::Header, mtu: u16) -> Result<(), DropReason> {
    if packet.protocol() != ip::protocol::TCP || packet.is_fragment() {
        return Ok(());
    }
    clamp_segment(ctx, packet, mtu)
}

#[inline(never)]
fn clamp_segment(ctx: &TcContext, packet: &ip::Header, mtu: u16) -> Result<(), DropReason> {
    let start = ethernet::LEN + packet.length();
    let Ok([offset, flags]) = frame::load(ctx, start + tcp::FLAGS_AT - 1) else { return Ok(()) };
    if flags & tcp::SYN == 0 {
        return Ok(());
    }
    let Some(at) = find(ctx, start + tcp::LEN, start + usize::from(offset >> 4) * 4) else { return Ok(()) };
    let most = mtu.saturating_sub((packet.length() + tcp::LEN) as u16);
    let old = u16::from_be_bytes(frame::load(ctx, at)?);
    if old <= most {
        return Ok(());
    }
    // A sum is of words; this one may lie across two.
    let word = |number: u16| if (at - start) % 2 == 0 { number.to_be() } else { number.to_be().swap_bytes() };
    let checksum = start + tcp::CHECKSUM_AT;
    rewrite::replace_sum(ctx, checksum, u64::from(word(old)), u64::from(word(most)), 2)?;
    frame::store(ctx, at, &[most.to_be()])
}

/// Where the option's value is, between the header's fixed part and its end.
#[inline(always)]
fn find(ctx: &TcContext, mut at: usize, end: usize) -> Option<usize> {
    for _ in 0..MOST {
        if at + tcp::MSS_LEN > end {
            return None;
        }
        let [kind, length] = frame::load(ctx, at).ok()?;
        match kind {
            tcp::END => return None,
            tcp::NOTHING => at += 1,
            tcp::MSS if usize::from(length) == tcp::MSS_LEN => return Some(at + 2),
            _ if length < 2 => return None,
            _ => at += usize::from(length),
        }
    }
    None
}
