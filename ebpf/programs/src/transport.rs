//! TCP's and UDP's headers, as far as flows need them.

use aya_ebpf::programs::TcContext;
use overlay_packet::{ethernet, ip, transport};

use crate::headers::Headers;
use crate::{fragment, frame};

/// Where a packet's transport header is, and whose it is.
#[derive(Clone, Copy)]
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
    /// How much of it is there.
    pub part: Part,
    /// What a fragment has in common with the others.
    pub identification: u32,
    /// When the packet came, in nanoseconds since the host's boot.
    pub now: u64,
}

impl Transport {
    /// Of a packet of which nothing is known but when it came.
    #[inline(always)]
    pub const fn unread(now: u64) -> Self {
        let (protocol, at, source_port, destination_port, flags, identification) = (0, 0, 0, 0, 0, 0);
        Self { protocol, at, source_port, destination_port, flags, part: Part::Whole, identification, now }
    }
}

/// Which part of a packet is at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its first fragment, with the transport header.
    First,
    /// Another one, with nothing of that.
    Later,
    /// What an ICMP error quotes of it: see [`crate::related`].
    Quoted,
}

/// The length of IPv6's fragment header (RFC 8200, section 4.5).
const FRAGMENT_LEN: usize = 8;

/// The transport header of a TCP or UDP packet whose frame starts with its Ethernet header. False for any
/// other packet, and for later fragments whose first one is not known in the network, 0 outside of all.
#[inline(always)]
pub fn read(ctx: &TcContext, headers: &Headers, vni: u32, space: &mut Transport) -> bool {
    let packet = &headers.packet;
    *space = Transport::unread(space.now);
    if !find(ctx, packet, space) {
        return false;
    }
    if !matches!(space.protocol, ip::protocol::TCP | ip::protocol::UDP) {
        return false;
    }
    if space.part == Part::Later {
        return fragment::find_ports(packet, space, vni);
    }
    if let Some([a, b, c, d, .., flags, _, _, _, _, _, _]) = headers.behind4() {
        (space.source_port, space.destination_port) = transport::ports(&[*a, *b, *c, *d]);
        space.flags = if space.protocol == ip::protocol::TCP { *flags } else { 0 };
        return true;
    }
    // A read costs the same whatever its length, so TCP's flags are read with its ports.
    if space.protocol == ip::protocol::TCP {
        let Ok(start) = frame::load::<{ transport::tcp::FLAGS_AT + 1 }>(ctx, space.at) else { return false };
        let [a, b, c, d, .., flags] = start;
        (space.source_port, space.destination_port) = transport::ports(&[a, b, c, d]);
        space.flags = flags;
    } else {
        let Ok(ports) = frame::load(ctx, space.at) else { return false };
        (space.source_port, space.destination_port) = transport::ports(&ports);
    }
    true
}

/// What is behind the IP header, or behind IPv6's fragment header if that is the first of its extension headers, as it is
/// where a host fragments its own packets.
#[inline(always)]
fn find(ctx: &TcContext, packet: &ip::Header, space: &mut Transport) -> bool {
    space.protocol = packet.protocol();
    space.at = ethernet::LEN + packet.length();
    let (is_fragment, is_later) = if space.protocol == ip::protocol::FRAGMENT && !packet.is_v4() {
        let Ok([next, _, high, low, a, b, c, d]) = frame::load(ctx, space.at) else { return false };
        space.protocol = next;
        space.at += FRAGMENT_LEN;
        space.identification = u32::from_be_bytes([a, b, c, d]);
        let place = u16::from_be_bytes([high, low]);
        (place & 0xfff9 != 0, place & 0xfff8 != 0)
    } else {
        space.identification = packet.identification();
        (packet.is_fragment(), packet.is_later_fragment())
    };
    space.part = match (is_fragment, is_later) {
        (_, true) => Part::Later,
        (true, false) => Part::First,
        _ => Part::Whole,
    };
    true
}
