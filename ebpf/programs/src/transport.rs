//! TCP's and UDP's headers, as far as flows need them.

use aya_ebpf::programs::TcContext;
use overlay_packet::{ethernet, ip, transport};

use crate::frame;

/// Where a packet's transport header is, and whose it is.
#[derive(Clone, Copy, Default)]
pub struct Transport {
    /// TCP's or UDP's number.
    pub protocol: u8,
    /// Where it starts, in bytes from the start of the frame.
    pub at: usize,
    /// Host byte order.
    pub source_port: u16,
    /// Host byte order.
    pub destination_port: u16,
    /// TCP's flags; 0 for UDP.
    pub flags: u8,
}

/// The transport header of a TCP or UDP packet whose IP header is behind an Ethernet header at `offset`. False for any
/// other packet, and for fragments, which tell too little.
#[inline(never)]
pub fn read(ctx: &TcContext, offset: usize, packet: &ip::Header, space: &mut Transport) -> bool {
    let protocol = packet.protocol();
    if !matches!(protocol, ip::protocol::TCP | ip::protocol::UDP) || packet.is_fragment() {
        return false;
    }
    let at = offset + ethernet::LEN + packet.length();
    let Ok(ports) = frame::load(ctx, at) else { return false };
    let (source_port, destination_port) = transport::ports(&ports);
    let flags = if protocol == ip::protocol::TCP {
        match frame::load::<1>(ctx, at + transport::tcp::FLAGS_AT) {
            Ok([flags]) => flags,
            Err(_) => return false,
        }
    } else {
        0
    };
    *space = Transport { protocol, at, source_port, destination_port, flags };
    true
}
