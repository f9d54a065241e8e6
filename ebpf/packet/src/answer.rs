//! Whole frames that a node answers with by itself: ICMP errors (RFC 792, RFC 4443) and TCP's resets.

use crate::transport::tcp;
use crate::{Address, Mac, checksum, ethernet, icmp, ip};

/// The most that an error quotes of the packet that it is about, from the IP header on, in bytes. It leaves room in the
/// 576 bytes of RFC 1812 (section 4.3.2.3), and any header that a sender needs to find its socket.
pub const MOST_QUOTED: usize = 512;
/// What comes before the quote in an IPv4 error.
pub const ERROR4_LEN: usize = ethernet::LEN + ip::V4_LEN + icmp::LEN;
/// What comes before the quote in an IPv6 error.
pub const ERROR6_LEN: usize = ethernet::LEN + ip::V6_LEN + icmp::LEN;
/// A reset over IPv4.
pub const RESET4_LEN: usize = ethernet::LEN + ip::V4_LEN + tcp::LEN;
/// A reset over IPv6.
pub const RESET6_LEN: usize = ethernet::LEN + ip::V6_LEN + tcp::LEN;

/// Who answers whom.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Whose MAC address the packet was for.
    pub from_mac: Mac,
    /// Who answers.
    pub from: Address,
    /// The sender's MAC address.
    pub to_mac: Mac,
    /// The sender's address.
    pub to: Address,
}

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The packet does not fit; the largest that does, in bytes.
    TooBig(u16),
    /// Nobody serves the port.
    PortUnreachable,
}

/// What an error quotes.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// How many bytes.
    pub length: u16,
    /// Their running sum.
    pub sum: u32,
}

impl Answer {
    #[inline(always)]
    const fn ethernet(&self, ethertype: u16) -> [u8; ethernet::LEN] {
        ethernet::Header::new(self.to_mac, self.from_mac, ethertype).bytes()
    }

    /// An error's headers over IPv4 (RFC 792; RFC 1191 for what is too big).
    ///
    /// Written in place, as all of these, since a program's stack has no room for copies.
    #[inline(always)]
    pub fn error4(&self, frame: &mut [u8; ERROR4_LEN], error: Error, quote: &Quote) {
        let (code, mtu) = match error {
            Error::TooBig(mtu) => (icmp::v4::FRAGMENTATION_NEEDED, mtu),
            Error::PortUnreachable => (icmp::v4::PORT, 0),
        };
        let total = (ip::V4_LEN + icmp::LEN) as u16 + quote.length;
        frame[..14].copy_from_slice(&self.ethernet(ethernet::IPV4));
        ip::write4(&mut frame[14..], 0, total, ip::protocol::ICMP, &self.from, &self.to);
        [frame[34], frame[35]] = [icmp::v4::UNREACHABLE, code];
        [frame[36], frame[37], frame[38], frame[39]] = [0; 4];
        [frame[40], frame[41]] = mtu.to_be_bytes();
        [frame[36], frame[37]] = checksum::finish(checksum::add(quote.sum, &frame[34..])).to_be_bytes();
    }

    /// An error's headers over IPv6 (RFC 4443, sections 3.1 and 3.2).
    #[inline(always)]
    pub fn error6(&self, frame: &mut [u8; ERROR6_LEN], error: Error, quote: &Quote) {
        let (kind, code, mtu) = match error {
            Error::TooBig(mtu) => (icmp::v6::TOO_BIG, 0, mtu),
            Error::PortUnreachable => (icmp::v6::UNREACHABLE, icmp::v6::PORT, 0),
        };
        let length = icmp::LEN as u16 + quote.length;
        frame[..14].copy_from_slice(&self.ethernet(ethernet::IPV6));
        let ends = (&self.from, &self.to);
        ip::write6(&mut frame[14..], 0, length, ip::HOPS, ip::protocol::ICMPV6, ends);
        [frame[54], frame[55]] = [kind, code];
        [frame[56], frame[57], frame[58], frame[59]] = [0; 4];
        [frame[60], frame[61]] = mtu.to_be_bytes();
        let pseudo = checksum::pseudo6(&self.from.0, &self.to.0, length, ip::protocol::ICMPV6);
        let sum = pseudo + u32::from(checksum::fold(quote.sum));
        [frame[56], frame[57]] = checksum::finish(checksum::add(sum, &frame[54..])).to_be_bytes();
    }

