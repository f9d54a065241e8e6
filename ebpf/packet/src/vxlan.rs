//! VXLAN (RFC 7348): its header, and the whole outer header stack.

use crate::{Address, be16, checksum, ethernet, ip};

/// The VXLAN header's length.
pub const LEN: usize = 8;
/// UDP's header's length.
pub const UDP_LEN: usize = 8;
/// What an IPv4 underlay adds in front of the inner Ethernet header: Ethernet, IP, UDP, VXLAN.
pub const OUTER4_LEN: usize = ethernet::LEN + ip::V4_LEN + UDP_LEN + LEN;
/// What an IPv6 underlay adds in front of the inner Ethernet header.
pub const OUTER6_LEN: usize = ethernet::LEN + ip::V6_LEN + UDP_LEN + LEN;

/// What is in front of an inner IP packet over IPv4, so with the inner Ethernet header, in 16-bit words.
pub const HEADERS4: usize = (OUTER4_LEN + ethernet::LEN) / 2;
/// The same over IPv6.
pub const HEADERS6: usize = (OUTER6_LEN + ethernet::LEN) / 2;

const VALID_VNI: u8 = 0x08;

/// The VNI of a VXLAN header, in host byte order; `None` when the header does not say that it has one. All
/// other flags and reserved bits are ignored, as section 5 asks.
#[inline(always)]
pub const fn vni(header: &[u8; LEN]) -> Option<u32> {
    if header[0] & VALID_VNI == 0 {
        return None;
    }
    Some(u32::from_be_bytes([0, header[4], header[5], header[6]]))
}

/// The source port for a flow (section 5): 49152 to 65535, so that routers spread flows over their paths.
#[inline(always)]
pub const fn source_port(flow_hash: u32) -> u16 {
    49152 | ((flow_hash ^ flow_hash >> 16) & 0x3fff) as u16
}

/// The outer headers of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// This node's VTEP.
    pub source: Address,
    /// The peer's VTEP, of the same family.
    pub destination: Address,
    /// See [`source_port`].
    pub source_port: u16,
    /// The data port.
    pub destination_port: u16,
    /// The VNI, host byte order.
    pub vni: u32,
    /// The inner packet's ECN field (RFC 6040, section 4.1: normal mode copies it).
    pub ecn: u8,
    /// The inner frame's length in bytes, its Ethernet header included. The outer length fields say 0 where it
    /// does not fit them: only what the kernel has yet to cut into segments is that long, and it then writes them.
    pub inner: usize,
}

impl Outer {
    /// The inner frame's length with that of `headers`.
    #[inline(always)]
    fn length(&self, headers: usize) -> u16 {
        u16::try_from(self.inner + headers).unwrap_or(0)
    }

    #[inline(always)]
    fn udp_vxlan(&self) -> [u16; 8] {
        let [_, v0, v1, v2] = self.vni.to_be_bytes();
        let (source, destination) = (self.source_port.to_be(), self.destination_port.to_be());
        // The checksum is zero: RFC 7348, section 4.1, and RFC 6935 for IPv6.
        let udp = [source, destination, self.length(UDP_LEN + LEN).to_be(), 0];
        let vxlan = [wire(VALID_VNI, 0), 0, wire(v0, v1), wire(v2, 0)];
        [udp[0], udp[1], udp[2], udp[3], vxlan[0], vxlan[1], vxlan[2], vxlan[3]]
    }

    /// Over IPv4, with the inner Ethernet header behind. The outer Ethernet addresses are left zero: the next hop's
    /// are the kernel's business. All fields of all headers are made of 16-bit words, and given as such in the
    /// order of the wire, since BPF code would store and add bytes one by one.
    #[inline(always)]
    pub fn v4(&self, inner: &ethernet::Header) -> [u16; HEADERS4] {
        let total = self.length(ip::V4_LEN + UDP_LEN + LEN).to_be();
        let ([.., from0, from1], [.., to0, to1]) = (*self.source.pairs(), *self.destination.pairs());
        let dont_fragment = wire(0x40, 0);
        let (first, hops) = (wire(0x45, self.ecn), wire(ip::HOPS, ip::protocol::UDP));
        let sum = [first, total, dont_fragment, hops, from0, from1, to0, to1];
        // A sum's bytes are in the order of what was summed (RFC 1071, section 2).
        let checksum = checksum::finish(sum.iter().map(|word| u32::from(*word)).sum());
        let mut words = [0; HEADERS4];
        words[6] = ethernet::IPV4.to_be();
        words[7..17].copy_from_slice(&[
            first,
            total,
            0,
            dont_fragment,
            hops,
            checksum,
            from0,
            from1,
            to0,
            to1,
        ]);
        words[17..25].copy_from_slice(&self.udp_vxlan());
        words[25..].copy_from_slice(&inner.words());
        words
    }

