//! Ethernet II.

/// A MAC address, in the order of the wire.
pub type Mac = [u8; 6];

/// The header's length, without a VLAN tag.
pub const LEN: usize = 14;
/// IPv4's ethertype.
pub const IPV4: u16 = 0x0800;
/// ARP's ethertype.
pub const ARP: u16 = 0x0806;
/// IPv6's ethertype.
pub const IPV6: u16 = 0x86dd;
/// The ethertypes of VLAN tags: 802.1Q and 802.1ad.
pub const VLANS: [u16; 2] = [0x8100, 0x88a8];

/// The header, as on the wire. Aligned for what reads it by the word.
#[repr(C, align(2))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// Big-endian.
    ethertype: u16,
}

impl Header {
    /// No header yet.
    pub const EMPTY: Self = Self::new([0; 6], [0; 6], 0);

    /// With what follows; up to 1500 that is a length (802.3 with LLC).
    #[inline(always)]
    pub const fn new(destination: Mac, source: Mac, ethertype: u16) -> Self {
        Self { destination, source, ethertype: ethertype.to_be() }
    }

    /// What follows.
    #[inline(always)]
    pub const fn ethertype(&self) -> u16 {
        u16::from_be(self.ethertype)
    }

    /// From its 16-bit words.
    #[inline(always)]
    pub const fn from_words(words: [u16; LEN / 2]) -> Self {
        // SAFETY: the same 14 bytes, any of which are a valid value.
        unsafe { core::mem::transmute(words) }
    }

    /// Its 16-bit words, as the CPU reads them.
    #[inline(always)]
    pub const fn words(&self) -> [u16; LEN / 2] {
        // SAFETY: likewise.
        unsafe { core::mem::transmute(*self) }
    }

    /// Puts both addresses in the place of its own, in 16-bit words as the CPU reads them.
    #[inline(always)]
    pub const fn set_macs(&mut self, macs: &[u16; 6]) {
        let [d0, d1, d2, s0, s1, s2] = *macs;
        *self = Self::from_words([d0, d1, d2, s0, s1, s2, self.ethertype]);
    }

    /// Its bytes.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; LEN] {
        // SAFETY: likewise.
        unsafe { core::mem::transmute(*self) }
    }
}

/// Whether it names a group: multicast or broadcast.
#[inline(always)]
pub const fn is_group(mac: &Mac) -> bool {
    mac[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_on_the_wire() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd];
        let header = Header::new([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], IPV6);
        assert_eq!(header.ethertype(), IPV6);
        assert_eq!(header.bytes(), bytes);
        assert_eq!(header.words().map(u16::to_ne_bytes).as_flattened(), bytes);
        assert_eq!(Header::from_words(header.words()), header);
        assert!(is_group(&header.destination));
        let mut other = Header::new([0; 6], [0; 6], IPV6);
        let [macs @ .., _] = header.words();
        other.set_macs(&macs);
        assert_eq!(other, header);
    }
}
