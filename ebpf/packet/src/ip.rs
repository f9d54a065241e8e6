//! The fixed parts of IPv4's and IPv6's headers, seen alike.

use crate::{Address, be16, checksum};

/// IPv4's header without options.
pub const V4_LEN: usize = 20;
/// IPv6's fixed header.
pub const V6_LEN: usize = 40;
/// The time to live, or hop limit, of what the data path makes.
pub const HOPS: u8 = 64;

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

/// A view of an IP header: IPv4's without its options, or IPv6's fixed one. Aligned for what reads it by the word.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header([u8; V6_LEN]);

impl Header {
    /// No header yet: see [`Header::bytes_mut`].
    pub const EMPTY: Self = Self([0; V6_LEN]);

    /// Where to read the bytes to, IPv4's in the first [`V4_LEN`] of them. Filled in place, since a program's
    /// stack has no room for copies; afterwards ask [`Header::is_valid`].
    #[inline(always)]
    pub const fn bytes_mut(&mut self) -> &mut [u8; V6_LEN] {
        &mut self.0
    }

    /// Whether the bytes are a header of that family.
    #[inline(always)]
    pub fn is_valid(&self, v4: bool) -> bool {
        if !v4 {
            return self.0[0] >> 4 == 6;
        }
        let (length, total) = (self.length(), self.total());
        self.is_v4() && length >= V4_LEN && (total == 0 || total >= length)
    }