    /// The reset over IPv4 that answers a segment with this header, which carries `payload` bytes; `pending` as for
    /// [`Self::reset`].
    #[inline(always)]
    pub fn reset4(&self, frame: &mut [u8; RESET4_LEN], header: &[u8; tcp::LEN], payload: u32, pending: bool) {
        frame[..14].copy_from_slice(&self.ethernet(ethernet::IPV4));
        let total = (ip::V4_LEN + tcp::LEN) as u16;
        ip::write4(&mut frame[14..], 0, total, ip::protocol::TCP, &self.from, &self.to);
        self.reset(&mut frame[34..], header, payload, pending);
    }

    /// The same over IPv6.
    #[inline(always)]
    pub fn reset6(&self, frame: &mut [u8; RESET6_LEN], header: &[u8; tcp::LEN], payload: u32, pending: bool) {
        frame[..14].copy_from_slice(&self.ethernet(ethernet::IPV6));
        let ends = (&self.from, &self.to);
        ip::write6(&mut frame[14..], 0, tcp::LEN as u16, ip::HOPS, ip::protocol::TCP, ends);
        self.reset(&mut frame[54..], header, payload, pending);
    }

    /// A reset's header (RFC 9293, section 3.10.7.1).
    ///
    /// If the checksum is `pending`, the kernel or a device will take the sum of what is sent; then there is only the
    /// pseudo-header's in it. Too short a slice is left alone.
    #[inline(always)]
    fn reset(&self, out: &mut [u8], header: &[u8; tcp::LEN], payload: u32, pending: bool) {
        let Some(out) = out.first_chunk_mut::<{ tcp::LEN }>() else { return };
        let [f0, f1, t0, t1, s0, s1, s2, s3, a0, a1, a2, a3, _, flags, ..] = *header;
        let (sequence, acknowledged, answer) = if flags & tcp::ACK != 0 {
            ([a0, a1, a2, a3], [0; 4], tcp::RST)
        } else {
            let more = u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
            let next = u32::from_be_bytes([s0, s1, s2, s3]).wrapping_add(payload).wrapping_add(more);
            ([0; 4], next.to_be_bytes(), tcp::RST | tcp::ACK)
        };
        *out = [0; tcp::LEN];
        [out[0], out[1], out[2], out[3]] = [t0, t1, f0, f1];
        [out[4], out[5], out[6], out[7]] = sequence;
        [out[8], out[9], out[10], out[11]] = acknowledged;
        [out[12], out[13]] = [(tcp::LEN as u8 / 4) << 4, answer];
        // IPv4's addresses have the same sum in this shape: what is before them adds up to nothing.
        let pseudo = checksum::pseudo6(&self.from.0, &self.to.0, tcp::LEN as u16, ip::protocol::TCP);
        let sum = if pending { checksum::fold(pseudo) } else { checksum::finish(checksum::add(pseudo, out)) };
        [out[tcp::CHECKSUM_AT], out[tcp::CHECKSUM_AT + 1]] = sum.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTED: [u8; MOST_QUOTED] = [0xa5; MOST_QUOTED];
    const ANSWER: Answer =
        Answer { from_mac: [2; 6], from: Address([0xfd; 16]), to_mac: [4; 6], to: Address([0xfc; 16]) };
    const ERRORS: [(Error, [u8; 2], [u8; 2]); 2] =
        [(Error::TooBig(1400), [3, 4], [2, 0]), (Error::PortUnreachable, [3, 3], [1, 4])];

    fn quote(length: usize) -> Quote {
        Quote { length: length as u16, sum: checksum::add(0, &QUOTED[..length]) }
    }

    fn mtu(error: Error) -> u16 {
        if let Error::TooBig(mtu) = error { mtu } else { 0 }
    }

    #[test]
    fn ipv4_errors_check() {
        for (error, kind, _) in ERRORS {
            for length in [28, 512] {
                let mut frame = [0xee; ERROR4_LEN];
                ANSWER.error4(&mut frame, error, &quote(length));
                assert_eq!(checksum::fold(checksum::add(0, &frame[14..34])), 0xffff);
                let sum = checksum::add(checksum::add(0, &frame[34..]), &QUOTED[..length]);
                assert_eq!(checksum::fold(sum), 0xffff);
                assert_eq!(frame[16..18], (28 + length as u16).to_be_bytes());
                assert_eq!(frame[34..36], kind);
                assert_eq!(frame[38..42], u32::from(mtu(error)).to_be_bytes());
            }
        }
    }

    #[test]
    fn ipv6_errors_check() {
        for (error, _, kind) in ERRORS {
            for length in [48, 512] {
                let mut frame = [0xee; ERROR6_LEN];
                ANSWER.error6(&mut frame, error, &quote(length));
                let pseudo = checksum::pseudo6(&ANSWER.from.0, &ANSWER.to.0, 8 + length as u16, 58);
                let sum = checksum::add(checksum::add(pseudo, &frame[54..]), &QUOTED[..length]);
                assert_eq!(checksum::fold(sum), 0xffff);
                assert_eq!(frame[18..20], (8 + length as u16).to_be_bytes());
                assert_eq!(frame[54..56], kind);
                assert_eq!(frame[58..62], u32::from(mtu(error)).to_be_bytes());
            }
        }
    }

    /// From port 0x0102 to 0x0304, sequence number 1,000, acknowledging 2,000, without options.
    fn segment(flags: u8) -> [u8; tcp::LEN] {
        [1, 2, 3, 4, 0, 0, 3, 0xe8, 0, 0, 7, 0xd0, 0x50, flags, 1, 1, 9, 9, 0, 0]
    }

    fn reset6(header: &[u8; tcp::LEN], payload: u32) -> [u8; tcp::LEN] {
        let mut frame = [0xee; RESET6_LEN];
        ANSWER.reset6(&mut frame, header, payload, false);
        *frame.last_chunk().unwrap()
    }

    #[test]
    fn a_reset_is_what_the_sender_believes() {
        for (flags, sequence, acknowledged, answer) in [
            (tcp::ACK, 2000_u32, 0_u32, tcp::RST),
            (tcp::ACK | tcp::SYN, 2000, 0, tcp::RST),
            (0, 0, 1010, tcp::RST | tcp::ACK),
            (tcp::SYN, 0, 1011, tcp::RST | tcp::ACK),
            (tcp::FIN, 0, 1011, tcp::RST | tcp::ACK),
        ] {
            let reset = reset6(&segment(flags), 10);
            assert_eq!(reset[..4], [3, 4, 1, 2]);
            assert_eq!(reset[4..8], sequence.to_be_bytes(), "{flags:#x}");
            assert_eq!(reset[8..12], acknowledged.to_be_bytes(), "{flags:#x}");
            assert_eq!(reset[12..14], [0x50, answer], "{flags:#x}");
            let pseudo = checksum::pseudo6(&ANSWER.from.0, &ANSWER.to.0, 20, 6);
            assert_eq!(checksum::fold(checksum::add(pseudo, &reset)), 0xffff);
        }
        let mut last = segment(tcp::SYN);
        last[4..8].fill(0xff);
        assert_eq!(reset6(&last, 0)[8..12], [0; 4]);
    }

    #[test]
    fn a_pending_checksum_is_that_of_the_pseudo_header() {
        let ends = Answer { from: Address::v4([10, 0, 0, 1]), to: Address::v4([10, 0, 0, 2]), ..ANSWER };
        let [whole, pending] = [false, true].map(|pending| {
            let mut frame = [0xee; RESET4_LEN];
            ends.reset4(&mut frame, &segment(tcp::SYN), 0, pending);
            frame
        });
        assert_eq!(checksum::fold(checksum::add(0, &whole[14..34])), 0xffff);
        // As IPv4 has it (RFC 793): both addresses, the protocol, the length.
        let pseudo = checksum::add(6 + 20, &[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(checksum::fold(checksum::add(pseudo, &whole[34..])), 0xffff);
        assert_eq!(pending[50..52], checksum::fold(pseudo).to_be_bytes());
    }
}
