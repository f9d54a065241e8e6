//! What TCP's and UDP's headers begin with, and the hash by which a flow's backend is chosen.

use crate::{Address, be16};

/// The ports, source first.
pub const PORTS_LEN: usize = 4;

/// Bits of TCP's flags (RFC 9293, section 3.1).
pub mod tcp {
    /// The header's length without options.
    pub const LEN: usize = 20;
    /// Where the flags are, in bytes from the start of the header.
    pub const FLAGS_AT: usize = 13;
    /// Where the checksum is.
    pub const CHECKSUM_AT: usize = 16;
    /// The option that ends the others.
    pub const END: u8 = 0;
    /// The option of one byte that says nothing.
    pub const NOTHING: u8 = 1;
    /// The option with the maximum segment size.
    pub const MSS: u8 = 2;
    /// The length of that one.
    pub const MSS_LEN: usize = 4;
    /// No more data comes.
    pub const FIN: u8 = 0x01;
    /// The first packet.
    pub const SYN: u8 = 0x02;
    /// The connection is broken off.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// UDP (RFC 768).
pub mod udp {
    /// Where the checksum is, in bytes from the start of the header.
    pub const CHECKSUM_AT: usize = 6;
}

/// The ports of TCP's or UDP's header, source first, host byte order.
#[inline(always)]
pub fn ports(header: &[u8; PORTS_LEN]) -> (u16, u16) {
    (be16(header, 0), be16(header, 2))
}

/// A hash over a flow, the same on every node and at every hook: by it a new flow's place in a Maglev table is
/// found. It need not resist who chooses addresses to collide, who gains nothing by it.
///
/// Each word is mixed in by `MurmurHash3`'s 32-bit step.
#[inline(always)]
pub fn flow_hash(source: &Address, destination: &Address, ports: u32, protocol: u8) -> u32 {
    let hash = with_address(u32::from(protocol), source);
    finished(mixed(with_address(hash, destination), ports))
}

/// A hash over a flow that costs little: for what has only to spread, and that nobody else has to compute alike.
#[inline(always)]
pub const fn quick_hash(source: &Address, destination: &Address, ports: u32) -> u32 {
    let ([a, b, c, d], [e, f, g, h]) = (*source.quads(), *destination.quads());
    let hash = (a ^ b ^ c ^ d).rotate_left(16) ^ e ^ f ^ g ^ h ^ ports;
    hash.wrapping_mul(0x9e37_79b1)
}

/// As [`flow_hash`], over the client alone: for who shall stay with one backend.
#[inline(always)]
pub fn client_hash(source: &Address) -> u32 {
    finished(with_address(0, source))
}

/// Word by word and not in a loop, which would take an address's place on the stack for a pointer that moves.
#[inline(always)]
const fn with_address(hash: u32, address: &Address) -> u32 {
    let [a, b, c, d] = *address.quads();
    let hash = mixed(mixed(hash, u32::from_be(a)), u32::from_be(b));
    mixed(mixed(hash, u32::from_be(c)), u32::from_be(d))
}

#[inline(always)]
const fn mixed(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[inline(always)]
const fn finished(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_network_order() {
        assert_eq!(ports(&[0x1f, 0x90, 0, 80]), (8080, 80));
    }

    /// Part of what all nodes of a cluster agree on.
    #[test]
    fn hashes_are_pinned() {
        let (client, node) = (Address::v4([192, 0, 2, 1]), Address::v4([198, 51, 100, 7]));
        assert_eq!(flow_hash(&client, &node, 0x1f90_0050, 6), flow_hash(&client, &node, 0x1f90_0050, 6));
        assert_ne!(flow_hash(&client, &node, 0x1f90_0050, 6), flow_hash(&client, &node, 0x1f91_0050, 6));
        assert_ne!(client_hash(&client), client_hash(&node));
    }

    #[test]
    fn ports_in_a_row_spread_evenly() {
        let (client, node) = (Address::v4([192, 0, 2, 1]), Address::v4([198, 51, 100, 7]));
        let mut counts = [0_u32; 8];
        for port in 0..8000 {
            counts[(flow_hash(&client, &node, (32768 + port) << 16 | 80, 6) % 251 % 8) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