    /// Whether it is IPv4's; else it is IPv6's.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] >> 4 == 4
    }

    /// From.
    #[inline(always)]
    pub fn source(&self) -> Address {
        let [_, _, a, b, c, d, ..] = *self.quads();
        if self.is_v4() { Address::v4_quad(b) } else { Address::from_quads([a, b, c, d]) }
    }

    /// To.
    #[inline(always)]
    pub fn destination(&self) -> Address {
        let [.., v4, _, a, b, c, d] = *self.quads();
        if self.is_v4() { Address::v4_quad(v4) } else { Address::from_quads([a, b, c, d]) }
    }

    /// The payload's protocol; for IPv6 the first next-header.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        if self.is_v4() { self.0[9] } else { self.0[6] }
    }

    /// The time to live, or hop limit.
    #[inline(always)]
    pub const fn hop_limit(&self) -> u8 {
        if self.is_v4() { self.0[8] } else { self.0[7] }
    }

    /// The ECN field.
    #[inline(always)]
    pub const fn ecn(&self) -> u8 {
        if self.is_v4() { self.0[1] & 3 } else { (self.0[1] >> 4) & 3 }
    }

    /// The header's length in bytes with IPv4's options, without IPv6's extension headers.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        if self.is_v4() { (self.0[0] & 0x0f) as usize * 4 } else { V6_LEN }
    }

    /// The packet's length in bytes by its own account; 0 where it gives none (jumbograms, and packets of more
    /// than 64 KB that the kernel has yet to cut).
    #[inline(always)]
    pub fn total(&self) -> usize {
        if self.is_v4() {
            return usize::from(be16(&self.0, 2));
        }
        match usize::from(be16(&self.0, 4)) {
            0 => 0,
            payload => payload + V6_LEN,
        }
    }

    /// Whether it is a part of a larger packet. IPv6 says so behind the header, so never here.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.is_v4() && be16(&self.0, 6) & 0x3fff != 0
    }

    /// Whether it is such a part and not the first.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.is_v4() && be16(&self.0, 6) & 0x1fff != 0
    }

    /// What the parts of one packet have in common, host byte order. IPv6 says so behind the header, so never here.
    #[inline(always)]
    pub fn identification(&self) -> u32 {
        if self.is_v4() { u32::from(be16(&self.0, 4)) } else { 0 }
    }

    /// Whether nobody may fragment it on its way; always so for IPv6.
    #[inline(always)]
    pub const fn dont_fragment(&self) -> bool {
        !self.is_v4() || self.0[6] & 0x40 != 0
    }

    /// What follows IPv4's header in the view, if that has no options.
    #[inline(always)]
    pub fn behind4(&self) -> Option<&[u8; V6_LEN - V4_LEN]> {
        if self.0[0] == 0x45 { self.0.last_chunk() } else { None }
    }

    /// The same, to be changed.
    #[inline(always)]
    pub fn behind4_mut(&mut self) -> Option<&mut [u8; V6_LEN - V4_LEN]> {
        if self.0[0] == 0x45 { self.0.last_chunk_mut() } else { None }
    }

    /// Puts an address in the place of an end's, the second one being the destination, with IPv4's checksum. The address is of
    /// the header's family.
    #[inline(always)]
    pub fn set_address(&mut self, second: bool, address: &Address) {
        let new = address.words();
        if self.is_v4() {
            let at = 3 + usize::from(second);
            let old = self.quads()[at];
            self.update_checksum(u64::from(!old) + u64::from(new[3]));
            self.quads_mut()[at] = new[3];
        } else {
            let at = 2 + 4 * usize::from(second);
            self.quads_mut()[at..at + 4].copy_from_slice(&new);
        }
    }

    /// Takes one off the hops that are left, of which there are more, as a router does.
    #[inline(always)]
    pub fn count_hop(&mut self) {
        if self.is_v4() {
            let word = |hops| u16::from_ne_bytes([hops, 0]);
            let (old, new) = (self.0[8], self.0[8].saturating_sub(1));
            self.update_checksum(u64::from(!word(old)) + u64::from(word(new)));
            self.0[8] = new;
        } else {
            self.0[7] = self.0[7].saturating_sub(1);
        }
    }

    /// Has IPv4's checksum follow a change: see [`checksum::changed`].
    #[inline(always)]
    fn update_checksum(&mut self, difference: u64) {
        let sum = u16::from_ne_bytes([self.0[10], self.0[11]]);
        [self.0[10], self.0[11]] = checksum::changed(sum, difference).to_ne_bytes();
    }

    #[inline(always)]
    const fn quads_mut(&mut self) -> &mut [u32; V6_LEN / 4] {
        // SAFETY: as below.
        unsafe { &mut *core::ptr::from_mut(self).cast() }
    }

    /// Its bytes four by four, as the CPU reads them: addresses taken byte by byte would be moved byte by byte.
    #[inline(always)]
    const fn quads(&self) -> &[u32; V6_LEN / 4] {
        // SAFETY: the same 40 bytes, which are aligned for it, and any of which are a valid value.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// Writes an IPv4 header of 20 bytes with "don't fragment" set and its checksum. `total` is the packet's length
/// in bytes, the header included. Too short a slice is left alone.
#[inline(always)]
pub fn write4(out: &mut [u8], tos: u8, total: u16, protocol: u8, source: &Address, destination: &Address) {
    let Some(out) = out.first_chunk_mut::<V4_LEN>() else { return };
    out[0] = 0x45;
    out[1] = tos;
    [out[2], out[3]] = total.to_be_bytes();
    [out[4], out[5], out[6], out[7]] = [0, 0, 0x40, 0];
    [out[8], out[9], out[10], out[11]] = [HOPS, protocol, 0, 0];
    [out[12], out[13], out[14], out[15]] = source.last4();
    [out[16], out[17], out[18], out[19]] = destination.last4();
    [out[10], out[11]] = checksum::finish(checksum::add(0, out)).to_be_bytes();
}

/// Writes an IPv6 header. `payload` is the length in bytes of what follows it. Too short a slice is left alone.
#[inline(always)]
pub fn write6(
    out: &mut [u8],
    class: u8,
    payload: u16,
    hop_limit: u8,
    protocol: u8,
    (source, destination): (&Address, &Address),
) {
    let Some(out) = out.first_chunk_mut::<V6_LEN>() else { return };
    [out[0], out[1], out[2], out[3]] = [0x60 | class >> 4, class << 4, 0, 0];
    [out[4], out[5]] = payload.to_be_bytes();
    [out[6], out[7]] = [protocol, hop_limit];
    out[8..24].copy_from_slice(&source.0);
    out[24..40].copy_from_slice(&destination.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built4(total: u16) -> [u8; V4_LEN] {
        let mut bytes = [0xff; V4_LEN];
        write4(&mut bytes, 3, total, protocol::UDP, &Address::v4([10, 0, 0, 1]), &Address::v4([10, 0, 0, 2]));
        bytes
    }

    fn view4(bytes: [u8; V4_LEN]) -> Option<Header> {
        let mut header = Header::EMPTY;
        header.bytes_mut()[..V4_LEN].copy_from_slice(&bytes);
        header.is_valid(true).then_some(header)
    }

    #[test]
    fn an_ipv4_header_that_is_changed_has_a_checksum_that_holds() {
        let mut header = view4(built4(84)).unwrap();
        header.set_address(false, &Address::v4([192, 0, 2, 255]));
        header.set_address(true, &Address::v4([255, 255, 255, 254]));
        header.count_hop();
        assert_eq!(header.source(), Address::v4([192, 0, 2, 255]));
        assert_eq!(header.destination(), Address::v4([255, 255, 255, 254]));
        assert_eq!(header.hop_limit(), HOPS - 1);
        assert_eq!(checksum::fold(checksum::add(0, &header.bytes_mut()[..V4_LEN])), 0xffff);
    }

    #[test]
    fn an_ipv6_header_is_changed_where_it_is_to_be() {
        let ends = (&Address([1; 16]), &Address([2; 16]));
        let mut header = Header::EMPTY;
        write6(header.bytes_mut(), 0, 8, HOPS, protocol::UDP, ends);
        header.set_address(false, &Address([3; 16]));
        assert_eq!((header.source(), header.destination()), (Address([3; 16]), *ends.1));
        header.set_address(true, &Address([4; 16]));
        assert_eq!((header.source(), header.destination()), (Address([3; 16]), Address([4; 16])));
        header.count_hop();
        assert_eq!((header.hop_limit(), header.protocol(), header.total()), (HOPS - 1, protocol::UDP, 48));
    }

    #[test]
    fn an_ipv4_header_is_built_as_it_is_read() {
        let bytes = built4(84);
        assert_eq!(checksum::fold(checksum::add(0, &bytes)), 0xffff);
        let header = view4(bytes).unwrap();
        assert_eq!(header.source(), Address::v4([10, 0, 0, 1]));
        assert_eq!(header.destination(), Address::v4([10, 0, 0, 2]));
        assert_eq!(
            (header.ecn(), header.total(), header.length(), header.hop_limit()),
            (ecn::CE, 84, 20, 64)
        );
        assert!(header.is_v4() && header.dont_fragment() && !header.is_fragment());
        assert_eq!(header.protocol(), protocol::UDP);
    }

    #[test]
    fn an_ipv6_header_is_built_as_it_is_read() {
        let mut header = Header([0xff; V6_LEN]);
        let ends = (&Address([1; 16]), &Address([2; 16]));
        write6(header.bytes_mut(), 3, 44, 255, protocol::ICMPV6, ends);
        assert!(header.is_valid(false));
        assert_eq!((header.source(), header.destination()), (Address([1; 16]), Address([2; 16])));
        assert_eq!((header.ecn(), header.total(), header.protocol()), (ecn::CE, 84, 58));
        assert_eq!((header.length(), header.hop_limit()), (40, 255));
        assert!(!header.is_v4() && header.dont_fragment() && !header.is_fragment());
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let good = built4(20);
        for (at, value) in [(0, 0x44), (0, 0x65), (0, 0x46), (3, 19)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(view4(bad), None, "byte {at} = {value:#x}");
        }
        assert!(!Header([0x45; V6_LEN]).is_valid(false));
    }

    #[test]
    fn fragments_are_recognized() {
        let mut bytes = built4(20);
        bytes[6..8].copy_from_slice(&[0x20, 0]);
        let first = view4(bytes).unwrap();
        assert_eq!(
            (first.is_fragment(), first.is_later_fragment(), first.dont_fragment()),
            (true, false, false)
        );
        bytes[6..8].copy_from_slice(&[0, 1]);
        let last = view4(bytes).unwrap();
        assert_eq!((last.is_fragment(), last.is_later_fragment()), (true, true));
    }
}
