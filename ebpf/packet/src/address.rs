//! One shape for the addresses of both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address in network byte order: IPv6's 16 bytes, or IPv4's as `::ffff:a.b.c.d` (RFC 4291,
/// section 2.5.5.2). All zero stands for "none".
///
/// Aligned, as every structure that holds one has it: without, BPF code would go through it byte by byte.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Address(pub [u8; 16]);

impl PartialEq for Address {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        // One by one, for a comparison of the arrays becomes a call that compares bytes.
        let ([a, b, c, d], [e, f, g, h]) = (self.quads(), other.quads());
        a == e && b == f && c == g && d == h
    }
}

impl Eq for Address {}

impl Address {
    /// No address, which is also IPv6's unspecified one.
    pub const NONE: Self = Self([0; 16]);

    /// From IPv4's four bytes, network order.
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// IPv4's four bytes, whatever the rest says.
    #[inline(always)]
    pub const fn last4(self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }

    /// The bytes as the kernel's arrays of words hold them: each word's bytes are in the order of the wire.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ]
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        let [first, second, third, _] = self.quads();
        *first == 0 && *second == 0 && *third == 0xffff_u32.to_be()
    }

    /// Its bytes four by four, as the CPU reads them.
    #[inline(always)]
    pub(crate) const fn quads(&self) -> &[u32; 4] {
        // SAFETY: the same 16 bytes, which are aligned for it, and any of which are a valid value.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// From its bytes four by four, as the CPU reads them.
    #[inline(always)]
    pub const fn from_quads(quads: [u32; 4]) -> Self {
        // SAFETY: the same 16 bytes, any of which are a valid value.
        unsafe { core::mem::transmute(quads) }
    }

    /// From IPv4's four bytes, as the CPU reads them.
    #[inline(always)]
    pub const fn v4_quad(quad: u32) -> Self {
        Self::from_quads([0, 0, 0xffff_u32.to_be(), quad])
    }

    /// Its bytes two by two, as the CPU reads them.
    #[inline(always)]
    pub(crate) const fn pairs(&self) -> &[u16; 8] {
        // SAFETY: the same 16 bytes, which are aligned for it, and any of which are a valid value.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// The same, moved word by word. From one place in memory to another that may be the same one, BPF code would else call
    /// what moves it byte by byte.
    #[inline(always)]
    pub const fn by_words(&self) -> Self {
        let [a, b, c, d] = *self.quads();
        Self::from_quads([a, b, c, d])
    }

    /// Whether it is "none".
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether it is IPv6 link-local, fe80::/10 (RFC 4291, section 2.5.6).
    #[inline(always)]
    pub const fn is_link_local6(&self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// Whether no router may pass on what is for it: unspecified, loopback, or IPv6 link-local (RFC 1122, section 3.2.1.3;
    /// RFC 4291, section 2.5).
    #[inline(always)]
    pub fn is_confined(&self) -> bool {
        if self.is_v4() {
            return matches!(self.0[12], 0 | 127);
        }
        let [a, b, c, d] = *self.quads();
        self.is_link_local6() || (a == 0 && b == 0 && c == 0 && u32::from_be(d) <= 1)
    }

    /// Whether it is a group's: IPv6 multicast, IPv4 multicast, or IPv4's class E with its broadcast address.
    #[inline(always)]
    pub fn is_group(&self) -> bool {
        if self.is_v4() { self.0[12] >= 224 } else { self.0[0] == 0xff }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Ipv4Addr::from(address.last4()).into()
        } else {
            Ipv6Addr::from(address.0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["10.1.2.3", "0.0.0.0", "fd00::1", "fe80::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address, "{text}");
        }
    }

    #[test]
    fn an_absent_address_is_none_but_zero_v4_is_not() {
        assert!(Address::NONE.is_none());
        assert!(!Address::v4([0; 4]).is_none());
    }

    #[test]
    fn groups_and_link_local_are_told_apart() {
        let is = |text: &str| {
            let address = Address::from(text.parse::<IpAddr>().unwrap());
            (address.is_group(), address.is_link_local6())
        };
        assert_eq!(is("224.0.0.1"), (true, false));
        assert_eq!(is("255.255.255.255"), (true, false));
        assert_eq!(is("223.255.255.255"), (false, false));
        assert_eq!(is("ff02::1"), (true, false));
        assert_eq!(is("febf::1"), (false, true));
        assert_eq!(is("fec0::1"), (false, false));
    }

    #[test]
    fn what_no_router_passes_on_is_told() {
        let is = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).is_confined();
        for confined in ["0.1.2.3", "127.0.0.1", "127.9.9.9", "::", "::1", "fe80::1"] {
            assert!(is(confined), "{confined}");
        }
        for routed in ["1.0.0.1", "128.0.0.1", "169.254.169.254", "::2", "1::1", "fd00::1"] {
            assert!(!is(routed), "{routed}");
        }
    }
}
