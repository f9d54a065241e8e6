//! ICMP and ICMPv6: what the gateway's address answers.

use crate::{Address, Mac, checksum, ethernet, ip};

/// The length of both families' ICMP header.
pub const LEN: usize = 8;
/// Where the checksum is, in bytes from the start of the header.
pub const CHECKSUM_AT: usize = 2;
/// Where an echo's identifier is.
pub const ID_AT: usize = 4;

/// ICMP's types (RFC 792).
pub mod v4 {
    /// An echo's answer.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Its code for "fragmentation needed and DF set".
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// An echo.
    pub const ECHO: u8 = 8;
}

/// ICMPv6's types (RFC 4443, 4861, 2710, 3810).
pub mod v6 {
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// An echo.
    pub const ECHO: u8 = 128;
    /// An echo's answer.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query.
    pub const LISTENER_QUERY: u8 = 130;
    /// Multicast listener done, the last of its version's three.
    pub const LISTENER_DONE: u8 = 132;
    /// Multicast listener report, version 2.
    pub const LISTENER_REPORT2: u8 = 143;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// How much of a packet that does not fit is quoted in the answer, from its IP header on, in bytes. It leaves
/// room in the 576 bytes of RFC 1812 (section 4.3.2.3), and any header that a sender needs to find its socket.
pub const QUOTE: usize = 512;
/// What comes before the quote in the IPv4 answer.
pub const TOO_BIG4_LEN: usize = ethernet::LEN + ip::V4_LEN + LEN;
/// What comes before the quote in the IPv6 answer.
pub const TOO_BIG6_LEN: usize = ethernet::LEN + ip::V6_LEN + LEN;

/// Who answers whom.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The gateway's MAC address.
    pub from_mac: Mac,
    /// The gateway's address.
    pub from: Address,
    /// The sender's MAC address.
    pub to_mac: Mac,
    /// The sender's address.
    pub to: Address,
}

impl Answer {
    #[inline(always)]
    const fn ethernet(&self, ethertype: u16) -> [u8; ethernet::LEN] {
        ethernet::Header { destination: self.to_mac, source: self.from_mac, ethertype }.bytes()
    }

    /// The headers of "fragmentation needed" (RFC 1191). `quote` is the running sum of the quoted bytes.
    #[inline(always)]
    pub fn too_big4(&self, mtu: u16, quote: u32) -> [u8; TOO_BIG4_LEN] {
        const TOTAL: u16 = (ip::V4_LEN + LEN + QUOTE) as u16;
        let mut frame = [0; TOO_BIG4_LEN];
        frame[..14].copy_from_slice(&self.ethernet(ethernet::IPV4));
        ip::write4(&mut frame[14..], 0, TOTAL, ip::protocol::ICMP, &self.from, &self.to);
        frame[34] = v4::UNREACHABLE;
        frame[35] = v4::FRAGMENTATION_NEEDED;
        [frame[40], frame[41]] = mtu.to_be_bytes();
        [frame[36], frame[37]] = checksum::finish(checksum::add(quote, &frame[34..])).to_be_bytes();
        frame
    }

    /// The headers of "packet too big" (RFC 4443, section 3.2). `quote` is the running sum of the quoted bytes.
    #[inline(always)]
    pub fn too_big6(&self, mtu: u16, quote: u32) -> [u8; TOO_BIG6_LEN] {
        const LENGTH: u16 = (LEN + QUOTE) as u16;
        let mut frame = [0; TOO_BIG6_LEN];
        frame[..14].copy_from_slice(&self.ethernet(ethernet::IPV6));
        let ends = (&self.from, &self.to);
        ip::write6(&mut frame[14..], 0, LENGTH, ip::HOPS, ip::protocol::ICMPV6, ends);
        frame[54] = v6::TOO_BIG;
        [frame[60], frame[61]] = mtu.to_be_bytes();
        let pseudo = checksum::pseudo6(&self.from.0, &self.to.0, LENGTH, ip::protocol::ICMPV6);
        let sum = pseudo + u32::from(checksum::fold(quote));
        [frame[56], frame[57]] = checksum::finish(checksum::add(sum, &frame[54..])).to_be_bytes();
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTED: [u8; QUOTE] = [0xa5; QUOTE];
    const ANSWER: Answer =
        Answer { from_mac: [2; 6], from: Address([0xfd; 16]), to_mac: [4; 6], to: Address([0xfc; 16]) };

    #[test]
    fn the_ipv4_answer_checks() {
        let frame = ANSWER.too_big4(1400, checksum::add(0, &QUOTED));
        assert_eq!(checksum::fold(checksum::add(0, &frame[14..34])), 0xffff);
        assert_eq!(checksum::fold(checksum::add(checksum::add(0, &frame[34..]), &QUOTED)), 0xffff);
        assert_eq!(frame[34..36], [3, 4]);
        assert_eq!(frame[40..42], 1400u16.to_be_bytes());
    }

    #[test]
    fn the_ipv6_answer_checks() {
        let frame = ANSWER.too_big6(1400, checksum::add(0, &QUOTED));
        let pseudo = checksum::pseudo6(&ANSWER.from.0, &ANSWER.to.0, (LEN + QUOTE) as u16, 58);
        assert_eq!(checksum::fold(checksum::add(checksum::add(pseudo, &frame[54..]), &QUOTED)), 0xffff);
        assert_eq!((frame[54], frame[55]), (2, 0));
        assert_eq!(frame[58..62], 1400u32.to_be_bytes());
    }
}
