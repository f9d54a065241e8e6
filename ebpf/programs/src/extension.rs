//! IPv6 extension headers (RFC 8200, section 4): what is behind them, so that nothing hides there.

use aya_ebpf::programs::TcContext;
use overlay_abi::DropReason;
use overlay_packet::{ethernet, ip};

use crate::frame;

/// The most extension headers that are followed. RFC 8200, section 4.1 knows five that a sender can set in an
/// order that makes sense.
const MOST: usize = 6;

/// The header behind the extension headers.
pub struct Transport {
    /// Its protocol.
    pub protocol: u8,
    /// Where it starts, in bytes from the start of the frame.
    pub at: usize,
}

/// Follows the extension headers of an IPv6 packet. `None` for a fragment but the first, and for a packet that
/// ends before; an error for more of them than anyone needs.
#[inline(never)]
pub fn follow(ctx: &TcContext, packet: &ip::Header) -> Result<Option<Transport>, DropReason> {
    let mut protocol = packet.protocol();
    let mut at = ethernet::LEN + ip::V6_LEN;
    for _ in 0..MOST {
        if !is_extension(protocol) {
            return Ok(Some(Transport { protocol, at }));
        }
        let Ok([next, length, high, low]) = frame::load(ctx, at) else { return Ok(None) };
        if protocol == ip::protocol::FRAGMENT {
            if u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
                return Ok(None);
            }
            at += 8;
        } else {
            at += (usize::from(length) + 1) * 8;
        }
        protocol = next;
    }
    if is_extension(protocol) { Err(DropReason::Unreadable) } else { Ok(Some(Transport { protocol, at })) }
}

#[inline(always)]
pub const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        ip::protocol::HOP_BY_HOP
            | ip::protocol::ROUTING
            | ip::protocol::FRAGMENT
            | ip::protocol::DESTINATION_OPTIONS
    )
}
