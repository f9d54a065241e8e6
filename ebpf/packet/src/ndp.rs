//! IPv6 Neighbour Discovery (RFC 4861): solicitations, and the advertisement that answers one.

use crate::{Address, Mac, checksum, ethernet, ip};

/// The length of a frame that carries a solicitation without options.
pub const SOLICITATION_LEN: usize = ethernet::LEN + ip::V6_LEN + 24;
/// The length of a frame that carries an advertisement with the target's link-layer address.
pub const ADVERTISEMENT_LEN: usize = SOLICITATION_LEN + 8;
/// Where an ICMPv6 message starts in a frame without extension headers.
pub const ICMP_OFFSET: usize = ethernet::LEN + ip::V6_LEN;
/// The options that tell the source's and the target's link-layer address.
pub mod option {
    /// The source's.
    pub const SOURCE: u8 = 1;
    /// The target's.
    pub const TARGET: u8 = 2;
}

/// Writes an advertisement of `target`'s MAC address over a zeroed frame, for who solicited it. `router` says
/// that the target forwards.
#[inline(always)]
pub fn write_advertisement(
    frame: &mut [u8; ADVERTISEMENT_LEN],
    to_mac: Mac,
    to: &Address,
    target: &Address,
    mac: Mac,
    router: bool,
) {
    const LENGTH: u16 = 32;
    const SOLICITED_OVERRIDE: u8 = 0x60;
    const ROUTER: u8 = 0x80;
    let header = ethernet::Header::new(to_mac, mac, ethernet::IPV6);
    frame[..14].copy_from_slice(&header.bytes());
    ip::write6(&mut frame[14..], 0, LENGTH, 255, ip::protocol::ICMPV6, (target, to));
    frame[54] = crate::icmp::v6::NEIGHBOUR_ADVERTISEMENT;
    frame[58] = if router { SOLICITED_OVERRIDE | ROUTER } else { SOLICITED_OVERRIDE };
    frame[62..78].copy_from_slice(&target.0);
    frame[78] = option::TARGET;
    frame[79] = 1;
    frame[80..86].copy_from_slice(&mac);
    let pseudo = checksum::pseudo6(&target.0, &to.0, LENGTH, ip::protocol::ICMPV6);
    [frame[56], frame[57]] = checksum::finish(checksum::add(pseudo, &frame[ICMP_OFFSET..])).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_checks_and_names_the_owner() {
        let (to, target) = (Address([1; 16]), Address([2; 16]));
        let mut frame = [0; ADVERTISEMENT_LEN];
        write_advertisement(&mut frame, [2, 0, 0, 0, 0, 1], &to, &target, [2, 0, 0, 0, 0, 9], true);
        let pseudo = checksum::pseudo6(&target.0, &to.0, 32, 58);
        assert_eq!(checksum::fold(checksum::add(pseudo, &frame[54..])), 0xffff);
        assert_eq!(frame[54], 136);
        assert_eq!(frame[58], 0xe0);
        assert_eq!(frame[80..86], [2, 0, 0, 0, 0, 9]);
    }
}
