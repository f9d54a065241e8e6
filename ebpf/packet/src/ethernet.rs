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

/// The header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// What follows; up to 1500 it is a length (802.3 with LLC).
    pub ethertype: u16,
}

impl Header {
    /// Reads it.
    #[inline(always)]
    pub const fn parse(bytes: &[u8; LEN]) -> Self {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *bytes;
        Self {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            ethertype: u16::from_be_bytes([t0, t1]),
        }
    }

    /// Its bytes.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; LEN] {
        let [d0, d1, d2, d3, d4, d5] = self.destination;
        let [s0, s1, s2, s3, s4, s5] = self.source;
        let [t0, t1] = self.ethertype.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1]
    }

    /// Its 16-bit words in the order of the wire.
    #[inline(always)]
    pub const fn words(&self) -> [u16; LEN / 2] {
        let [d0, d1, d2, d3, d4, d5] = self.destination;
        let [s0, s1, s2, s3, s4, s5] = self.source;
        [
            u16::from_ne_bytes([d0, d1]),
            u16::from_ne_bytes([d2, d3]),
            u16::from_ne_bytes([d4, d5]),
            u16::from_ne_bytes([s0, s1]),
            u16::from_ne_bytes([s2, s3]),
            u16::from_ne_bytes([s4, s5]),
            self.ethertype.to_be(),
        ]
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
    fn a_header_survives_the_round_trip() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd];
        let header = Header::parse(&bytes);
        assert_eq!(header.ethertype, IPV6);
        assert_eq!(header.bytes(), bytes);
        assert_eq!(header.words().map(u16::to_ne_bytes).as_flattened(), bytes);
        assert!(is_group(&header.destination));
    }
}
