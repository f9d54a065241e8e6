//! The packets of the data path: header views, VXLAN, checksums and the answers that a node gives by itself.
//!
//! Pure functions over byte arrays, used by the BPF programs and by userspace alike. They never panic, and
//! never read or write anything but their arguments. All fields are big-endian on the wire; the views give
//! numbers in host byte order.
#![no_std]

pub mod answer;
pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ip;
pub mod ndp;
pub mod transport;
pub mod vxlan;

mod address;

pub use address::Address;
pub use ethernet::Mac;

/// The big-endian 16-bit number at `at`; 0 where the slice ends before it.
#[inline(always)]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(high), Some(low)) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}