    /// Over IPv6.
    #[inline(always)]
    pub fn v6(&self, inner: &ethernet::Header) -> [u16; HEADERS6] {
        let payload = self.length(UDP_LEN + LEN).to_be();
        let mut words = [0; HEADERS6];
        words[6] = ethernet::IPV6.to_be();
        words[7] = wire(0x60, self.ecn << 4);
        words[9] = payload;
        words[10] = wire(ip::protocol::UDP, ip::HOPS);
        words[11..19].copy_from_slice(self.source.pairs());
        words[19..27].copy_from_slice(self.destination.pairs());
        words[27..35].copy_from_slice(&self.udp_vxlan());
        words[35..].copy_from_slice(&inner.words());
        words
    }
}

/// Two bytes of the wire as the CPU reads them.
#[inline(always)]
const fn wire(first: u8, second: u8) -> u16 {
    u16::from_ne_bytes([first, second])
}

/// The destination port of a UDP header, host byte order.
#[inline(always)]
pub fn udp_destination(header: &[u8; UDP_LEN]) -> u16 {
    be16(header, 2)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const INNER: ethernet::Header =
        ethernet::Header::new([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8], ethernet::ARP);

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn outer(source: Address, destination: Address) -> Outer {
        Outer {
            source,
            destination,
            source_port: 50000,
            destination_port: 4789,
            vni: 0x010203,
            ecn: 2,
            inner: 98,
        }
    }

    #[test]
    fn the_ipv4_stack_is_as_the_rfc_draws_it() {
        let bytes = bytes(&outer(Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2])).v4(&INNER));
        assert_eq!(bytes[12..14], [8, 0]);
        let mut header = ip::Header::EMPTY;
        header.bytes_mut()[..ip::V4_LEN].copy_from_slice(&bytes[14..34]);
        assert!(header.is_valid(true));
        assert_eq!((header.total(), header.ecn(), header.protocol()), (98 + 36, 2, 17));
        assert!(header.dont_fragment());
        assert_eq!(checksum::fold(checksum::add(0, &bytes[14..34])), 0xffff);
        assert_eq!(bytes[50..], INNER.bytes());
        assert_eq!(bytes[34..50], [0xc3, 0x50, 0x12, 0xb5, 0, 114, 0, 0, 8, 0, 0, 0, 1, 2, 3, 0]);
        assert_eq!(vni(bytes[42..50].try_into().unwrap()), Some(0x010203));
    }

    #[test]
    fn the_ipv6_stack_is_as_the_rfc_draws_it() {
        let bytes = bytes(&outer(Address([1; 16]), Address([2; 16])).v6(&INNER));
        assert_eq!(bytes[12..14], [0x86, 0xdd]);
        let mut header = ip::Header::EMPTY;
        header.bytes_mut().copy_from_slice(&bytes[14..54]);
        assert!(header.is_valid(false));
        assert_eq!((header.total(), header.ecn(), header.protocol()), (98 + 56, 2, 17));
        assert_eq!((header.source(), header.destination()), (Address([1; 16]), Address([2; 16])));
        assert_eq!(header.hop_limit(), ip::HOPS);
        assert_eq!(vni(bytes[62..70].try_into().unwrap()), Some(0x010203));
        assert_eq!(bytes[70..], INNER.bytes());
        assert_eq!(udp_destination(bytes[54..62].try_into().unwrap()), 4789);
    }

    #[test]
    fn lengths_beyond_16_bits_are_left_to_the_kernel() {
        let long = Outer { inner: 65_500, ..outer(Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2])) };
        let bytes = bytes(&long.v4(&INNER));
        assert_eq!((&bytes[16..18], &bytes[38..40]), (&[0, 0][..], &65_516u16.to_be_bytes()[..]));
    }

    #[test]
    fn a_header_without_the_i_flag_has_no_vni() {
        assert_eq!(vni(&[0xf7, 0, 0, 0, 1, 2, 3, 0]), None);
        assert_eq!(vni(&[0xff, 9, 9, 9, 1, 2, 3, 9]), Some(0x010203));
    }

    #[test]
    fn source_ports_stay_in_the_dynamic_range() {
        for hash in [0, 1, 0xffff, 0x3fff_0000, u32::MAX] {
            assert!(source_port(hash) >= 49152, "{hash:x}");
        }
        assert_ne!(source_port(0x1234), source_port(0x1235));
    }
}
