//! The fixed parts of IPv4's and IPv6's headers, seen alike.

use crate::{Address, be16};

/// IPv4's header without options.
pub const V4_LEN: usize = 20;
/// IPv6's fixed header.
pub const V6_LEN: usize = 40;
/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6's hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6's routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6's fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6's destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The ECN field (RFC 3168): the two low bits of IPv4's TOS and IPv6's traffic class.
pub mod ecn {
    /// The sender does not take part.
    pub const NOT_ECT: u8 = 0;
    /// Congestion experienced.
    pub const CE: u8 = 3;
}

/// What the data path reads of an IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// From.
    pub source: Address,
    /// To.
    pub destination: Address,
    /// The payload's protocol; for IPv6 the first next-header.
    pub protocol: u8,
    /// The hop limit, or time to live.
    pub hop_limit: u8,
    /// The ECN field.
    pub ecn: u8,
    /// The header's length in bytes with IPv4's options, without IPv6's extension headers.
    pub length: u8,
    /// The packet's length in bytes by its own account; 0 where it says none (jumbograms, and packets of more
    /// than 64 KB that the kernel has yet to cut).
    pub total: u32,
    /// Whether it is a part of a larger packet. IPv6's fragments are behind an extension header, so never here.
    pub fragment: bool,
    /// Whether it is a part and not the first.
    pub later_fragment: bool,
    /// Whether nobody may fragment it on its way; always so for IPv6.
    pub dont_fragment: bool,
}

impl Header {
    /// Reads IPv4's; `None` when it is not one.
    #[inline(always)]
    pub fn parse4(bytes: &[u8; V4_LEN]) -> Option<Self> {
        let length = (bytes[0] & 0x0f) * 4;
        let total = u32::from(be16(bytes, 2));
        let flags = be16(bytes, 6);
        if bytes[0] >> 4 != 4 || usize::from(length) < V4_LEN || (total != 0 && total < u32::from(length)) {
            return None;
        }
        Some(Self {
            source: Address::v4([bytes[12], bytes[13], bytes[14], bytes[15]]),
            destination: Address::v4([bytes[16], bytes[17], bytes[18], bytes[19]]),
            protocol: bytes[9],
            hop_limit: bytes[8],
            ecn: bytes[1] & 3,
            length,
            total,
            fragment: flags & 0x3fff != 0,
            later_fragment: flags & 0x1fff != 0,
            dont_fragment: flags & 0x4000 != 0,
        })
    }

    /// Reads IPv6's; `None` when it is not one.
    #[inline(always)]
    pub fn parse6(bytes: &[u8; V6_LEN]) -> Option<Self> {
        if bytes[0] >> 4 != 6 {
            return None;
        }
        let payload = u32::from(be16(bytes, 4));
        let mut source = [0; 16];
        source.copy_from_slice(&bytes[8..24]);
        let mut destination = [0; 16];
        destination.copy_from_slice(&bytes[24..40]);
        Some(Self {
            source: Address(source),
            destination: Address(destination),
            protocol: bytes[6],
            hop_limit: bytes[7],
            ecn: (bytes[1] >> 4) & 3,
            length: V6_LEN as u8,
            total: if payload == 0 { 0 } else { payload + V6_LEN as u32 },
            fragment: false,
            later_fragment: false,
            dont_fragment: true,
        })
    }
}

/// An IPv4 header of 20 bytes with "don't fragment" set and its checksum. `total` is the packet's length in
/// bytes, the header included.
#[inline(always)]
pub fn v4(tos: u8, total: u16, ttl: u8, protocol: u8, source: [u8; 4], destination: [u8; 4]) -> [u8; V4_LEN] {
    let [t0, t1] = total.to_be_bytes();
    let [s0, s1, s2, s3] = source;
    let [d0, d1, d2, d3] = destination;
    let mut header = [0x45, tos, t0, t1, 0, 0, 0x40, 0, ttl, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    let [c0, c1] = crate::checksum::finish(crate::checksum::add(0, &header)).to_be_bytes();
    header[10] = c0;
    header[11] = c1;
    header
}

/// An IPv6 header. `payload` is the length in bytes of what follows it.
#[inline(always)]
pub fn v6(
    class: u8,
    payload: u16,
    hop_limit: u8,
    protocol: u8,
    source: &[u8; 16],
    destination: &[u8; 16],
) -> [u8; V6_LEN] {
    let mut header = [0; V6_LEN];
    header[0] = 0x60 | class >> 4;
    header[1] = class << 4;
    [header[4], header[5]] = payload.to_be_bytes();
    header[6] = protocol;
    header[7] = hop_limit;
    header[8..24].copy_from_slice(source);
    header[24..40].copy_from_slice(destination);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_header_is_built_as_it_is_read() {
        let bytes = v4(3, 84, 64, protocol::UDP, [10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(crate::checksum::fold(crate::checksum::add(0, &bytes)), 0xffff);
        let header = Header::parse4(&bytes).unwrap();
        assert_eq!(header.source, Address::v4([10, 0, 0, 1]));
        assert_eq!(header.destination, Address::v4([10, 0, 0, 2]));
        assert_eq!((header.ecn, header.total, header.length, header.hop_limit), (ecn::CE, 84, 20, 64));
        assert!(header.dont_fragment && !header.fragment);
    }

    #[test]
    fn an_ipv6_header_is_built_as_it_is_read() {
        let bytes = v6(3, 44, 255, protocol::ICMPV6, &[1; 16], &[2; 16]);
        let header = Header::parse6(&bytes).unwrap();
        assert_eq!((header.source, header.destination), (Address([1; 16]), Address([2; 16])));
        assert_eq!((header.ecn, header.total, header.protocol), (ecn::CE, 84, 58));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let good = v4(0, 20, 64, protocol::UDP, [10, 0, 0, 1], [10, 0, 0, 2]);
        for (at, value) in [(0, 0x44), (0, 0x65), (0, 0x46), (3, 19)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Header::parse4(&bad), None, "byte {at} = {value:#x}");
        }
        assert_eq!(Header::parse6(&[0x45; V6_LEN]), None);
    }

    #[test]
    fn fragments_are_recognized() {
        let mut bytes = v4(0, 20, 64, protocol::UDP, [10, 0, 0, 1], [10, 0, 0, 2]);
        bytes[6..8].copy_from_slice(&[0x20, 0]);
        let first = Header::parse4(&bytes).unwrap();
        assert_eq!((first.fragment, first.later_fragment, first.dont_fragment), (true, false, false));
        bytes[6..8].copy_from_slice(&[0, 1]);
        let last = Header::parse4(&bytes).unwrap();
        assert_eq!((last.fragment, last.later_fragment), (true, true));
    }
}
