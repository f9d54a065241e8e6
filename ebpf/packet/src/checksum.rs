//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Adds big-endian 16-bit words to a running sum; an odd last byte counts as the high half of a word.
///
/// Never inlined: unrolled, it would hold a whole frame in registers, and BPF's stack is too small to spill that.
#[inline(never)]
pub fn add(mut sum: u32, bytes: &[u8]) -> u32 {
    let mut at = 0;
    while at < bytes.len() {
        let low = if at + 1 < bytes.len() { bytes[at + 1] } else { 0 };
        sum += u32::from(u16::from_be_bytes([bytes[at], low]));
        at += 2;
    }
    sum
}

/// Folds a running sum to 16 bits.
#[inline(always)]
pub const fn fold(mut sum: u32) -> u16 {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum of a running sum, in host byte order.
#[inline(always)]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum after a 16-bit word under it changed (RFC 1624, equation 3). All in host byte order.
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u32 + !old as u32 + new as u32)
}

/// What the sum of a packet changes by where some of its words take the place of others. All are as the CPU reads them, as
/// is the checksum that [`changed`] then makes: a sum's bytes may be in either order (RFC 1071, section 2).
#[inline(always)]
pub const fn difference(old: [u32; 4], new: [u32; 4]) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (old, new);
    (!a as u64 + e as u64) + (!b as u64 + f as u64) + (!c as u64 + g as u64) + (!d as u64 + h as u64)
}

/// The checksum once what it covers has changed by that ([`update`] for more than a word). No more than a few differences
/// may be added up.
#[inline(always)]
pub const fn changed(checksum: u16, difference: u64) -> u16 {
    let sum = !checksum as u64 + difference;
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    !fold(sum as u32)
}

/// The running sum of IPv6's pseudo-header (RFC 8200, section 8.1).
#[inline(always)]
pub fn pseudo6(source: &[u8; 16], destination: &[u8; 16], length: u16, protocol: u8) -> u32 {
    add(add(u32::from(length) + u32::from(protocol), source), destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 1071, section 3.
    const EXAMPLE: [u8; 8] = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];

    #[test]
    fn the_rfcs_example() {
        assert_eq!(fold(add(0, &EXAMPLE)), 0xddf2);
        assert_eq!(add(0, &[0xab]), 0xab00);
    }

    #[test]
    fn an_update_equals_a_recomputation() {
        for (old, new) in [(0x0001, 0xffff), (0xf203, 0), (0xf4f5, 0xf4f5), (0xf6f7, 0x1234)] {
            let mut changed = EXAMPLE;
            for word in changed.chunks_mut(2) {
                if word == u16::to_be_bytes(old) {
                    word.copy_from_slice(&u16::to_be_bytes(new));
                }
            }
            assert_eq!(
                update(finish(add(0, &EXAMPLE)), old, new),
                finish(add(0, &changed)),
                "{old:x} {new:x}"
            );
        }
    }

    #[test]
    fn a_difference_equals_a_recomputation() {
        let (before, after) = ([1, 2, 3, 0xffff_fffe], [0xffff_ffff, 0, 7, 0x1234_5678]);
        let sum = |words: [u32; 4], rest: &[u8]| {
            let words = words.iter().fold(0, |sum, word| add(sum, &word.to_be_bytes()));
            finish(add(words, rest))
        };
        for rest in [&EXAMPLE[..], &[], &[0xff; 6]] {
            let checksum = changed(sum(before, rest), difference(before, after));
            assert_eq!(checksum, sum(after, rest), "{rest:?}");
            assert_eq!(changed(checksum, difference(after, before)), sum(before, rest), "{rest:?}");
        }
    }

    #[test]
    fn an_update_never_yields_the_other_zero() {
        // RFC 1624, section 4: equation 2 of RFC 1141 would give 0xffff here.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
